//! Wire: a client's end of a connection: the request, frames, the close handshake.
//!
//! In:  messages to send; what the network has.
//! Out: what was heard, in order.

use bytes::{Buf as _, BytesMut};
use holdfast_protocol::websocket::{
    CloseCode, Decoder, DecoderConfig, Event, MessageKind, Opcode, Role, encoder,
};
use holdfast_ring::simulated::{Peer, StreamEnd};
use rand::{Rng, rngs::SmallRng};

/// The longest message that a client of these takes: more than the daemon ever sends at once.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;

/// RFC 6455 §1.3 gives this key and its answer as an example.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The upgrade was accepted.
    Open,
    /// It was refused with this status, in one complete answer.
    Refused(u16),
    Message(MessageKind, Vec<u8>),
    /// A close frame.
    Closed(Option<u16>),
    /// The stream is over.
    Ended(StreamEnd),
}

pub(super) struct Wire {
    pub(super) peer: Peer,
    decoder: Decoder,
    outgoing: BytesMut,
    incoming: Vec<u8>,
    is_upgraded: bool,
    is_over: bool,
    /// False while it stalls.
    pub(super) reads: bool,
    /// FIN, when all has been written.
    finishes: bool,
    has_sent_close: bool,
    /// True exactly when garbage was sent: who knows what the answers are to.
    is_garbled: bool,
}

impl Wire {
    /// A connection that asks to be upgraded at `path`.
    pub(super) fn open(peer: Peer, path: &str) -> Self {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: simulation\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        Self::with_request(peer, request.as_bytes())
    }

    /// A connection that begins with any bytes.
    pub(super) fn with_request(peer: Peer, request: &[u8]) -> Self {
        Self {
            peer,
            decoder: Decoder::default(),
            outgoing: BytesMut::from(request),
            incoming: Vec::new(),
            is_upgraded: false,
            is_over: false,
            reads: true,
            finishes: false,
            has_sent_close: false,
            is_garbled: false,
        }
    }

    /// True exactly when all that was sent is on its way.
    pub(super) fn is_flushed(&self) -> bool {
        self.outgoing.is_empty()
    }

    pub(super) fn has_sent_close(&self) -> bool {
        self.has_sent_close
    }

    /// Sends a message, in one frame or in several with pings between them.
    pub(super) fn send(&mut self, kind: MessageKind, payload: &[u8], random: &mut SmallRng) {
        if !random.random_bool(0.2) || payload.len() < 2 {
            encoder::encode_message(&mut self.outgoing, kind, Some(random.random()), payload);
            return;
        }
        let (first, last) = payload.split_at(random.random_range(0..payload.len()));
        encoder::encode_frame(&mut self.outgoing, kind.into(), false, Some(random.random()), first);
        if random.random_bool(0.5) {
            encoder::encode_ping(&mut self.outgoing, Some(random.random()), b"between");
        }
        encoder::encode_frame(&mut self.outgoing, Opcode::Continuation, true, Some(random.random()), last);
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        self.is_garbled = true;
        self.outgoing.extend_from_slice(bytes);
    }

    pub(super) fn close(&mut self, random: &mut SmallRng) {
        if !std::mem::replace(&mut self.has_sent_close, true) {
            encoder::encode_close(&mut self.outgoing, Some(random.random()), Some((CloseCode::Normal, "")));
        }
    }

    /// Sends no more than what is queued.
    pub(super) fn finish(&mut self) {
        self.finishes = true;
    }

    /// Writes and reads some.
    pub(super) fn step(&mut self, random: &mut SmallRng, heard: &mut Vec<Heard>) {
        if self.is_over {
            return;
        }
        if !self.outgoing.is_empty() {
            let some = random.random_range(1..=self.outgoing.len());
            let written = self.peer.write(&self.outgoing[..some]);
            self.outgoing.advance(written);
        }
        if self.outgoing.is_empty() && std::mem::take(&mut self.finishes) {
            self.peer.finish();
        }
        if !self.reads {
            return;
        }
        self.peer.read(random.random_range(1..8192), &mut self.incoming);
        self.parse(random, heard);
        if let Some(end) = self.peer.end() {
            self.is_over = true;
            heard.push(Heard::Ended(end));
        }
    }

    fn parse(&mut self, random: &mut SmallRng, heard: &mut Vec<Heard>) {
        if !self.is_upgraded {
            let Some(head) = self.incoming.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return };
            let text = String::from_utf8(self.incoming[..head].to_vec()).expect("a head is text");
            let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
            if status != Some(101) {
                let length = text
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                if self.incoming.len() >= head + 4 + length.unwrap_or(0) {
                    self.incoming.clear();
                    heard.push(Heard::Refused(status.expect("an answer has a status")));
                }
                return;
            }
            assert!(text.contains(ACCEPT), "the answer is to our key");
            self.incoming.drain(..head + 4);
            self.is_upgraded = true;
            heard.push(Heard::Open);
        }
        let config = DecoderConfig {
            role: Role::Client,
            message_bytes_max: MESSAGE_BYTES_MAX,
            frame_bytes_max: MESSAGE_BYTES_MAX,
        };
        let mut input = &mut self.incoming[..];
        while let Some(event) = self.decoder.next(&config, &mut input).expect("the daemon speaks WebSocket") {
            match event {
                Event::Message(message) => heard.push(Heard::Message(message.kind, message.payload.to_vec())),
                Event::Ping(payload) => {
                    if !self.has_sent_close {
                        encoder::encode_pong(&mut self.outgoing, Some(random.random()), &payload);
                    }
                }
                Event::Pong(payload) => {
                    assert!(self.is_garbled || *payload == *b"between", "pongs answer our pings");
                }
                Event::Close(frame) => {
                    assert!(input.is_empty(), "nothing follows a close frame");
                    if !std::mem::replace(&mut self.has_sent_close, true) {
                        encoder::encode_close(&mut self.outgoing, Some(random.random()), None);
                    }
                    heard.push(Heard::Closed(frame.map(|frame| frame.code.into())));
                    break;
                }
            }
        }
        self.incoming.clear();
    }
}
