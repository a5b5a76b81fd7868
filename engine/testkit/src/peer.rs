//! Peer: a client that writes any bytes it likes, and reads strictly.
//!
//! In:  bytes or frames to send.
//! Out: what the server answered, frame by frame; a test fails on anything that a server must not send.
//!
//! Reads block up to the test's patience. Nothing is answered by itself: no pong, no close frame.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use bytes::{Buf as _, BytesMut};
use socket2::{Domain, SockRef, Socket, Type};

use crate::{Daemon, PATIENCE};

/// Opcode of a continuation frame (RFC 6455 §11.8), as all of these.
pub const CONTINUATION: u8 = 0x0;
/// Opcode of a text message.
pub const TEXT: u8 = 0x1;
/// Opcode of a binary message.
pub const BINARY: u8 = 0x2;
/// Opcode of a close frame.
pub const CLOSE: u8 = 0x8;
/// Opcode of a ping.
pub const PING: u8 = 0x9;
/// Opcode of a pong.
pub const PONG: u8 = 0xa;
/// The bit of a frame's first byte that says that the message ends with it (RFC 6455 §5.2).
pub const FIN: u8 = 0x80;

const MASK: [u8; 4] = [0x5a, 0x01, 0xff, 0x80];

/// A frame that came; the server fragments nothing, so it is a message or a control frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its opcode.
    pub opcode: u8,
    /// Its payload, as it came: compressed where it came so.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The frame of a text message.
    pub fn text(text: &str) -> Self {
        Self { opcode: TEXT, payload: text.as_bytes().to_vec() }
    }

    /// The frame of a binary message.
    pub fn binary(payload: &[u8]) -> Self {
        Self { opcode: BINARY, payload: payload.to_vec() }
    }

    /// The code of a close frame. Panics where it is something else; 1005 stands for none (RFC 6455 §7.1.5).
    pub fn close_code(&self) -> u16 {
        assert_eq!(self.opcode, CLOSE, "not a close frame: {self:?}");
        match self.payload.first_chunk() {
            Some(code) => u16::from_be_bytes(*code),
            None => 1005,
        }
    }
}

/// A masked frame whose first byte is `first`.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(0x80 | u8::try_from(short).expect("it is below 126")),
        medium @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(medium).expect("it is below 65,536").to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A whole text message, masked.
pub fn text(text: &str) -> Vec<u8> {
    frame(FIN | TEXT, text.as_bytes())
}

/// A whole binary message, masked.
pub fn binary(payload: &[u8]) -> Vec<u8> {
    frame(FIN | BINARY, payload)
}

/// A close frame with this code, masked.
pub fn close(code: u16) -> Vec<u8> {
    frame(FIN | CLOSE, &code.to_be_bytes())
}

/// A handshake for `path` that nothing is wrong with.
pub fn request(path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// A client.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    unread: BytesMut,
    /// True exactly when messages may be compressed.
    may_compress: bool,
}

impl Peer {
    /// Connects and says nothing yet.
    pub fn connect(daemon: &Daemon) -> Self {
        Self::over(TcpStream::connect(daemon.address()).expect("the daemon listens"))
    }

    /// Connects from an address of 127.0.0.0/8, each of which has its own ports. The port is chosen when it connects:
    /// one that is chosen earlier would be taken for all addresses, until a minute after the connection's end.
    pub fn connect_from(source: [u8; 4], daemon: &Daemon) -> Self {
        let source = IpAddr::V4(Ipv4Addr::from(source));
        let socket = holdfast_ring::stream(Some(source), daemon.address());
        let socket = Socket::from(socket.expect("127.0.0.0/8 is this machine's"));
        socket.connect(&daemon.address().into()).expect("the daemon listens");
        Self::over(socket.into())
    }

    /// Connects to an address, of whatever is there.
    pub fn connect_to(address: SocketAddr) -> io::Result<Self> {
        TcpStream::connect_timeout(&address, PATIENCE).map(Self::over)
    }

    /// Connects with a receive buffer of about `bytes`, so that the kernel takes little on its behalf.
    pub fn connect_with_receive_buffer(bytes: usize, daemon: &Daemon) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket can be made");
        socket.set_recv_buffer_size(bytes).expect("it may be small");
        socket.connect(&daemon.address().into()).expect("the daemon listens");
        Self::over(socket.into())
    }

    /// Over a connection to the daemon, or to who is in front of it.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("TCP has it");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self { stream, unread: BytesMut::new(), may_compress: false }
    }

    /// Connects and shakes hands.
    pub fn open(daemon: &Daemon, path: &str) -> Self {
        Self::connect(daemon).upgraded(path)
    }

    /// Shakes hands.
    pub fn upgraded(mut self, path: &str) -> Self {
        self.send(request(path).as_bytes());
        self.expect_upgrade();
        self
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the bytes go out");
    }

    /// Sends what may not be read any more; that it does not arrive is no fault.
    pub fn send_if_heard(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Another handle to send with, for a thread of its own.
    pub fn sender(&self) -> TcpStream {
        self.stream.try_clone().expect("a descriptor is free")
    }

    /// True exactly when something is unread, or comes within so long.
    pub fn has_more_within(&self, wait: Duration) -> bool {
        if !self.unread.is_empty() {
            return true;
        }
        let before = self.stream.read_timeout().expect("it is open");
        self.stream.set_read_timeout(Some(wait)).expect("it is open");
        let came = self.stream.peek(&mut [0]).is_ok();
        self.stream.set_read_timeout(before).expect("it is open");
        came
    }

    /// Sends no more, but goes on reading.
    pub fn finish_sending(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("the connection is open");
    }

    /// Ends the connection with a reset (SO_LINGER with 0 s, socket(7)).
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("it can be set");
    }

    /// Reads the answer to a handshake that is expected to succeed.
    pub fn expect_upgrade(&mut self) {
        let (head, _) = self.response();
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        // The value of RFC 6455 §1.3 for the key that is given there, which is ours.
        assert!(head.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    }

    /// Reads a whole HTTP response: head and body.
    pub fn response(&mut self) -> (String, String) {
        let end = loop {
            if let Some(at) = self.unread.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.read_more(), "the stream ended in the head: {}", self.unread.escape_ascii());
        };
        let head = String::from_utf8(self.unread.split_to(end).into()).expect("a head is text");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.map_or(0, |length| length.parse().expect("a length is a number"));
        while self.unread.len() < length {
            assert!(self.read_more(), "the stream ended in the body");
        }
        let body = String::from_utf8(self.unread.split_to(length).into()).expect("a body is text");
        (head, body)
    }

    /// Reads the next frame. Panics at the end of the stream.
    pub fn frame(&mut self) -> Frame {
        self.frame_or_end().expect("the stream ended before the frame came")
    }

    /// From now on messages may be compressed.
    pub fn allow_compression(&mut self) {
        self.may_compress = true;
    }

    /// Reads the next frame, which is a compressed message.
    pub fn compressed_frame(&mut self) -> Frame {
        let (frame, is_compressed) = self.any_frame();
        assert!(is_compressed, "it came plain: {frame:?}");
        frame
    }

    /// Reads the next frame, and whether it is compressed.
    pub fn any_frame(&mut self) -> (Frame, bool) {
        self.next_frame().expect("the stream ended before the frame came")
    }

    /// Reads the next frame; `None` at the end of the stream.
    pub fn frame_or_end(&mut self) -> Option<Frame> {
        let (frame, is_compressed) = self.next_frame()?;
        assert!(!is_compressed, "it came compressed: {frame:?}");
        Some(frame)
    }

    /// Reads the next frame; `None` where the stream has ended, be it in the middle of a frame.
    pub fn frame_or_cut(&mut self) -> Option<Frame> {
        let (frame, is_compressed) = self.frame_if_whole()?;
        assert!(!is_compressed, "it came compressed: {frame:?}");
        Some(frame)
    }

    fn next_frame(&mut self) -> Option<(Frame, bool)> {
        let frame = self.frame_if_whole();
        assert!(frame.is_some() || self.unread.is_empty(), "the stream ended in a frame");
        frame
    }

    fn frame_if_whole(&mut self) -> Option<(Frame, bool)> {
        loop {
            if let Some((frame, is_compressed, used)) = parse(&self.unread, self.may_compress) {
                self.unread.advance(used);
                return Some((frame, is_compressed));
            }
            if !self.read_more() {
                return None;
            }
        }
    }

    /// Takes exactly so many bytes from the kernel, for frames to be read later. None of them may end the stream.
    pub fn take(&mut self, count: usize) {
        let before = self.unread.len();
        self.unread.resize(before + count, 0);
        self.stream.read_exact(&mut self.unread[before..]).expect("so many bytes come");
    }

    /// Sends a message and expects it back.
    pub fn expect_echo(&mut self, said: &str) {
        self.send(&text(said));
        assert_eq!(self.frame(), Frame::text(said));
    }

    /// Expects a close frame with this code, then the end of the stream.
    pub fn expect_close(&mut self, code: u16) {
        assert_eq!(self.frame().close_code(), code);
        self.expect_end();
    }

    /// Expects nothing but the end of the stream.
    pub fn expect_end(&mut self) {
        assert!(
            self.unread.is_empty() && !self.read_more(),
            "more came before the end: {}",
            self.unread.escape_ascii()
        );
    }

    /// Appends what comes next to what is unread; false at the end, a reset being one.
    fn read_more(&mut self) -> bool {
        let mut bytes = [0; 64 * 1024];
        match read(&mut self.stream, &mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.unread.extend_from_slice(&bytes[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("nothing comes: {error}"),
        }
    }
}

fn read(stream: &mut TcpStream, bytes: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// RFC 6455 §5.2, for what a server sends: whole, unmasked, the shortest length; a reserved bit only on a compressed
/// message (RFC 7692 §6).
fn parse(bytes: &[u8], may_compress: bool) -> Option<(Frame, bool, usize)> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let is_compressed = may_compress && matches!(first & 0x4f, 0x41 | 0x42);
    let allowed = if is_compressed { FIN | 0x40 } else { FIN };
    assert_eq!(first & 0xf0, allowed, "fragmented, or a reserved bit set: {first:#x}");
    let (length, rest) = match second {
        0..126 => (u64::from(second), rest),
        126 => {
            let (length, rest) = rest.split_first_chunk()?;
            let length = u64::from(u16::from_be_bytes(*length));
            assert!(length >= 126, "{length} is not minimal");
            (length, rest)
        }
        127 => {
            let (length, rest) = rest.split_first_chunk()?;
            let length = u64::from_be_bytes(*length);
            assert!(length >= 65_536, "{length} is not minimal");
            (length, rest)
        }
        128.. => panic!("a server masks nothing"),
    };
    let length = usize::try_from(length).expect("it fits in memory");
    let payload = rest.get(..length)?.to_vec();
    Some((Frame { opcode: first & 0x0f, payload }, is_compressed, bytes.len() - rest.len() + length))
}
