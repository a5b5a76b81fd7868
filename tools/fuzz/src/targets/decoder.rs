//! A stream of frames: decoder, assembly, UTF-8, close frames, compressed messages.
//!
//! In:  one byte for the role and the extension, one for cuts; the stream.
//! Out: a panic where the cuts make a difference, or more memory is held than came.

use holdfast_protocol::websocket::{
    Decoder, DecoderConfig, Event, FrameError, MessageKind, Role,
    deflate::{Inflater, Inflation, Window, WindowBits},
};

const MESSAGE_BYTES_MAX: u64 = 4096;

/// Reads one stream whole and cut.
pub fn run(data: &[u8]) {
    let (flags, data) = super::choice(data);
    let (cut, data) = super::choice(data);
    let whole = read(flags, [data]);
    let in_pieces = read(flags, data.chunks(usize::from(cut % 17) + 1));
    assert_eq!(whole, in_pieces);
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message(MessageKind, Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

fn read<'d>(flags: u8, pieces: impl IntoIterator<Item = &'d [u8]>) -> (Vec<Seen>, Option<FrameError>) {
    let config = DecoderConfig {
        role: if flags & 1 == 0 { Role::Server } else { Role::Client },
        message_bytes_max: MESSAGE_BYTES_MAX,
        frame_bytes_max: 2048,
    };
    let mut inflater = Inflater::default();
    let mut window = (flags & 4 != 0).then(|| Window::new(WindowBits::MAX));
    let mut decoder = Decoder::default();
    let (mut seen, mut came) = (Vec::new(), 0);
    for piece in pieces {
        came += piece.len();
        let mut piece = piece.to_vec();
        let mut input = &mut piece[..];
        loop {
            let inflation = (flags & 2 != 0).then_some(Inflation {
                inflater: &mut inflater,
                window: window.as_mut(),
                message_bytes_max: MESSAGE_BYTES_MAX,
            });
            match decoder.next_with(&config, inflation, &mut input) {
                Ok(None) => break,
                Ok(Some(event)) => seen.push(of(event)),
                Err(error) => {
                    assert!(decoder.is_idle());
                    return (seen, Some(error));
                }
            }
        }
        assert!(input.is_empty());
        assert!(decoder.buffered_bytes() <= 2 * came + 400);
    }
    (seen, None)
}

fn of(event: Event<'_>) -> Seen {
    match event {
        Event::Message(message) => {
            assert!(message.payload.len() as u64 <= MESSAGE_BYTES_MAX);
            assert!(message.kind == MessageKind::Binary || str::from_utf8(&message.payload).is_ok());
            Seen::Message(message.kind, message.payload.to_vec())
        }
        Event::Ping(payload) => Seen::Ping(payload.to_vec()),
        Event::Pong(payload) => Seen::Pong(payload.to_vec()),
        Event::Close(close) => {
            Seen::Close(close.map(|close| (u16::from(close.code), close.reason.as_str().to_owned())))
        }
    }
}
