//! What a decoder keeps while something is incomplete: fragments (RFC 6455 §5.4) and pieces of frames.
//!
//! In:  pieces, unmasked, in order.
//! Out: the header, payload or message, once it is whole.
//!
//! Memory follows what has come, never what was announced: at most twice the bytes received, and never more
//! than twice `message_bytes_max` plus a control frame and this struct.

use bytes::BytesMut;

use super::deflate::Inflation;
use super::frame::{FrameHeader, HEADER_BYTES_MAX, Role};
use super::message::{Message, MessageKind, Payload};
use super::{FrameError, Opcode, inflation, utf8};

/// At least one of the four is there; a decoder without any has no assembly.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// The beginning of a header.
    pub header: HeaderPrefix,
    /// A frame whose payload is incomplete: `payload_bytes` are still to come, `mask` applies to their first.
    pub frame: Option<FrameHeader>,
    /// The beginning of that frame's payload, if it is a control frame.
    pub control: BytesMut,
    /// The message whose last frame is incomplete.
    pub message: Option<OpenMessage>,
}

impl Assembly {
    pub(super) fn is_empty(&self) -> bool {
        self.header.is_empty() && self.frame.is_none() && self.control.is_empty() && self.message.is_none()
    }

    /// Bytes of memory held, this struct included.
    pub(super) fn buffered_bytes(&self) -> usize {
        let message_bytes = self.message.as_ref().map_or(0, |message| message.payload.capacity());
        size_of::<Self>() + self.control.capacity() + message_bytes
    }
}

/// The bytes of a header that has not come whole.
#[derive(Debug, Default)]
pub(super) struct HeaderPrefix {
    bytes: [u8; HEADER_BYTES_MAX],
    len: usize,
}

impl HeaderPrefix {
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Goes on with `input`; the number is how much of it was used. Without a header, all of it was.
    pub(super) fn join(
        &mut self,
        input: &[u8],
        reader: Role,
        may_compress: bool,
    ) -> Result<(Option<FrameHeader>, usize), FrameError> {
        let held = self.len;
        let joined = HEADER_BYTES_MAX.min(held + input.len());
        self.bytes[held..joined].copy_from_slice(&input[..joined - held]);
        match FrameHeader::parse(&self.bytes[..joined], reader, may_compress)? {
            Some((header, header_bytes)) => {
                self.len = 0;
                Ok((Some(header), header_bytes - held))
            }
            None => {
                self.len = joined;
                Ok((None, joined - held))
            }
        }
    }
}

/// A message whose end has not come.
#[derive(Debug)]
pub(super) struct OpenMessage {
    kind: MessageKind,
    compressed: bool,
    payload: BytesMut,
    /// Of a text, how much is known to be UTF-8: all but an unfinished last character. Of a compressed message, how much
    /// was looked at.
    checked_bytes: usize,
}

impl OpenMessage {
    /// `first` is the header of the first frame.
    pub(super) fn new(first: &FrameHeader) -> Self {
        let kind = if first.opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary };
        Self { kind, compressed: first.compressed, payload: BytesMut::new(), checked_bytes: 0 }
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.compressed
    }

    pub(super) fn len(&self) -> usize {
        self.payload.len()
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), FrameError> {
        self.payload.extend_from_slice(piece);
        if self.kind == MessageKind::Text && !self.compressed {
            self.checked_bytes =
                utf8::check_further(&self.payload, self.checked_bytes).ok_or(FrameError::TextNotUtf8)?;
        }
        Ok(())
    }

    /// A frame has ended, and another one is to come.
    pub(super) fn end_frame(&mut self, inflation: Option<&mut Inflation<'_>>) -> Result<(), FrameError> {
        if self.compressed && !self.payload.is_empty() && self.payload.len() >= 2 * self.checked_bytes {
            self.checked_bytes = self.payload.len();
            inflation::look_at(self.kind, &self.payload, inflation)?;
        }
        Ok(())
    }

    pub(super) fn finish<'i>(self, inflation: Option<&mut Inflation<'_>>) -> Result<Message<'i>, FrameError> {
        if self.compressed {
            return inflation::message(self.kind, &self.payload, inflation);
        }
        if self.kind == MessageKind::Text && self.checked_bytes != self.payload.len() {
            return Err(FrameError::TextNotUtf8);
        }
        Ok(Message { kind: self.kind, payload: Payload::Assembled(self.payload) })
    }
}
