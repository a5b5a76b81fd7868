//! Value: what Redis answered, taken apart without trust.
//!
//! In:  the client library's values, whose text is text or bytes depending on what is in it.
//! Out: numbers, text, bytes, lists; or that it is of another shape.

use bytes::Bytes;
use fred::types::Value;

use super::failure::Failure;

/// Bytes of whatever kind of string, or a number in decimal.
pub(super) fn bytes(value: Value) -> Result<Bytes, Failure> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        Value::String(text) => Ok(text.into_inner()),
        Value::Integer(number) => Ok(number.to_string().into()),
        _ => Err(Failure::Garbled),
    }
}

/// Text.
pub(super) fn text(value: Value) -> Result<String, Failure> {
    String::from_utf8(bytes(value)?.to_vec()).map_err(|_| Failure::Garbled)
}

/// A number that is not negative.
pub(super) fn number(value: Value) -> Result<u64, Failure> {
    match value {
        Value::Integer(number) => u64::try_from(number).map_err(|_| Failure::Garbled),
        other => text(other)?.parse().map_err(|_| Failure::Garbled),
    }
}

/// A list. Nothing, and an empty map, are empty ones.
pub(super) fn list(value: Value) -> Result<Vec<Value>, Failure> {
    match value {
        Value::Array(values) => Ok(values),
        Value::Null => Ok(Vec::new()),
        _ => Err(Failure::Garbled),
    }
}

/// A list of exactly that many.
pub(super) fn array<const N: usize>(value: Value) -> Result<[Value; N], Failure> {
    list(value)?.try_into().map_err(|_| Failure::Garbled)
}

/// What HMGET gives for a field: nothing, or text.
pub(super) fn optional<T>(value: Value, read: fn(Value) -> Result<T, Failure>) -> Result<Option<T>, Failure> {
    match value {
        Value::Null => Ok(None),
        value => read(value).map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_alike_and_other_shapes_are_errors() {
        assert_eq!(text(Value::from_static_str("a")), Ok("a".to_owned()));
        assert_eq!(text(Value::Bytes(Bytes::from_static(b"a"))), Ok("a".to_owned()));
        assert_eq!(text(Value::Bytes(Bytes::from_static(b"\xff"))), Err(Failure::Garbled));
        assert_eq!(number(Value::from_static_str("18446744073709551615")), Ok(u64::MAX));
        assert_eq!(number(Value::Integer(-1)), Err(Failure::Garbled));
        assert_eq!(number(Value::from_static_str("+")), Err(Failure::Garbled));
        assert_eq!(array::<1>(Value::Array(vec![])), Err(Failure::Garbled));
        assert_eq!(list(Value::Null), Ok(vec![]));
        assert_eq!(bytes(Value::Null), Err(Failure::Garbled));
        assert_eq!(optional(Value::Null, number), Ok(None));
    }
}
