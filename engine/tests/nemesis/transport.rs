//! Transport: how a client of the oracle is connected: WebSocket, server-sent events, HTTP streaming, long-polling.
//!
//! In:  first commands.
//! Out: messages one after the other; how it ended. Pings are answered.
//!
//! A read returns after a moment, so that its caller sees what else is going on.

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use holdfast_testkit::PATIENCE;
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use tungstenite::{Message, WebSocket, protocol::WebSocketConfig};

const MOMENT: Duration = Duration::from_millis(100);

/// A transport, and how much the kernel keeps for its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    WebSocket,
    /// With a small receive buffer.
    NarrowWebSocket,
    Sse,
    Stream,
    Poll,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Value),
    /// Nothing for a moment.
    Nothing,
    /// An end with a code and a reason; 404 for a poll whose session is gone.
    Closed(u64, String),
    /// An end without a word, and how it was noticed.
    Cut(String),
    /// A poll's connection is gone, and there can be no other one.
    Refused(String),
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct Transport {
    link: Link,
    messages: VecDeque<Value>,
    address: SocketAddr,
    /// Of streams: what commands by `/emulation` carry.
    session: Value,
    node: Value,
}

#[derive(Debug)]
enum Link {
    WebSocket(Box<WebSocket<TcpStream>>),
    /// An answer that goes on; what came and is no whole line.
    Stream(TcpStream, Vec<u8>),
    Poll(Poll),
}

#[derive(Debug)]
struct Poll {
    stream: TcpStream,
    bytes: Vec<u8>,
    is_asked: bool,
    session: Value,
    received: Value,
    /// Commands that no poll has carried yet.
    commands: Vec<Value>,
}

impl Transport {
    /// Connects and sends first commands. An error of kind `Other` is an answer: the daemon does not want it now.
    pub(crate) fn open(kind: Kind, address: SocketAddr, commands: &[Value]) -> io::Result<Self> {
        let stream = connect(address, kind)?;
        let link = match kind {
            Kind::WebSocket | Kind::NarrowWebSocket => {
                let url = format!("ws://{address}/connection/websocket");
                let config = WebSocketConfig::default().read_buffer_size(16 * 1024);
                let (mut socket, _) = tungstenite::client::client_with_config(url, stream, Some(config))
                    .map_err(|error| match error {
                        tungstenite::HandshakeError::Failure(tungstenite::Error::Io(error)) => error,
                        tungstenite::HandshakeError::Failure(tungstenite::Error::Protocol(
                            tungstenite::error::ProtocolError::HandshakeIncomplete,
                        )) => ErrorKind::UnexpectedEof.into(),
                        other => io::Error::other(other.to_string()),
                    })?;
                let first = Message::text(lines(commands));
                socket.send(first).map_err(|error| match error {
                    tungstenite::Error::Io(error) => error,
                    other => io::Error::other(other.to_string()),
                })?;
                socket.get_ref().set_read_timeout(Some(MOMENT))?;
                Link::WebSocket(Box::new(socket))
            }
            Kind::Sse => Self::stream(stream, "/connection/sse", commands)?,
            Kind::Stream => Self::stream(stream, "/connection/http_stream", commands)?,
            Kind::Poll => {
                stream.set_read_timeout(Some(MOMENT))?;
                let commands = commands.to_vec();
                let (session, received) = (json!(""), json!(0));
                Link::Poll(Poll { stream, bytes: Vec::new(), is_asked: false, session, received, commands })
            }
        };
        Ok(Self { link, messages: VecDeque::new(), address, session: Value::Null, node: Value::Null })
    }

    fn stream(mut stream: TcpStream, path: &str, commands: &[Value]) -> io::Result<Link> {
        stream.write_all(&post(path, &lines(commands)))?;
        let mut bytes = Vec::new();
        let end = head(&mut stream, &mut bytes)?;
        if !bytes.starts_with(b"HTTP/1.1 200 ") {
            return Err(io::Error::other(bytes.escape_ascii().to_string()));
        }
        bytes.drain(..end);
        stream.set_read_timeout(Some(MOMENT))?;
        Ok(Link::Stream(stream, bytes))
    }

    /// Sends a command.
    pub(crate) fn send(&mut self, command: &Value) -> io::Result<()> {
        match &mut self.link {
            Link::WebSocket(socket) => {
                socket.send(Message::text(command.to_string())).map_err(io::Error::other)
            }
            Link::Stream(..) => {
                let mut stream = connect(self.address, Kind::Stream)?;
                let body = json!({ "session": self.session, "node": self.node, "data": command.to_string() });
                stream.write_all(&post("/emulation", &body.to_string()))?;
                head(&mut stream, &mut Vec::new()).map(|_| ())
            }
            Link::Poll(poll) => {
                poll.commands.push(command.clone());
                Ok(())
            }
        }
    }

    /// What comes next.
    pub(crate) fn next(&mut self) -> Heard {
        loop {
            while let Some(message) = self.messages.pop_front() {
                if message == json!({}) {
                    // Where it does not arrive, the end will be noticed.
                    let _ = self.send(&message);
                    continue;
                }
                if let Some(connected) = message.get("connect") {
                    self.session = connected["session"].clone();
                    self.node = connected["node"].clone();
                }
                let end = &message["push"]["disconnect"];
                if let Some(code) = end["code"].as_u64() {
                    return Heard::Closed(code, end["reason"].as_str().unwrap_or_default().to_owned());
                }
                return Heard::Message(message);
            }
            let came = match &mut self.link {
                Link::WebSocket(socket) => frame(socket),
                Link::Stream(stream, bytes) => line(stream, bytes),
                Link::Poll(poll) => poll.turn(self.address),
            };
            match came {
                Ok(messages) => self.messages.extend(messages),
                Err(heard) => return heard,
            }
        }
    }
}

fn frame(socket: &mut WebSocket<TcpStream>) -> Result<Vec<Value>, Heard> {
    match socket.read() {
        Ok(Message::Text(text)) => messages(text.as_bytes()),
        Ok(Message::Close(Some(end))) => {
            Err(Heard::Closed(u64::from(u16::from(end.code)), end.reason.as_str().to_owned()))
        }
        Ok(Message::Close(None)) => Err(Heard::Closed(1005, String::new())),
        Ok(_) => Ok(Vec::new()),
        Err(tungstenite::Error::Io(error)) if is_moment(&error) => Err(Heard::Nothing),
        Err(error) => Err(Heard::Cut(error.to_string())),
    }
}

fn line(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<Vec<Value>, Heard> {
    loop {
        if let Some(at) = bytes.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = bytes.drain(..=at).collect();
            return messages(line.strip_prefix(b"data: ").unwrap_or(&line));
        }
        read(stream, bytes)?;
    }
}

impl Poll {
    /// Asks, where it has not, and reads an answer. A connection that ends is no end of the session: it asks again.
    fn turn(&mut self, address: SocketAddr) -> Result<Vec<Value>, Heard> {
        if !self.is_asked {
            let commands = &self.commands;
            let body = json!({ "session": self.session, "received": self.received, "commands": commands });
            if self.stream.write_all(&post("/connection/poll", &body.to_string())).is_err() {
                return self.again(address);
            }
            self.is_asked = true;
        }
        let (status, mut answer) = loop {
            match answer(&mut self.bytes) {
                Some((status, body)) => {
                    break (status, serde_json::from_slice::<Value>(&body).unwrap_or_default());
                }
                None => match read(&mut self.stream, &mut self.bytes) {
                    Ok(()) => {}
                    Err(Heard::Cut(_)) => return self.again(address),
                    Err(other) => return Err(other),
                },
            }
        };
        self.is_asked = false;
        match status {
            200 => {
                self.commands.clear();
                (self.session, self.received) = (answer["session"].take(), answer["sequence"].take());
                Ok(answer["replies"].as_array().cloned().unwrap_or_default())
            }
            // There is too much to do: it is asked again.
            429 | 503 => Err(Heard::Nothing),
            status => Err(Heard::Closed(status, "the status of a poll".to_owned())),
        }
    }

    fn again(&mut self, address: SocketAddr) -> Result<Vec<Value>, Heard> {
        if self.session == "" {
            return Err(Heard::Cut("the first poll has no answer".to_owned()));
        }
        let stream = connect(address, Kind::Poll).and_then(|stream| {
            stream.set_read_timeout(Some(MOMENT))?;
            Ok(stream)
        });
        self.stream = stream.map_err(|error| Heard::Refused(error.to_string()))?;
        (self.is_asked, self.bytes) = (false, Vec::new());
        Err(Heard::Nothing)
    }
}

fn connect(address: SocketAddr, kind: Kind) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if kind == Kind::NarrowWebSocket {
        socket.set_recv_buffer_size(4_096)?;
    }
    socket.connect_timeout(&address.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = "Host: test\r\nContent-Type: application/json\r\n";
    format!("POST {path} HTTP/1.1\r\n{head}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn lines(commands: &[Value]) -> String {
    commands.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

fn messages(bytes: &[u8]) -> Result<Vec<Value>, Heard> {
    let all = serde_json::Deserializer::from_slice(bytes).into_iter().collect::<Result<_, _>>();
    all.map_err(|error| Heard::Cut(format!("no message: {error}: {}", bytes.escape_ascii())))
}

/// Reads up to the end of a head; answers with where that is.
fn head(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut piece = [0; 4_096];
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            return Ok(at + 4);
        }
        match stream.read(&mut piece)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            count => bytes.extend(&piece[..count]),
        }
    }
}

/// Takes a whole answer: its status and body.
fn answer(bytes: &mut Vec<u8>) -> Option<(u64, Vec<u8>)> {
    let begin = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..begin]).to_ascii_lowercase();
    let status = head.get(9..12)?.parse().ok()?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?.trim().parse().ok()?;
    let end = begin.checked_add(length).filter(|&end| end <= bytes.len())?;
    let body = bytes[begin..end].to_vec();
    bytes.drain(..end);
    Some((status, body))
}

fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> Result<(), Heard> {
    let mut piece = [0; 64 * 1024];
    match stream.read(&mut piece) {
        Ok(0) => Err(Heard::Cut("the end came".to_owned())),
        Ok(count) => {
            bytes.extend(&piece[..count]);
            Ok(())
        }
        Err(error) if is_moment(&error) => Err(Heard::Nothing),
        Err(error) => Err(Heard::Cut(error.to_string())),
    }
}

fn is_moment(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
