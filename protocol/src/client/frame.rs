//! Frames: several messages in one piece of a transport, in either format.
//!
//! In:  the payload of a WebSocket message, the body of a request; or messages to send.
//! Out: the messages one by one; or bytes at the end of the caller's buffer.
//!
//! JSON is one object a line, lines joined by `\n`; Protobuf is a length as a varint before each message. The
//! caller bounds the frame: nothing here allocates more than a constant factor of its length.

use std::marker::PhantomData;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::command::CommandFields;
use super::message::{ReadMessage, WriteMessage};
use super::protobuf::{self, Reader};
use super::reply::{Pushed, ReplyFields};
use super::{Command, DecodeError, FromClient, FromServer, Push, Reply, json};

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Text: one object a line.
    Json,
    /// Binary: a length before each message.
    Protobuf,
}

impl Format {
    /// Both, for tables with a place for each.
    pub const ALL: [Self; 2] = [Self::Json, Self::Protobuf];

    /// A ping, as a frame of its own. A pong is the same bytes.
    pub const fn empty_message(self) -> &'static [u8] {
        match self {
            Self::Json => b"{}",
            Self::Protobuf => b"\0",
        }
    }
}

/// The commands of one frame.
pub const fn decode_commands(format: Format, frame: &[u8]) -> Messages<'_, FromClient<'_>> {
    Messages::new(format, frame)
}

/// The replies and pushes of one frame.
pub const fn decode_replies(format: Format, frame: &[u8]) -> Messages<'_, FromServer<'_>> {
    Messages::new(format, frame)
}

/// Appends a command to a frame. `frame` holds nothing but what this file put there.
pub fn append_command(format: Format, frame: &mut BytesMut, command: &Command<'_>) {
    append(format, frame, command);
}

/// Appends a reply to a frame. `frame` holds nothing but what this file put there.
pub fn append_reply(format: Format, frame: &mut BytesMut, reply: &Reply<'_>) {
    append(format, frame, reply);
}

/// Appends a push to a frame. `frame` holds nothing but what this file put there.
pub fn append_push(format: Format, frame: &mut BytesMut, push: &Push<'_>) {
    append(format, frame, &Pushed(push));
}

/// Appends a message that is already encoded: of [`encode_push`] or [`Format::empty_message`].
pub fn append_encoded(format: Format, frame: &mut BytesMut, message: &[u8]) {
    put_separator(format, frame);
    frame.put_slice(message);
}

/// A push on its own: the bytes that all its receivers share. They are a whole frame; in a frame with others
/// they stand where [`append_encoded`] puts them.
pub fn encode_push(format: Format, push: &Push<'_>) -> Bytes {
    let mut out = BytesMut::with_capacity(capacity(format, push));
    append_push(format, &mut out, push);
    out.freeze()
}

/// The messages of one frame. Ends after the first fault: what follows one is not to be trusted.
#[derive(Debug, Clone)]
pub struct Messages<'a, M> {
    format: Format,
    /// `None` after the last message or the first fault.
    rest: Option<&'a [u8]>,
    line: usize,
    message: PhantomData<M>,
}

impl<'a, M> Messages<'a, M> {
    const fn new(format: Format, frame: &'a [u8]) -> Self {
        Self { format, rest: Some(frame), line: 0, message: PhantomData }
    }

    /// What has not been read yet: a frame of its own, unless it is empty.
    pub fn rest(&self) -> &'a [u8] {
        self.rest.unwrap_or_default()
    }

    fn step<F: ReadMessage<'a>>(
        &mut self,
        check: impl FnOnce(F) -> Result<M, DecodeError>,
    ) -> Option<Result<M, DecodeError>> {
        let rest = self.rest.take()?;
        if rest.is_empty() {
            return (self.line == 0).then_some(Err(DecodeError::FrameEmpty));
        }
        self.line += 1;
        let read = match self.format {
            Format::Json => self.next_line(rest),
            Format::Protobuf => self.next_delimited(rest),
        };
        let message = read.and_then(check);
        if message.is_err() {
            self.rest = None;
        }
        Some(message)
    }

    fn next_line<F: ReadMessage<'a>>(&mut self, rest: &'a [u8]) -> Result<F, DecodeError> {
        let end = memchr::memchr(b'\n', rest);
        // A line break after the last line is allowed, so the rest may be empty.
        self.rest = end.map(|end| &rest[end + 1..]);
        let line = &rest[..end.unwrap_or(rest.len())];
        let text = simdutf8::basic::from_utf8(line).map_err(|_| DecodeError::JsonNotUtf8)?;
        let mut input = serde_json::Deserializer::from_str(text);
        json::read_object(&mut input)
            .and_then(|message| input.end().map(|()| message))
            .map_err(|error| DecodeError::Json { line: self.line, column: error.column() })
    }

    fn next_delimited<F: ReadMessage<'a>>(&mut self, mut rest: &'a [u8]) -> Result<F, DecodeError> {
        let announced_bytes = protobuf::take_varint(&mut rest)?;
        let (message, rest) = usize::try_from(announced_bytes)
            .ok()
            .and_then(|len| rest.split_at_checked(len))
            .ok_or(DecodeError::FrameTruncated { announced_bytes, left_bytes: rest.len() })?;
        self.rest = Some(rest);
        Ok(F::read_wire(Reader::new(message))?)
    }
}

impl<'a> Iterator for Messages<'a, FromClient<'a>> {
    type Item = Result<FromClient<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(CommandFields::check)
    }
}

impl<'a> Iterator for Messages<'a, FromServer<'a>> {
    type Item = Result<FromServer<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step(ReplyFields::check)
    }
}

fn append(format: Format, frame: &mut BytesMut, message: &impl WriteMessage) {
    match format {
        Format::Json => {
            put_separator(format, frame);
            message.write_object(frame);
        }
        Format::Protobuf => {
            let len = message.body_len();
            frame.reserve(len + protobuf::VARINT_BYTES_MAX);
            protobuf::put_varint(frame, len as u64);
            message.write_body(frame);
        }
    }
}

fn put_separator(format: Format, frame: &mut BytesMut) {
    if format == Format::Json && !frame.is_empty() {
        frame.put_u8(b'\n');
    }
}

/// Room for a push, so that its buffer is allocated once: exact in Protobuf, and in JSON enough for most, where
/// names and punctuation come on top.
fn capacity(format: Format, push: &Push<'_>) -> usize {
    const JSON_NAMES_BYTES: usize = 160;
    let wire = Pushed(push).body_len() + protobuf::VARINT_BYTES_MAX;
    match format {
        Format::Json => wire + JSON_NAMES_BYTES,
        Format::Protobuf => wire,
    }
}
