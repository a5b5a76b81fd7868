//! JSON, as far as serde_json leaves it to us: writing, and reading without copies.
//!
//! In:  values to write; or a `serde` deserializer over one line.
//! Out: JSON without white space at the end of the caller's buffer; or strings that borrow from the line where
//!      it has no escapes.
//!
//! Raw payloads are not checked here: [`Payload`](super::Payload) guarantees them.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;

use bytes::{BufMut as _, BytesMut};
use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};

use super::message::{Field, ReadMessage};

/// Appends a comma where a value precedes: an opening brace or bracket never ends a value.
pub(super) fn put_comma(out: &mut BytesMut) {
    if !matches!(out.last(), Some(b'{' | b'[')) {
        out.put_u8(b',');
    }
}

/// Appends a key that needs no escapes, such as a field's name, and the comma before it.
pub(super) fn put_key(out: &mut BytesMut, key: &str) {
    put_comma(out);
    out.put_u8(b'"');
    out.put_slice(key.as_bytes());
    out.put_slice(b"\":");
}

/// Appends a string with the escapes that RFC 8259 §7 demands, and no others.
pub(super) fn put_str(out: &mut BytesMut, text: &str) {
    out.put_u8(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|byte| needs_escape(*byte)) {
        out.put_slice(&rest[..at]);
        put_escape(out, rest[at]);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
    out.put_u8(b'"');
}

/// Appends an integer.
pub(super) fn put_integer(out: &mut BytesMut, value: impl fmt::Display) {
    // A BytesMut grows: it is full only where memory is, and then the allocator has spoken already.
    let _ = write!(out, "{value}");
}

const fn needs_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn put_escape(out: &mut BytesMut, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.put_slice(b"\\\""),
        b'\\' => out.put_slice(b"\\\\"),
        b'\n' => out.put_slice(b"\\n"),
        b'\r' => out.put_slice(b"\\r"),
        b'\t' => out.put_slice(b"\\t"),
        other => {
            out.put_slice(b"\\u00");
            out.put_u8(HEX[usize::from(other >> 4)]);
            out.put_u8(HEX[usize::from(other & 15)]);
        }
    }
}

/// Reads a string, empty where there is a `null`: borrowed where it has no escapes, otherwise owned.
pub(super) fn read_text<'a, D: Deserializer<'a>>(input: D) -> Result<Cow<'a, str>, D::Error> {
    struct Text;
    impl<'a> Visitor<'a> for Text {
        type Value = Cow<'a, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a string")
        }

        fn visit_borrowed_str<E: Error>(self, text: &'a str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.to_owned()))
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(""))
        }

        fn visit_some<D: Deserializer<'a>>(self, input: D) -> Result<Self::Value, D::Error> {
            input.deserialize_str(self)
        }
    }
    input.deserialize_option(Text)
}

/// Reads an object into a message; keys that it does not know are left out.
pub(super) fn read_object<'a, M: ReadMessage<'a>, D: Deserializer<'a>>(input: D) -> Result<M, D::Error> {
    struct Object<M>(PhantomData<M>);
    impl<'a, M: ReadMessage<'a>> Visitor<'a> for Object<M> {
        type Value = M;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<M, A::Error> {
            let mut message = M::default();
            while let Some(key) = map.next_key_seed(Of::<Cow<'a, str>>::NEW)? {
                message.merge_json(&key, &mut map)?;
            }
            Ok(message)
        }
    }
    input.deserialize_map(Object(PhantomData))
}

/// Reads a value, or `None` where there is a `null`: SDKs write one for what is not set.
pub(super) fn read_nullable<'a, F: Field<'a>, D: Deserializer<'a>>(input: D) -> Result<Option<F>, D::Error> {
    struct Nullable<F>(PhantomData<F>);
    impl<'a, F: Field<'a>> Visitor<'a> for Nullable<F> {
        type Value = Option<F>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a value or null")
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'a>>(self, input: D) -> Result<Self::Value, D::Error> {
            F::read_json(input).map(Some)
        }
    }
    input.deserialize_option(Nullable(PhantomData))
}

/// A seed that reads an object into a message of which only the reading half exists, or `None` for a `null`.
pub(super) struct Object<M>(PhantomData<M>);

impl<M> Object<M> {
    pub(super) const NEW: Self = Self(PhantomData);
}

impl<'a, M: ReadMessage<'a>> DeserializeSeed<'a> for Object<M> {
    type Value = Option<M>;

    fn deserialize<D: Deserializer<'a>>(self, input: D) -> Result<Self::Value, D::Error> {
        input.deserialize_option(self)
    }
}

impl<'a, M: ReadMessage<'a>> Visitor<'a> for Object<M> {
    type Value = Option<M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'a>>(self, input: D) -> Result<Self::Value, D::Error> {
        read_object(input).map(Some)
    }
}

/// A seed that reads an `F`, for the places where `serde` asks for one.
pub(super) struct Of<F>(PhantomData<F>);

impl<F> Of<F> {
    pub(super) const NEW: Self = Self(PhantomData);
}

impl<'a, F: Field<'a>> DeserializeSeed<'a> for Of<F> {
    type Value = F;

    fn deserialize<D: Deserializer<'a>>(self, input: D) -> Result<F, D::Error> {
        F::read_json(input)
    }
}

/// A seed that reads an `F`, or `None` where there is a `null`.
pub(super) struct Nullable<F>(PhantomData<F>);

impl<F> Nullable<F> {
    pub(super) const NEW: Self = Self(PhantomData);
}

impl<'a, F: Field<'a>> DeserializeSeed<'a> for Nullable<F> {
    type Value = Option<F>;

    fn deserialize<D: Deserializer<'a>>(self, input: D) -> Result<Self::Value, D::Error> {
        read_nullable(input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_written_so_that_serde_json_reads_it_back() {
        let all: String = (0..0x300).filter_map(char::from_u32).chain("\u{2028}😀".chars()).collect();
        let mut out = BytesMut::new();
        put_str(&mut out, &all);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), all);
        assert!(!out.iter().any(|byte| *byte < 0x20));
    }

    #[test]
    fn commas_stand_between_values_only() {
        let mut out = BytesMut::from(&b"{"[..]);
        put_key(&mut out, "a");
        put_integer(&mut out, 1);
        put_key(&mut out, "b");
        put_integer(&mut out, -2);
        assert_eq!(out, "{\"a\":1,\"b\":-2");
    }
}
