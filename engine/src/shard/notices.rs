//! Notices: what shards tell each other about addresses.
//!
//! In:  offenses of clients here (`limits/offense`); notices of other shards; calls of the operator.
//! Out: notices to the owner shard of an address, and from there to all.

use std::net::IpAddr;

use holdfast_ring::Kernel;

use super::Shard;
use crate::{
    limits::{Notice, Penalty, penalized},
    metrics::Metric,
    session::message::Message,
};

impl<K: Kernel> Shard<K> {
    /// Reports offenses to the owners of their addresses. While messages wait because a shard does not keep up, nothing is
    /// reported.
    pub(crate) fn tell_notices(&mut self) {
        for (shard, notice) in std::mem::take(&mut self.cx.notices) {
            if shard == self.mesh.shard {
                self.noticed(notice);
            } else if !self.mesh.peers.is_congested() {
                self.mesh.peers.post(shard, Message::Limits(notice));
            }
        }
    }

    /// Handles a notice about an address.
    pub(crate) fn noticed(&mut self, notice: Notice) {
        let now = self.cx.moment();
        if let Notice::OffenseOf { socket, offense } = notice {
            return self.cx.offended(socket, offense);
        }
        let Some(limits) = &mut self.cx.limits else { return };
        match notice {
            Notice::OffenseOf { .. } => unreachable!("it was told above"),
            Notice::Offense { address, offense } => {
                let Some(offenders) = &mut limits.offenders else { return };
                if let Some(until) = offenders.add(address, offense, now) {
                    limits.refused.add(address, until);
                    self.cx.counters.add(Metric::Penalties, 1);
                    self.mesh.peers.send_to_others(self.mesh.shard, || {
                        Message::Limits(Notice::Refuse { address, until })
                    });
                }
            }
            Notice::Refuse { address, until } => limits.refused.add(address, until),
            Notice::Clear { address } => limits.refused.clear(address),
        }
    }

    /// The addresses with points that this shard owns.
    pub(crate) fn penalties(&self) -> Vec<Penalty> {
        let offenders = self.cx.limits.as_ref().and_then(|limits| limits.offenders.as_ref());
        offenders.map(|offenders| offenders.list(self.cx.moment())).unwrap_or_default()
    }

    /// Clears the points of an address, or of all, and lifts its refusal.
    pub(crate) fn clear_penalties(&mut self, address: Option<IpAddr>) {
        let address = address.map(|address| penalized(address.to_canonical()));
        let Some(limits) = &mut self.cx.limits else { return };
        limits.refused.clear(address);
        let cleared = limits.offenders.as_mut().map_or(0, |offenders| offenders.clear(address));
        if cleared > 0 {
            // After everything this shard has told them about it before.
            self.mesh.peers.send_to_others(self.mesh.shard, || Message::Limits(Notice::Clear { address }));
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
        backend::queue,
        config::Config,
        ids::ShardId,
        limits::{Offense, Tables},
        memory::BudgetLimits,
        mesh::MailboxLimits,
        session::message::{Peers, Shared},
        shard::ShardPolicy,
    };

    #[test]
    fn a_pardon_that_comes_before_what_it_pardons_holds_on_all_cores() {
        const SLOTS: u32 = 32;
        const BUFFERS: u32 = 16;
        let network = Network::new(1, Faults::default(), 2048);
        let sizes = SimulatedConfig { lanes: 1, slots_per_lane: SLOTS, buffers: BUFFERS, buffer_bytes: 512 };
        let kernels: Vec<_> = (0..2).map(|_| Simulated::new(&network, &sizes)).collect();
        let bells = kernels.iter().map(Simulated::doorbell).collect();
        let mailboxes = MailboxLimits { messages_max: 8, bytes_max: 1 << 20 };
        let budgets = BudgetLimits::all(1 << 30);
        let shared = Arc::new(Shared::new(bells, mailboxes, 7, Tables::new(2, 0), budgets));
        let mut config = Config::default();
        config.limits.penalty.threshold = 20;
        let mut shards = kernels.into_iter().enumerate().map(|(index, kernel)| {
            let mut sockets =
                Sockets::new(kernel, SocketsConfig { accept_reserve: 16, ..SocketsConfig::default() });
            sockets.listen(listener());
            let policy = ShardPolicy::new(&config, BudgetLimits::of(&config), BUFFERS);
            let peers = Peers::new(Arc::clone(&shared), ShardId::new(index));
            Shard::new("node".into(), policy, sockets, peers, queue(1).0, None, [7; 32])
        });
        let [mut home, mut other] = [(); 2].map(|()| shards.next().expect("there are two"));
        let trace = network.trace();
        let turn = |shard: &mut Shard<Simulated>| {
            trace.pass(Duration::from_micros(50));
            shard.turn(|| trace.now(), || trace.now()).expect("a simulated ring does not break");
        };
        let is_refused = |shard: &Shard<Simulated>, address| {
            let limits = shard.cx.limits.as_ref().expect("there are penalties");
            limits.refused.for_ms(address, shard.cx.moment()).is_some()
        };

        let [pardoned, refused] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        home.noticed(Notice::Offense { address: pardoned, offense: Offense::Flood });
        home.noticed(Notice::Offense { address: refused, offense: Offense::Flood });
        assert!(is_refused(&home, pardoned) && !is_refused(&other, pardoned), "it is on its way");
        // The server API tells every shard separately.
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
