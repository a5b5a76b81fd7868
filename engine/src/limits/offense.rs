//! Offense: from what a client did to what all shards do about its address.
//!
//! In:  closed connections, refused requests; notices of other shards; calls of the operator.
//! Out: notices to the owner shard of an address, and from there to all.
//!
//! While messages wait because a shard does not keep up, offenses are not reported: the flood has been counted before.

use std::net::IpAddr;

use holdfast_ring::Socket;

use super::decaying::WallTick;
use crate::metrics::{CloseReason, Offense};

/// A notice from one shard to another about an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    /// The client of this connection of the receiver committed an offense on another shard.
    OffenseOf { socket: Socket, offense: Offense },
    /// An offense for the owner of the address to count.
    Offense { address: IpAddr, offense: Offense },
    /// Refuse the address.
    Refuse { address: IpAddr, until: WallTick },
    /// Stop refusing it, or all addresses.
    Clear { address: Option<IpAddr> },
}

/// The offense that the end of a connection implies.
pub(crate) fn offense_of(reason: CloseReason) -> Option<Offense> {
    match reason {
        CloseReason::ProtocolError | CloseReason::MessageTooBig => Some(Offense::Protocol),
        CloseReason::HandshakeTimeout => Some(Offense::Timeout),
        CloseReason::InvalidToken => Some(Offense::Token),
        CloseReason::Flood => Some(Offense::Flood),
        _ => None,
    }
}
