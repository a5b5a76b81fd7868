//! Offence: from what a client did to what all cores do about its address.
//!
//! In:  closed connections, refused requests; notices of other cores; the operator's calls.
//! Out: notices to an address's home core, and from there to all.
//!
//! Where messages wait because a core does not keep up, offences are not told: a flood is what it was before.

use std::net::IpAddr;

use holdfast_protocol::http::Refusal;
use holdfast_ring::Socket;

use super::{decayed::Moment, ledger::Kind, penalties::Offence, rules::penalized};
use crate::{
    context::Context,
    ids::ClientKey,
    metrics::{CloseReason, Metric, RefusalReason},
    session::{Io, SessionCx},
    session::{client::Link, named::SessionPlace},
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
pub(super) fn offence_of(reason: CloseReason) -> Option<Offence> {
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

impl<I: Io> SessionCx<'_, I> {
    /// A client did what it should not, and goes on.
    pub(crate) fn client_offended(&mut self, key: ClientKey, offence: Offence) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        match client.link {
            Link::WebSocket { socket, .. } | Link::Stream { socket, .. } => self.cx.offended(socket, offence),
            Link::Poll(session) => self.asker_offended(session, offence),
        }
    }

    /// A session of polls has ended.
    pub(crate) fn poll_offended(&mut self, place: SessionPlace, reason: CloseReason) {
        if let Some(offence) = offence_of(reason) {
            self.asker_offended(place, offence);
        }
    }

    /// A session of polls has no connection of its own, but the request that waits has one, maybe on another core.
    fn asker_offended(&mut self, place: SessionPlace, offence: Offence) {
        let asker = self.sessions.named.poll(place).and_then(|poll| poll.waiting);
        let Some(asker) = asker.filter(|_| self.cx.limits.is_some()) else { return };
        if asker.core == self.mesh.index {
            self.cx.offended(asker.socket, offence);
        } else {
            self.cx.notices.push((asker.core, Notice::OffenceOf { socket: asker.socket, offence }));
        }
    }
}
