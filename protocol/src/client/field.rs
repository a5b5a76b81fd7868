//! The types that a field may have, and how each is written and read in both formats.
//!
//! In:  a value, or what came for it.
//! Out: the other one of the two.
//!
//! Text and bytes borrow from the input wherever the format lets them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use bytes::{BufMut as _, BytesMut};
use serde::Deserializer;
use serde::de::{Deserialize as _, MapAccess, SeqAccess, Visitor};

use super::WireError;
use super::json::{self, Of};
use super::message::{Field, ReadMessage, WriteMessage};
use super::protobuf::{self, Reader, Value};

/// Pairs in the order in which they came. A key may be repeated: [`get`](Self::get) finds the last.
///
/// A frame of `n` bytes yields at most `n / 2` pairs; a caller with a limit of its own looks at
/// [`len`](Self::len) first.
#[derive(Debug, Clone, PartialEq)]
pub struct Map<'a, V>(pub Vec<(Cow<'a, str>, V)>);

impl<V> Default for Map<'_, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, V> Map<'a, V> {
    /// The value of `key`; the last one where it is repeated.
    pub fn get(&self, key: &str) -> Option<&V> {
        self.iter().rev().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    /// How many pairs there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// True exactly when there is no pair.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The pairs, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, (Cow<'a, str>, V)> {
        self.0.iter()
    }
}

impl<'m, 'a, V> IntoIterator for &'m Map<'a, V> {
    type Item = &'m (Cow<'a, str>, V);
    type IntoIter = std::slice::Iter<'m, (Cow<'a, str>, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, K: Into<Cow<'a, str>>, V> FromIterator<(K, V)> for Map<'a, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

/// Numbers are varints; a negative one is sign-extended to 64 bits, and bits that do not fit are cut off, both
/// as the encoding guide says.
macro_rules! number {
    ($($type:ty)*) => {$(
        impl<'a> Field<'a> for $type {
            fn is_default(&self) -> bool {
                *self == 0
            }

            fn wire_len(&self, number: u32) -> usize {
                protobuf::varint_field_len(number, widen(i128::from(*self)))
            }

            fn write_wire(&self, number: u32, out: &mut BytesMut) {
                protobuf::put_varint_field(out, number, widen(i128::from(*self)));
            }

            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_possible_wrap,
                reason = "bits that do not fit are cut off, as the encoding guide says"
            )]
            fn merge_wire(&mut self, value: Value<'a>) -> Result<(), WireError> {
                *self = value.varint()? as Self;
                Ok(())
            }

            fn write_json(&self, out: &mut BytesMut) {
                json::put_integer(out, self);
            }

            fn read_json<D: Deserializer<'a>>(input: D) -> Result<Self, D::Error> {
                Ok(Option::deserialize(input)?.unwrap_or_default())
            }
        }
    )*};
}

number! { u32 u64 i32 i64 }

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "two's complement is the wire format"
)]
const fn widen(value: i128) -> u64 {
    value as u64
}

impl<'a> Field<'a> for bool {
    fn is_default(&self) -> bool {
        !*self
    }

    fn wire_len(&self, number: u32) -> usize {
        protobuf::varint_field_len(number, u64::from(*self))
    }

    fn write_wire(&self, number: u32, out: &mut BytesMut) {
        protobuf::put_varint_field(out, number, u64::from(*self));
    }

    fn merge_wire(&mut self, value: Value<'a>) -> Result<(), WireError> {
        *self = value.varint()? != 0;
        Ok(())
    }

    fn write_json(&self, out: &mut BytesMut) {
        out.put_slice(if *self { b"true" } else { b"false" });
    }

    fn read_json<D: Deserializer<'a>>(input: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(input)?.unwrap_or_default())
    }
}

impl<'a> Field<'a> for Cow<'a, str> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn wire_len(&self, number: u32) -> usize {
        protobuf::bytes_field_len(number, self.len())
    }

    fn write_wire(&self, number: u32, out: &mut BytesMut) {
        protobuf::put_bytes_field(out, number, self.as_bytes());
    }

    fn merge_wire(&mut self, value: Value<'a>) -> Result<(), WireError> {
        *self = Cow::Borrowed(value.text()?);
        Ok(())
    }

    fn write_json(&self, out: &mut BytesMut) {
        json::put_str(out, self);
    }

    fn read_json<D: Deserializer<'a>>(input: D) -> Result<Self, D::Error> {
        json::read_text(input)
    }
}

impl<'a, M: ReadMessage<'a> + WriteMessage> Field<'a> for M {
    fn is_default(&self) -> bool {
        false
    }

    fn wire_len(&self, number: u32) -> usize {
        protobuf::bytes_field_len(number, self.body_len())
    }

    fn write_wire(&self, number: u32, out: &mut BytesMut) {
        protobuf::put_bytes_head(out, number, self.body_len());
        self.write_body(out);
    }

    fn merge_wire(&mut self, value: Value<'a>) -> Result<(), WireError> {
        *self = M::read_wire(value.message()?)?;
        Ok(())
    }

    fn write_json(&self, out: &mut BytesMut) {
        self.write_object(out);
    }

    fn read_json<D: Deserializer<'a>>(input: D) -> Result<Self, D::Error> {
        json::read_object(input)
    }
}

/// Absent and empty are two things here, and `null` is absent.
impl<'a, M: ReadMessage<'a> + WriteMessage> Field<'a> for Option<M> {
    fn is_default(&self) -> bool {
        self.is_none()
    }

    fn wire_len(&self, number: u32) -> usize {
        self.as_ref().map_or(0, |message| message.wire_len(number))
    }

    fn write_wire(&self, number: u32, out: &mut BytesMut) {
        if let Some(message) = self {
            message.write_wire(number, out);
        }
    }

    fn merge_wire(&mut self, value: Value<'a>) -> Result<(), WireError> {
        *self = Some(M::read_wire(value.message()?)?);
        Ok(())
    }

    fn write_json(&self, out: &mut BytesMut) {
        match self {
            Some(message) => message.write_object(out),
            None => out.put_slice(b"null"),
        }
    }

    fn read_json<D: Deserializer<'a>>(input: D) -> Result<Self, D::Error> {
        json::read_nullable(input)
    }
}

/// A message behind a pointer: for what is large and rare, or holds itself.
impl<'a, M: ReadMessage<'a>> ReadMessage<'a> for Box<M> {
    fn merge_wire(&mut self, number: u32, value: Value<'a>) -> Result<(), WireError> {
        M::merge_wire(self, number, value)
    }

    fn merge_json<A: MapAccess<'a>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        M::merge_json(self, key, map)
    }
}

impl<M: WriteMessage> WriteMessage for Box<M> {
    fn body_len(&self) -> usize {
        M::body_len(self)
    }

    fn write_body(&self, out: &mut BytesMut) {
        M::write_body(self, out);
    }

    fn write_object(&self, out: &mut BytesMut) {
        M::write_object(self, out);
    }
}

/// Repeated: messages or strings. (The protocol repeats no numbers, so nothing is ever packed.)
impl<'a, F: Field<'a>> Field<'a> for Vec<F> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn wire_len(&self, number: u32) -> usize {
        self.iter().map(|item| item.wire_len(number)).sum()
    }

    fn write_wire(&self, number: u32, out: &mut BytesMut) {
        for item in self {
            item.write_wire(number, out);
        }
    }

    fn merge_wire(&mut self, value: Value<'a>) -> Result<(), WireError> {
        let mut item = F::default();
        item.merge_wire(value)?;
        self.push(item);
        Ok(())
    }

    fn write_json(&self, out: &mut BytesMut) {
        out.put_u8(b'[');
        for item in self {
            json::put_comma(out);
            item.write_json(out);
        }
        out.put_u8(b']');
    }

    fn read_json<D: Deserializer<'a>>(input: D) -> Result<Self, D::Error> {
        struct Array<F>(PhantomData<F>);
        impl<'a, F: Field<'a>> Visitor<'a> for Array<F> {
            type Value = Vec<F>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }

            fn visit_some<D: Deserializer<'a>>(self, input: D) -> Result<Self::Value, D::Error> {
                input.deserialize_seq(self)
            }

            fn visit_seq<A: SeqAccess<'a>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = array.next_element_seed(Of::NEW)? {
                    items.push(item);
                }
                Ok(items)
            }
        }
        input.deserialize_option(Array(PhantomData))
    }
}

/// In Protobuf a map is a repeated message of a key, field 1, and a value, field 2.
impl<'a, V: Field<'a>> Field<'a> for Map<'a, V> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn wire_len(&self, number: u32) -> usize {
        self.iter().map(|pair| protobuf::bytes_field_len(number, pair_len(pair))).sum()
    }

    fn write_wire(&self, number: u32, out: &mut BytesMut) {
        for pair in self {
            protobuf::put_bytes_head(out, number, pair_len(pair));
            pair.0.write_wire(1, out);
            pair.1.write_wire(2, out);
        }
    }

    fn merge_wire(&mut self, value: Value<'a>) -> Result<(), WireError> {
        let mut reader: Reader<'a> = value.message()?;
        let mut pair = <(Cow<'a, str>, V)>::default();
        while let Some((number, value)) = reader.next_field()? {
            match number {
                1 => pair.0.merge_wire(value)?,
                2 => pair.1.merge_wire(value)?,
                _ => {}
            }
        }
        self.0.push(pair);
        Ok(())
    }

    fn write_json(&self, out: &mut BytesMut) {
        out.put_u8(b'{');
        for (key, value) in self {
            json::put_comma(out);
            json::put_str(out, key);
            out.put_u8(b':');
            value.write_json(out);
        }
        out.put_u8(b'}');
    }

    fn read_json<D: Deserializer<'a>>(input: D) -> Result<Self, D::Error> {
        struct Pairs<'a, V>(PhantomData<Map<'a, V>>);
        impl<'a, V: Field<'a>> Visitor<'a> for Pairs<'a, V> {
            type Value = Map<'a, V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_none<E>(self) -> Result<Self::Value, E> {
                Ok(Map::default())
            }

            fn visit_some<D: Deserializer<'a>>(self, input: D) -> Result<Self::Value, D::Error> {
                input.deserialize_map(self)
            }

            fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Map::default();
                while let Some(key) = map.next_key_seed(Of::NEW)? {
                    pairs.0.push((key, map.next_value_seed(Of::NEW)?));
                }
                Ok(pairs)
            }
        }
        input.deserialize_option(Pairs(PhantomData))
    }
}

fn pair_len<'a, V: Field<'a>>((key, value): &(Cow<'a, str>, V)) -> usize {
    key.wire_len(1) + value.wire_len(2)
}
