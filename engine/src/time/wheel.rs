//! Wheel: timers of very many connections (a hashed timing wheel; Varghese and Lauck, 1987).
//!
//! In:  keys, mostly of sockets, with the tick at which to check them.
//! Out: the keys whose tick has been reached, one by one, the most overdue first.
//!
//! A caller that takes only some of them finds the others later: the wheel then stays at their tick.
//!
//! Adding and taking cost the same for any number of timers. Nothing is ever cancelled: the deadline in a key's own record
//! shows that a timer fired early or is obsolete. Memory: 8 bytes per entry, in vectors with a capacity of at most twice
//! their length, and 24 KiB for the slots.

use crate::time::Tick;

/// Slots of the wheel, a power of two: 51.2 s at 50 ms per tick. Later timers are checked on the way.
const SLOTS: u32 = 1024;

/// Emptied vectors keep at most this capacity.
const KEPT_ENTRIES_MAX: usize = 64;

/// Timers of one shard, for keys of type `T`.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    slots: Vec<Vec<T>>,
    /// The current tick.
    now: Tick,
    /// The entries of that tick not taken yet.
    ready: Vec<T>,
    entries: usize,
}

/// What a key's record knows of its entries in the wheel: when the one comes that counts.
///
/// A deadline that moves later needs no new entry: the old one fires early and is renewed then ([`Wheel::fired`]). One that
/// moves closer gets an entry of its own, and the later one is obsolete when it fires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    at: Tick,
}

/// What an entry means that has fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fired {
    /// The deadline has been reached. The key has no entry any more.
    Due,
    /// The deadline is later; the wheel has a new entry for it. Or another entry has replaced this one.
    NotYet,
}

impl<T: Copy> Wheel<T> {
    /// Makes sure that `key` is checked at `deadline` or earlier.
    pub(crate) fn arm(&mut self, entry: &mut Entry, key: T, deadline: Tick) {
        // An earlier entry exists already, unless it is the one that is being handled.
        let has_earlier_entry = self.now < entry.at && entry.at <= deadline;
        if !has_earlier_entry {
            self.renew(entry, key, deadline);
        }
    }

    /// Schedules the next check of a key whose entry has fired.
    pub(crate) fn renew(&mut self, entry: &mut Entry, key: T, deadline: Tick) {
        entry.at = self.insert(key, deadline);
    }

    /// True exactly when an entry that fires now counts: no earlier one has replaced it.
    fn counts(&self, entry: Entry) -> bool {
        entry.at <= self.now
    }

    /// An entry of `key` has fired, whose deadline is now this one.
    pub(crate) fn fired(&mut self, entry: &mut Entry, key: T, deadline: Tick, now: Tick) -> Fired {
        if !self.counts(*entry) {
            return Fired::NotYet;
        }
        if now < deadline {
            self.renew(entry, key, deadline);
            return Fired::NotYet;
        }
        Fired::Due
    }
}

impl<T: Copy> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS as usize], now: Tick(0), ready: Vec::new(), entries: 0 }
    }

    /// Schedules `key` for `due`, or earlier if that is beyond the wheel's span. Returns the scheduled tick.
    pub(crate) fn insert(&mut self, key: T, due: Tick) -> Tick {
        let ahead = due.0.saturating_sub(self.now.0).clamp(1, SLOTS - 1);
        let due = Tick(self.now.0 + ahead);
        self.slots[Self::slot(due)].push(key);
        self.entries += 1;
        due
    }

    /// The next key whose tick has been reached by `now`.
    pub(crate) fn pop(&mut self, now: Tick) -> Option<T> {
        loop {
            if let Some(key) = self.ready.pop() {
                self.entries -= 1;
                return Some(key);
            }
            if self.entries == 0 {
                self.now = self.now.max(now);
            }
            if self.now >= now {
                return None;
            }
            self.now.0 += 1;
            let slot = &mut self.slots[Self::slot(self.now)];
            std::mem::swap(slot, &mut self.ready);
            slot.shrink_to(KEPT_ENTRIES_MAX);
        }
    }

    /// The key that [`Wheel::pop`] returns after `others` more, if it is due at the current tick.
    pub(crate) fn upcoming(&self, others: usize) -> Option<T> {
        self.ready.iter().rev().nth(others).copied()
    }

    /// How many ticks up to `now` have not been handled completely.
    pub(crate) fn ticks_behind(&self, now: Tick) -> u32 {
        match (self.ready.is_empty(), self.entries) {
            (false, _) => now.since(self.now) + 1,
            (true, 0) => 0,
            (true, _) => now.since(self.now),
        }
    }

    /// The tick at which the next entry is due, if that is within the next `ticks`.
    pub(crate) fn next_due(&self, ticks: u32) -> Option<Tick> {
        if self.entries == 0 {
            return None;
        }
        let ahead = 1..=ticks.min(SLOTS - 1);
        ahead.map(|ahead| Tick(self.now.0 + ahead)).find(|&tick| !self.slots[Self::slot(tick)].is_empty())
    }

    fn slot(tick: Tick) -> usize {
        (tick.0 % SLOTS) as usize
    }
}

#[cfg(test)]
mod tests {
    use holdfast_ring::{Descriptor, Socket};

    use super::*;

    fn socket(slot: u32) -> Socket {
        Socket::new(Descriptor::new(0, slot), 0)
    }

    #[test]
    fn each_entry_comes_at_its_tick_and_once() {
        let mut wheel = Wheel::new();
        for slot in 1..=100 {
            assert_eq!(wheel.insert(socket(slot), Tick(slot)), Tick(slot));
        }
        for now in 1..=100 {
            assert_eq!(wheel.next_due(1), Some(Tick(now)));
            assert_eq!(wheel.pop(Tick(now)), Some(socket(now)));
            assert_eq!(wheel.pop(Tick(now)), None);
        }
        assert_eq!(wheel.next_due(SLOTS), None);
    }

    #[test]
    fn a_deadline_that_moves_later_costs_no_entry_and_one_that_moves_closer_replaces_it() {
        let (mut wheel, mut entry, key) = (Wheel::new(), Entry::default(), socket(1));
        wheel.arm(&mut entry, key, Tick(10));
        wheel.arm(&mut entry, key, Tick(20));
        assert_eq!(wheel.entries, 1);
        assert_eq!(wheel.pop(Tick(10)), Some(key));
        assert_eq!(wheel.fired(&mut entry, key, Tick(20), Tick(10)), Fired::NotYet, "it is renewed");
        wheel.arm(&mut entry, key, Tick(15));
        assert_eq!(wheel.entries, 2);
        assert_eq!(wheel.pop(Tick(15)), Some(key));
        assert_eq!(wheel.fired(&mut entry, key, Tick(15), Tick(15)), Fired::Due);
        wheel.arm(&mut entry, key, Tick(30));
        assert_eq!(wheel.pop(Tick(20)), Some(key));
        assert_eq!(wheel.fired(&mut entry, key, Tick(30), Tick(20)), Fired::NotYet, "it is obsolete");
        assert_eq!(wheel.entries, 1);
        assert_eq!(wheel.pop(Tick(30)), Some(key));
        assert_eq!(wheel.fired(&mut entry, key, Tick(30), Tick(30)), Fired::Due);
    }

    #[test]
    fn what_is_beyond_the_span_comes_early_rather_than_late() {
        let mut wheel = Wheel::new();
        let first_look = wheel.insert(socket(1), Tick(10 * SLOTS));
        assert_eq!(first_look, Tick(SLOTS - 1));
        assert_eq!(wheel.pop(Tick(first_look.0 - 1)), None);
        assert_eq!(wheel.pop(first_look), Some(socket(1)));
    }

    #[test]
    fn a_clock_that_jumps_ahead_brings_all_that_was_due_on_the_way() {
        let mut wheel = Wheel::new();
        wheel.insert(socket(1), Tick(3));
        wheel.insert(socket(2), Tick(900));
        assert_eq!(wheel.pop(Tick(5000)), Some(socket(1)));
        assert_eq!(wheel.pop(Tick(5000)), Some(socket(2)));
        assert_eq!(wheel.pop(Tick(5000)), None);
        assert_eq!(wheel.insert(socket(3), Tick(0)), Tick(5001), "never in the past");
    }

    #[test]
    fn what_is_not_taken_at_once_is_found_later_the_most_overdue_first_and_nothing_twice() {
        let mut wheel = Wheel::new();
        for slot in 0..2_000 {
            wheel.insert(socket(slot), Tick(1 + slot / 10));
        }
        let (mut taken, mut now) = (Vec::new(), Tick(300));
        while wheel.ticks_behind(now) > 0 {
            for _ in 0..7 {
                let key = wheel.pop(now);
                // An entry added again while the wheel is behind fires at its own time.
                if let Some(key) = key.filter(|key| key.slot() == 5 && taken.len() < 100) {
                    assert_eq!(wheel.insert(key, Tick(310)), Tick(310));
                }
                taken.extend(key);
            }
            now.0 += u32::from(now.0 < 320);
        }
        assert_eq!(taken.len(), 2_001);
        assert_eq!(taken.iter().filter(|key| key.slot() == 5).count(), 2);
        assert!(taken[..2_000].is_sorted_by_key(|key| key.slot() / 10), "the most overdue first");
        assert_eq!(wheel.pop(Tick(400)), None);
        assert_eq!(wheel.ticks_behind(Tick(400)), 0);
    }
}
