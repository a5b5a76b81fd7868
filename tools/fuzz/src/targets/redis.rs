//! What a Redis server sends: frames of RESP2 and RESP3, messages and replies.
//!
//! In:  one byte for the protocol, one for cuts; the stream.
//! Out: a panic where the cuts make a difference, more memory is held than came, or a frame ends elsewhere than in the
//!      decoder of `redis-protocol`.

use holdfast_redis::receive::{
    reader::{Item, ReadOptions, Reader, Reply},
    resp::{self, Limits, Parsed, Protocol},
};
use redis_protocol::{resp2, resp3};

/// Pieces of streams.
pub const WORDS: &[&[u8]] = &[
    b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$5\r\nhello\r\n",
    b"*3\r\n$8\r\nsmessage\r\n$1\r\na\r\n$0\r\n\r\n",
    b">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n",
    b"*3\r\n$12\r\nsunsubscribe\r\n$-1\r\n:0\r\n",
    b"*2\r\n$4\r\npong\r\n$0\r\n\r\n",
    b"+PONG\r\n",
    b"-NOPERM this user has no permissions\r\n",
    b"-MOVED 12182 10.0.0.1:7000\r\n",
    b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$5\r\nproto\r\n:3\r\n",
    b"*1\r\n",
    b"$99999\r\n",
    b":-9223372036854775808\r\n",
    b"=7\r\ntxt:abc\r\n",
    b"_\r\n",
    b"#t\r\n",
    b",1.5\r\n",
    b"(12345678901234567890123\r\n",
    b"!3\r\nERR\r\n",
    b"~1\r\n:1\r\n",
    b"|1\r\n+a\r\n+b\r\n",
    b"$?\r\n",
    b"\r\n",
];

const LIMITS: Limits = Limits { bulk_bytes_max: 4096, line_bytes_max: 512, values_max: 64 };

/// Reads one stream whole and cut, and frame by frame.
pub fn run(data: &[u8]) {
    let (flags, data) = super::choice(data);
    let (cut, data) = super::choice(data);
    let protocol = if flags & 1 == 0 { Protocol::Resp2 } else { Protocol::Resp3 };
    let whole = read(protocol, [data]);
    let in_pieces = read(protocol, data.chunks(usize::from(cut % 17) + 1));
    assert_eq!(whole, in_pieces);
    compare(data, protocol);
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message(Vec<u8>, Vec<u8>),
    Reply(Reply),
}

/// What came out, and whether it was no RESP.
fn read<'d>(protocol: Protocol, pieces: impl IntoIterator<Item = &'d [u8]>) -> (Vec<Seen>, bool) {
    let mut reader = Reader::new(ReadOptions { read_bytes: 64, limits: LIMITS });
    reader.speak(protocol);
    let (mut items, mut came) = (Vec::new(), 0);
    let mut is_over = false;
    for piece in pieces {
        came += piece.len();
        reader.buffer().extend_from_slice(piece);
        is_over = reader.take(&mut items).is_err();
        assert!(reader.buffer().capacity() <= 8 * came + 256, "room as it comes, not as it is claimed");
        if is_over {
            break;
        }
    }
    let mut seen = Vec::new();
    for item in items {
        match item {
            Item::Reply(reply) => seen.push(Seen::Reply(reply)),
            Item::Messages(messages) => {
                seen.extend(
                    messages.iter().map(|of| Seen::Message(of.channel.to_vec(), of.payload.to_vec())),
                );
            }
        }
    }
    (seen, is_over)
}

/// That decoder has no limits, so it is asked only about what ours did not refuse.
fn compare(data: &[u8], protocol: Protocol) {
    let mut left = data;
    while !left.is_empty() {
        let Ok(ours) = resp::parse(left, 0, protocol, &LIMITS) else { return };
        let theirs = match protocol {
            Protocol::Resp2 => resp2::decode::decode_range(left).map(|frame| frame.map(|(_, end)| end)),
            Protocol::Resp3 => {
                resp3::decode::streaming::decode_range(left).map(|frame| frame.map(|(_, end)| end))
            }
        };
        match (ours, theirs) {
            (Parsed::Complete(frame), Ok(Some(end))) => {
                assert_eq!(frame.end, end);
                left = &left[end..];
            }
            // It looks into numbers that we pass on as they are, and lets only some types be keys.
            (_, Err(_)) if protocol == Protocol::Resp3 => return,
            (Parsed::Incomplete { bytes_min }, Ok(None)) => {
                assert!(bytes_min > left.len());
                return;
            }
            (ours, theirs) => panic!("{ours:?} against {theirs:?}"),
        }
    }
}
