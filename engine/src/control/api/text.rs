//! Text: serializes JSON within the room for calls and the maximum length of an answer.
//!
//! In:  a value, or the text of replies.
//! Out: its JSON, with its reserved memory; or the reason why it was not serialized.

use std::io::{self, Write};

use bytes::Bytes;
use serde::Serialize;

use super::{error::ApiError, room::Hold};

/// A text of up to this length is written even without room: a caller must learn which commands were executed.
pub(super) const SHORT_BYTES_MAX: usize = 512;

/// A text and its reserved memory.
#[derive(Debug)]
pub(super) struct Text {
    bytes: Vec<u8>,
    bytes_max: usize,
    hold: Hold,
    /// Reserved bytes that are not used yet.
    spare: usize,
    /// Why the text is incomplete.
    failed: Option<ApiError>,
}

impl Text {
    /// An empty text, limited to the length of one answer. `hold` is its reservation.
    pub(super) fn new(hold: Hold) -> Self {
        let bytes_max = hold.room().answer_bytes_max;
        let spare = hold.bytes();
        Self { bytes: Vec::new(), bytes_max, hold, spare, failed: None }
    }

    /// An empty text for the answer to a batch, with room for the reply to its last command.
    pub(super) fn of_batch(hold: Hold) -> Self {
        let bytes_max = 2 * hold.room().answer_bytes_max;
        let spare = hold.bytes();
        Self { bytes: Vec::new(), bytes_max, hold, spare, failed: None }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Appends a text.
    pub(super) fn push(&mut self, text: &[u8]) -> Result<(), ApiError> {
        self.reserve(text.len())?;
        self.bytes.extend_from_slice(text);
        Ok(())
    }

    /// Appends a short text, even if there is no room.
    pub(super) fn push_short(&mut self, text: &[u8]) {
        if self.push(text).is_err() {
            self.bytes.extend_from_slice(text);
        }
    }

    /// Appends a value as JSON. After an error, the text may contain part of it.
    pub(super) fn push_json(&mut self, value: &impl Serialize) -> Result<(), ApiError> {
        serde_json::to_writer(&mut *self, value).map_err(|_| {
            let internal = || ApiError::from(holdfast_protocol::client::ErrorCode::INTERNAL);
            self.failed.take().unwrap_or_else(internal)
        })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Converts the text for sending. Its memory is released after it was sent.
    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self)
    }

    fn reserve(&mut self, more: usize) -> Result<(), ApiError> {
        let needed = self.bytes.len() + more;
        if needed > self.bytes_max {
            return Err(self.hold.room().too_long());
        }
        if needed <= self.bytes.capacity() {
            return Ok(());
        }
        let doubled = (2 * self.bytes.capacity()).max(SHORT_BYTES_MAX).min(self.bytes_max);
        let grown = match self.spare {
            0 => doubled,
            spare => doubled.min(self.bytes.capacity() + spare),
        };
        let capacity = needed.max(grown);
        let more = capacity - self.bytes.capacity();
        let unpaid = more.saturating_sub(self.spare);
        let held = if unpaid > 0 { self.hold.grow(unpaid) } else { Ok(()) };
        if needed > SHORT_BYTES_MAX {
            held?;
        }
        self.spare -= more.min(self.spare);
        self.bytes.reserve_exact(capacity - self.bytes.len());
        Ok(())
    }
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.push(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.failed = Some(error);
                Err(io::ErrorKind::OutOfMemory.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
