//! Schedule: which kind of work a turn does next, and for how long.
//!
//! In:  the cost of each piece of work; which kinds have work.
//! Out: the next kind, and its part.
//!
//! Deficit round robin (Shreedhar and Varghese 1995) over the kinds, by cost: time, and a price for each published byte
//! (`context/meter`). In every turn each kind with work gets its quantum, whatever the others have; the rest of the turn
//! then goes round. A piece of work that costs more than its kind's part leaves a debt, paid in the next turns; the debt is
//! capped so that the kind gets at least one piece of work in each turn.
//!
//! Control messages, stop orders and the progress of a stop are not scheduled: they come first in every turn, and have
//! their own bounds. No clock.

use crate::context::meter::TURN_NS;

/// A kind of work that is done one part per turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Bytes of connections that have a session.
    Events,
    /// Messages of this shard to itself and of other shards, and calls of the server API for channels.
    Messages,
    /// Handshakes: TLS, request heads, the first commands of new clients.
    Arrivals,
    /// Timers: heartbeats, deadlines, housekeeping.
    Timers,
}

impl Kind {
    pub(super) const COUNT: usize = 4;

    /// In serving order: input is read before anybody counts as late.
    pub(super) const ALL: [Self; Self::COUNT] = [Self::Events, Self::Messages, Self::Arrivals, Self::Timers];

    /// The least it gets in each turn, in nanoseconds. Messages finish work that has begun: with a larger part than the
    /// kinds that cause them, they do not pile up.
    const fn quantum_ns(self) -> i64 {
        match self {
            Self::Events => 500_000,
            Self::Messages => 900_000,
            Self::Arrivals | Self::Timers => 300_000,
        }
    }
}

/// The accounts of the kinds.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// What each kind may still use, in nanoseconds; negative for a debt.
    credits_ns: [i64; Kind::COUNT],
    /// Kinds that have had their part of this turn, or have no work.
    was_served: [bool; Kind::COUNT],
    left_ns: i64,
}

impl Schedule {
    /// A turn begins.
    pub(super) fn begin_turn(&mut self) {
        self.left_ns = TURN_NS.cast_signed();
        self.was_served = [false; Kind::COUNT];
        for (credit_ns, kind) in self.credits_ns.iter_mut().zip(Kind::ALL) {
            // Unused time is not saved.
            *credit_ns = ((*credit_ns).min(0) + kind.quantum_ns()).max(1);
        }
    }

    /// The next kind among those with work, and what it may use; `None` at the end of the turn.
    pub(super) fn next(&mut self, has_work: impl Fn(Kind) -> bool) -> Option<(Kind, u64)> {
        for kind in Kind::ALL {
            if !self.was_served[kind as usize] && has_work(kind) {
                return Some((kind, self.part_ns(kind)));
            }
        }
        // All have had their parts: the rest of the turn goes to those with more work.
        while self.left_ns > 0 {
            let mut is_any_waiting = false;
            for kind in Kind::ALL {
                if !has_work(kind) {
                    continue;
                }
                is_any_waiting = true;
                if self.credits_ns[kind as usize] > 0 {
                    return Some((kind, self.part_ns(kind)));
                }
            }
            if !is_any_waiting {
                return None;
            }
            for (credit_ns, kind) in self.credits_ns.iter_mut().zip(Kind::ALL) {
                *credit_ns = (*credit_ns + kind.quantum_ns()).min(kind.quantum_ns());
            }
        }
        None
    }

    /// Charges a kind.
    pub(super) fn used(&mut self, kind: Kind, cost_ns: u64) {
        let cost_ns = i64::try_from(cost_ns).unwrap_or(i64::MAX);
        self.was_served[kind as usize] = true;
        self.left_ns = self.left_ns.saturating_sub(cost_ns);
        let credit_ns = &mut self.credits_ns[kind as usize];
        *credit_ns = credit_ns.saturating_sub(cost_ns).max(-2 * kind.quantum_ns());
    }

    fn part_ns(&self, kind: Kind) -> u64 {
        self.credits_ns[kind as usize].max(1).cast_unsigned()
    }
}

/// The quantum of one sender, in nanoseconds.
const SENDER_QUANTUM_NS: i64 = 100_000;

/// Round robin over the senders.
#[derive(Debug)]
pub(super) struct Senders {
    /// What each may still use; negative for a debt. The shards, including this one for its inbox; then the control thread.
    credits_ns: Vec<i64>,
    at: usize,
}

impl Senders {
    /// For a daemon of `shards` shards.
    pub(super) fn new(shards: usize) -> Self {
        Self { credits_ns: vec![0; shards + 1], at: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.credits_ns.len()
    }

    /// The current sender, and what it may use; nothing if it must pay off a debt first.
    pub(super) fn next(&mut self) -> (usize, Option<u64>) {
        let credit_ns = &mut self.credits_ns[self.at];
        // Unused time is not saved.
        *credit_ns = (*credit_ns + SENDER_QUANTUM_NS).min(SENDER_QUANTUM_NS);
        (self.at, u64::try_from(*credit_ns).ok().filter(|&credit_ns| credit_ns > 0))
    }

    /// Charges the current sender and moves on to the next one.
    pub(super) fn used(&mut self, cost_ns: u64) {
        let credit_ns = &mut self.credits_ns[self.at];
        let cost_ns = i64::try_from(cost_ns).unwrap_or(i64::MAX);
        *credit_ns = credit_ns.saturating_sub(cost_ns).max(-8 * SENDER_QUANTUM_NS);
        self.at = (self.at + 1) % self.credits_ns.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs kinds that always have more work, in pieces of a given cost: what each used in `turns` turns, and the longest
    /// turn.
    fn run(turns: usize, pieces_ns: [Option<u64>; Kind::COUNT]) -> ([u64; Kind::COUNT], u64) {
        let mut schedule = Schedule::default();
        let mut used = [0; Kind::COUNT];
        let mut longest = 0;
        for _ in 0..turns {
            schedule.begin_turn();
            let mut turn_ns = 0;
            let before = used;
            while let Some((kind, part_ns)) = schedule.next(|kind| pieces_ns[kind as usize].is_some()) {
                let piece_ns = pieces_ns[kind as usize].expect("it has something to do");
                let cost_ns = part_ns.div_ceil(piece_ns) * piece_ns;
                schedule.used(kind, cost_ns);
                used[kind as usize] += cost_ns;
                turn_ns += cost_ns;
            }
            for kind in Kind::ALL {
                let has_work = pieces_ns[kind as usize].is_some();
                assert!(!has_work || used[kind as usize] > before[kind as usize], "{kind:?} waits a turn");
            }
            longest = longest.max(turn_ns);
        }
        (used, longest)
    }

    #[test]
    fn every_kind_gets_its_quantum_in_every_turn_and_a_turn_its_bound() {
        let (used, longest) = run(100, [Some(10_000); Kind::COUNT]);
        for kind in Kind::ALL {
            let share_ns = kind.quantum_ns().cast_unsigned() * 100;
            assert!(used[kind as usize] >= share_ns - 20_000, "{kind:?}: {used:?}");
        }
        assert!(longest <= TURN_NS + 4 * 10_000, "{longest}");
    }

    #[test]
    fn who_has_the_turn_alone_has_all_of_it() {
        for kind in Kind::ALL {
            let mut pieces = [None; Kind::COUNT];
            pieces[kind as usize] = Some(1_000);
            let (used, longest) = run(100, pieces);
            assert!(used[kind as usize] >= 99 * TURN_NS, "{kind:?}: {used:?}");
            assert!(longest <= TURN_NS + kind.quantum_ns().cast_unsigned() + 1_000, "{longest}");
        }
    }

    #[test]
    fn a_kind_of_long_pieces_pays_for_them_and_does_not_stop_the_others() {
        // Each message takes the time of five turns.
        let pieces = [Some(10_000), Some(5 * TURN_NS), Some(10_000), Some(10_000)];
        let (used, longest) = run(1_000, pieces);
        assert!(longest <= 6 * TURN_NS + 30_000, "{longest}");
        for kind in [Kind::Events, Kind::Arrivals, Kind::Timers] {
            assert!(used[kind as usize] >= 999 * kind.quantum_ns().cast_unsigned(), "{kind:?}: {used:?}");
        }
    }

    #[test]
    fn nothing_is_saved_and_a_debt_is_paid() {
        let mut schedule = Schedule::default();
        (0..10).for_each(|_| schedule.begin_turn());
        let (kind, part_ns) = schedule.next(|kind| kind == Kind::Timers).expect("it has something to do");
        assert_eq!(part_ns, kind.quantum_ns().cast_unsigned());
        schedule.used(kind, part_ns + 200_000);
        schedule.begin_turn();
        assert_eq!(schedule.next(|kind| kind == Kind::Timers), Some((kind, part_ns - 200_000)));
    }

    #[test]
    fn senders_share_alike_whatever_their_messages_cost() {
        let mut senders = Senders::new(3);
        let costs = [1_000_u64, 60_000, 450_000, 99_000];
        let mut used = [0; 4];
        for _ in 0..4_000 {
            let (sender, part_ns) = senders.next();
            let cost_ns = part_ns.map_or(0, |part_ns| part_ns.div_ceil(costs[sender]) * costs[sender]);
            used[sender] += cost_ns;
            senders.used(cost_ns);
        }
        let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
        assert!(most - least <= 1_000_000, "{used:?}");
    }
}
