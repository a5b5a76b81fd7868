//! Ledger: the bytes of one shard, by budget.
//!
//! In:  charges and releases; once a turn, the other shards' published figures, and whether memory is short.
//! Out: whether there is room, and how much this shard has to shed.
//!
//! A shard always has room within its own part, a limit divided by the number of shards. Above its part it has room
//! while all shards together are below the limit. The same holds among the budgets: each has room within its assured
//! amount, and above that while all budgets together are below their limit. The figures of other shards are one turn
//! old, so the total may exceed a limit by the growth of one turn. A charge is an addition: it cannot fail, and sheds
//! nothing by itself.

use super::budget::{Budget, BudgetLimits};
use crate::metrics::{Counters, Metric};

/// Extra bytes to shed beyond the excess, as a fraction of the shard's part: finding the largest holders costs a walk
/// over all of them.
const SHED_EXTRA: u64 = 10;

/// The account of one shard.
#[derive(Debug)]
pub(crate) struct Ledger {
    limits: BudgetLimits,
    shards: u64,
    /// Charged minus released.
    charged: [u64; Budget::COUNT],
    /// Counted elsewhere, as the ring counts the bytes in its queues.
    measured: [u64; Budget::COUNT],
    /// Bytes of all other shards.
    elsewhere: [u64; Budget::COUNT],
    /// While true, every limit is halved.
    is_short: bool,
}

impl Ledger {
    /// The ledger of one of `shards`.
    pub(crate) fn new(limits: BudgetLimits, shards: usize) -> Self {
        Self {
            limits,
            shards: shards.max(1) as u64,
            charged: [0; Budget::COUNT],
            measured: [0; Budget::COUNT],
            elsewhere: [0; Budget::COUNT],
            is_short: false,
        }
    }

    /// Charges bytes.
    pub(crate) fn charge(&mut self, budget: Budget, bytes: usize) {
        self.charged[budget as usize] += bytes as u64;
    }

    /// Releases charged bytes.
    pub(crate) fn release(&mut self, budget: Budget, bytes: usize) {
        let charged = &mut self.charged[budget as usize];
        debug_assert!(*charged >= bytes as u64, "{budget:?}: what is released was charged");
        *charged = charged.saturating_sub(bytes as u64);
    }

    /// Changes a charge from `before` to `now` bytes.
    pub(crate) fn recharge(&mut self, budget: Budget, before: usize, now: usize) {
        self.release(budget, before);
        self.charge(budget, now);
    }

    /// Sets the bytes counted elsewhere on this shard, beside the charges.
    pub(crate) fn measure(&mut self, budget: Budget, bytes: u64) {
        self.measured[budget as usize] = bytes;
    }

    /// Begins a turn. `elsewhere` returns the use of all other shards; it is called only if this shard uses much
    /// itself.
    pub(crate) fn begin_turn(&mut self, is_short: bool, elsewhere: impl Fn(Budget) -> u64) {
        self.is_short = is_short;
        let uses_much = |(budget, _)| self.bytes(budget) > self.part(budget) / 2;
        if self.total() > self.limit(self.limits.total()) / self.shards / 2
            || Budget::ALL.into_iter().any(uses_much)
        {
            self.elsewhere = Budget::ALL.map(|(budget, _)| elsewhere(budget));
        }
    }

    /// Reports each budget's bytes, two of them also under names of their own.
    pub(crate) fn report(&self, counters: &mut Counters) {
        for (budget, _) in Budget::ALL {
            counters.set(Metric::Memory(budget), self.bytes(budget));
        }
        counters.set(Metric::PartialBytes, self.bytes(Budget::Receive));
        counters.set(Metric::HistoryBytes, self.bytes(Budget::History));
    }

    /// Bytes of this shard.
    pub(crate) fn bytes(&self, budget: Budget) -> u64 {
        self.charged[budget as usize] + self.measured[budget as usize]
    }

    /// This shard's part of a budget, regardless of other shards.
    pub(crate) fn part(&self, budget: Budget) -> u64 {
        self.limit(self.limits.most(budget)) / self.shards
    }

    /// True exactly when this shard has room for more.
    pub(crate) fn has_room(&self, budget: Budget) -> bool {
        self.has_room_for(budget, 1)
    }

    /// True exactly when this shard has room for so many more bytes.
    pub(crate) fn has_room_for(&self, budget: Budget, bytes: u64) -> bool {
        self.above(budget, bytes) == 0
    }

    /// Bytes that this shard has to shed.
    pub(crate) fn excess(&self, budget: Budget) -> u64 {
        self.above(budget, 0)
    }

    /// Bytes to shed if the holders have to be searched: slightly more than [`Ledger::excess`], so that the search does
    /// not run every turn. 0 without an excess.
    pub(crate) fn excess_with_margin(&self, budget: Budget) -> u64 {
        match self.excess(budget) {
            0 => 0,
            excess => excess + self.part(budget) / SHED_EXTRA,
        }
    }

    /// The excess with so many more bytes.
    fn above(&self, budget: Budget, more: u64) -> u64 {
        let own = self.bytes(budget) + more;
        let above = |part: u64, own_sum: u64, elsewhere: u64, limit: u64| {
            let sum = own_sum.saturating_add(elsewhere);
            own.saturating_sub(part).min(sum.saturating_sub(limit))
        };
        let of_budget = above(
            self.part(budget),
            own,
            self.elsewhere[budget as usize],
            self.limit(self.limits.most(budget)),
        );
        if self.limits.total() == BudgetLimits::NONE {
            return of_budget;
        }
        let of_all = above(
            self.limit(self.limits.assured(budget)) / self.shards,
            self.total() + more,
            self.elsewhere.iter().sum(),
            self.limit(self.limits.total()),
        );
        of_budget.max(of_all)
    }

    /// This shard's bytes in all budgets.
    fn total(&self) -> u64 {
        self.charged.iter().chain(&self.measured).sum()
    }

    fn limit(&self, bytes: u64) -> u64 {
        bytes >> u32::from(self.is_short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{Room, fit};

    const LIMIT: u64 = 1000;

    fn ledger(own: usize, elsewhere: u64) -> Ledger {
        let mut ledger = Ledger::new(BudgetLimits::all(LIMIT), 2);
        ledger.charge(Budget::Queues, own);
        ledger.begin_turn(false, |_| elsewhere);
        ledger
    }

    #[test]
    fn a_shard_has_room_within_its_part_whatever_the_others_use() {
        let ledger = ledger(499, 900);
        assert!(ledger.has_room(Budget::Queues) && !ledger.has_room_for(Budget::Queues, 2));
        assert_eq!(ledger.excess(Budget::Queues), 0);
    }

    #[test]
    fn above_its_part_a_shard_has_room_while_all_together_are_below_the_limit() {
        assert!(ledger(700, 200).has_room(Budget::Queues));
        assert!(!ledger(700, 300).has_room(Budget::Queues));
        assert_eq!(ledger(700, 300).excess(Budget::Queues), 0);
        assert_eq!(ledger(700, 350).excess(Budget::Queues), 50);
        assert_eq!(ledger(550, 900).excess(Budget::Queues), 50, "it keeps its part");
        assert_eq!(ledger(550, 900).excess_with_margin(Budget::Queues), 100);
        assert_eq!(ledger(500, 900).excess_with_margin(Budget::Queues), 0);
    }

    #[test]
    fn a_budget_gives_back_what_it_has_above_its_share_when_all_together_have_too_much() {
        let limits = fit(BudgetLimits::all(1000), Room { bytes: 2800, limit_bytes: 0 });
        let mut ledger = Ledger::new(limits, 2);
        // Each is assured of 400 bytes, 200 of them on this shard.
        ledger.charge(Budget::Queues, 450);
        ledger.charge(Budget::History, 150);
        ledger.begin_turn(false, |_| 300);
        assert!(ledger.has_room(Budget::Queues), "600 and 7 times 300 are not too much");
        ledger.begin_turn(false, |_| 320);
        assert_eq!(ledger.excess(Budget::Queues), 40);
        assert_eq!(ledger.excess(Budget::History), 0, "it has not more than its share");
        assert!(!ledger.has_room(Budget::Queues) && ledger.has_room(Budget::History));
        ledger.begin_turn(false, |_| 500);
        assert_eq!(ledger.excess(Budget::Queues), 250, "but for its share");
    }

    #[test]
    fn what_is_measured_counts_with_what_is_charged_and_all_of_it_can_be_given_back() {
        let mut ledger = ledger(300, 0);
        ledger.measure(Budget::Queues, 200);
        assert_eq!(ledger.bytes(Budget::Queues), 500);
        ledger.recharge(Budget::Queues, 300, 100);
        ledger.release(Budget::Queues, 100);
        ledger.measure(Budget::Queues, 0);
        assert!(Budget::ALL.into_iter().all(|(budget, _)| ledger.bytes(budget) == 0));
    }

    #[test]
    fn while_memory_is_short_half_of_every_limit_holds() {
        let mut ledger = ledger(600, 0);
        assert_eq!(ledger.excess(Budget::Queues), 0);
        ledger.begin_turn(true, |_| 0);
        assert_eq!((ledger.part(Budget::Queues), ledger.excess(Budget::Queues)), (250, 100));
        ledger.begin_turn(false, |_| 0);
        assert_eq!(ledger.excess(Budget::Queues), 0);
    }

    #[test]
    fn without_a_limit_there_is_always_room() {
        let mut ledger = Ledger::new(BudgetLimits::all(BudgetLimits::NONE), 8);
        ledger.charge(Budget::Receive, 1 << 50);
        ledger.begin_turn(true, |_| 1 << 50);
        assert!(ledger.has_room(Budget::Receive));
        assert_eq!(ledger.excess_with_margin(Budget::Receive), 0);
    }
}
