//! Offence: from what a client did to what all cores do about its address.
//!
//! In:  closed connections, refused requests; notices of other cores; the operator's calls.
//! Out: notices to an address's home core, and from there to all.
//!
//! Where messages wait because a core does not keep up, offences are not told: a flood is what it was before.

use std::net::IpAddr;

use holdfast_protocol::http::Refusal;
use holdfast_ring::{Kernel, Socket};

use super::{decayed::Moment, ledger::Kind, penalties::Penalty, rules::penalized};
use crate::{
    hub::message::ClientKey,
    metrics::{CloseReason, Metric, Offence, RefusalReason},
    peers::Message,
    session::{client::Link, named::SessionPlace},
    shard::Shard,
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

impl<K: Kernel> Shard<K> {
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
        let home = self.peers.limit_tables().key(Kind::Address, address).core_of(self.peers.count());
        let notice = Notice::Offence { address, offence };
        if home == self.index {
            self.noticed(notice);
        } else if !self.peers.is_congested() {
            self.peers.post(home, Message::Limits(notice));
        }
    }

    /// A client did what it should not, and goes on.
    pub(crate) fn client_offended(&mut self, key: ClientKey, offence: Offence) {
        let Some(client) = self.clients.get(key) else { return };
        match client.link {
            Link::WebSocket { socket, .. } | Link::Stream { socket, .. } => self.offended(socket, offence),
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
        let asker = self.named.poll(place).and_then(|poll| poll.waiting);
        match asker.filter(|_| self.limits.is_some()) {
            Some(asker) if asker.core == self.index => self.offended(asker.socket, offence),
            Some(asker) if !self.peers.is_congested() => {
                let notice = Notice::OffenceOf { socket: asker.socket, offence };
                self.peers.post(asker.core, Message::Limits(notice));
            }
            _ => {}
        }
    }

    /// Something about an address.
    pub(crate) fn noticed(&mut self, notice: Notice) {
        let now = self.moment();
        if let Notice::OffenceOf { socket, offence } = notice {
            return self.offended(socket, offence);
        }
        let Some(limits) = &mut self.limits else { return };
        match notice {
            Notice::OffenceOf { .. } => unreachable!("it was told above"),
            Notice::Offence { address, offence } => {
                let Some(offenders) = &mut limits.offenders else { return };
                if let Some(until) = offenders.add(address, offence, now) {
                    limits.refused.add(address, until);
                    self.counters.add(Metric::Penalties, 1);
                    self.peers.post_all(self.index, || Message::Limits(Notice::Refuse { address, until }));
                }
            }
            Notice::Refuse { address, until } => limits.refused.add(address, until),
            Notice::Clear { address } => limits.refused.clear(address),
        }
    }

    /// The addresses with points whose home this is.
    pub(crate) fn penalties(&self) -> Vec<Penalty> {
        let offenders = self.limits.as_ref().and_then(|limits| limits.offenders.as_ref());
        offenders.map(|offenders| offenders.list(self.moment())).unwrap_or_default()
    }

    /// Forgets the points of an address, or of all, and refuses it no longer.
    pub(crate) fn clear_penalties(&mut self, address: Option<IpAddr>) {
        let address = address.map(|address| penalized(address.to_canonical()));
        let Some(limits) = &mut self.limits else { return };
        limits.refused.clear(address);
        let cleared = limits.offenders.as_mut().map_or(0, |offenders| offenders.clear(address));
        if cleared > 0 {
            // Behind whatever this core has told them of it before.
            self.peers.post_all(self.index, || Message::Limits(Notice::Clear { address }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use holdfast_ring::{
        Sockets, SocketsConfig,
        simulated::{Faults, Network, Simulated, SimulatedConfig, listener},
    };

    use super::*;
    use crate::{
        config::Config,
        daemon,
        limits::Tables,
        memory::BudgetLimits,
        peers::{MailboxLimits, Peers, Shared},
        rules::Rules,
        shard::Plan,
    };

    #[test]
    fn a_pardon_that_comes_before_what_it_pardons_holds_on_all_cores() {
        const SLOTS: u32 = 32;
        let network = Network::new(1, Faults::default(), 2048);
        let sizes = SimulatedConfig { lanes: 1, slots_per_lane: SLOTS, buffers: 16, buffer_bytes: 512 };
        let kernels: Vec<_> = (0..2).map(|_| Simulated::new(&network, &sizes)).collect();
        let bells = kernels.iter().map(Simulated::doorbell).collect();
        let mailboxes = MailboxLimits { messages_max: 8, bytes_max: 1 << 20 };
        let asker = crate::backend::queue(1).0;
        let budgets = BudgetLimits::all(1 << 30);
        let shared = Arc::new(Shared::new(bells, mailboxes, 7, asker, Tables::new(2, 0), budgets));
        let mut config = Config::default();
        config.limits.penalty.threshold = 20;
        let mut shards = kernels.into_iter().enumerate().map(|(index, kernel)| {
            let mut sockets =
                Sockets::new(kernel, SocketsConfig { accept_reserve: 16, ..SocketsConfig::default() });
            sockets.listen(listener());
            let settings = daemon::settings(&config, Plan { lanes: 1, slots_per_lane: SLOTS });
            let peers = Peers::new(Arc::clone(&shared), index);
            Shard::new(index, settings, Rules::new(&config, "node".into()), sockets, peers, [7; 32])
        });
        let [mut home, mut other] = [(); 2].map(|()| shards.next().expect("there are two"));
        let trace = network.trace();
        let turn = |shard: &mut Shard<Simulated>| {
            trace.pass(Duration::from_micros(50));
            shard.turn(|| trace.now(), || trace.now()).expect("a simulated ring does not break");
        };
        let is_refused = |shard: &Shard<Simulated>, address| {
            let limits = shard.limits.as_ref().expect("there are penalties");
            limits.refused.for_ms(address, shard.moment()).is_some()
        };

        let [pardoned, refused] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        home.noticed(Notice::Offence { address: pardoned, offence: Offence::Flood });
        home.noticed(Notice::Offence { address: refused, offence: Offence::Flood });
        assert!(is_refused(&home, pardoned) && !is_refused(&other, pardoned), "it is on its way");
        // The server API tells every core by itself.
        other.clear_penalties(Some(pardoned));
        home.clear_penalties(Some(pardoned));
        for _ in 0..10 {
            turn(&mut home);
            turn(&mut other);
        }
        assert!(!is_refused(&home, pardoned) && !is_refused(&other, pardoned));
        assert!(is_refused(&home, refused) && is_refused(&other, refused), "what was told has come");
    }
}
