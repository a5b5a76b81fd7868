//! RESP: one frame of a Redis connection, in place.
//!
//! In:  bytes, of which a frame may be complete.
//! Out: the frame as ranges of them; how many bytes are missing; or why this is no RESP. Commands, as bytes.
//!
//! The frame decoder of `redis-protocol` has no limits: nested arrays from a peer overflow its stack, and what follows a
//! bulk string is not looked at. So this one is ours, and tests hold it against that one (docs/decisions/0015).
//! Attributes and streamed types, which no server sends unless it is told to, are refused. No recursion, no allocation,
//! no I/O.
//!
//! Specification: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use bytes::{BufMut as _, BytesMut};

/// Which of the two protocols a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The one that every server speaks. Messages are arrays.
    Resp2,
    /// Agreed to by `HELLO 3`. Messages are pushes.
    Resp3,
}

/// What a frame may cost at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one bulk string. Redis' own maximum is 512 MiB (`proto-max-bulk-len`), which is ours too: more than that
    /// is cut to it.
    pub bulk_bytes_max: usize,
    /// Bytes of one line, as an error is.
    pub line_bytes_max: usize,
    /// Values of one frame, those of nested ones included.
    pub values_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bulk_bytes_max: 64 << 20, line_bytes_max: 64 << 10, values_max: 1024 }
    }
}

impl Limits {
    /// Redis' `proto-max-bulk-len`.
    const BULK_BYTES_MAX: usize = 512 << 20;

    fn bulk_max(&self) -> usize {
        self.bulk_bytes_max.min(Self::BULK_BYTES_MAX)
    }

    /// Bytes of one whole frame: a bulk string of the greatest length, and what stands beside it.
    fn frame_bytes_max(&self) -> usize {
        self.bulk_max() + self.line_bytes_max.min(Self::BULK_BYTES_MAX) + 64 * 1024
    }
}

/// Why bytes are not what a Redis server sends. Always the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// No frame begins with this byte, or none of the protocol that was agreed to.
    #[error("a frame begins with byte {byte:#04x}, as none of {protocol:?} does")]
    Kind {
        /// The byte.
        byte: u8,
        /// What was agreed to.
        protocol: Protocol,
    },
    /// A length or a number has other characters than digits.
    #[error("a number is not one")]
    Number,
    /// A value does not end with CR LF.
    #[error("a value does not end with CR LF")]
    Unterminated,
    /// [`Limits::bulk_bytes_max`], or a frame that is longer than that.
    #[error("a frame has more than {max} bytes")]
    FrameTooLong {
        /// The limit.
        max: usize,
    },
    /// [`Limits::line_bytes_max`].
    #[error("a line has more than {max} bytes")]
    LineTooLong {
        /// The limit.
        max: usize,
    },
    /// [`Limits::values_max`].
    #[error("a frame has more than {max} values")]
    TooManyValues {
        /// The limit.
        max: usize,
    },
    /// Aggregates in aggregates, more than [`DEPTH_MAX`].
    #[error("a frame is nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
}

/// A range of the buffer. Buffers are shorter than 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Self {
        let short = |at| u32::try_from(at).expect("a buffer is shorter than 4 GiB");
        Self { start: short(start), end: short(end) }
    }

    /// The same as indices.
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }

    /// What it covers.
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.range()]
    }
}

/// What several values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// `*`
    Array,
    /// `>`: sent unasked. RESP3.
    Push,
    /// `%`: twice as many values as its length says. RESP3.
    Map,
    /// `~`. RESP3.
    Set,
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// `+`, and of RESP3 `,` `#` `(`, as they were written.
    Line(Span),
    /// `-`, and of RESP3 `!`.
    Error(Span),
    /// `:`
    Integer(i64),
    /// `$`, and of RESP3 `=` without its format.
    Bulk(Span),
    /// `_`, `$-1`, `*-1`.
    Null,
    /// Values follow: as many as a map has pairs, or anything else has values.
    Aggregate(Aggregate, usize),
}

/// How deep aggregates may be nested. Redis needs 3 (`HELLO`: the modules' arguments).
pub const DEPTH_MAX: usize = 8;

/// How many values of an aggregate are kept. A message has 3, or 4 where a pattern matched.
pub const VALUES_KEPT: usize = 4;

/// One frame. Ranges count from the beginning of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The outermost value.
    pub value: Value,
    /// The first of its values, where it is an aggregate; `Null` where it has fewer.
    pub values: [Value; VALUES_KEPT],
    /// Where the next frame begins.
    pub end: usize,
}

/// What bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// A frame.
    Complete(Frame),
    /// The beginning of one.
    Incomplete {
        /// It has this many bytes at least.
        bytes_min: usize,
    },
}

/// Reads the frame that begins at `from`.
///
/// # Errors
///
/// What stands there is no frame, whatever follows, or one beyond the limits.
pub fn parse(
    bytes: &[u8],
    from: usize,
    protocol: Protocol,
    limits: &Limits,
) -> Result<Parsed, ProtocolError> {
    let frame_bytes_max = limits.frame_bytes_max();
    let too_long = ProtocolError::FrameTooLong { max: limits.bulk_max() };
    let mut frame = Frame { value: Value::Null, values: [Value::Null; VALUES_KEPT], end: from };
    // How many values each open aggregate still waits for, the outermost first.
    let mut open = [0_usize; DEPTH_MAX];
    let (mut depth, mut values, mut kept) = (0, 0, 0);
    loop {
        let (value, end) = match read_value(bytes, frame.end, protocol, limits)? {
            Read::Value(value, end) => (value, end),
            Read::Incomplete(end_min) if end_min - from > frame_bytes_max => return Err(too_long),
            Read::Incomplete(end_min) => return Ok(Parsed::Incomplete { bytes_min: end_min - from }),
        };
        frame.end = end;
        if end - from > frame_bytes_max {
            return Err(too_long);
        }
        match depth {
            0 => frame.value = value,
            1 if kept < VALUES_KEPT => {
                frame.values[kept] = value;
                kept += 1;
            }
            _ => {}
        }
        if let Value::Aggregate(kind, length) = value {
            let inner = if kind == Aggregate::Map { length.saturating_mul(2) } else { length };
            values += inner.min(limits.values_max + 1);
            if values > limits.values_max {
                return Err(ProtocolError::TooManyValues { max: limits.values_max });
            }
            if inner > 0 {
                *open.get_mut(depth).ok_or(ProtocolError::TooDeep)? = inner;
                depth += 1;
                continue;
            }
        }
        // A value is complete, and with it perhaps those around it.
        loop {
            if depth == 0 {
                return Ok(Parsed::Complete(frame));
            }
            open[depth - 1] -= 1;
            if open[depth - 1] > 0 {
                break;
            }
            depth -= 1;
        }
    }
}

/// One value, without those inside of it.
enum Read {
    /// It, and where the next begins.
    Value(Value, usize),
    /// It ends here at the earliest.
    Incomplete(usize),
}

fn read_value(bytes: &[u8], at: usize, protocol: Protocol, limits: &Limits) -> Result<Read, ProtocolError> {
    let Some(&byte) = bytes.get(at) else { return Ok(Read::Incomplete(at + 3)) };
    let at = at + 1;
    match (byte, protocol) {
        (b'$', _) => read_bulk(bytes, at, limits, 0),
        (b':', _) => read_number(bytes, at).map(|read| match read {
            Some((number, end)) => Read::Value(Value::Integer(number), end),
            None => Read::Incomplete(bytes.len() + 1),
        }),
        (b'*', _) => read_aggregate(bytes, at, Aggregate::Array),
        (b'>', Protocol::Resp3) => read_aggregate(bytes, at, Aggregate::Push),
        (b'%', Protocol::Resp3) => read_aggregate(bytes, at, Aggregate::Map),
        (b'~', Protocol::Resp3) => read_aggregate(bytes, at, Aggregate::Set),
        (b'+', _) | (b',' | b'#' | b'(', Protocol::Resp3) => read_line(bytes, at, limits, Value::Line),
        (b'-', _) => read_line(bytes, at, limits, Value::Error),
        (b'_', Protocol::Resp3) => Ok(match read_line(bytes, at, limits, Value::Line)? {
            Read::Value(_, end) => Read::Value(Value::Null, end),
            incomplete => incomplete,
        }),
        // The format and a colon stand before a verbatim string: `txt:`.
        (b'=', Protocol::Resp3) => read_bulk(bytes, at, limits, 4),
        (b'!', Protocol::Resp3) => Ok(match read_bulk(bytes, at, limits, 0)? {
            Read::Value(Value::Bulk(span), end) => Read::Value(Value::Error(span), end),
            other => other,
        }),
        _ => Err(ProtocolError::Kind { byte, protocol }),
    }
}

/// A length, as many bytes, CR LF. The first `skipped` of them do not belong to the value.
fn read_bulk(bytes: &[u8], at: usize, limits: &Limits, skipped: usize) -> Result<Read, ProtocolError> {
    let Some((length, start)) = read_number(bytes, at)? else { return Ok(Read::Incomplete(bytes.len() + 1)) };
    if length == -1 {
        return Ok(Read::Value(Value::Null, start));
    }
    let length = usize::try_from(length).map_err(|_| ProtocolError::Number)?;
    let max = limits.bulk_max();
    if length > max {
        return Err(ProtocolError::FrameTooLong { max });
    }
    if length < skipped {
        return Err(ProtocolError::Number);
    }
    let end = start + length;
    match bytes.get(end..end + 2) {
        Some(b"\r\n") => Ok(Read::Value(Value::Bulk(Span::new(start + skipped, end)), end + 2)),
        Some(_) => Err(ProtocolError::Unterminated),
        None => Ok(Read::Incomplete(end + 2)),
    }
}

fn read_aggregate(bytes: &[u8], at: usize, kind: Aggregate) -> Result<Read, ProtocolError> {
    Ok(match read_number(bytes, at)? {
        None => Read::Incomplete(bytes.len() + 1),
        Some((-1, end)) if kind == Aggregate::Array => Read::Value(Value::Null, end),
        Some((length, end)) => {
            let length = usize::try_from(length).map_err(|_| ProtocolError::Number)?;
            Read::Value(Value::Aggregate(kind, length), end)
        }
    })
}

fn read_line(
    bytes: &[u8],
    at: usize,
    limits: &Limits,
    value: fn(Span) -> Value,
) -> Result<Read, ProtocolError> {
    let max = limits.line_bytes_max;
    let line = &bytes[at..bytes.len().min(at.saturating_add(max).saturating_add(2))];
    match line.windows(2).position(|pair| pair == b"\r\n") {
        Some(length) => Ok(Read::Value(value(Span::new(at, at + length)), at + length + 2)),
        None if line.len() > max + 1 => Err(ProtocolError::LineTooLong { max }),
        None => Ok(Read::Incomplete(bytes.len() + 1)),
    }
}

/// A decimal number of 64 bits and CR LF: it, and what follows. None where the end is not there yet.
fn read_number(bytes: &[u8], at: usize) -> Result<Option<(i64, usize)>, ProtocolError> {
    let is_negative = bytes.get(at) == Some(&b'-');
    let digits = at + usize::from(is_negative);
    let mut number = 0_i64;
    let mut at = digits;
    loop {
        match bytes.get(at) {
            None => return Ok(None),
            Some(&digit @ b'0'..=b'9') => {
                let digit = i64::from(digit - b'0');
                // Counting down reaches the least number, which has no positive one beside it.
                number = number
                    .checked_mul(10)
                    .and_then(|number| number.checked_sub(digit))
                    .ok_or(ProtocolError::Number)?;
                at += 1;
            }
            Some(b'\r') if at > digits => break,
            Some(_) => return Err(ProtocolError::Number),
        }
        // Zeros without end would otherwise be waited for.
        if at - digits > 20 {
            return Err(ProtocolError::Number);
        }
    }
    if !is_negative {
        number = number.checked_neg().ok_or(ProtocolError::Number)?;
    }
    match bytes.get(at + 1) {
        None => Ok(None),
        Some(b'\n') => Ok(Some((number, at + 2))),
        Some(_) => Err(ProtocolError::Unterminated),
    }
}

/// Appends one command: an array of bulk strings.
pub fn append_command<'a>(out: &mut BytesMut, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    append_length(out, b'*', words.len());
    for word in words {
        append_length(out, b'$', word.len());
        out.put_slice(word);
        out.put_slice(b"\r\n");
    }
}

fn append_length(out: &mut BytesMut, kind: u8, mut length: usize) {
    // 20 digits hold any number of 64 bits.
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] += u8::try_from(length % 10).expect("a digit");
        length /= 10;
        if length == 0 {
            break;
        }
    }
    out.put_u8(kind);
    out.put_slice(&digits[first..]);
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests;
