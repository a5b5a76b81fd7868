//! Queues: what a shard does where queues are full, its own or its clients'.
//!
//! In:  the queued bytes of each reader; how full the ways to other shards are.
//! Out: over the budget of all send queues, the end of the readers with the longest ones; throttled senders, as soon as there is
//! room for what they send (`back_pressure`).

use holdfast_ring::{Kernel, Socket};

use super::Shard;
use crate::{
    context::cost,
    memory::{Budget, largest_first},
    metrics::{CloseReason, Metric},
    session::{must_hold, request::SessionIndex},
    shard::back_pressure::is_full,
};

/// The approximate cost of held requests resumed in one turn.
const REQUESTS_NS: u64 = 300_000;

impl<K: Kernel> Shard<K> {
    /// If all slow readers of the daemon together exceed the budget, closes the worst of this shard, down to its part of
    /// the budget.
    pub(crate) fn hold_to_budget(&mut self) {
        let (_, bytes) = self.conns.sockets.behind();
        self.cx.ledger.measure(Budget::Queues, bytes + self.hub.slow.size.memory_bytes as u64);
        let excess = self.cx.ledger.excess(Budget::Queues);
        if excess == 0 {
            return;
        }
        let sockets = self.conns.sockets.by_backlog().into_iter().map(|(socket, bytes)| {
            let held = self.hub.slow.held.get(&socket).map_or(0, |held| held.size().memory_bytes);
            (Holder::Socket(socket), (bytes + held) as u64)
        });
        let mut holders: Vec<_> = sockets.collect();
        holders.extend(self.sessions.registry.owed().map(|(place, bytes)| (Holder::Poll(place), bytes)));
        for holder in largest_first(holders, excess) {
            self.cx.counters.add(Metric::SlowByBudget, 1);
            match holder {
                // No close frame: the bytes queued before it would have to be kept.
                Holder::Socket(socket) => self
                    .with_connections(|conns, cx, above| conns.end_now(cx, above, socket, CloseReason::Slow)),
                Holder::Poll(place) => self.with_sessions(|sessions| sessions.cut_poll(place)),
            }
        }
    }

    /// How many sockets are slow readers, and the bytes queued for them.
    pub(crate) fn slow_readers(&self) -> (u64, u64) {
        let (sockets, bytes) = self.conns.sockets.behind();
        (sockets, bytes + self.hub.slow.size.bytes as u64)
    }

    /// True exactly when connections that cause messages must wait.
    fn must_hold(&self) -> bool {
        must_hold(&self.mesh, &self.hub)
    }

    /// True exactly when nobody may cause more messages: no bytes of connections are handled.
    pub(super) fn is_full(&self) -> bool {
        is_full(&self.mesh, &self.hub)
    }

    /// Resumes what is held once all shards have caught up.
    pub(super) fn resume_throttled(&mut self) {
        if self.throttled.is_empty() || self.must_hold() {
            return;
        }
        for socket in std::mem::take(&mut self.throttled.readers) {
            self.with_sessions(|sessions| sessions.read_again(socket));
        }
        let until = self.cx.meter.total_ns() + REQUESTS_NS;
        while self.cx.meter.total_ns() < until
            && !self.must_hold()
            && let Some(socket) = self.throttled.requests.pop_front()
        {
            self.cx.meter.add(cost::REQUEST_NS);
            self.cx.meter.allow(self.quantum_ns);
            self.with_connections(|conns, cx, above| conns.resume_request(cx, above, socket));
            self.cx.meter.allow_all();
        }
    }
}

/// The owner of queued bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Socket(Socket),
    /// A session of polls.
    Poll(SessionIndex),
}
