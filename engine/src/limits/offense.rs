//! Offense: from what a client did to what all cores do about its address.
//!
//! In:  closed connections, refused requests; notices of other cores; the operator's calls.
//! Out: notices to an address's home core, and from there to all.
//!
//! Where messages wait because a core does not keep up, offenses are not told: a flood is what it was before.

use std::net::IpAddr;

use holdfast_ring::Socket;

use super::decaying::Moment;
use crate::metrics::{CloseReason, Offense};

/// What one core tells another about an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    /// Whoever is at the other end of this connection of the core did something, on another core.
    OffenseOf { socket: Socket, offense: Offense },
    /// Something for its home to count.
    Offense { address: IpAddr, offense: Offense },
    /// It is to be refused.
    Refuse { address: IpAddr, until: Moment },
    /// It, or every one, is to be refused no longer.
    Clear { address: Option<IpAddr> },
}

/// What a connection's end says of its client.
pub(crate) fn offense_of(reason: CloseReason) -> Option<Offense> {
    match reason {
        CloseReason::ProtocolError | CloseReason::MessageTooBig => Some(Offense::Protocol),
        CloseReason::HandshakeTimeout => Some(Offense::Timeout),
        CloseReason::InvalidToken => Some(Offense::Token),
        CloseReason::Flood => Some(Offense::Flood),
        _ => None,
    }
}
