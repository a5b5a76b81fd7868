//! Payloads: bytes of applications, which we carry and do not read.
//!
//! In:  bytes from a client, from the server API, from a store.
//! Out: the same bytes in Protobuf; in JSON a value that never breaks the line it stands in.
//!
//! In JSON a payload is not a string but part of the text, so what one client publishes in Protobuf could break
//! the frames of all who listen in JSON. Centrifugo embeds the bytes as they are and leaves it to the
//! application. We do not: what is not JSON goes to JSON clients as a string in base64, the way in which the
//! server API takes bytes (`b64data`), and line breaks between tokens become spaces, since they separate the
//! messages of a frame. Protobuf clients always get the very bytes.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use data_encoding::BASE64;
use serde::Deserializer;
use serde::de::{Deserialize as _, IgnoredAny};
use serde_json::value::RawValue;

use super::message::Field;
use super::protobuf::{self, Value};
use super::{WireError, json};

/// The bytes of an application, and what is known of them. Empty where there is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Payload<'a> {
    bytes: &'a [u8],
    form: PayloadForm,
}

/// What a payload was found to be. A store keeps it with the bytes, so that they are checked once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PayloadForm(Form);

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Form {
    /// Nobody has looked yet.
    #[default]
    Unknown,
    /// One JSON value.
    Json,
    /// Not JSON.
    Binary,
    /// UTF-8, to be written as a JSON string: what a delta subscription takes.
    Quoted,
}

impl<'a> Payload<'a> {
    /// Bytes that nobody has looked at. They are checked when they are first written as JSON, and each time
    /// anew: where there are several receivers, [`checked`](Self::checked) comes first.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, form: PayloadForm(Form::Unknown) }
    }

    /// Bytes that were checked before. `form` is the one of these bytes; another one would break frames.
    pub const fn with_form(bytes: &'a [u8], form: PayloadForm) -> Self {
        Self { bytes, form }
    }

    /// Text that goes to JSON clients as a string, with escapes: payloads and patches of a subscription that
    /// has agreed to deltas. For a payload, `text` is that of [`json_text`](Self::json_text).
    pub const fn quoted(text: &'a str) -> Self {
        Self { bytes: text.as_bytes(), form: PayloadForm(Form::Quoted) }
    }

    /// The same payload, with its form known.
    #[must_use]
    pub fn checked(self) -> Self {
        let form = match self.form.0 {
            Form::Unknown if is_json(self.bytes) => Form::Json,
            Form::Unknown => Form::Binary,
            known => known,
        };
        Self { form: PayloadForm(form), ..self }
    }

    /// What is known of the bytes.
    pub const fn form(self) -> PayloadForm {
        self.form
    }

    /// The bytes.
    pub const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// True exactly when there are no bytes; the field is then left out.
    pub const fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The JSON text that stands for the payload with JSON clients: the bytes themselves where they are JSON,
    /// otherwise a string in base64.
    pub fn json_text(self) -> Cow<'a, str> {
        match (self.checked().form.0, simdutf8::basic::from_utf8(self.bytes)) {
            (Form::Json | Form::Quoted, Ok(text)) => Cow::Borrowed(text),
            _ => Cow::Owned(format!("\"{}\"", BASE64.encode(self.bytes))),
        }
    }

    /// The opposite of [`quoted`](Self::quoted), for the receiver: the text of a payload that is a JSON string.
    pub fn unquoted(self) -> Option<Cow<'a, str>> {
        let mut input = serde_json::Deserializer::from_slice(self.bytes);
        json::read_text(&mut input).ok()
    }
}

/// Payloads are equal when their bytes are: what is known of them is not part of what they say.
impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Payload<'_> {}

impl<'a> Field<'a> for Payload<'a> {
    fn is_default(&self) -> bool {
        self.is_empty()
    }

    fn wire_len(&self, number: u32) -> usize {
        protobuf::bytes_field_len(number, self.bytes.len())
    }

    fn write_wire(&self, number: u32, out: &mut BytesMut) {
        protobuf::put_bytes_field(out, number, self.bytes);
    }

    fn merge_wire(&mut self, value: Value<'a>) -> Result<(), WireError> {
        *self = Self::new(value.bytes()?);
        Ok(())
    }

    fn write_json(&self, out: &mut BytesMut) {
        match (self.checked().form.0, self.bytes) {
            (Form::Json, json) => put_line(out, json),
            (Form::Quoted, text) => json::put_str(out, &String::from_utf8_lossy(text)),
            (Form::Unknown | Form::Binary, bytes) => put_base64(out, bytes),
        }
    }

    fn read_json<D: Deserializer<'a>>(input: D) -> Result<Self, D::Error> {
        let json = <&RawValue>::deserialize(input)?;
        Ok(Self { bytes: json.get().as_bytes(), form: PayloadForm(Form::Json) })
    }
}

/// True exactly when `bytes` are one JSON value (RFC 8259). Takes no stack for nested values.
fn is_json(bytes: &[u8]) -> bool {
    // serde_json leaves the text of strings that it skips unchecked.
    let Ok(text) = simdutf8::basic::from_utf8(bytes) else { return false };
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Appends valid JSON. In it a line break stands between tokens only: strings have theirs escaped (RFC 8259 §7).
fn put_line(out: &mut BytesMut, json: &[u8]) {
    let mut rest = json;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        out.put_slice(&rest[..at]);
        out.put_u8(b' ');
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
}

fn put_base64(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u8(b'"');
    out.put_slice(BASE64.encode(bytes).as_bytes());
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_json(payload: Payload<'_>) -> String {
        let mut out = BytesMut::new();
        payload.write_json(&mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn json_is_embedded_as_it_is() {
        for json in ["{\"a\":[1,2]}", "null", "\"text\"", "-1.5e3", " [ ] "] {
            assert_eq!(in_json(Payload::new(json.as_bytes())), json);
        }
    }

    #[test]
    fn line_breaks_between_tokens_become_spaces() {
        assert_eq!(in_json(Payload::new(b"{\r\n\"a\": \"x\\ny\"\n}")), "{  \"a\": \"x\\ny\" }");
    }

    #[test]
    fn what_is_not_json_is_a_string_in_base64() {
        for bytes in [&b"hello"[..], b"{\"a\":1", b"1 2", b"\xff\x00", b"\"\xff\"", b"\"\n\""] {
            assert_eq!(in_json(Payload::new(bytes)), format!("\"{}\"", BASE64.encode(bytes)));
            assert_eq!(Payload::new(bytes).json_text(), in_json(Payload::new(bytes)));
        }
    }

    #[test]
    fn a_quoted_payload_is_a_string_that_holds_the_text() {
        let quoted = in_json(Payload::quoted("{\"a\":\n1}"));
        assert_eq!(quoted, "\"{\\\"a\\\":\\n1}\"");
        assert_eq!(Payload::new(quoted.as_bytes()).unquoted().unwrap(), "{\"a\":\n1}");
        assert_eq!(Payload::new(b"{}").unquoted(), None);
    }

    #[test]
    fn a_form_is_found_once_and_kept() {
        let form = Payload::new(b"[1]").checked().form();
        assert_eq!(Payload::with_form(b"[1]", form).form(), form);
        assert_ne!(Payload::new(b"[1").checked().form(), form);
    }

    #[test]
    fn nesting_takes_no_stack() {
        let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
        assert!(is_json(&deep));
        assert!(!is_json(&deep[1..]));
    }
}
