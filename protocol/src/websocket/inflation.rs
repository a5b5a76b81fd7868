//! From a whole compressed payload to a message (RFC 7692 §6.2).
//!
//! In:  the payload of all frames of a message, or of the first ones, and what this connection inflates with.
//! Out: the message; or the fault.
//!
//! A compressed message is inflated when its last byte is there. Until then it costs no more memory than came, and no
//! inflater is bound to a connection. What is wrong in it is found then; or before, where frames at whose ends the
//! message has grown to twice its size are looked at: inflated from the beginning, and thrown away again. So all looks
//! at a message together read no more than twice its bytes.

use super::deflate::{InflateError, Inflation};
use super::message::{Message, MessageKind, Payload};
use super::{FrameError, utf8};

/// The longest compressed form of a message that may be `message_bytes_max` long: noise in fixed Huffman codes, which
/// quick compressors make of everything, takes nine bits a byte.
pub(super) const fn deflated_bytes_max(message_bytes_max: u64) -> u64 {
    message_bytes_max.saturating_add(message_bytes_max / 8).saturating_add(64)
}

pub(super) fn message<'i>(
    kind: MessageKind,
    deflated: &[u8],
    inflation: Option<&mut Inflation<'_>>,
) -> Result<Message<'i>, FrameError> {
    // Only a decoder that has changed hands in the middle of a message could come here without one.
    let inflation = inflation.ok_or(FrameError::ReservedBit)?;
    let bytes_max = inflation.message_bytes_max;
    let payload = inflation
        .inflater
        .inflate(deflated, inflation.window.as_deref_mut(), usize::try_from(bytes_max).unwrap_or(usize::MAX))
        .map_err(|error| fault(error, bytes_max))?;
    if kind == MessageKind::Text && !utf8::is_whole(&payload) {
        return Err(FrameError::TextNotUtf8);
    }
    Ok(Message { kind, payload: Payload::Assembled(payload) })
}

/// Looks at the beginning of a message: whether it can still become one.
pub(super) fn look_at(
    kind: MessageKind,
    deflated: &[u8],
    inflation: Option<&mut Inflation<'_>>,
) -> Result<(), FrameError> {
    let inflation = inflation.ok_or(FrameError::ReservedBit)?;
    let bytes_max = inflation.message_bytes_max;
    let payload = inflation
        .inflater
        .inflate_beginning(
            deflated,
            inflation.window.as_deref(),
            usize::try_from(bytes_max).unwrap_or(usize::MAX),
        )
        .map_err(|error| fault(error, bytes_max))?;
    if kind == MessageKind::Text && utf8::check_further(&payload, 0).is_none() {
        return Err(FrameError::TextNotUtf8);
    }
    Ok(())
}

fn fault(error: InflateError, bytes_max: u64) -> FrameError {
    match error {
        InflateError::Invalid => FrameError::DeflateInvalid,
        InflateError::TooLong => {
            FrameError::MessageTooLong { message_bytes: bytes_max.saturating_add(1), bytes_max }
        }
    }
}
