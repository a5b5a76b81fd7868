//! Offense: reports offenses of clients to the shard that counts them.
//!
//! In:  closed connections, refused requests; notices from other shards; API calls of the operator.
//! Out: notices to the owner shard of an address, and from the owner to all shards.
//!
//! While messages wait for a congested shard, offenses are not reported: the flood has already been counted.

use std::net::IpAddr;

use holdfast_ring::Socket;

use super::decaying::WallTick;
use crate::metrics::{CloseReason, Offense};

/// A notice from one shard to another about an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    /// The client of this connection, which belongs to the receiver, committed an offense on another shard.
    OffenseOf { socket: Socket, offense: Offense },
    /// An offense for the address's owner to count.
    Offense { address: IpAddr, offense: Offense },
    /// Refuse the address.
    Refuse { address: IpAddr, until: WallTick },
    /// Stop refusing the address; `None`: all addresses.
    Clear { address: Option<IpAddr> },
}

/// The offense, if the end of a connection is one.
pub(crate) fn offense_of(reason: CloseReason) -> Option<Offense> {
    match reason {
        CloseReason::ProtocolError | CloseReason::MessageTooBig => Some(Offense::Protocol),
        CloseReason::HandshakeTimeout => Some(Offense::Timeout),
        CloseReason::InvalidToken => Some(Offense::Token),
        CloseReason::Flood => Some(Offense::Flood),
        _ => None,
    }
}
