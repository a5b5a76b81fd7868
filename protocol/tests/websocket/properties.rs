//! Properties that hold for every stream: cuts do not matter, what is written is read, bad text fails early.

use bytes::BytesMut;
use holdfast_protocol::websocket::encoder::{
    encode_close, encode_frame, encode_message, encode_ping, encode_pong,
};
use holdfast_protocol::websocket::frame::{Opcode, Role};
use holdfast_protocol::websocket::{CloseCode, CloseFrame, FrameError, MessageKind};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::support::{Seen, config, frame, frames, payload, read, read_byte_by_byte, read_whole};

/// The pieces of `stream` between `cuts`.
fn pieces<'s>(stream: &'s [u8], cuts: &[Index]) -> Vec<&'s [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut start = 0;
    ends.into_iter().map(|end| &stream[std::mem::replace(&mut start, end)..end]).collect()
}

/// Something to say, and how to cut it into fragments.
#[derive(Debug, Clone)]
enum Said {
    Message { kind: MessageKind, payload: Vec<u8>, cuts: Vec<Index>, ping_between: bool },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

fn said() -> impl Strategy<Value = Said> {
    let text = "\\PC{0,60}".prop_map(|text| (MessageKind::Text, text.into_bytes()));
    let long = vec(any::<u8>(), 100..400).prop_map(|bytes| (MessageKind::Binary, bytes));
    let binary = vec(any::<u8>(), 0..40).prop_map(|bytes| (MessageKind::Binary, bytes));
    let message = (prop_oneof![text, long, binary], vec(any::<Index>(), 0..4), any::<bool>()).prop_map(
        |((kind, payload), cuts, ping_between)| Said::Message { kind, payload, cuts, ping_between },
    );
    let code = prop_oneof![1000..=1003_u16, 1007..=1014_u16, 3000..=4999_u16];
    prop_oneof![
        6 => message,
        1 => vec(any::<u8>(), 0..=125).prop_map(Said::Ping),
        1 => vec(any::<u8>(), 0..=125).prop_map(Said::Pong),
        1 => proptest::option::of((code, "\\PC{0,30}")).prop_map(Said::Close),
    ]
}

/// Writes `said` with `mask` and adds to `expected` what a reader should see of it.
fn say(out: &mut BytesMut, said: &Said, mask: Option<[u8; 4]>, expected: &mut Vec<Seen>) {
    match said {
        Said::Message { kind, payload, cuts, ping_between } => {
            let fragments = pieces(payload, cuts);
            if let [whole] = fragments[..] {
                encode_message(out, *kind, mask, whole);
            } else {
                for (i, fragment) in fragments.iter().enumerate() {
                    let opcode = if i == 0 { (*kind).into() } else { Opcode::Continuation };
                    encode_frame(out, opcode, i + 1 == fragments.len(), mask, fragment);
                    if *ping_between && i == 0 {
                        encode_ping(out, mask, b"between");
                        expected.push(Seen::Ping(b"between".into()));
                    }
                }
            }
            expected.push(match kind {
                MessageKind::Text => Seen::Text(payload.clone()),
                MessageKind::Binary => Seen::Binary(payload.clone()),
            });
        }
        Said::Ping(payload) => {
            encode_ping(out, mask, payload);
            expected.push(Seen::Ping(payload.clone()));
        }
        Said::Pong(payload) => {
            encode_pong(out, mask, payload);
            expected.push(Seen::Pong(payload.clone()));
        }
        Said::Close(close) => {
            let close = close.as_ref().map(|(code, reason)| (CloseCode::from(*code), reason.as_str()));
            encode_close(out, mask, close);
            expected
                .push(Seen::Close(close.map(|(code, reason)| CloseFrame { code, reason: reason.into() })));
        }
    }
}

proptest! {
    #[test]
    fn any_cut_of_any_frames_gives_the_same_events_and_the_same_end(
        frames in frames(true),
        missing_bytes in 0..20_usize,
        cuts in vec(any::<Index>(), 0..8),
    ) {
        let stream = frames.concat();
        let stream = &stream[..stream.len().saturating_sub(missing_bytes)];
        let whole = read_whole(Role::Server, stream);
        let cut = read(&config(Role::Server), pieces(stream, &cuts));
        let bytewise = read_byte_by_byte(Role::Server, stream);
        prop_assert_eq!((&whole.events, &whole.end), (&cut.events, &cut.end));
        prop_assert_eq!((&whole.events, &whole.end), (&bytewise.events, &bytewise.end));
    }

    #[test]
    fn any_cut_of_any_bytes_gives_the_same_events_and_the_same_end(
        stream in vec(prop_oneof![Just(0x81_u8), Just(0), Just(2), any::<u8>()], 0..60),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        for role in [Role::Server, Role::Client] {
            let whole = read_whole(role, &stream);
            let cut = read(&config(role), pieces(&stream, &cuts));
            let bytewise = read_byte_by_byte(role, &stream);
            prop_assert_eq!((&whole.events, &whole.end), (&cut.events, &cut.end));
            prop_assert_eq!((&whole.events, &whole.end), (&bytewise.events, &bytewise.end));
        }
    }

    #[test]
    fn what_is_written_is_read_by_either_role(
        all in vec((said(), any::<[u8; 4]>()), 0..8),
        cuts in vec(any::<Index>(), 0..8),
    ) {
        for reader in [Role::Server, Role::Client] {
            let (mut out, mut expected) = (BytesMut::new(), Vec::new());
            for (said, key) in &all {
                let mask = (reader == Role::Server).then_some(*key);
                say(&mut out, said, mask, &mut expected);
            }
            let reading = read(&config(reader), pieces(&out, &cuts));
            prop_assert_eq!(reading.events, expected);
            prop_assert_eq!(reading.end, Ok(true));
        }
    }

    #[test]
    fn text_fails_exactly_at_the_byte_that_the_standard_library_rejects(payload in payload()) {
        let first_bad = (1..=payload.len()).find(|&len| {
            str::from_utf8(&payload[..len]).is_err_and(|error| error.error_len().is_some())
        });
        let stream = frame(0x01, None, &payload);
        let reading = read_byte_by_byte(Role::Client, &stream);
        match first_bad {
            Some(len) => {
                prop_assert_eq!(reading.end, Err(FrameError::TextNotUtf8));
                prop_assert_eq!(reading.bytes, stream.len() - payload.len() + len);
            }
            None => prop_assert_eq!(reading.end, Ok(false)),
        }
    }
}
