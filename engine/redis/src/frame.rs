//! Frame: what goes over a client channel of pub/sub, and how its kinds are told apart.
//!
//! In:  a Protobuf message and, where there is history, its position; a message from Redis.
//! Out: the frame; its parts, borrowed.
//!
//! | | |
//! |---|---|
//! | `PUBLICATION` | without history: the Protobuf message and nothing else |
//! | `__p1:OFFSET:EPOCH__PUBLICATION` | with history |
//! | `__d1:OFFSET:EPOCH:LEN:PREVIOUS:LEN:PUBLICATION` | with history and the publication before it; `LEN` in bytes |
//! | `__j__INFO`, `__l__INFO` | somebody joined, left |
//!
//! No Protobuf message begins with `__`: that would be a field of type 7, which is none. Everything else that begins so is
//! an error with Centrifugo too: frames of our own go elsewhere. No I/O, no clock.

use bytes::{BufMut as _, BytesMut};

/// The longest epoch, in bytes. Centrifugo's have 8, ours 6.
pub const EPOCH_BYTES_MAX: usize = 64;

const MARK: &[u8] = b"__";

/// A place in a channel's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position<'a> {
    /// From 1.
    pub offset: u64,
    /// Which life of the history it belongs to.
    pub epoch: &'a str,
}

/// What came over a client channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A publication of a channel without history.
    Plain {
        /// The Protobuf message.
        publication: &'a [u8],
    },
    /// A publication that is in the history.
    Positioned {
        /// Where.
        position: Position<'a>,
        /// The Protobuf message.
        publication: &'a [u8],
    },
    /// The same, and the one before it.
    Delta {
        /// Where.
        position: Position<'a>,
        /// The whole Protobuf message before it; none where there was none.
        previous: Option<&'a [u8]>,
        /// The Protobuf message.
        publication: &'a [u8],
    },
    /// Somebody joined.
    Join {
        /// Who: the Protobuf message `ClientInfo`.
        info: &'a [u8],
    },
    /// Somebody left.
    Leave {
        /// Who: the Protobuf message `ClientInfo`.
        info: &'a [u8],
    },
}

/// Why a message of a client channel is no frame. Always the publisher's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It begins with `__`, and with no kind that is known.
    #[error("a frame of an unknown kind")]
    Kind,
    /// It ends before its parts do.
    #[error("a frame ends too early")]
    Truncated,
    /// An offset or a length is no decimal number of 64 bits.
    #[error("a number of a frame is none")]
    Number,
    /// It is not UTF-8, or longer than [`EPOCH_BYTES_MAX`].
    #[error("the epoch of a frame is none")]
    Epoch,
}

impl<'a> Frame<'a> {
    /// Takes a frame apart.
    ///
    /// # Errors
    ///
    /// It is none. Nothing of it may be used then.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let Some(rest) = bytes.strip_prefix(MARK) else { return Ok(Self::Plain { publication: bytes }) };
        if let Some(info) = rest.strip_prefix(b"j__") {
            return Ok(Self::Join { info });
        }
        if let Some(info) = rest.strip_prefix(b"l__") {
            return Ok(Self::Leave { info });
        }
        if let Some(rest) = rest.strip_prefix(b"p1:") {
            return positioned(rest);
        }
        if let Some(rest) = rest.strip_prefix(b"d1:") {
            return delta(rest);
        }
        Err(FrameError::Kind)
    }

    /// Appends the frame.
    pub fn encode(&self, out: &mut BytesMut) {
        match *self {
            Self::Plain { publication } => out.put_slice(publication),
            Self::Positioned { position: Position { offset, epoch }, publication } => {
                out.put_slice(format!("__p1:{offset}:{epoch}__").as_bytes());
                out.put_slice(publication);
            }
            Self::Delta { position: Position { offset, epoch }, previous, publication } => {
                let previous = previous.unwrap_or_default();
                out.put_slice(format!("__d1:{offset}:{epoch}:{}:", previous.len()).as_bytes());
                out.put_slice(previous);
                out.put_slice(format!(":{}:", publication.len()).as_bytes());
                out.put_slice(publication);
            }
            Self::Join { info } => {
                out.put_slice(b"__j__");
                out.put_slice(info);
            }
            Self::Leave { info } => {
                out.put_slice(b"__l__");
                out.put_slice(info);
            }
        }
    }
}

/// `OFFSET:EPOCH__PUBLICATION`
fn positioned(rest: &[u8]) -> Result<Frame<'_>, FrameError> {
    let (offset, rest) = split_at(rest, b":")?;
    // Looked for within the longest header only: a publication of a megabyte may have no mark in it.
    let (header, _) = rest.split_at_checked(EPOCH_BYTES_MAX + MARK.len()).unwrap_or((rest, &[]));
    let (epoch, _) = split_at(header, MARK)
        .map_err(|error| if rest.len() > header.len() { FrameError::Epoch } else { error })?;
    let position = Position { offset: decimal(offset)?, epoch: epoch_of(epoch)? };
    Ok(Frame::Positioned { position, publication: &rest[epoch.len() + MARK.len()..] })
}

/// `OFFSET:EPOCH:LEN:PREVIOUS:LEN:PUBLICATION`. What follows it is not looked at, nor by Centrifugo.
fn delta(rest: &[u8]) -> Result<Frame<'_>, FrameError> {
    let (offset, rest) = split_at(rest, b":")?;
    let (epoch, rest) = split_at(rest, b":")?;
    let position = Position { offset: decimal(offset)?, epoch: epoch_of(epoch)? };
    let (previous, rest) = counted(rest)?;
    let (publication, _) = counted(rest.strip_prefix(b":").ok_or(FrameError::Truncated)?)?;
    let previous = (!previous.is_empty()).then_some(previous);
    Ok(Frame::Delta { position, previous, publication })
}

/// `LEN:BYTES`, and what follows.
fn counted(bytes: &[u8]) -> Result<(&[u8], &[u8]), FrameError> {
    let (len, rest) = split_at(bytes, b":")?;
    let len = usize::try_from(decimal(len)?).map_err(|_| FrameError::Number)?;
    rest.split_at_checked(len).ok_or(FrameError::Truncated)
}

/// What is before the first `mark`, and what is after it.
fn split_at<'a>(bytes: &'a [u8], mark: &[u8]) -> Result<(&'a [u8], &'a [u8]), FrameError> {
    let at = bytes.windows(mark.len()).position(|part| part == mark).ok_or(FrameError::Truncated)?;
    Ok((&bytes[..at], &bytes[at + mark.len()..]))
}

/// Digits alone: Rust's own parser takes a sign, Go's does not.
fn decimal(digits: &[u8]) -> Result<u64, FrameError> {
    if digits.is_empty() {
        return Err(FrameError::Number);
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0')).ok_or(FrameError::Number)?;
        number.checked_mul(10).and_then(|number| number.checked_add(digit)).ok_or(FrameError::Number)
    })
}

fn epoch_of(bytes: &[u8]) -> Result<&str, FrameError> {
    if bytes.len() > EPOCH_BYTES_MAX {
        return Err(FrameError::Epoch);
    }
    std::str::from_utf8(bytes).map_err(|_| FrameError::Epoch)
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

    use super::*;

    fn bytes(frame: Frame<'_>) -> Vec<u8> {
        let mut out = BytesMut::new();
        frame.encode(&mut out);
        assert_eq!(Frame::decode(&out), Ok(frame));
        out.to_vec()
    }

    #[test]
    fn frames_have_centrifugos_bytes() {
        let position = Position { offset: 16_901, epoch: "xyz.123" };
        assert_eq!(bytes(Frame::Plain { publication: b"\x22\x02{}" }), b"\x22\x02{}");
        assert_eq!(
            bytes(Frame::Positioned { position, publication: b"\x22\x04\"__\"" }),
            b"__p1:16901:xyz.123__\x22\x04\"__\""
        );
        assert_eq!(
            bytes(Frame::Delta { position, previous: Some(b"a:b"), publication: b"c:d:" }),
            b"__d1:16901:xyz.123:3:a:b:4:c:d:"
        );
        assert_eq!(
            bytes(Frame::Delta { position, previous: None, publication: b"x" }),
            b"__d1:16901:xyz.123:0::1:x"
        );
        assert_eq!(bytes(Frame::Join { info: b"\x0a\x01u" }), b"__j__\x0a\x01u");
        assert_eq!(bytes(Frame::Leave { info: b"\x0a\x01u" }), b"__l__\x0a\x01u");
        assert_eq!(bytes(Frame::Plain { publication: b"" }), b"");
    }

    #[test]
    fn a_delta_is_read_as_centrifugo_reads_it() {
        assert_eq!(
            Frame::decode(b"__d1:1234567890:epoch1:4:test:18:payload:with:colon"),
            Ok(Frame::Delta {
                position: Position { offset: 1_234_567_890, epoch: "epoch1" },
                previous: Some(b"test"),
                publication: b"payload:with:colon",
            })
        );
        assert_eq!(
            Frame::decode(b"__d1:1:e:0::0:"),
            Ok(Frame::Delta {
                position: Position { offset: 1, epoch: "e" },
                previous: None,
                publication: b""
            })
        );
    }

    #[test]
    fn what_is_no_frame_is_an_error() {
        for (frame, error) in [
            (&b"__"[..], FrameError::Kind),
            (b"____x", FrameError::Kind),
            (b"__a__x", FrameError::Kind),
            (b"__p2:1:e__x", FrameError::Kind),
            (b"__j", FrameError::Kind),
            (b"__p1:", FrameError::Truncated),
            (b"__p1:1:e_", FrameError::Truncated),
            (b"__p1::e__x", FrameError::Number),
            (b"__p1:+1:e__x", FrameError::Number),
            (b"__p1:18446744073709551616:e__x", FrameError::Number),
            (b"__p1:1:\xff__x", FrameError::Epoch),
            (b"__d1:123456:epoch3", FrameError::Truncated),
            (b"__d1:notanumber:epoch4:4:test:5:hello", FrameError::Number),
            (b"__d1:12:e:invalid:test:5:hello", FrameError::Number),
            (b"__d1:12:e:4:test:invalid:hello", FrameError::Number),
            (b"__d1:12:e:4:test:5:", FrameError::Truncated),
            (b"__d1:12:e:4:test", FrameError::Truncated),
            (b"__d1:12:e:18446744073709551615:t:1:x", FrameError::Truncated),
        ] {
            assert_eq!(Frame::decode(frame), Err(error), "{}", frame.escape_ascii());
        }
        let long = [b"__p1:1:".as_slice(), &[b'e'; 65], b"__x"].concat();
        assert_eq!(Frame::decode(&long), Err(FrameError::Epoch));
        let longest = [b"__p1:1:".as_slice(), &[b'e'; 64], b"__x"].concat();
        assert!(Frame::decode(&longest).is_ok());
    }

    #[test]
    fn no_bytes_make_it_panic_and_what_it_takes_it_writes_again() {
        let seed = rand::rng().random();
        println!("seed {seed}");
        let mut random = SmallRng::seed_from_u64(seed);
        let parts: [&[u8]; 14] = [
            b"__",
            b"p1",
            b"d1",
            b"j",
            b"l",
            b":",
            b"_",
            b"0",
            b"1",
            b"18446744073709551615",
            b"99",
            b"ab",
            b"\xff",
            b"",
        ];
        for _ in 0..200_000 {
            let mut bytes = b"__".to_vec();
            if random.random_bool(0.8) {
                bytes.extend_from_slice(
                    [&b"p1:"[..], b"d1:", b"d1:1:e:", b"p1:7:"][random.random_range(0..4)],
                );
            }
            for _ in 0..random.random_range(0..12) {
                bytes.extend_from_slice(parts[random.random_range(0..parts.len())]);
            }
            let Ok(frame) = Frame::decode(&bytes) else { continue };
            let mut out = BytesMut::new();
            frame.encode(&mut out);
            assert_eq!(Frame::decode(&out), Ok(frame), "{}", bytes.escape_ascii());
        }
    }
}
