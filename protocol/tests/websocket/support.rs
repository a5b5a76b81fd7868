//! What the tests share: reading a stream in given pieces, building frames right and wrong, generators.

use holdfast_protocol::websocket::close::CloseFrame;
use holdfast_protocol::websocket::frame::Role;
use holdfast_protocol::websocket::{Decoder, DecoderConfig, Event, FrameError, MessageKind, mask};
use proptest::collection::vec;
use proptest::prelude::*;

pub(crate) const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// An event that outlives its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<CloseFrame>),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Message(message) => match message.kind {
                MessageKind::Text => Self::Text(message.payload.to_vec()),
                MessageKind::Binary => Self::Binary(message.payload.to_vec()),
            },
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(close) => Self::Close(close),
        }
    }
}

/// What came of a stream: its events, then an error or whether the decoder ended idle.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) events: Vec<Seen>,
    pub(crate) end: Result<bool, FrameError>,
    /// Bytes handed over up to the end or the error.
    pub(crate) bytes: usize,
}

pub(crate) fn config(role: Role) -> DecoderConfig {
    DecoderConfig { role, message_bytes_max: 1 << 20, frame_bytes_max: 1 << 19 }
}

/// Reads `pieces` one after the other, and checks the bound on memory after each.
pub(crate) fn read<'p>(config: &DecoderConfig, pieces: impl IntoIterator<Item = &'p [u8]>) -> Reading {
    let mut decoder = Decoder::default();
    let mut reading = Reading { events: Vec::new(), end: Ok(true), bytes: 0 };
    for piece in pieces {
        reading.bytes += piece.len();
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            match decoder.next(config, &mut input) {
                Ok(Some(event)) => reading.events.push(event.into()),
                Ok(None) => break,
                Err(error) => {
                    assert!(decoder.is_idle(), "nothing is held after an error");
                    reading.end = Err(error);
                    return reading;
                }
            }
        }
        assert!(input.is_empty(), "input is used up when there is no event");
        assert!(decoder.buffered_bytes() <= 2 * reading.bytes + 400, "memory follows what has come");
        assert_eq!(decoder.is_idle(), decoder.buffered_bytes() == 0);
    }
    reading.end = Ok(decoder.is_idle());
    reading
}

pub(crate) fn read_whole(role: Role, stream: &[u8]) -> Reading {
    read(&config(role), [stream])
}

pub(crate) fn read_byte_by_byte(role: Role, stream: &[u8]) -> Reading {
    read(&config(role), stream.chunks(1))
}

/// One frame, however wrong, with the length in the shortest form.
pub(crate) fn frame(first: u8, key: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let form = match payload.len() {
        0..126 => LengthForm::Seven,
        126..65_536 => LengthForm::Sixteen,
        _ => LengthForm::SixtyFour,
    };
    frame_in_form(first, key, form, payload)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LengthForm {
    Seven,
    Sixteen,
    SixtyFour,
}

/// One frame with the length in a form that must have room for it.
pub(crate) fn frame_in_form(first: u8, key: Option<[u8; 4]>, form: LengthForm, payload: &[u8]) -> Vec<u8> {
    let mask_bit = if key.is_some() { 0x80 } else { 0 };
    let len = payload.len();
    let mut bytes = vec![first];
    match form {
        LengthForm::Seven => bytes.push(mask_bit | u8::try_from(len).expect("a short payload")),
        LengthForm::Sixteen => {
            bytes.push(mask_bit | 126);
            bytes.extend(u16::try_from(len).expect("a payload below 64 KiB").to_be_bytes());
        }
        LengthForm::SixtyFour => {
            bytes.push(mask_bit | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    let mut payload = payload.to_vec();
    if let Some(key) = key {
        bytes.extend(key);
        mask::apply(&mut payload, key);
    }
    bytes.extend(payload);
    bytes
}

/// A payload that is often UTF-8, sometimes nearly.
pub(crate) fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => vec(any::<u8>(), 0..40),
        1 => vec(prop_oneof![Just(b'a'), any::<u8>()], 120..300),
        1 => vec(Just("é漢\u{10348}".as_bytes()), 0..60).prop_map(|texts| texts.concat()),
        1 => (1..4_usize).prop_map(|cut| "漢\u{10348}".as_bytes()[..7 - cut].to_vec()),
    ]
}

/// The body of a close frame that is right more often than wrong, and on which RFC and tungstenite agree.
fn close_body() -> impl Strategy<Value = Vec<u8>> {
    let code = prop_oneof![3 => Just(1000), 1 => 3000..5000_u16, 1 => 990..1014_u16, 1 => any::<u16>()];
    let code = code.prop_filter("tungstenite does not know 1014", |&code| code != 1014);
    prop_oneof![
        1 => Just(Vec::new()),
        1 => Just(vec![3]),
        6 => (code, "\\PC{0,20}").prop_map(|(code, reason)| [&code.to_be_bytes(), reason.as_bytes()].concat()),
        1 => Just(vec![0x03, 0xe8, 0xff]),
    ]
}

/// Whole frames of one sender, in an order that is right more often than wrong; none comes after a close.
pub(crate) fn frames(masked: bool) -> impl Strategy<Value = Vec<Vec<u8>>> {
    let first = prop_oneof![
        4 => Just(0x81_u8),
        4 => Just(0x82),
        3 => Just(0x01),
        2 => Just(0x02),
        3 => Just(0x00),
        3 => Just(0x80),
        3 => Just(0x89),
        2 => Just(0x8a),
        1 => any::<u8>().prop_filter("a close comes last", |&first| first != 0x88),
    ];
    let key = prop_oneof![30 => Just(masked), 1 => Just(!masked)]
        .prop_flat_map(|masked| any::<[u8; 4]>().prop_map(move |key| masked.then_some(key)));
    let other = (first, key.clone(), payload()).prop_map(|(first, key, payload)| frame(first, key, &payload));
    let close = (key, close_body()).prop_map(|(key, body)| frame(0x88, key, &body));
    (vec(other, 0..8), proptest::option::of(close)).prop_map(|(mut frames, close)| {
        frames.extend(close);
        frames
    })
}
