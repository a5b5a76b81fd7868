//! The Protobuf wire format: varints, tags, lengths.
//!
//! In:  the bytes of a message, borrowed.
//! Out: its fields, one by one, still borrowed; or bytes at the end of the caller's buffer.
//!
//! Nothing is allocated and nothing is copied here. Which number means what is the matter of the message types.
//! Source: the Protocol Buffers encoding guide, <https://protobuf.dev/programming-guides/encoding/>.

use bytes::{BufMut as _, BytesMut};

use super::WireError;

/// How deeply messages may be nested. Bounds the stack that a frame can ask for; the protocol itself needs 5
/// levels and those of a filter, [`filter::DEPTH_MAX`](super::filter::DEPTH_MAX).
pub const DEPTH_MAX: u8 = 32;

/// The longest varint: ⌈64 / 7⌉ bytes.
pub(super) const VARINT_BYTES_MAX: usize = 10;
/// 2^29 - 1, the largest field number.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

/// Walks over the fields of one message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    depth_left: u8,
}

/// A field's value, not yet given a type.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    /// Types of fixed size: the protocol has none, so only unknown fields come so.
    Fixed,
    Bytes(Reader<'a>),
}

impl<'a> Reader<'a> {
    pub(super) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message, depth_left: DEPTH_MAX }
    }

    /// The next field's number and value, or `None` at the end.
    pub(super) fn next_field(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = take_varint(&mut self.rest)?;
        let number = tag >> 3;
        if number == 0 || number > FIELD_NUMBER_MAX {
            return Err(WireError::FieldNumber);
        }
        let value = match tag & 7 {
            0 => Value::Varint(take_varint(&mut self.rest)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = take_varint(&mut self.rest)?;
                let bytes = self.take(usize::try_from(len).map_err(|_| WireError::Truncated)?)?;
                Value::Bytes(Self { rest: bytes, depth_left: self.depth_left })
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            unknown => return Err(WireError::WireTypeUnknown(low_byte(unknown))),
        };
        let number = u32::try_from(number).map_err(|_| WireError::FieldNumber)?;
        Ok(Some((number, value)))
    }

    /// What is left, as the bytes of a field.
    pub(super) const fn bytes(self) -> &'a [u8] {
        self.rest
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Value<'a> {
    pub(super) const fn varint(self) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            Self::Fixed | Self::Bytes(_) => Err(WireError::WireTypeWrong),
        }
    }

    pub(super) const fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(reader) => Ok(reader.bytes()),
            Self::Fixed | Self::Varint(_) => Err(WireError::WireTypeWrong),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, WireError> {
        simdutf8::basic::from_utf8(self.bytes()?).map_err(|_| WireError::NotUtf8)
    }

    /// The value as a message inside the one that it came in.
    pub(super) fn message(self) -> Result<Reader<'a>, WireError> {
        match self {
            Self::Bytes(reader) => {
                let depth_left = reader.depth_left.checked_sub(1).ok_or(WireError::TooDeep)?;
                Ok(Reader { depth_left, ..reader })
            }
            Self::Fixed | Self::Varint(_) => Err(WireError::WireTypeWrong),
        }
    }
}

/// Takes a varint off the front of `input`.
pub(super) fn take_varint(input: &mut &[u8]) -> Result<u64, WireError> {
    let mut value = 0;
    for (i, byte) in input.iter().take(VARINT_BYTES_MAX).enumerate() {
        // The tenth byte has room for one bit.
        if i + 1 == VARINT_BYTES_MAX && *byte > 1 {
            return Err(WireError::VarintTooLong);
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            *input = &input[i + 1..];
            return Ok(value);
        }
    }
    Err(if input.len() < VARINT_BYTES_MAX { WireError::Truncated } else { WireError::VarintTooLong })
}

/// How many bytes `value` takes as a varint.
pub(super) const fn varint_len(value: u64) -> usize {
    // ⌈bits / 7⌉ without a division; zero has one bit.
    ((70 - (value | 1).leading_zeros()) / 7) as usize
}

pub(super) fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.put_u8(low_byte(value));
}

/// The length of a varint field.
pub(super) const fn varint_field_len(number: u32, value: u64) -> usize {
    tag_len(number) + varint_len(value)
}

pub(super) fn put_varint_field(out: &mut BytesMut, number: u32, value: u64) {
    put_varint(out, u64::from(number) << 3);
    put_varint(out, value);
}

/// The length of a field of `len` bytes: tag, length, bytes.
pub(super) const fn bytes_field_len(number: u32, len: usize) -> usize {
    tag_len(number) + varint_len(len as u64) + len
}

/// Tag and length; the caller appends `len` bytes.
pub(super) fn put_bytes_head(out: &mut BytesMut, number: u32, len: usize) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, len as u64);
}

pub(super) fn put_bytes_field(out: &mut BytesMut, number: u32, bytes: &[u8]) {
    put_bytes_head(out, number, bytes.len());
    out.put_slice(bytes);
}

const fn tag_len(number: u32) -> usize {
    varint_len((number as u64) << 3)
}

const fn low_byte(value: u64) -> u8 {
    value.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_survive_the_way_there_and_back_and_their_length_is_known() {
        let edges = (0..64).map(|bit| 1_u64 << bit).flat_map(|edge| [edge - 1, edge, edge + 1]);
        for value in edges.chain([0, u64::MAX]) {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            assert_eq!(out.len(), varint_len(value), "{value}");
            let mut input = &out[..];
            assert_eq!(take_varint(&mut input), Ok(value));
            assert!(input.is_empty());
        }
    }

    #[test]
    fn a_varint_of_more_than_64_bits_is_refused() {
        let mut eleven = &[0x80_u8; 11][..];
        assert_eq!(take_varint(&mut eleven), Err(WireError::VarintTooLong));
        let mut sixty_five_bits = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02][..];
        assert_eq!(take_varint(&mut sixty_five_bits), Err(WireError::VarintTooLong));
        assert_eq!(take_varint(&mut &[0x80][..]), Err(WireError::Truncated));
    }

    #[test]
    fn field_zero_and_groups_are_refused_and_fixed_fields_are_walked_over() {
        assert_eq!(Reader::new(&[0x00]).next_field().unwrap_err(), WireError::FieldNumber);
        assert_eq!(Reader::new(&[0x0b]).next_field().unwrap_err(), WireError::WireTypeUnknown(3));
        let mut reader = Reader::new(&[0x0d, 1, 2, 3, 4, 0x09, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(matches!(reader.next_field(), Ok(Some((1, Value::Fixed)))));
        assert!(matches!(reader.next_field(), Ok(Some((1, Value::Fixed)))));
        assert!(matches!(reader.next_field(), Ok(None)));
        assert_eq!(Reader::new(&[0x0d, 1, 2]).next_field().unwrap_err(), WireError::Truncated);
    }
}
