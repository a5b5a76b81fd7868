//! Emulation: commands of a session whose transport carries only what the server says.
//!
//! In:  the body of a POST to `/emulation`.
//! Out: whose session it is, and a frame for [`decode_commands`](super::decode_commands).
//!
//! Whether the session exists, and whether it is the sender's, is not known here.

use std::borrow::Cow;

use bytes::BytesMut;
use serde::Deserializer;

use super::message::{Field, ReadMessage as _, WriteMessage as _, message};
use super::protobuf::{self, Reader, Value};
use super::{DecodeError, Format, WireError, json};

message! {
    /// Commands for a session that lives in another connection.
    pub struct EmulationRequest<'a> {
        /// The node that has the session.
        1 node: Cow<'a, str>,
        /// The session; a secret that stands for the right to speak in it.
        2 session: Cow<'a, str>,
        /// A frame of commands. In JSON it comes as a string that holds the lines.
        3 data: Cow<'a, [u8]>,
    }
}

impl<'a> EmulationRequest<'a> {
    /// Reads a body. There is one request in it, without a length before it.
    pub fn decode(format: Format, body: &'a [u8]) -> Result<Self, DecodeError> {
        match format {
            Format::Json => {
                let text = simdutf8::basic::from_utf8(body).map_err(|_| DecodeError::JsonNotUtf8)?;
                let mut input = serde_json::Deserializer::from_str(text);
                json::read_object(&mut input)
                    .and_then(|request| input.end().map(|()| request))
                    .map_err(|error| DecodeError::Json { line: error.line(), column: error.column() })
            }
            Format::Protobuf => Ok(Self::read_wire(Reader::new(body))?),
        }
    }

    /// Appends the body. In JSON, `data` must be UTF-8, as every frame of JSON commands is.
    pub fn encode(&self, format: Format, out: &mut BytesMut) {
        match format {
            Format::Json => self.write_object(out),
            Format::Protobuf => self.write_body(out),
        }
    }
}

impl<'a> Field<'a> for Cow<'a, [u8]> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn wire_len(&self, number: u32) -> usize {
        protobuf::bytes_field_len(number, self.len())
    }

    fn write_wire(&self, number: u32, out: &mut BytesMut) {
        protobuf::put_bytes_field(out, number, self);
    }

    fn merge_wire(&mut self, value: Value<'a>) -> Result<(), WireError> {
        *self = Cow::Borrowed(value.bytes()?);
        Ok(())
    }

    fn write_json(&self, out: &mut BytesMut) {
        json::put_str(out, &String::from_utf8_lossy(self));
    }

    fn read_json<D: Deserializer<'a>>(input: D) -> Result<Self, D::Error> {
        Ok(match json::read_text(input)? {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }
}
