//! Timers: what is due.
//!
//! In:  the time; what the schedule lets it cost.
//! Out: calls of the files that decide what follows; housekeeping once a second.
//!
//! What is due when much else is goes on with the next turn. Nobody is harmed by that: a deadline is looked at again when its
//! turn has come, and what came meanwhile counts.

use std::time::Duration;

use holdfast_ring::Kernel;

use super::{Shard, cost};
use crate::clock::Tick;

/// Ticks between two calls of [`holdfast_ring::Sockets::tick`] (1 s).
const SOCKET_TICK_TICKS: u32 = 20;

/// Places that are kept when nothing is due any more.
const KEPT_MAX: usize = 1024;

impl<K: Kernel> Shard<K> {
    /// Asks the wheels.
    pub(super) fn find_due(&mut self) {
        self.wheel.advance(self.now, &mut self.due);
        self.poll_wheel.advance(self.now, &mut self.due_polls);
    }

    pub(super) fn has_due(&self) -> bool {
        !self.due.is_empty() || !self.due_polls.is_empty()
    }

    /// Looks at what is due until it has cost `part_ns`.
    pub(super) fn look_at_due(&mut self, part_ns: u64, elapsed: &mut impl FnMut() -> Duration) {
        let until = self.meter.total_ns().saturating_add(part_ns);
        while self.meter.total_ns() < until {
            if let Some(socket) = self.due.pop_front() {
                self.due(socket);
            } else if let Some(place) = self.due_polls.pop_front() {
                self.poll_due(place);
            } else {
                self.due.shrink_to(KEPT_MAX);
                self.due_polls.shrink_to(KEPT_MAX);
                return;
            }
            self.meter.add(cost::DUE_NS);
            self.look_at_clock(elapsed);
        }
    }

    /// Housekeeping.
    pub(super) fn keep_house(&mut self) {
        self.homes.tend(self.now, &mut self.ledger);
        if self.now >= self.next_socket_tick {
            self.next_socket_tick = Tick(self.now.0 + SOCKET_TICK_TICKS);
            self.sockets.tick();
            self.tend_limits();
        }
    }
}
