//! Offence: from what a client did to what all cores do about its address.
//!
//! In:  closed connections, refused requests; notices of other cores; the operator's calls.
//! Out: notices to an address's home core, and from there to all.
//!
//! Where messages wait because a core does not keep up, offences are not told: a flood is what it was before.

use std::net::IpAddr;

use holdfast_protocol::http::Refusal;
use holdfast_ring::Socket;

use super::{decayed::Moment, ledger::Kind, rules::penalized};
use crate::{
    context::Context,
    metrics::{CloseReason, Metric, Offence, RefusalReason},
};

/// What one core tells another about an address.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    /// Whoever is at the other end of this connection of the core did something, on another core.
    OffenceOf { socket: Socket, offence: Offence },
    /// Something for its home to count.
    Offence { address: IpAddr, offence: Offence },
    /// It is to be refused.
    Refuse { address: IpAddr, until: Moment },
    /// It, or every one, is to be refused no longer.
    Clear { address: Option<IpAddr> },
}

/// What a connection's end says of its client.
pub(crate) fn offence_of(reason: CloseReason) -> Option<Offence> {
    match reason {
        CloseReason::ProtocolError | CloseReason::MessageTooBig => Some(Offence::Protocol),
        CloseReason::HandshakeTimeout => Some(Offence::Timeout),
        CloseReason::InvalidToken => Some(Offence::Token),
        CloseReason::Flood => Some(Offence::Flood),
        _ => None,
    }
}

impl Context {
    /// A request was refused.
    #[inline]
    pub(crate) fn refused_for(&mut self, socket: Socket, refusal: Refusal, reason: RefusalReason) {
        // After a restart every client of a stream or a poll asks for a session that is gone; who is late is an offender
        // when its connection ends.
        let is_offence = !matches!(refusal, Refusal::SessionUnknown | Refusal::HeadTimeout);
        if self.limits.is_some() && reason.is_clients_fault() && is_offence {
            self.offended(socket, Offence::Request);
        }
    }

    /// A client did what it should not.
    pub(crate) fn offended(&mut self, socket: Socket, offence: Offence) {
        let Some(limits) = &mut self.limits else { return };
        let Some(address) = limits.guests.get(socket).and_then(|guest| guest.address) else { return };
        if limits.offenders.is_none() {
            return;
        }
        self.counters.add(Metric::Offences(offence), 1);
        let address = penalized(address);
        let home = self.limit_tables.key(Kind::Address, address).core_of(self.shards);
        self.notices.push((home, Notice::Offence { address, offence }));
    }
}
