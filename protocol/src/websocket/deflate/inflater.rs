//! Reading compressed messages (RFC 7692 §7.2.2).
//!
//! In:  a whole compressed payload; under context takeover, the window of what came before.
//! Out: the payload; or why there is none.
//!
//! Output never passes its limit, however much the input would make of itself: that is found while inflating, with at
//! most the limit's memory. One inflater serves many connections: it starts afresh with every message. Memory: about
//! 50 KB.

use bytes::BytesMut;
use flate2::{Decompress, FlushDecompress, Status};

use super::{TAIL, Window, WindowBits};

/// A final, empty block: after the tail, it ends a stream that stands between two blocks, and no other.
const END: [u8; 2] = [0x03, 0x00];

/// How often one message may end its stream and begin another (RFC 7692 §7.2.3.4). Each time costs a copy of the window,
/// which two bytes of input must not buy without end.
const STREAMS_MAX: u32 = 32;

/// Why a compressed payload brings no message. Always the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InflateError {
    /// Not DEFLATE, not whole, or referring to what did not come.
    Invalid,
    /// It makes more than the bytes that are allowed.
    TooLong,
}

/// Inflates for all connections.
#[derive(Debug)]
pub struct Inflater {
    codec: Decompress,
    /// Since [`Inflater::take_inflated`].
    plain_bytes: usize,
    deflated_bytes: usize,
}

impl Default for Inflater {
    /// Its window is the largest there is: data for smaller ones is read all the same.
    fn default() -> Self {
        let codec = Decompress::new_with_window_bits(false, WindowBits::MAX.bits());
        Self { codec, plain_bytes: 0, deflated_bytes: 0 }
    }
}

impl Inflater {
    /// The payload that `deflated` is the compressed form of, up to `bytes_max` bytes long.
    ///
    /// A stream that ends exactly at the end, and a payload without a byte (an empty message), are taken too: senders
    /// exist that leave out the empty block which belongs there.
    pub fn inflate(
        &mut self,
        deflated: &[u8],
        window: Option<&mut Window>,
        bytes_max: usize,
    ) -> Result<BytesMut, InflateError> {
        let past = window.as_ref().map_or(&[][..], |window| window.bytes());
        let (mut output, has_ended) = self.inflate_all(deflated, past, bytes_max)?;
        if !deflated.is_empty() && !has_ended {
            let ended_in_tail = self.feed(&mut &TAIL[..], &mut output)?;
            let before_end = output.len;
            let ended = !ended_in_tail && self.feed(&mut &END[..], &mut output)?;
            if !ended || output.len != before_end {
                return Err(InflateError::Invalid);
            }
        }
        finish(output, window)
    }

    /// What the beginning of a compressed payload makes, as far as that is known; the end of it may be missing.
    pub fn inflate_beginning(
        &mut self,
        deflated: &[u8],
        window: Option<&Window>,
        bytes_max: usize,
    ) -> Result<BytesMut, InflateError> {
        let past = window.map_or(&[][..], Window::bytes);
        let (output, _) = self.inflate_all(deflated, past, bytes_max)?;
        finish(output, None)
    }

    /// How many bytes were made since the last call, and of how many, whatever became of them: what the work was.
    pub fn take_inflated(&mut self) -> (usize, usize) {
        (std::mem::take(&mut self.plain_bytes), std::mem::take(&mut self.deflated_bytes))
    }

    /// Inflates all of `deflated`. True exactly when a stream ends where it does.
    fn inflate_all(
        &mut self,
        deflated: &[u8],
        past: &[u8],
        bytes_max: usize,
    ) -> Result<(Output, bool), InflateError> {
        self.restart(past, &[]);
        let mut output = Output::new(deflated.len(), bytes_max);
        let mut streams = 1;
        let mut rest = deflated;
        while !rest.is_empty() {
            if self.feed(&mut rest, &mut output)? {
                if rest.is_empty() {
                    return Ok((output, true));
                }
                streams += 1;
                if streams > STREAMS_MAX {
                    return Err(InflateError::Invalid);
                }
                self.restart(past, output.filled());
            }
        }
        Ok((output, false))
    }

    /// Inflates `input` until it is used up or its stream has ended, which is what true says.
    fn feed(&mut self, input: &mut &[u8], output: &mut Output) -> Result<bool, InflateError> {
        loop {
            let room = output.room()?;
            let room_bytes = room.len();
            let (read_before, written_before) = (self.codec.total_in(), self.codec.total_out());
            let status = self.codec.decompress(input, room, FlushDecompress::None);
            let status = status.map_err(|_| InflateError::Invalid)?;
            let read = as_usize(self.codec.total_in() - read_before);
            let written = as_usize(self.codec.total_out() - written_before);
            *input = &input[read..];
            output.len += written;
            self.plain_bytes += written;
            self.deflated_bytes += read;
            if status == Status::StreamEnd {
                return Ok(true);
            }
            if written < room_bytes {
                // Room is left, so all that the input makes is there.
                return if input.is_empty() { Ok(false) } else { Err(InflateError::Invalid) };
            }
        }
    }

    /// Begins a stream that may refer to `past`, and behind it to `output`.
    fn restart(&mut self, past: &[u8], output: &[u8]) {
        const WINDOW_BYTES: usize = WindowBits::MAX.bytes();
        self.codec.reset(false);
        let set = |codec: &mut Decompress, bytes: &[u8]| {
            codec.set_dictionary(bytes).expect("a fresh raw stream takes a dictionary");
        };
        if output.is_empty() {
            if !past.is_empty() {
                set(&mut self.codec, past);
            }
        } else if output.len() >= WINDOW_BYTES {
            set(&mut self.codec, &output[output.len() - WINDOW_BYTES..]);
        } else {
            let past = &past[past.len().saturating_sub(WINDOW_BYTES - output.len())..];
            set(&mut self.codec, &[past, output].concat());
        }
    }
}

/// The message so far: `len` bytes, and room behind them.
struct Output {
    bytes: BytesMut,
    len: usize,
    bytes_max: usize,
}

impl Output {
    /// Text that is worth compressing shrinks to a quarter or so.
    fn new(deflated_bytes: usize, bytes_max: usize) -> Self {
        let first_bytes = (4 * deflated_bytes).clamp(64, bytes_max.saturating_add(1).max(64));
        Self { bytes: BytesMut::zeroed(first_bytes), len: 0, bytes_max }
    }

    fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// At least one byte of room, which doubles when it is used up and ends one byte behind the limit.
    fn room(&mut self) -> Result<&mut [u8], InflateError> {
        if self.len > self.bytes_max {
            return Err(InflateError::TooLong);
        }
        if self.len == self.bytes.len() {
            self.bytes.resize((2 * self.len).min(self.bytes_max.saturating_add(1)), 0);
        }
        Ok(&mut self.bytes[self.len..])
    }
}

fn finish(output: Output, window: Option<&mut Window>) -> Result<BytesMut, InflateError> {
    let Output { mut bytes, len, bytes_max } = output;
    if len > bytes_max {
        return Err(InflateError::TooLong);
    }
    bytes.truncate(len);
    if let Some(window) = window {
        window.push(&bytes);
    }
    Ok(bytes)
}

fn as_usize(part_of_a_slice: u64) -> usize {
    usize::try_from(part_of_a_slice).expect("a part of a slice")
}
