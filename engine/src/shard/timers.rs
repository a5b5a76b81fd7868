//! Timers: handles due timers.
//!
//! In:  the time; the cost that the schedule allows.
//! Out: calls of the files that decide the consequences; housekeeping once a second.
//!
//! Timers that do not fit into the turn are handled in the next one, the most overdue first. That harms nobody: before a
//! connection is ended for silence, the kernel is asked whether it has unread input (`conn/heartbeat`).

use std::time::Duration;

use holdfast_ring::{Kernel, PREFETCH_AHEAD};

use super::Shard;
use crate::{metrics::Metric, time::TICK_MS};

/// Ticks between two calls of [`holdfast_ring::Sockets::tick`] (1 s).
const SOCKET_TICK_TICKS: u32 = 20;

impl<K: Kernel> Shard<K> {
    pub(super) fn has_due(&self) -> bool {
        self.conns.wheel.ticks_behind(self.cx.uptime) > 0
            || self.sessions.poll_wheel.ticks_behind(self.cx.uptime) > 0
    }

    /// Handles due timers until they have cost `part_ns`.
    pub(super) fn fire_timers(&mut self, part_ns: u64, elapsed: &mut impl FnMut() -> Duration) {
        let until = self.cx.meter.total_ns().saturating_add(part_ns);
        while self.cx.meter.total_ns() < until {
            let cost_ns = if let Some(socket) = self.conns.wheel.pop(self.cx.uptime) {
                if let Some(upcoming) = self.conns.wheel.upcoming(PREFETCH_AHEAD) {
                    self.conns.table.prefetch(upcoming);
                    self.conns.sockets.prefetch(upcoming);
                }
                self.with_connections(|conns, cx, above| conns.due(cx, above, socket))
            } else if let Some(place) = self.sessions.poll_wheel.pop(self.cx.uptime) {
                self.with_sessions(|sessions| sessions.poll_due(place))
            } else {
                return;
            };
            self.cx.meter.add(cost_ns);
            self.look_at_clock(elapsed);
        }
    }

    /// Housekeeping.
    pub(super) fn keep_house(&mut self) {
        self.note_what_is_read();
        self.tell_notices();
        self.conns.pace.was_late(self.conns.wheel.ticks_behind(self.cx.uptime));
        self.with_sessions(|sessions| sessions.tend_owned());
        if self.cx.uptime >= self.next_socket_tick {
            self.next_socket_tick = self.cx.uptime.after(SOCKET_TICK_TICKS);
            self.conns.sockets.tick();
            self.cx.housekeep();
            self.hub.subscriptions.tend();
            let late_ms = u64::from(self.conns.pace.second_passed()) * TICK_MS;
            self.cx.counters.set(Metric::LateMs, late_ms);
        }
    }

    /// Runs at most once per tick.
    fn note_what_is_read(&mut self) {
        if self.read_up_to < self.cx.uptime {
            if self.events.is_empty() && self.backlog.are_all_asleep() && self.conns.sockets.is_read_up() {
                self.read_up_to = self.cx.uptime;
                self.mesh.peers.tell_read_up_to(self.mesh.shard, self.cx.uptime);
                self.cx.lateness.caught_up();
            }
            self.conns.pace.was_late(self.cx.uptime.since(self.read_up_to));
        }
    }
}
