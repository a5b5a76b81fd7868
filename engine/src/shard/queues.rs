//! Queues: one budget for all send queues.
//!
//! In:  the queued bytes of each reader.
//! Out: over the budget, the end of the readers with the longest queues.

use holdfast_ring::{Kernel, Socket};

use super::Shard;
use crate::{
    memory::{Budget, largest_first},
    metrics::{CloseReason, Metric},
    session::registry::SessionIndex,
};

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
        let sockets = self.conns.sockets.furthest_behind().into_iter().map(|(socket, bytes)| {
            let held = self.hub.slow.held.get(&socket).map_or(0, |held| held.size().memory_bytes);
            (Holder::Socket(socket), (bytes + held) as u64)
        });
        let mut holders: Vec<_> = sockets.collect();
        holders.extend(self.sessions.named.owed().map(|(place, bytes)| (Holder::Poll(place), bytes)));
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
}

/// The owner of queued bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Socket(Socket),
    /// A session of polls.
    Poll(SessionIndex),
}
