//! Wire: a client's end of a WebSocket connection: the request, frames, compressed or not, the close handshake.
//!
//! In:  messages to send; what the network has.
//! Out: what was heard, in order.

use bytes::BytesMut;
use holdfast_protocol::websocket::{
    CloseCode, Decoder, DecoderConfig, Event, MessageKind, Opcode, Role,
    deflate::Offer,
    encoder,
    handshake_client::{ClientRequest, check_response_with},
};
use holdfast_ring::simulated::StreamEnd;
use rand::{Rng, rngs::SmallRng};

use super::{deflate::Deflating, line::PeerStream};

/// The longest message that a client of these takes: more than the daemon ever sends at once.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;

const KEY: [u8; 16] = *b"the sample nonce";

/// RSV1, in a frame's first byte: what follows is compressed (RFC 7692 §6.1).
const COMPRESSED: u8 = 0x40;

/// What has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The upgrade, or a stream, was accepted.
    Open,
    /// It was refused with this status, in one complete answer.
    Refused(u16),
    Message(MessageKind, Vec<u8>),
    /// The daemon's last words: a close frame, or a push that says the same.
    Closed(Option<u16>),
    /// The stream is over.
    Ended(StreamEnd),
}

pub(super) struct WebSocketPeer {
    pub(super) line: PeerStream,
    decoder: Decoder,
    offer: Option<Offer>,
    deflating: Option<Deflating>,
    is_upgraded: bool,
    has_sent_close: bool,
    /// True exactly when garbage was sent: who knows what the answers are to.
    is_garbled: bool,
}

impl WebSocketPeer {
    /// A connection that asks to be upgraded at `path`, and offers compression on these terms.
    pub(super) fn open(mut line: PeerStream, path: &str, offer: Option<Offer>) -> Self {
        let mut request = BytesMut::new();
        let extensions = offer.map(|offer| offer.to_string());
        let headers = extensions.as_deref().map(|offer| ("Sec-WebSocket-Extensions", offer));
        ClientRequest {
            host: "simulation",
            path_and_query: path,
            subprotocols: &[],
            origin: None,
            headers: headers.as_slice(),
            key: KEY,
        }
        .write(&mut request);
        line.send(&request);
        Self { offer, ..Self::mute(line) }
    }

    /// A connection that says nothing by itself.
    pub(super) fn mute(line: PeerStream) -> Self {
        Self {
            line,
            decoder: Decoder::default(),
            offer: None,
            deflating: None,
            is_upgraded: false,
            has_sent_close: false,
            is_garbled: false,
        }
    }

    /// True exactly when all that was sent is on its way.
    pub(super) fn is_flushed(&self) -> bool {
        self.line.is_flushed()
    }

    pub(super) fn has_sent_close(&self) -> bool {
        self.has_sent_close
    }

    /// Sends a message, in one frame or in several with pings between them.
    pub(super) fn send(&mut self, kind: MessageKind, payload: &[u8], random: &mut SmallRng) {
        let mut out = BytesMut::new();
        let compresses = self.deflating.is_some() && random.random_bool(0.7);
        let deflated = self.deflating.as_mut().filter(|_| compresses).map(|ours| ours.deflate(payload));
        let bytes = deflated.as_deref().unwrap_or(payload);
        if !random.random_bool(0.2) || bytes.len() < 2 {
            encoder::encode_frame(&mut out, kind.into(), true, Some(random.random()), bytes);
        } else {
            let (first, last) = bytes.split_at(random.random_range(0..bytes.len()));
            encoder::encode_frame(&mut out, kind.into(), false, Some(random.random()), first);
            if random.random_bool(0.5) {
                encoder::encode_ping(&mut out, Some(random.random()), b"between");
            }
            encoder::encode_frame(&mut out, Opcode::Continuation, true, Some(random.random()), last);
        }
        if deflated.is_some() {
            out[0] |= COMPRESSED;
        }
        self.line.send(&out);
    }

    pub(super) fn send_bytes(&mut self, bytes: &[u8]) {
        self.is_garbled = true;
        self.line.send(bytes);
    }

    pub(super) fn close(&mut self, random: &mut SmallRng) {
        self.answer_close(Some((CloseCode::Normal, "")), random);
    }

    fn answer_close(&mut self, close: Option<(CloseCode, &str)>, random: &mut SmallRng) {
        if !std::mem::replace(&mut self.has_sent_close, true) {
            let mut out = BytesMut::new();
            encoder::encode_close(&mut out, Some(random.random()), close);
            self.line.send(&out);
        }
    }

    /// Writes and reads some.
    pub(super) fn step(&mut self, random: &mut SmallRng, heard: &mut Vec<Heard>) {
        let end = self.line.step(random);
        if self.is_upgraded || self.read_answer(heard) {
            self.read_frames(random, heard);
        }
        if let Some(end) = end {
            heard.push(Heard::Ended(end));
        }
    }

    /// True exactly when the upgrade has been accepted.
    fn read_answer(&mut self, heard: &mut Vec<Heard>) -> bool {
        let incoming = &mut self.line.incoming;
        let Some(head) = incoming.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return false };
        let text = String::from_utf8_lossy(&incoming[..head]);
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        if status != Some(101) {
            let length = text
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if incoming.len() >= head + 4 + length.unwrap_or(0) {
                incoming.clear();
                heard.push(Heard::Refused(status.expect("an answer has a status")));
            }
            return false;
        }
        let answer = check_response_with(incoming, &KEY, &[], self.offer.as_ref());
        let (accepted, head_bytes) = answer.expect("the answer is right").expect("it is whole");
        incoming.drain(..head_bytes);
        self.deflating = accepted.deflate.map(|agreement| Deflating::new(&agreement));
        self.is_upgraded = true;
        heard.push(Heard::Open);
        true
    }

    fn read_frames(&mut self, random: &mut SmallRng, heard: &mut Vec<Heard>) {
        let config = DecoderConfig {
            role: Role::Client,
            message_bytes_max: MESSAGE_BYTES_MAX,
            frame_bytes_max: MESSAGE_BYTES_MAX,
        };
        let mut incoming = std::mem::take(&mut self.line.incoming);
        let mut input = &mut incoming[..];
        loop {
            let event = match &mut self.deflating {
                Some(deflating) => deflating
                    .inflate_with(|inflation| self.decoder.next_with(&config, Some(inflation), &mut input)),
                None => self.decoder.next(&config, &mut input),
            };
            let Some(event) = event.expect("the daemon speaks WebSocket") else { return };
            match event {
                Event::Message(message) => heard.push(Heard::Message(message.kind, message.payload.to_vec())),
                Event::Ping(payload) => {
                    if !self.has_sent_close {
                        let mut out = BytesMut::new();
                        encoder::encode_pong(&mut out, Some(random.random()), &payload);
                        self.line.send(&out);
                    }
                }
                Event::Pong(payload) => {
                    assert!(self.is_garbled || *payload == *b"between", "pongs answer our pings");
                }
                Event::Close(frame) => {
                    assert!(input.is_empty(), "nothing follows a close frame");
                    self.answer_close(None, random);
                    heard.push(Heard::Closed(frame.map(|frame| frame.code.into())));
                    return;
                }
            }
        }
    }
}
