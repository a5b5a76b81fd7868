//! tungstenite as the other side: what it writes we read, what we write it reads, what it refuses we refuse.

use std::io::{self, Read, Write};

use bytes::BytesMut;
use holdfast_protocol::websocket::encoder::{encode_close, encode_frame, encode_message};
use holdfast_protocol::websocket::frame::{Opcode, Role};
use holdfast_protocol::websocket::{CloseCode, CloseFrame, FrameError, MessageKind};
use proptest::collection::vec;
use proptest::prelude::*;
use tungstenite::protocol::{Role as PeerRole, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use crate::support::{KEY, LengthForm, Seen, frame, frame_in_form, frames, read_byte_by_byte, read_whole};

/// A stream in memory: gives out `incoming` in small pieces, then would block; keeps what is written.
#[derive(Debug, Default)]
struct Memory {
    incoming: io::Cursor<Vec<u8>>,
    written: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(11);
        match self.incoming.read(&mut buffer[..most])? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn peer(role: PeerRole, incoming: Vec<u8>) -> WebSocket<Memory> {
    let stream = Memory { incoming: io::Cursor::new(incoming), written: Vec::new() };
    WebSocket::from_raw_socket(stream, role, Some(WebSocketConfig::default().read_buffer_size(0)))
}

/// What tungstenite makes of a stream, up to a close, its end or a refusal; `false` is a refusal.
fn peer_reading(role: PeerRole, stream: Vec<u8>) -> (Vec<Seen>, bool) {
    let mut peer = peer(role, stream);
    let mut events = Vec::new();
    loop {
        match peer.read() {
            // tungstenite's way to refuse a close code.
            Ok(Message::Close(Some(close))) if close.reason.as_str() == "Protocol violation" => {
                return (events, false);
            }
            Ok(Message::Close(close)) => {
                events.push(Seen::Close(close));
                return (events, true);
            }
            Ok(message) => events.push(seen(message)),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (events, true),
            Err(_) => return (events, false),
        }
    }
}

fn seen(message: Message) -> Seen {
    match message {
        Message::Text(text) => Seen::Text(text.as_bytes().to_vec()),
        Message::Binary(bytes) => Seen::Binary(bytes.to_vec()),
        Message::Ping(payload) => Seen::Ping(payload.to_vec()),
        Message::Pong(payload) => Seen::Pong(payload.to_vec()),
        Message::Close(close) => Seen::Close(close),
        Message::Frame(_) => unreachable!("tungstenite does not read raw frames"),
    }
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        3 => "\\PC{0,60}".prop_map(Message::text),
        3 => vec(any::<u8>(), 0..300).prop_map(Message::binary),
        1 => vec(any::<u8>(), 65_530..65_540).prop_map(Message::binary),
        1 => vec(any::<u8>(), 0..=125).prop_map(|payload| Message::Ping(payload.into())),
        1 => vec(any::<u8>(), 0..=125).prop_map(|payload| Message::Pong(payload.into())),
    ]
}

const ROLES: [(Role, PeerRole); 2] = [(Role::Server, PeerRole::Client), (Role::Client, PeerRole::Server)];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_tungstenite_writes_we_read(messages in vec(message(), 0..6)) {
        for (role, peer_role) in ROLES {
            let mut peer = peer(peer_role, Vec::new());
            for message in &messages {
                peer.send(message.clone()).unwrap();
            }
            let close = CloseFrame { code: CloseCode::Away, reason: "bye".into() };
            peer.close(Some(close.clone())).unwrap();
            let mut expected: Vec<Seen> = messages.iter().cloned().map(seen).collect();
            expected.push(Seen::Close(Some(close)));
            let written = &peer.get_ref().written;
            let whole = read_whole(role, written);
            prop_assert_eq!(&whole.events, &expected);
            prop_assert_eq!(&whole.end, &Ok(true));
            if written.len() < 5000 {
                prop_assert_eq!(read_byte_by_byte(role, written), whole);
            }
        }
    }

    #[test]
    fn what_we_write_tungstenite_reads(messages in vec((message(), any::<[u8; 4]>()), 0..6)) {
        for (role, peer_role) in ROLES {
            let mut out = BytesMut::new();
            for (message, key) in &messages {
                let mask = (role == Role::Client).then_some(*key);
                match message {
                    Message::Text(text) => encode_message(&mut out, MessageKind::Text, mask, text.as_bytes()),
                    Message::Binary(bytes) => {
                        let (first, second) = bytes.split_at(bytes.len() / 2);
                        encode_frame(&mut out, Opcode::Binary, false, mask, first);
                        encode_frame(&mut out, Opcode::Continuation, true, mask, second);
                    }
                    Message::Ping(payload) => encode_frame(&mut out, Opcode::Ping, true, mask, payload),
                    other => encode_frame(&mut out, Opcode::Pong, true, mask, &other.clone().into_data()),
                }
            }
            encode_close(&mut out, (role == Role::Client).then_some(KEY), Some((CloseCode::Normal, "done")));
            let mut expected: Vec<Seen> = messages.iter().map(|(message, _)| seen(message.clone())).collect();
            expected.push(Seen::Close(Some(CloseFrame { code: CloseCode::Normal, reason: "done".into() })));
            prop_assert_eq!(peer_reading(peer_role, out.to_vec()), (expected, true));
        }
    }

    #[test]
    fn we_and_tungstenite_accept_and_refuse_the_same_frames(
        from_client in frames(true),
        from_server in frames(false),
    ) {
        for (role, peer_role, frames) in
            [(Role::Server, PeerRole::Server, from_client), (Role::Client, PeerRole::Client, from_server)]
        {
            let stream = frames.concat();
            let ours = read_whole(role, &stream);
            let (events, accepted) = peer_reading(peer_role, stream);
            prop_assert_eq!(&ours.events, &events);
            prop_assert_eq!(ours.end.is_ok(), accepted, "{:?}", ours.end);
        }
    }
}

#[test]
fn a_length_in_more_bytes_than_needed_is_refused_by_us_though_tungstenite_takes_it() {
    let stream = frame_in_form(0x81, Some(KEY), LengthForm::Sixteen, b"abc");
    assert_eq!(read_whole(Role::Server, &stream).end, Err(FrameError::LengthNotMinimal { payload_bytes: 3 }));
    assert_eq!(peer_reading(PeerRole::Server, stream), (vec![Seen::Text(b"abc".into())], true));
}

#[test]
fn the_registered_code_1014_is_accepted_by_us_though_tungstenite_refuses_it() {
    let stream = frame(0x88, Some(KEY), &1014_u16.to_be_bytes());
    let close = CloseFrame { code: CloseCode::from(1014), reason: "".into() };
    assert_eq!(read_whole(Role::Server, &stream).events, [Seen::Close(Some(close))]);
    assert_eq!(peer_reading(PeerRole::Server, stream), (vec![], false));
}
