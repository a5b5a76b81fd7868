//! Wire: the Protobuf wire format, as much of it as messages between nodes need.
//!
//! In:  bytes of a peer; fields of ours.
//! Out: fields, borrowed; bytes at the end of the caller's buffer.
//!
//! holdfast-protocol has the same for what clients say, and keeps it to itself. Nothing recurses here: a message inside
//! another one is bytes, which its owner reads by a reader of its own.
//! Source: the Protocol Buffers encoding guide, <https://protobuf.dev/programming-guides/encoding/>.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use holdfast_protocol::client::WireError;

/// 2^29 - 1, the largest field number.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;
/// The longest varint: ⌈64 / 7⌉ bytes.
const VARINT_BYTES_MAX: usize = 10;

/// Walks over the fields of one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

/// A field's value, not yet given a type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'a> {
    Varint(u64),
    /// Of 8 bytes: a double.
    Fixed64(u64),
    /// Of 4 bytes, of which no known field is.
    Fixed32,
    Bytes(&'a [u8]),
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field's number and value, or `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, WireError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number > FIELD_NUMBER_MAX {
            return Err(WireError::FieldNumber);
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(self.take(8)?);
                Value::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed32)?,
            unknown => return Err(WireError::WireTypeUnknown(low_byte(unknown))),
        };
        Ok(Some((number, value)))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for at in 0..VARINT_BYTES_MAX {
            let byte = *self.0.get(at).ok_or(WireError::Truncated)?;
            // The tenth byte has room for one bit.
            if at + 1 == VARINT_BYTES_MAX && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = &self.0[at + 1..];
                return Ok(value);
            }
        }
        Err(WireError::VarintTooLong)
    }
}

impl<'a> Value<'a> {
    pub(crate) const fn varint(self) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            Self::Fixed64(_) | Self::Fixed32 | Self::Bytes(_) => Err(WireError::WireTypeWrong),
        }
    }

    /// Bits that do not fit are cut off, as the encoding guide says.
    #[allow(clippy::cast_possible_truncation, reason = "the encoding guide says to cut")]
    pub(crate) fn int32(self) -> Result<u32, WireError> {
        Ok(self.varint()? as u32)
    }

    pub(crate) fn int64(self) -> Result<i64, WireError> {
        Ok(self.varint()?.cast_signed())
    }

    pub(crate) fn is_true(self) -> Result<bool, WireError> {
        Ok(self.varint()? != 0)
    }

    pub(crate) const fn double(self) -> Result<f64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            Self::Varint(_) | Self::Fixed32 | Self::Bytes(_) => Err(WireError::WireTypeWrong),
        }
    }

    pub(crate) const fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed64(_) | Self::Fixed32 => Err(WireError::WireTypeWrong),
        }
    }

    pub(crate) fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| WireError::NotUtf8)
    }

    pub(crate) fn cow(self) -> Result<Cow<'a, str>, WireError> {
        self.text().map(Cow::Borrowed)
    }
}

/// Appends varint field `number`, but nothing for 0, as proto3 has it.
pub(crate) fn put_number(out: &mut BytesMut, number: u32, value: u64) {
    if value != 0 {
        put_varint(out, u64::from(number) << 3);
        put_varint(out, value);
    }
}

/// Appends a bool, but nothing for false.
pub(crate) fn put_bool(out: &mut BytesMut, number: u32, value: bool) {
    put_number(out, number, u64::from(value));
}

/// Appends bytes or text, but nothing for none.
pub(crate) fn put_bytes(out: &mut BytesMut, number: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_present(out, number, bytes);
    }
}

/// Appends bytes, also where there are none: a message that is there, or an item of a list.
pub(crate) fn put_present(out: &mut BytesMut, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

/// Appends a double, also 0.
pub(crate) fn put_double(out: &mut BytesMut, number: u32, value: f64) {
    put_varint(out, u64::from(number) << 3 | 1);
    out.put_u64_le(value.to_bits());
}

/// Appends a message that `write` writes.
pub(crate) fn put_message(out: &mut BytesMut, number: u32, write: impl FnOnce(&mut BytesMut)) {
    let mut message = BytesMut::new();
    write(&mut message);
    put_present(out, number, &message);
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.put_u8(low_byte(value));
}

const fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_survive_the_way_there_and_back() {
        let edges = (0..64).map(|bit| 1_u64 << bit).flat_map(|edge| [edge - 1, edge, edge + 1]);
        for value in edges.chain([u64::MAX]) {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            assert_eq!(Reader::new(&out).varint(), Ok(value));
        }
    }

    #[test]
    fn what_is_no_field_is_refused() {
        let error = |bytes| Reader::new(bytes).next().unwrap_err();
        assert_eq!(error(&[0x00]), WireError::FieldNumber);
        assert_eq!(error(&[0x0b]), WireError::WireTypeUnknown(3));
        assert_eq!(error(&[0x0a, 5, 1]), WireError::Truncated);
        assert_eq!(error(&[0x08]), WireError::Truncated);
        assert_eq!(error(&[0x80; 11]), WireError::VarintTooLong);
        assert_eq!(
            error(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
            WireError::VarintTooLong
        );
        assert_eq!(
            error(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            WireError::Truncated
        );
    }

    #[test]
    fn a_field_of_another_type_is_refused() {
        let (_, value) = Reader::new(&[0x08, 1]).next().unwrap().unwrap();
        assert_eq!(value.text(), Err(WireError::WireTypeWrong));
        let (_, value) = Reader::new(&[0x0a, 1, 0xff]).next().unwrap().unwrap();
        assert_eq!(value.varint(), Err(WireError::WireTypeWrong));
        assert_eq!(value.text(), Err(WireError::NotUtf8));
    }
}
