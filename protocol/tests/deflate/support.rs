//! What the tests share: reading a stream of frames with an inflater, texts to compress.

use holdfast_protocol::websocket::{
    Decoder, DecoderConfig, Event, FrameError, MessageKind, Role,
    deflate::{Inflater, Inflation, Window},
};
use proptest::{collection::vec, prelude::*};

pub(crate) const MESSAGE_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    pub(crate) messages: Vec<(MessageKind, Vec<u8>)>,
    pub(crate) end: Result<(), FrameError>,
}

/// Reads a server's frames, cut into `pieces`, by a client that agreed to permessage-deflate.
pub(crate) fn read<'p>(pieces: impl IntoIterator<Item = &'p [u8]>, mut window: Option<&mut Window>) -> Read {
    let config = DecoderConfig {
        role: Role::Client,
        message_bytes_max: MESSAGE_BYTES_MAX,
        frame_bytes_max: MESSAGE_BYTES_MAX,
    };
    let (mut decoder, mut inflater) = (Decoder::default(), Inflater::default());
    let mut messages = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            let inflation = Inflation {
                inflater: &mut inflater,
                window: window.as_deref_mut(),
                message_bytes_max: MESSAGE_BYTES_MAX,
            };
            match decoder.next_with(&config, Some(inflation), &mut input) {
                Ok(Some(Event::Message(message))) => messages.push((message.kind, message.payload.to_vec())),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    assert!(decoder.is_idle(), "nothing is held after an error");
                    return Read { messages, end: Err(error) };
                }
            }
        }
    }
    Read { messages, end: Ok(()) }
}

/// The messages of a stream that is right, which must not depend on how it is cut.
pub(crate) fn messages(stream: &[u8]) -> Vec<(MessageKind, Vec<u8>)> {
    let whole = read([stream], None);
    assert_eq!(whole, read(stream.chunks(1), None));
    assert_eq!(whole.end, Ok(()));
    whole.messages
}

/// The fault of a stream, which must not depend on how it is cut.
pub(crate) fn fault(stream: &[u8]) -> FrameError {
    let whole = read([stream], None);
    assert_eq!(whole, read(stream.chunks(1), None));
    whole.end.expect_err("the stream is refused")
}

pub(crate) fn text(text: &str) -> (MessageKind, Vec<u8>) {
    (MessageKind::Text, text.into())
}

/// Bytes that repeat themselves a little, a lot, or not at all.
pub(crate) fn payload() -> impl Strategy<Value = Vec<u8>> {
    let word = vec(any::<u8>(), 1..12);
    let repeating =
        (vec(word, 1..20), vec(any::<prop::sample::Index>(), 0..400)).prop_map(|(words, order)| {
            order.iter().flat_map(|at| words[at.index(words.len())].clone()).collect::<Vec<u8>>()
        });
    prop_oneof![
        4 => repeating,
        2 => vec(any::<u8>(), 0..600),
        1 => (any::<u8>(), 0..70_000_usize).prop_map(|(byte, count)| vec![byte; count]),
        1 => (vec(any::<u8>(), 900..1100), 1..40_usize).prop_map(|(far, times)| far.repeat(times)),
    ]
}
