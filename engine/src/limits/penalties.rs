//! Penalties: refuses misbehaving addresses for a while.
//!
//! In:  offenses of clients of any shard; the time; pardons by the operator.
//! Out: the refused addresses, with the end of each refusal; a list for the operator.
//!
//! ```text
//! offense ──> its address's owner: points, which fade ── too many ──> refused, on all shards
//!                                    ^                                   │ twice as long each time
//!                                    └── quiet for as long as the last ──┘
//! ```
//!
//! Each address has an owner shard, chosen by hash. Only the owner counts its points. Every shard knows the refused
//! addresses, so it refuses a connection without asking another shard.
//! Memory: per shard, `tracked_max` addresses with points and as many refused addresses, of about 75 bytes each.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

use super::{
    decaying::{DecayingCounter, WallTick},
    policy::Penalty as LimitPolicy,
};
use crate::{
    memory::{map_bytes, shrink},
    metrics::Offense,
};

impl Offense {
    const fn points(self) -> f32 {
        match self {
            Self::Request | Self::Timeout => 5.0,
            Self::Protocol | Self::Token => 10.0,
            Self::Flood => 20.0,
        }
    }
}

/// An address with points, as shown to the operator.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Penalty {
    pub(crate) address: IpAddr,
    pub(crate) points: f32,
    /// How often it was refused since it was last quiet long enough.
    pub(crate) refusals: u32,
    /// The remaining time of the refusal; 0 if it is not refused.
    pub(crate) refused_for_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Offender {
    points: DecayingCounter,
    refusals: u32,
    /// When the refusal ends, and when the entry may be forgotten.
    refused_until: WallTick,
    remembered_until: WallTick,
}

/// The addresses with points whose owner is this shard.
#[derive(Debug)]
pub(crate) struct Offenders {
    policy: LimitPolicy,
    offenders: HashMap<IpAddr, Offender>,
    /// Oldest first.
    order: VecDeque<IpAddr>,
}

impl Offenders {
    pub(crate) fn new(policy: LimitPolicy) -> Self {
        Self { policy, offenders: HashMap::new(), order: VecDeque::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.offenders.len()
    }

    pub(crate) fn table_bytes(&self) -> usize {
        map_bytes(&self.offenders) + self.order.capacity() * size_of::<IpAddr>()
    }

    /// Counts an offense. Returns the end of the refusal if this offense starts one.
    pub(crate) fn add(&mut self, address: IpAddr, offense: Offense, now: WallTick) -> Option<WallTick> {
        if !self.offenders.contains_key(&address) {
            self.make_room();
            self.order.push_back(address);
        }
        let (fade_ms, threshold) = (self.policy.fade_ms, self.policy.threshold);
        let offender = self.offenders.entry(address).or_insert(Offender {
            points: DecayingCounter::default(),
            refusals: 0,
            refused_until: now,
            remembered_until: now,
        });
        offender.points.add(offense.points(), now, fade_ms);
        if offender.points.level(now, fade_ms) < threshold || offender.is_refused(now) {
            return None;
        }
        let first_ms = self.policy.refuse_for_ms;
        let for_ms = first_ms.checked_shl(offender.refusals).filter(|ms| ms >> offender.refusals == first_ms);
        let for_ms = for_ms.unwrap_or(u64::MAX).min(self.policy.refuse_for_max_ms);
        offender.refusals = (offender.refusals + 1).min(60);
        offender.refused_until = now.after_ms(for_ms);
        offender.remembered_until = now.after_ms(2 * for_ms);
        Some(offender.refused_until)
    }

    /// Forgets one address, or all. Returns how many were forgotten.
    pub(crate) fn clear(&mut self, address: Option<IpAddr>) -> usize {
        let before = self.offenders.len();
        match address {
            None => self.offenders.clear(),
            Some(address) => drop(self.offenders.remove(&address)),
        }
        self.order.retain(|address| self.offenders.contains_key(address));
        before - self.offenders.len()
    }

    /// Forgets addresses that have been quiet long enough.
    pub(crate) fn tend(&mut self, now: WallTick) {
        let fade_ms = self.policy.fade_ms;
        let before = self.offenders.len();
        self.offenders.retain(|_, offender| {
            offender.remembered_until.ms_since(now) > 0 || offender.points.level(now, fade_ms) >= 1.0
        });
        if self.offenders.len() < before {
            self.order.retain(|address| self.offenders.contains_key(address));
        }
    }

    pub(crate) fn list(&self, now: WallTick) -> Vec<Penalty> {
        let list = self.offenders.iter().map(|(address, offender)| Penalty {
            address: *address,
            points: offender.points.level(now, self.policy.fade_ms),
            refusals: offender.refusals,
            refused_for_ms: offender.refused_until.ms_since(now),
        });
        list.collect()
    }

    fn make_room(&mut self) {
        if self.offenders.len() >= self.policy.tracked_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.offenders.remove(&oldest);
        }
    }
}

impl Offender {
    fn is_refused(&self, now: WallTick) -> bool {
        self.refused_until.ms_since(now) > 0
    }
}

/// The refused addresses. Every shard has all of them.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    until: HashMap<IpAddr, WallTick>,
    max: usize,
}

impl Refused {
    pub(crate) fn new(max: usize) -> Self {
        Self { until: HashMap::new(), max }
    }

    pub(crate) fn add(&mut self, address: IpAddr, until: WallTick) {
        if self.until.len() < self.max || self.until.contains_key(&address) {
            self.until.insert(address, until);
        }
    }

    pub(crate) fn clear(&mut self, address: Option<IpAddr>) {
        match address {
            None => self.until.clear(),
            Some(address) => drop(self.until.remove(&address)),
        }
    }

    /// The remaining time of an address's refusal; `None` if it is not refused.
    pub(crate) fn for_ms(&self, address: IpAddr, now: WallTick) -> Option<u64> {
        let for_ms = self.until.get(&address)?.ms_since(now);
        (for_ms > 0).then_some(for_ms)
    }

    pub(crate) fn len(&self) -> usize {
        self.until.len()
    }

    pub(crate) fn table_bytes(&self) -> usize {
        map_bytes(&self.until)
    }

    pub(crate) fn tend(&mut self, now: WallTick) {
        self.until.retain(|_, until| until.ms_since(now) > 0);
        shrink(&mut self.until);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: LimitPolicy = LimitPolicy {
        threshold: 100.0,
        fade_ms: 60_000.0,
        refuse_for_ms: 30_000,
        refuse_for_max_ms: 100_000,
        tracked_max: 4,
    };

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    /// Adds offenses until the address is refused. Returns the length of the refusal.
    fn refused_for_ms(offenders: &mut Offenders, now: WallTick) -> u64 {
        let until = (0..20).find_map(|_| offenders.add(address(1), Offense::Token, now));
        until.expect("200 points exceed the threshold").ms_since(now)
    }

    #[test]
    fn a_refusal_doubles_up_to_its_longest_and_is_forgotten_in_a_quiet_time() {
        let mut offenders = Offenders::new(RULES);
        let mut now = WallTick(0);
        for expected in [30_000, 60_000, 100_000, 100_000] {
            let for_ms = refused_for_ms(&mut offenders, now);
            assert_eq!(for_ms, expected);
            assert_eq!(offenders.add(address(1), Offense::Flood, now), None, "it is refused already");
            now = now.after_ms(for_ms);
            offenders.tend(now);
        }
        assert_eq!(offenders.list(now)[0].refusals, 4);
        now = now.after_ms(1_000_000);
        offenders.tend(now);
        assert_eq!((offenders.len(), offenders.order.len()), (0, 0));
        assert_eq!(refused_for_ms(&mut offenders, now), 30_000);
    }

    #[test]
    fn points_fade() {
        let mut offenders = Offenders::new(RULES);
        let mut now = WallTick(0);
        for _ in 0..50 {
            assert_eq!(offenders.add(address(1), Offense::Token, now), None, "10 points in 10 s are few");
            now = now.after_ms(10_000);
        }
        assert!(offenders.list(now)[0].points < 60.0);
    }

    #[test]
    fn memory_is_bounded_and_clearing_forgets() {
        let mut offenders = Offenders::new(RULES);
        for last in 0..100 {
            offenders.add(address(last), Offense::Protocol, WallTick(0));
        }
        let mut kept: Vec<_> =
            offenders.list(WallTick(0)).into_iter().map(|penalty| penalty.address).collect();
        kept.sort_unstable();
        assert_eq!(kept, [96, 97, 98, 99].map(address));
        assert_eq!((offenders.clear(Some(address(97))), offenders.clear(None)), (1, 3));
        let mut refused = Refused::new(1);
        refused.add(address(1), WallTick(10));
        refused.add(address(2), WallTick(10));
        assert_eq!(refused.for_ms(address(1), WallTick(4)), Some(300));
        assert_eq!(
            (refused.for_ms(address(2), WallTick(4)), refused.for_ms(address(1), WallTick(10))),
            (None, None)
        );
        refused.tend(WallTick(10));
        assert_eq!(refused.len(), 0);
    }
}
