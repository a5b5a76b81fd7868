//! Request: what a client's request says to a session that has no connection of its own.
//!
//! In:  the id of the session, as its client was told it; commands.
//! Out: the same, for the shard that has the session; its answer on the way back.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use data_encoding::HEXLOWER;
use holdfast_protocol::http::Refusal;
use holdfast_ring::Socket;

use crate::ids::ShardId;

/// A session's slot in its shard's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionIndex(pub(super) u32);

/// A session's id for clients: `shard.place.secret`, in hexadecimal digits.
#[derive(Clone, Copy)]
pub(crate) struct SessionId {
    pub(crate) shard: ShardId,
    pub(super) place: SessionIndex,
    pub(super) secret: [u8; 16],
}

/// Who waits for the answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOrigin {
    /// A connection of this node.
    Connection { shard: ShardId, socket: Socket },
    /// Another node, by the number that the control thread gave to its request.
    Node { number: u64 },
}

impl RequestOrigin {
    /// The connection, if it is one of this shard.
    pub(crate) fn socket_on(self, of: ShardId) -> Option<Socket> {
        match self {
            Self::Connection { shard, socket } if shard == of => Some(socket),
            Self::Connection { .. } | Self::Node { .. } => None,
        }
    }
}

/// A request for a session.
#[derive(Debug)]
pub(crate) struct SessionRequest {
    pub(crate) session: SessionId,
    pub(crate) origin: RequestOrigin,
    pub(crate) what: SessionRequestKind,
}

/// The kind of a request.
#[derive(Debug)]
pub(crate) enum SessionRequestKind {
    /// Handle a frame of commands.
    Commands(Bytes),
    /// The same, from another node: for a session that speaks JSON, a JSON string that holds them.
    ForwardedCommands(Bytes),
    /// Handle a frame of commands, and return the replies after this sequence number.
    Poll { received: u64, commands: Bytes },
}

/// The answer: success without a body, or a body.
pub(crate) type Answer = Result<Option<Bytes>, Refusal>;

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}.{}", self.shard.index(), self.place.0, HEXLOWER.encode(&self.secret))
    }
}

/// The secret must not appear in a log.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({:x}.{:x})", self.shard.index(), self.place.0)
    }
}

impl FromStr for SessionId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut next = || parts.next().ok_or(());
        let (shard, place, secret) = (next()?, next()?, next()?);
        let number = |text: &str| u32::from_str_radix(text, 16).map_err(|_| ());
        let shard = u16::from_str_radix(shard, 16).map_err(|_| ())?;
        let mut id =
            Self { shard: ShardId::claimed(shard), place: SessionIndex(number(place)?), secret: [0; 16] };
        if secret.len() != 32 || next().is_ok() {
            return Err(());
        }
        HEXLOWER.decode_mut(secret.as_bytes(), &mut id.secret).map_err(|_| ())?;
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_is_refused() {
        let secret = "0".repeat(32);
        assert!(format!("0.0.{secret}").parse::<SessionId>().is_ok());
        for text in ["", "0", "0.0", "0.0.", "x.0.0", "-1.0.0", "0.0.00"] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
        for text in [format!("0.0.{secret}0"), format!("0.0.{secret}.1"), format!("0.0.{}", "g".repeat(32))] {
            assert!(text.parse::<SessionId>().is_err(), "{text}");
        }
    }
}
