//! Centrifuge: a server of that protocol, small and slow, that can do wrong.
//!
//! In:  a fault to commit.
//! Out: a listening server with channels that keep all that was ever published.
//!
//! A thread a connection; all that goes out is written under one lock.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::BytesMut;
use holdfast_protocol::client::command::SubscribeRequest;
use holdfast_protocol::client::push::Push;
use holdfast_protocol::client::reply::{ClientError, ConnectResult, Done, Reply, SubscribeResult};
use holdfast_protocol::client::{
    Command, ErrorCode, Format, FromClient, Payload, Publication, PushBody, ReplyResult, Request,
    append_push, append_reply, decode_commands,
};
use tungstenite::handshake::server::{Request as Upgrade, Response};
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

/// What a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    Nothing,
    RefuseSubscriptions,
    RefusePublications,
    /// Ends the session of whoever publishes.
    EndSubscriptions,
    /// Delivers to the next channel as well.
    Misdirect,
    /// Leaves the second publication out of what is recovered.
    LoseRecovered,
    /// Delivers all that was recovered once more.
    RepeatRecovered,
    /// Cuts all who listen to a channel off, with its fifth publication and each tenth after it.
    Cut,
    /// The same, and leaves the second publication out of what is recovered.
    CutAndLose,
    /// The same, and does not know what was missed.
    CutAndForget,
    /// Takes each publication of the API, and says the first time that it has not.
    DenyTaken,
}

/// Of every channel, what was published and who listens.
#[derive(Default)]
pub(crate) struct Channel {
    history: Vec<Vec<u8>>,
    /// Of publications that were taken.
    pub(crate) keys: HashSet<String>,
    listeners: Vec<(Format, TcpStream)>,
}

pub(crate) type Hub = Arc<Mutex<HashMap<String, Channel>>>;

/// Starts a server on a free port; it lives as long as the test.
pub(crate) fn centrifuge(wrong: Wrong) -> SocketAddr {
    centrifuge_with_hub(wrong).0
}

/// The same, and its channels, for whoever publishes past it.
pub(crate) fn centrifuge_with_hub(wrong: Wrong) -> (SocketAddr, Hub) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let hub = Hub::default();
    let kept = Arc::clone(&hub);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let hub = Arc::clone(&hub);
            thread::spawn(move || serve(stream, wrong, &hub));
        }
    });
    (address, kept)
}

/// One session.
struct Session<'h> {
    format: Format,
    wrong: Wrong,
    hub: &'h Hub,
    raw: TcpStream,
}

fn serve(stream: TcpStream, wrong: Wrong, hub: &Hub) {
    let _ = stream.set_nodelay(true);
    let Ok(raw) = stream.try_clone() else { return };
    let mut format = Format::Json;
    #[expect(clippy::result_large_err, reason = "the signature is tungstenite's")]
    let choose = |request: &Upgrade, mut response: Response| {
        if request.headers().get("sec-websocket-protocol").is_some_and(|name| name == "centrifuge-protobuf") {
            format = Format::Protobuf;
            let chosen = HeaderValue::from_static("centrifuge-protobuf");
            response.headers_mut().insert("sec-websocket-protocol", chosen);
        }
        Ok(response)
    };
    let Ok(mut socket) = tungstenite::accept_hdr(stream, choose) else { return };
    Session { format, wrong, hub, raw }.run(&mut socket);
    // Those who publish still have it; they are to find it ended, and so is the load tool.
    let _ = socket.get_ref().shutdown(std::net::Shutdown::Both);
}

impl Session<'_> {
    fn run(&self, socket: &mut WebSocket<TcpStream>) {
        while let Ok(message) = socket.read() {
            let is_right_kind = match self.format {
                Format::Json => message.is_text(),
                Format::Protobuf => message.is_binary(),
            };
            if matches!(message, Message::Close(_)) {
                continue;
            }
            assert!(is_right_kind, "{:?} came in the wrong kind of frame", self.format);
            for command in decode_commands(self.format, &message.into_data()) {
                match command.expect("the load tool speaks the protocol") {
                    FromClient::Pong => {}
                    FromClient::Command(command) => self.obey(socket, &command),
                }
            }
        }
    }

    fn obey(&self, socket: &mut WebSocket<TcpStream>, command: &Command<'_>) {
        match &command.request {
            Request::Connect(connect) => {
                let result = if connect.token == "wrong" {
                    Err(ClientError::from(ErrorCode::UNAUTHORIZED))
                } else {
                    Ok(ReplyResult::Connect(ConnectResult {
                        ping: 25,
                        pong: true,
                        ..ConnectResult::default()
                    }))
                };
                self.reply(command.id, result);
            }
            Request::Subscribe(request) => {
                self.subscribe(command.id, request);
                if request.channel.starts_with("ping:") {
                    self.write(self.format.empty_message());
                    let answer = socket.read().expect("an answer to the ping").into_data();
                    assert_eq!(answer, self.format.empty_message());
                }
            }
            Request::Publish(request) => self.publish(command.id, &request.channel, request.data),
            other => panic!("the load tool has no use for {other:?}"),
        }
    }

    fn subscribe(&self, id: u32, request: &SubscribeRequest<'_>) {
        if self.wrong == Wrong::RefuseSubscriptions {
            return self.reply(id, Err(ClientError::from(ErrorCode::PERMISSION_DENIED)));
        }
        let mut hub = self.hub.lock().expect("nobody panics");
        let channel = hub.entry(request.channel.to_string()).or_default();
        let from = if request.recover {
            usize::try_from(request.offset).expect("a place in the history")
        } else {
            channel.history.len()
        };
        let mut publications: Vec<_> = channel.history[from..].iter().map(|data| publication(data)).collect();
        let missed = publications.clone();
        if matches!(self.wrong, Wrong::LoseRecovered | Wrong::CutAndLose) && publications.len() > 1 {
            publications.remove(1);
        }
        let is_forgotten = self.wrong == Wrong::CutAndForget;
        if is_forgotten {
            publications.clear();
        }
        let result = SubscribeResult {
            recoverable: true,
            recovered: request.recover && !is_forgotten,
            was_recovering: request.recover,
            epoch: Cow::Borrowed("once"),
            offset: channel.history.len() as u64,
            publications,
            ..SubscribeResult::default()
        };
        self.reply(id, Ok(ReplyResult::Subscribe(result)));
        if self.wrong == Wrong::RepeatRecovered {
            let pushes = missed.into_iter().map(PushBody::Publication);
            pushes.for_each(|body| write(&self.raw, self.format, &push(self.format, &request.channel, body)));
        }
        channel.listeners.push((self.format, self.raw.try_clone().expect("a descriptor")));
    }

    fn publish(&self, id: u32, name: &str, data: Payload<'_>) {
        match self.wrong {
            Wrong::RefusePublications => {
                return self.reply(id, Err(ClientError::from(ErrorCode::TOO_MANY_REQUESTS)));
            }
            Wrong::EndSubscriptions => {
                let body = PushBody::Unsubscribe(holdfast_protocol::client::push::UnsubscribePush {
                    code: 2500,
                    reason: Cow::Borrowed("insufficient state"),
                });
                return self.write(&push(self.format, name, body));
            }
            _ => {}
        }
        deliver(self.hub, self.wrong, name, data.bytes());
        self.reply(id, Ok(ReplyResult::Publish(Done::default())));
    }

    fn reply(&self, id: u32, result: Result<ReplyResult<'_>, ClientError<'_>>) {
        let mut frame = BytesMut::new();
        append_reply(self.format, &mut frame, &Reply { id, result });
        self.write(&frame);
    }

    fn write(&self, payload: &[u8]) {
        write(&self.raw, self.format, payload);
    }
}

/// Keeps a publication and sends it to all who listen.
pub(crate) fn deliver(hub: &Hub, wrong: Wrong, name: &str, data: &[u8]) {
    let mut hub = hub.lock().expect("nobody panics");
    hub.entry(name.to_owned()).or_default().history.push(data.to_vec());
    let misdirected = (wrong == Wrong::Misdirect).then_some("bench:1");
    for name in std::iter::once(name).chain(misdirected) {
        for (format, stream) in hub.get(name).iter().flat_map(|channel| &channel.listeners) {
            write(stream, *format, &push(*format, name, PushBody::Publication(publication(data))));
        }
    }
    let channel = hub.get_mut(name).expect("it was published to");
    let is_cutting = matches!(wrong, Wrong::Cut | Wrong::CutAndLose | Wrong::CutAndForget);
    if is_cutting && channel.history.len() % 10 == 5 {
        for (_, stream) in channel.listeners.drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn publication(data: &[u8]) -> Publication<'_> {
    Publication { data: Payload::new(data), ..Publication::default() }
}

fn push(format: Format, channel: &str, body: PushBody<'_>) -> BytesMut {
    let mut frame = BytesMut::new();
    append_push(format, &mut frame, &Push { id: 0, channel: Cow::Borrowed(channel), body });
    frame
}

/// A final frame (RFC 6455 §5.2), by hand: several threads write to a socket. Those who are gone hear nothing.
fn write(mut stream: &TcpStream, format: Format, payload: &[u8]) {
    let opcode = if format == Format::Json { 0x81 } else { 0x82 };
    let length = u16::try_from(payload.len()).expect("short messages").to_be_bytes();
    let head =
        if payload.len() < 126 { vec![opcode, length[1]] } else { vec![opcode, 126, length[0], length[1]] };
    let _ = stream.write_all(&[&head, payload].concat());
}
