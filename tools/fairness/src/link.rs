//! Link: connections to the daemon.
//!
//! In:  where it listens, and whether clients speak TLS to it.
//! Out: streams of bytes with a deadline for each read and write; WebSockets over them.

use std::{
    fmt::Debug,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, StreamOwned, pki_types::ServerName};

use crate::frame;

/// When a well-behaved client gives up. Nothing that is fair takes as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// A stream of bytes.
pub(crate) trait Wire: Read + Write + Send + Debug {}

impl<W: Read + Write + Send + Debug> Wire for W {}

/// Where a daemon is.
#[derive(Clone, Debug)]
pub struct Target {
    /// For clients.
    pub clients: SocketAddr,
    /// For operators.
    pub control: SocketAddr,
    /// None where clients speak plainly.
    pub tls: Option<Arc<ClientConfig>>,
}

impl Target {
    /// Connects as a client.
    pub(crate) fn connect(&self) -> io::Result<Box<dyn Wire>> {
        let stream = patient(self.clients)?;
        Ok(match &self.tls {
            None => Box::new(stream),
            Some(config) => {
                let name = ServerName::try_from("localhost").expect("it is a name");
                let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
                Box::new(StreamOwned::new(session, stream))
            }
        })
    }

    /// Connects to the control port.
    pub(crate) fn connect_to_control(&self) -> io::Result<Box<dyn Wire>> {
        Ok(Box::new(patient(self.control)?))
    }

    /// Connects as a client and shakes hands for a WebSocket.
    pub(crate) fn websocket(&self, path: &str) -> io::Result<WebSocket> {
        let mut socket = WebSocket { wire: self.connect()?, bytes: Vec::new(), read_to: 0 };
        socket.wire.write_all(frame::handshake(path).as_bytes())?;
        let end = loop {
            if let Some(at) = socket.bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            socket.read_more()?;
        };
        if !socket.bytes.starts_with(b"HTTP/1.1 101 ") {
            let line = socket.bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
            return Err(io::Error::other(line.escape_ascii().to_string()));
        }
        socket.read_to = end;
        Ok(socket)
    }
}

fn patient(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A WebSocket.
#[derive(Debug)]
pub(crate) struct WebSocket {
    wire: Box<dyn Wire>,
    bytes: Vec<u8>,
    /// Up to where frames have been taken out of the bytes.
    read_to: usize,
}

impl WebSocket {
    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(payload.len() + 14);
        frame::append(opcode, payload, &mut bytes);
        self.wire.write_all(&bytes)
    }

    /// Sends a message of commands.
    pub(crate) fn send_text(&mut self, text: &str) -> io::Result<()> {
        self.send(frame::TEXT, text.as_bytes())
    }

    /// Reads messages up to one that is awaited, and answers pings of the client protocol.
    pub(crate) fn read_until(&mut self, mut is_it: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
        loop {
            let Some((opcode, begin, end)) = frame::first(&self.bytes[self.read_to..]) else {
                self.read_more()?;
                continue;
            };
            let payload = &self.bytes[self.read_to + begin..self.read_to + end];
            if opcode == frame::CLOSE {
                return Err(closed(payload));
            }
            let (is_ping, is_awaited) = (payload == b"{}", is_it(payload));
            self.read_to += end;
            if is_ping {
                self.send_text("{}")?;
            }
            if is_awaited {
                return Ok(());
            }
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        self.bytes.drain(..self.read_to);
        self.read_to = 0;
        let before = self.bytes.len();
        self.bytes.resize(before + 128 * 1024, 0);
        let count = self.wire.read(&mut self.bytes[before..]);
        self.bytes.truncate(before + *count.as_ref().unwrap_or(&0));
        match count? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// An end with its code and reason.
fn closed(payload: &[u8]) -> io::Error {
    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
    let reason = payload.get(2..).unwrap_or_default();
    io::Error::other(format!("closed with {code}: {}", reason.escape_ascii()))
}
