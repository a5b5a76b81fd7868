//! Messages as the decoder hands them out.
//!
//! In:  a payload, where it lies.
//! Out: a slice; or shared bytes, copied only where the payload lies in the caller's receive buffer.

use std::ops::{Deref, DerefMut};

use bytes::{Bytes, BytesMut};

use super::Opcode;

/// What a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// UTF-8, checked.
    Text,
    /// Anything.
    Binary,
}

impl From<MessageKind> for Opcode {
    fn from(kind: MessageKind) -> Self {
        match kind {
            MessageKind::Text => Self::Text,
            MessageKind::Binary => Self::Binary,
        }
    }
}

/// A complete message.
#[derive(Debug, PartialEq, Eq)]
pub struct Message<'i> {
    /// Text or binary.
    pub kind: MessageKind,
    /// Unmasked, and UTF-8 where the kind is text.
    pub payload: Payload<'i>,
}

/// The payload of a message or control frame.
#[derive(Debug)]
pub enum Payload<'i> {
    /// It came in one piece and lies in the input.
    Borrowed(&'i mut [u8]),
    /// It came in several pieces, which were joined.
    Assembled(BytesMut),
}

impl Payload<'_> {
    /// Bytes that outlive the input.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Self::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Self::Assembled(bytes) => bytes.freeze(),
        }
    }
}

impl Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Assembled(bytes) => bytes,
        }
    }
}

impl DerefMut for Payload<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Assembled(bytes) => bytes,
        }
    }
}

/// Payloads are equal when their bytes are: how they came is not part of what they say.
impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload<'_> {}
