//! Why a peer's bytes are not a WebSocket stream.
//!
//! In:  the fault, as a variant. It is always the peer's.
//! Out: the close code to send, and words for a log line or the close reason.

use super::CloseCode;

/// Ends the connection: after one of these, where the next frame begins is not known or does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// RFC 6455 §5.2: a reserved bit is set though no extension that gives it a meaning was negotiated.
    #[error("reserved bit set without an extension")]
    ReservedBit,
    /// RFC 6455 §5.2: opcodes 3–7 and 11–15 are reserved.
    #[error("reserved opcode {opcode}")]
    ReservedOpcode {
        /// The four bits that came.
        opcode: u8,
    },
    /// RFC 6455 §5.1: a client masks every frame.
    #[error("frame from a client is not masked")]
    MaskMissing,
    /// RFC 6455 §5.1: a server masks no frame.
    #[error("frame from a server is masked")]
    MaskForbidden,
    /// RFC 6455 §5.2: the minimal number of bytes must encode the length.
    #[error("payload length {payload_bytes} is not minimally encoded")]
    LengthNotMinimal {
        /// The length that came.
        payload_bytes: u64,
    },
    /// RFC 6455 §5.2: the most significant bit of a 64-bit length must be 0.
    #[error("payload length has its top bit set")]
    LengthTopBit,
    /// RFC 6455 §5.5: control frames carry at most 125 bytes.
    #[error("control frame longer than 125 bytes")]
    ControlTooLong,
    /// RFC 6455 §5.5: control frames are not fragmented.
    #[error("fragmented control frame")]
    ControlFragmented,
    /// RFC 6455 §5.4: a continuation continues something.
    #[error("continuation frame outside a message")]
    ContinuationOutsideMessage,
    /// RFC 6455 §5.4: fragments of two messages are not interleaved.
    #[error("new message inside a fragmented one")]
    MessageInsideMessage,
    /// RFC 6455 §5.5.1: a close body begins with a two-byte code.
    #[error("close frame with one byte")]
    CloseTruncated,
    /// RFC 6455 §7.4: this code is not for the wire.
    #[error("illegal close code {code}")]
    CloseCodeIllegal {
        /// The code that came.
        code: u16,
    },
    /// RFC 6455 §5.5.1: the reason is UTF-8.
    #[error("close reason is not UTF-8")]
    CloseReasonNotUtf8,
    /// RFC 6455 §8.1: text is UTF-8.
    #[error("text is not UTF-8")]
    TextNotUtf8,
    /// RFC 7692 §7.2.2: what a compressed message carries is DEFLATE.
    #[error("compressed message is not valid DEFLATE")]
    DeflateInvalid,
    /// Our limit, `DecoderConfig::frame_bytes_max`.
    #[error("frame of {payload_bytes} bytes, {bytes_max} are allowed")]
    FrameTooLong {
        /// The length that the frame announces.
        payload_bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// Our limit, `DecoderConfig::message_bytes_max`; for a compressed message, that of its inflated form too.
    #[error("message of {message_bytes} bytes or more, {bytes_max} are allowed")]
    MessageTooLong {
        /// The length of the message with the frame that passed the limit.
        message_bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
}

impl FrameError {
    /// The one place where this error becomes a close code (RFC 6455 §7.4.1).
    pub const fn close_code(&self) -> CloseCode {
        match self {
            Self::ReservedBit
            | Self::ReservedOpcode { .. }
            | Self::MaskMissing
            | Self::MaskForbidden
            | Self::LengthNotMinimal { .. }
            | Self::LengthTopBit
            | Self::ControlTooLong
            | Self::ControlFragmented
            | Self::ContinuationOutsideMessage
            | Self::MessageInsideMessage
            | Self::CloseTruncated
            | Self::CloseCodeIllegal { .. } => CloseCode::Protocol,
            Self::CloseReasonNotUtf8 | Self::TextNotUtf8 | Self::DeflateInvalid => CloseCode::Invalid,
            Self::FrameTooLong { .. } | Self::MessageTooLong { .. } => CloseCode::Size,
        }
    }
}
