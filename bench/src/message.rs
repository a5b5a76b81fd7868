//! Message: what the load tool sends, and how it knows what came back.
//!
//! In:  who sends, a sequence number, the intended start; or a payload that a server delivered.
//! Out: a payload of the asked size; or what a delivered one says, checked over its whole length.
//!
//! Every byte is printable ASCII, so that the same payload can travel in a binary frame, in a text frame, or inside
//! a JSON string of a protocol that wraps it. Numbers are written big end first in base 64 (`DIGITS`, RFC 4648 §5).
//!
//! ```text
//! 0    2     4           8           14            22        28
//! | HF | run | publisher | sequence  | intended ns | crc32c  | noise … |
//! ```
//!
//! The check covers everything but itself. The noise differs from message to message, so that the head of one and
//! the tail of another do not pass for a message. No I/O, no clock.

use bytes::{BufMut, BytesMut};

/// The head alone: the smallest message there is.
pub const SIZE_MIN: usize = 28;
/// Publishers (for `echo`, connections) that a message can name.
pub const PUBLISHERS_MAX: u32 = 1 << 24;

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const VALUES: [u8; 256] = values();
const NOT_A_DIGIT: u8 = 0xff;
/// How every message begins.
pub(crate) const MAGIC: &[u8; 2] = b"HF";
const CHECK_AT: usize = 22;
/// Where the noise of a message starts varies over this many places. Prime, so that rounds of senders do not fit it.
const NOISE_SHIFTS: usize = 251;

/// What a message says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Who published it. Below [`PUBLISHERS_MAX`].
    pub publisher: u32,
    /// How many messages that publisher had sent before.
    pub sequence: u32,
    /// When it was due, in nanoseconds of the run's clock. Wraps after 2^48 ns (78 hours).
    pub intended_ns: u64,
}

/// Why a delivered payload is not one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeFailure {
    /// It does not look like a message of this run: somebody else talks on the same server.
    Foreign,
    /// It is one of this run's messages, and is not what was sent.
    Corrupt,
}

/// Writes and reads the messages of one run.
pub struct MessageCodec {
    run: u16,
    size: usize,
    noise: Box<[u8]>,
}

impl MessageCodec {
    /// `run` tells this run's messages from another's on the same server (12 bits count); all are `size` bytes long.
    ///
    /// # Panics
    /// When `size` is below [`SIZE_MIN`], which the plan refuses.
    pub fn new(run: u16, size: usize, seed: u64) -> Self {
        assert!(size >= SIZE_MIN, "the plan refuses a size below {SIZE_MIN}");
        let mut state = seed | 1;
        let noise = (0..size - SIZE_MIN + NOISE_SHIFTS)
            .map(|_| {
                // Knuth's MMIX generator: its high bits are noise enough for filler.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                DIGITS[usize::from((state >> 58) as u8)]
            })
            .collect();
        Self { run: run & 0xfff, size, noise }
    }

    /// The length of every message.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Appends one message to `out`. Does not allocate when `out` has room for [`MessageCodec::size`] bytes.
    pub fn write(&self, stamp: Stamp, out: &mut BytesMut) {
        let mut head = [0u8; SIZE_MIN];
        head[..2].copy_from_slice(MAGIC);
        put(&mut head[2..4], u64::from(self.run));
        put(&mut head[4..8], u64::from(stamp.publisher));
        put(&mut head[8..14], u64::from(stamp.sequence));
        put(&mut head[14..CHECK_AT], stamp.intended_ns);
        let shift =
            (stamp.sequence as usize).wrapping_mul(31).wrapping_add(stamp.publisher as usize) % NOISE_SHIFTS;
        let noise = &self.noise[shift..shift + self.size - SIZE_MIN];
        let check = crc32c::crc32c_append(crc32c::crc32c(&head[..CHECK_AT]), noise);
        put(&mut head[CHECK_AT..], u64::from(check));
        out.put_slice(&head);
        out.put_slice(noise);
    }

    /// Reads a delivered payload.
    ///
    /// # Errors
    /// [`DecodeFailure`]: whether it is none of ours, or one that was damaged on its way.
    pub fn read(&self, payload: &[u8]) -> Result<Stamp, DecodeFailure> {
        let Some((head, noise)) = payload.split_first_chunk::<SIZE_MIN>() else {
            return Err(if payload.starts_with(MAGIC) {
                DecodeFailure::Corrupt
            } else {
                DecodeFailure::Foreign
            });
        };
        if head[..2] != MAGIC[..] {
            return Err(DecodeFailure::Foreign);
        }
        let run = get(&head[2..4]).ok_or(DecodeFailure::Corrupt)?;
        let check = crc32c::crc32c_append(crc32c::crc32c(&head[..CHECK_AT]), noise);
        if get(&head[CHECK_AT..]) != Some(u64::from(check)) {
            return Err(DecodeFailure::Corrupt);
        }
        if run != u64::from(self.run) {
            return Err(DecodeFailure::Foreign);
        }
        let field = |at: std::ops::Range<usize>| get(&head[at]).ok_or(DecodeFailure::Corrupt);
        let stamp = Stamp {
            publisher: u32::try_from(field(4..8)?).map_err(|_| DecodeFailure::Corrupt)?,
            sequence: u32::try_from(field(8..14)?).map_err(|_| DecodeFailure::Corrupt)?,
            intended_ns: field(14..CHECK_AT)?,
        };
        if payload.len() == self.size { Ok(stamp) } else { Err(DecodeFailure::Corrupt) }
    }
}

/// Writes the low `6 × digits.len()` bits of `value`.
fn put(digits: &mut [u8], mut value: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[usize::from((value & 63) as u8)];
        value >>= 6;
    }
}

fn get(digits: &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for digit in digits {
        let bits = VALUES[usize::from(*digit)];
        if bits == NOT_A_DIGIT {
            return None;
        }
        value = value << 6 | u64::from(bits);
    }
    Some(value)
}

const fn values() -> [u8; 256] {
    let mut values = [NOT_A_DIGIT; 256];
    let mut at = 0u8;
    while at < 64 {
        values[DIGITS[at as usize] as usize] = at;
        at += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp { publisher: 70_001, sequence: u32::MAX, intended_ns: 123_456_789_012_345 };

    fn written(mint: &MessageCodec, stamp: Stamp) -> BytesMut {
        let mut out = BytesMut::new();
        mint.write(stamp, &mut out);
        out
    }

    #[test]
    fn a_message_says_what_was_stamped_on_it_at_every_size() {
        for size in [SIZE_MIN, SIZE_MIN + 1, 64, 128, 5000] {
            let mint = MessageCodec::new(0xabc, size, 7);
            let message = written(&mint, STAMP);
            assert_eq!(message.len(), size);
            assert!(message.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'"' && *byte != b'\\'));
            assert_eq!(mint.read(&message), Ok(STAMP));
        }
    }

    #[test]
    fn any_changed_byte_is_found() {
        let mint = MessageCodec::new(1, 64, 7);
        let message = written(&mint, STAMP);
        for at in 0..message.len() {
            let mut damaged = message.clone();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            let expected = if at < 2 { DecodeFailure::Foreign } else { DecodeFailure::Corrupt };
            assert_eq!(mint.read(&damaged), Err(expected), "byte {at}");
        }
    }

    #[test]
    fn the_head_of_one_message_and_the_tail_of_another_do_not_pass() {
        let mint = MessageCodec::new(1, 64, 7);
        let (one, other) = (written(&mint, STAMP), written(&mint, Stamp { sequence: 5, ..STAMP }));
        let mixed = [&one[..SIZE_MIN], &other[SIZE_MIN..]].concat();
        assert_eq!(mint.read(&mixed), Err(DecodeFailure::Corrupt));
    }

    #[test]
    fn a_message_cut_short_or_grown_is_corrupt() {
        let mint = MessageCodec::new(1, 64, 7);
        let message = written(&mint, STAMP);
        assert_eq!(mint.read(&message[..63]), Err(DecodeFailure::Corrupt));
        assert_eq!(mint.read(&message[..10]), Err(DecodeFailure::Corrupt));
        assert_eq!(mint.read(&[&message[..], b"x"].concat()), Err(DecodeFailure::Corrupt));
    }

    #[test]
    fn what_others_say_is_foreign_and_not_corrupt() {
        let mint = MessageCodec::new(1, 64, 7);
        assert_eq!(mint.read(b"welcome!"), Err(DecodeFailure::Foreign));
        assert_eq!(mint.read(&written(&MessageCodec::new(2, 64, 7), STAMP)), Err(DecodeFailure::Foreign));
    }
}
