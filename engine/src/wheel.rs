//! Wheel: what is due when, for very many connections (a hashed timing wheel; Varghese and Lauck, 1987).
//!
//! In:  keys, of sockets mostly, with the tick at which to look at them.
//! Out: the keys whose tick has come.
//!
//! Adding and taking cost the same however many there are. Nothing is ever cancelled: who is told too early, or is
//! no longer meant, says so by the deadline in its own record. Memory: 8 bytes an entry, in vectors that keep at most
//! twice what they hold, and 24 KiB for the slots.

use crate::clock::Tick;

/// Slots of the wheel, a power of two: 51.2 s at 50 ms a tick. What is due later is looked at on the way.
const SLOTS: u32 = 1024;

/// Vectors that are emptied keep at most this many places.
const KEPT_ENTRIES_MAX: usize = 64;

/// Timers of one shard, for keys of type `T`.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    slots: Vec<Vec<T>>,
    now: Tick,
    entries: usize,
}

impl<T: Copy> Wheel<T> {
    pub(crate) fn new() -> Self {
        Self { slots: vec![Vec::new(); SLOTS as usize], now: Tick(0), entries: 0 }
    }

    /// Looks at `key` again at `due`, or earlier where that is beyond the wheel's span. Returns when that is.
    pub(crate) fn insert(&mut self, key: T, due: Tick) -> Tick {
        let ahead = due.0.saturating_sub(self.now.0).clamp(1, SLOTS - 1);
        let due = Tick(self.now.0 + ahead);
        self.slots[Self::slot(due)].push(key);
        self.entries += 1;
        due
    }

    /// Appends all whose tick has come by `now`.
    pub(crate) fn advance(&mut self, now: Tick, due: &mut impl Extend<T>) {
        while self.now < now {
            if self.entries == 0 {
                self.now = now;
                return;
            }
            self.now.0 += 1;
            let slot = &mut self.slots[Self::slot(self.now)];
            self.entries -= slot.len();
            due.extend(slot.drain(..));
            slot.shrink_to(KEPT_ENTRIES_MAX);
        }
    }

    /// The tick at which the next entry is due, if that is one of the next `ticks`.
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
        let mut due = Vec::new();
        for now in 1..=100 {
            assert_eq!(wheel.next_due(1), Some(Tick(now)));
            wheel.advance(Tick(now), &mut due);
            assert_eq!(due, [socket(now)]);
            due.clear();
        }
        assert_eq!(wheel.next_due(SLOTS), None);
    }

    #[test]
    fn what_is_beyond_the_span_comes_early_rather_than_late() {
        let mut wheel = Wheel::new();
        let first_look = wheel.insert(socket(1), Tick(10 * SLOTS));
        assert_eq!(first_look, Tick(SLOTS - 1));
        let mut due = Vec::new();
        wheel.advance(first_look, &mut due);
        assert_eq!(due, [socket(1)]);
    }

    #[test]
    fn a_clock_that_jumps_ahead_brings_all_that_was_due_on_the_way() {
        let mut wheel = Wheel::new();
        wheel.insert(socket(1), Tick(3));
        wheel.insert(socket(2), Tick(900));
        let mut due = Vec::new();
        wheel.advance(Tick(5000), &mut due);
        assert_eq!(due.len(), 2);
        assert_eq!(wheel.insert(socket(3), Tick(0)), Tick(5001), "never in the past");
    }
}
