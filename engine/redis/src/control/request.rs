//! Request: clients' requests for sessions of another node, on their way to it and back.
//!
//! In:  what a client sent to the wrong node.
//! Out: the same, as that node reads it.
//!
//! Commands for the session of a stream are Centrifugo's survey [`EMULATION_OP`], whose data is the client protocol's
//! `EmulationRequest`. Polls wait for longer than a survey, and are notifications of ours: [`POLL_OP`], answered by
//! [`POLLED_OP`]. No I/O, no clock.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::client::WireError;

use crate::wire::{Reader, put_bytes, put_number};

/// Centrifugo's survey to the one node that has the session.
pub const EMULATION_OP: &str = "centrifuge_emulation";
/// A poll for a session of the receiver.
pub const POLL_OP: &str = "holdfast.poll";
/// The answer to a poll.
pub const POLLED_OP: &str = "holdfast.polled";
/// The history of a channel was removed, whose name is the data.
pub const HISTORY_REMOVED_OP: &str = "holdfast.history_removed";

/// A poll.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PollRequest<'a> {
    /// Which of the sender's.
    pub id: u64,
    /// The session, without its node.
    pub session: Cow<'a, str>,
    /// The highest sequence that the client has received.
    pub received: u64,
    /// A frame of commands.
    pub commands: &'a [u8],
}

impl<'a> PollRequest<'a> {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// It is no Protobuf message, or one of another shape.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (mut fields, mut request) = (Reader::new(bytes), Self::default());
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => request.id = value.varint()?,
                2 => request.session = value.cow()?,
                3 => request.received = value.varint()?,
                4 => request.commands = value.bytes()?,
                _ => {}
            }
        }
        Ok(request)
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        put_number(&mut out, 1, self.id);
        put_bytes(&mut out, 2, self.session.as_bytes());
        put_number(&mut out, 3, self.received);
        put_bytes(&mut out, 4, self.commands);
        out.freeze()
    }
}

/// The answer to a poll.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PollAnswer<'a> {
    /// To which.
    pub id: u64,
    /// 0 where there is a body; else why not.
    pub code: u32,
    /// The body for the client.
    pub body: &'a [u8],
}

impl<'a> PollAnswer<'a> {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// It is no Protobuf message, or one of another shape.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let (mut fields, mut answer) = (Reader::new(bytes), Self::default());
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => answer.id = value.varint()?,
                2 => answer.code = value.int32()?,
                3 => answer.body = value.bytes()?,
                _ => {}
            }
        }
        Ok(answer)
    }

    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        put_number(&mut out, 1, self.id);
        put_number(&mut out, 2, self.code.into());
        put_bytes(&mut out, 3, self.body);
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_and_answers_survive_the_way_there_and_back() {
        let request = PollRequest { id: 7, session: "0.1.ab".into(), received: 300, commands: b"{}" };
        assert_eq!(PollRequest::decode(&request.encode()), Ok(request));
        assert_eq!(PollRequest::decode(b""), Ok(PollRequest::default()));
        let answer = PollAnswer { id: 7, code: 2, body: b"x" };
        assert_eq!(PollAnswer::decode(&answer.encode()), Ok(answer));
        assert!(PollAnswer::decode(&[0x0a, 9]).is_err());
    }
}
