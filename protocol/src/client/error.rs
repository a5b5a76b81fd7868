//! Why bytes are not a command, or not a reply.
//!
//! In:  the fault, as a variant. It is always the sender's.
//! Out: the disconnect that answers it, and words for a log line.
//!
//! A well-formed command that may not be obeyed is no matter of this file: that is an
//! [`ErrorCode`](super::ErrorCode) in a reply.

use super::DisconnectCode;

/// Ends the connection: the rest of the frame is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A frame carries at least one message.
    #[error("empty frame")]
    FrameEmpty,
    /// JSON is UTF-8 (RFC 8259 §8.1).
    #[error("text is not UTF-8")]
    JsonNotUtf8,
    /// Not JSON, or JSON of another shape.
    #[error("not the JSON object that was expected, near byte {column} of line {line}")]
    Json {
        /// Which line of the frame, from 1.
        line: usize,
        /// Which byte of that line, from 1.
        column: usize,
    },
    /// The length before a Protobuf message goes past the end of the frame.
    #[error("a length of {announced_bytes} bytes, {left_bytes} are left in the frame")]
    FrameTruncated {
        /// The length that came.
        announced_bytes: u64,
        /// What the frame still holds.
        left_bytes: usize,
    },
    /// Not a Protobuf message, or one of another shape.
    #[error("not the Protobuf message that was expected: {0}")]
    Protobuf(#[from] WireError),
    /// A command carries one request, a reply one result, a push one body.
    #[error("nothing is asked or said in it")]
    BodyMissing,
    /// As above: one, not several.
    #[error("more than one thing is asked or said in it")]
    BodyRepeated,
}

impl DecodeError {
    /// The one place where this error becomes a disconnect: code 3501, after which no client reconnects.
    pub const fn disconnect(&self) -> DisconnectCode {
        DisconnectCode::BAD_REQUEST
    }
}

/// Why bytes are not a Protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends inside a field.
    #[error("it ends inside a field")]
    Truncated,
    /// A varint has at most ten bytes, and at most 64 bits.
    #[error("a varint is too long")]
    VarintTooLong,
    /// Field numbers are 1 to 2^29 - 1.
    #[error("a field number is out of range")]
    FieldNumber,
    /// Groups (3 and 4) are not part of proto3; 6 and 7 mean nothing.
    #[error("wire type {0} is not known")]
    WireTypeUnknown(u8),
    /// The field is known, and has another type.
    #[error("a field has the wrong wire type")]
    WireTypeWrong,
    /// A `string` is UTF-8.
    #[error("a string is not UTF-8")]
    NotUtf8,
    /// Our limit, [`DEPTH_MAX`](super::DEPTH_MAX).
    #[error("messages are nested too deeply")]
    TooDeep,
}
