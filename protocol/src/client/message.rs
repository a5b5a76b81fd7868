//! What a message is: fields that have a number in Protobuf and a name in JSON.
//!
//! In:  a definition, once for a message: `number name: type`.
//! Out: the struct, and both codecs of it in both directions.
//!
//! Field types are in `field`. A field with its type's default value is not written (proto3, and the habit of
//! the JSON that SDKs know), but for those that JSON always has; an unknown field is walked over, so that newer peers can
//! say more.

use bytes::BytesMut;
use serde::Deserializer;
use serde::de::MapAccess;

use super::WireError;
use super::protobuf::{Reader, Value};

/// A message that can be read. Fields come one at a time, in any order; the last of a kind wins.
pub(super) trait ReadMessage<'a>: Default {
    /// Takes one Protobuf field in.
    fn merge_wire(&mut self, number: u32, value: Value<'a>) -> Result<(), WireError>;

    /// Takes the value of one JSON key in.
    fn merge_json<A: MapAccess<'a>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;

    /// Reads the whole of a Protobuf message.
    fn read_wire(mut reader: Reader<'a>) -> Result<Self, WireError> {
        let mut message = Self::default();
        while let Some((number, value)) = reader.next_field()? {
            message.merge_wire(number, value)?;
        }
        Ok(message)
    }
}

/// A message that can be written.
pub(super) trait WriteMessage {
    /// How many bytes [`write_body`](Self::write_body) appends.
    fn body_len(&self) -> usize;

    /// Appends the fields in Protobuf, without a length before them.
    fn write_body(&self, out: &mut BytesMut);

    /// Appends a JSON object.
    fn write_object(&self, out: &mut BytesMut);
}

/// A type that a field may have.
pub(super) trait Field<'a>: Default {
    /// True exactly when the field is left out of the message.
    fn is_default(&self) -> bool;

    /// How many bytes [`write_wire`](Self::write_wire) appends.
    fn wire_len(&self, number: u32) -> usize;

    /// Appends tag and value, the default value too.
    fn write_wire(&self, number: u32, out: &mut BytesMut);

    /// Takes one Protobuf value in: replaces what was there, or adds to it where the field is repeated.
    fn merge_wire(&mut self, value: Value<'a>) -> Result<(), WireError>;

    /// Appends a JSON value.
    fn write_json(&self, out: &mut BytesMut);

    /// Reads a JSON value.
    fn read_json<D: Deserializer<'a>>(input: D) -> Result<Self, D::Error>;
}

/// Defines a message: a struct with a public field for each `number name: type`, and its codecs.
///
/// `name [always]` is in JSON also with its default value; `name [as "key"]` is called otherwise there.
macro_rules! message {
    (
        $(#[$meta:meta])*
        pub struct $name:ident<'a> {
            $($(#[$field_meta:meta])* $number:literal $field:ident $([$($how:tt)+])?: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name<'a> { $($(#[$field_meta])* pub $field: $type,)* }
        $crate::client::message::message!(@codec [$name<'a>] [$name<'_>] $($number $field [$($($how)+)?])*);
    };
    (
        $(#[$meta:meta])*
        pub struct $name:ident {
            $($(#[$field_meta:meta])* $number:literal $field:ident $([$($how:tt)+])?: $type:ty,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $type,)* }
        $crate::client::message::message!(@codec [$name] [$name] $($number $field [$($($how)+)?])*);
    };
    (@key $field:ident as $key:literal) => { $key };
    (@key $field:ident $($how:ident)?) => { stringify!($field) };
    (@is_always always) => { true };
    (@is_always $($how:tt)*) => { false };
    (@codec [$name:ty] [$anonymous:ty] $($number:literal $field:ident [$($how:tt)*])*) => {
        impl<'a> $crate::client::message::ReadMessage<'a> for $name {
            fn merge_wire(
                &mut self,
                number: u32,
                value: $crate::client::protobuf::Value<'a>,
            ) -> Result<(), $crate::client::WireError> {
                match number {
                    $($number => $crate::client::message::Field::merge_wire(&mut self.$field, value),)*
                    _ => { let _ = value; Ok(()) }
                }
            }

            fn merge_json<A: serde::de::MapAccess<'a>>(
                &mut self,
                key: &str,
                map: &mut A,
            ) -> Result<(), A::Error> {
                match key {
                    $($crate::client::message::message!(@key $field $($how)*) => {
                        self.$field = map.next_value_seed($crate::client::json::Of::NEW)?;
                    })*
                    _ => { map.next_value::<serde::de::IgnoredAny>()?; }
                }
                Ok(())
            }
        }

        #[allow(unused_mut, unused_variables, clippy::let_and_return, reason = "some messages have no fields")]
        impl $crate::client::message::WriteMessage for $anonymous {
            fn body_len(&self) -> usize {
                let mut len = 0;
                $(if !$crate::client::message::Field::is_default(&self.$field) { len += $crate::client::message::Field::wire_len(&self.$field, $number); })*
                len
            }

            fn write_body(&self, out: &mut bytes::BytesMut) {
                $(if !$crate::client::message::Field::is_default(&self.$field) { $crate::client::message::Field::write_wire(&self.$field, $number, out); })*
            }

            fn write_object(&self, out: &mut bytes::BytesMut) {
                out.extend_from_slice(b"{");
                $(if $crate::client::message::message!(@is_always $($how)*)
                    || !$crate::client::message::Field::is_default(&self.$field)
                {
                    $crate::client::json::put_key(out, $crate::client::message::message!(@key $field $($how)*));
                    $crate::client::message::Field::write_json(&self.$field, out);
                })*
                out.extend_from_slice(b"}");
            }
        }
    };
}

/// Defines a choice: an enum with one variant for each `number "key" Variant(Body)`, of which an enclosing
/// message carries exactly one.
macro_rules! choice {
    (
        $(#[$meta:meta])*
        pub enum $name:ident<'a> {
            $($(#[$variant_meta:meta])* $number:literal $key:literal $variant:ident($body:ty),)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name<'a> { $($(#[$variant_meta])* $variant($body),)* }

        impl<'a> $name<'a> {
            /// Its key in JSON: also a name for log lines and metrics.
            pub const fn key(&self) -> &'static str {
                match self { $(Self::$variant(_) => $key,)* }
            }

            /// What the field is, or `None` where the number is not one of ours.
            pub(super) fn read_wire(
                number: u32,
                value: $crate::client::protobuf::Value<'a>,
            ) -> Result<Option<Self>, $crate::client::WireError> {
                use $crate::client::message::ReadMessage as _;
                Ok(Some(match number {
                    $($number => Self::$variant(<$body>::read_wire(value.message()?)?),)*
                    _ => return Ok(None),
                }))
            }

            /// Takes the value of `key`: what it is, or `None` where the key is not one of ours or the value null.
            pub(super) fn read_json<A: serde::de::MapAccess<'a>>(
                key: &str,
                map: &mut A,
            ) -> Result<Option<Self>, A::Error> {
                use $crate::client::json::Nullable;
                Ok(match key {
                    $($key => map.next_value_seed(Nullable::<$body>::NEW)?.map(Self::$variant),)*
                    _ => { map.next_value::<serde::de::IgnoredAny>()?; None }
                })
            }

            pub(super) fn wire_len(&self) -> usize {
                use $crate::client::message::Field as _;
                match self { $(Self::$variant(body) => body.wire_len($number),)* }
            }

            pub(super) fn write_wire(&self, out: &mut bytes::BytesMut) {
                use $crate::client::message::Field as _;
                match self { $(Self::$variant(body) => body.write_wire($number, out),)* }
            }

            pub(super) fn write_json(&self, out: &mut bytes::BytesMut) {
                use $crate::client::message::WriteMessage as _;
                $crate::client::json::put_key(out, self.key());
                match self { $(Self::$variant(body) => body.write_object(out),)* }
            }
        }
    };
}

pub(super) use {choice, message};
