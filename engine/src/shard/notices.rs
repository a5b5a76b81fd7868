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
    use holdfast_ring::simulated::Simulated;

    use super::*;
    use crate::{limits::Offense, simulation::cluster::Cluster};

    const HOME: usize = 0;
    const OTHER: usize = 1;

    fn is_refused(shard: &Shard<Simulated>, address: IpAddr) -> bool {
        let limits = shard.cx.limits.as_ref().expect("there are penalties");
        limits.refused.for_ms(address, shard.cx.moment()).is_some()
    }

    #[test]
    fn a_pardon_that_comes_before_what_it_pardons_holds_on_all_cores() {
        let mut cluster = Cluster::of(2).config(|config| config.limits.penalty.threshold = 20).start();
        let refusals =
            |cluster: &mut Cluster, address| [HOME, OTHER].map(|of| is_refused(cluster.shard(of), address));

        let [pardoned, refused] = [1, 2].map(|last| IpAddr::from([192, 0, 2, last]));
        for address in [pardoned, refused] {
            cluster.shard(HOME).noticed(Notice::Offense { address, offense: Offense::Flood });
        }
        assert_eq!(refusals(&mut cluster, pardoned), [true, false], "it is on its way");
        // The server API tells every shard separately.
        cluster.shard(OTHER).clear_penalties(Some(pardoned));
        cluster.shard(HOME).clear_penalties(Some(pardoned));
        cluster.run_until_idle(&mut []);
        assert_eq!(refusals(&mut cluster, pardoned), [false, false]);
        assert_eq!(refusals(&mut cluster, refused), [true, true], "what was told has come");
    }
}
