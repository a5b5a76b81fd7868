//! Tally: what is counted.
//!
//! In:  each worker's own counts, without sharing.
//! Out: their sum, at the end; and rough figures for the progress display while it runs ([`Live`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::latency::histogram;

/// Different reasons kept apart; further ones are summed up as "other reasons".
const REASONS_MAX: usize = 32;

/// What happened to messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Messages {
    /// Handed to the kernel.
    pub sent: u64,
    /// Came back whole, for the first time.
    pub received: u64,
    /// Never came, though their connection lived; of a broken connection: those it had skipped or not answered.
    pub lost: u64,
    /// Came again.
    pub repeated: u64,
    /// Came after one that was sent later.
    pub reordered: u64,
    /// Are ours and were changed, or were meant for another connection.
    pub corrupt: u64,
    /// Were due, and not sent because the connection took no more bytes: the server does not read.
    pub withheld: u64,
    /// Were refused: the server answered the publication with an error.
    pub refused: u64,
    /// Are not ours: others talk on the same server.
    pub foreign: u64,
}

/// What happened to connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connects {
    /// Begun.
    pub attempted: u64,
    /// Finished their handshake (Centrifuge: and are subscribed).
    pub established: u64,
    /// Did not.
    pub failed: u64,
    /// Ended though nobody asked them to.
    pub lost_later: u64,
    /// Were closed by us, and the server did not answer the close frame.
    pub unclean: u64,
    /// Pings of the server that were answered.
    pub pings: u64,
    /// When the first began, on the run's clock.
    pub first_ns: Option<u64>,
    /// When the last was established, on the run's clock.
    pub last_ns: u64,
}

/// `failover`: how those came back who were cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Times that a client was back, and got what it had missed.
    pub recovered: u64,
    /// Messages that clients got so.
    pub recovered_messages: u64,
    /// Times that a client was told that the server cannot say what it missed.
    pub told: u64,
    /// Clients that were not back at the end.
    pub away: u64,
    /// Times that a request of the publisher had to be made again.
    pub requests_repeated: u64,
}

impl Recovery {
    fn merge(&mut self, other: Self) {
        self.recovered += other.recovered;
        self.recovered_messages += other.recovered_messages;
        self.told += other.told;
        self.away += other.away;
        self.requests_repeated += other.requests_repeated;
    }
}

/// All that one worker counted.
pub struct Tally {
    /// Messages.
    pub messages: Messages,
    /// Connections.
    pub connects: Connects,
    /// `failover`.
    pub recovery: Recovery,
    /// From when a connection was begun (`churn`: was due) until its handshake was done.
    pub handshakes: Histogram<u64>,
    /// `storm`: from the moment at which all were dropped until a connection was back; `failover`: from when a client was
    /// cut off until it was subscribed again.
    pub returns: Histogram<u64>,
    /// How late the load tool itself was to send what was due.
    pub lateness: Histogram<u64>,
    /// When the last message came, on the run's clock.
    pub last_message_ns: u64,
    /// Why connections failed or were lost.
    pub reasons: BTreeMap<String, u64>,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new() -> Self {
        Self {
            messages: Messages::default(),
            connects: Connects::default(),
            recovery: Recovery::default(),
            handshakes: histogram(),
            returns: histogram(),
            lateness: histogram(),
            last_message_ns: 0,
            reasons: BTreeMap::new(),
        }
    }

    /// Counts one connection that went wrong.
    pub fn reason(&mut self, reason: String, count: u64) {
        let known = self.reasons.len() < REASONS_MAX || self.reasons.contains_key(&reason);
        *self.reasons.entry(if known { reason } else { "other reasons".to_owned() }).or_default() += count;
    }

    /// Adds another worker's counts.
    pub fn merge(&mut self, other: Self) {
        let (mine, its) = (&mut self.messages, other.messages);
        mine.sent += its.sent;
        mine.received += its.received;
        mine.lost += its.lost;
        mine.repeated += its.repeated;
        mine.reordered += its.reordered;
        mine.corrupt += its.corrupt;
        mine.withheld += its.withheld;
        mine.refused += its.refused;
        mine.foreign += its.foreign;
        let (mine, its) = (&mut self.connects, other.connects);
        mine.attempted += its.attempted;
        mine.established += its.established;
        mine.failed += its.failed;
        mine.lost_later += its.lost_later;
        mine.unclean += its.unclean;
        mine.pings += its.pings;
        mine.first_ns = mine.first_ns.into_iter().chain(its.first_ns).min();
        mine.last_ns = mine.last_ns.max(its.last_ns);
        self.recovery.merge(other.recovery);
        self.handshakes += other.handshakes;
        self.returns += other.returns;
        self.lateness += other.lateness;
        self.last_message_ns = self.last_message_ns.max(other.last_message_ns);
        for (reason, count) in other.reasons {
            self.reason(reason, count);
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// One worker's counts as the main thread may see them while it works: a turn old, each by itself.
#[repr(align(128))]
#[derive(Debug, Default)]
pub struct Live {
    /// [`Connects::established`].
    pub established: AtomicU64,
    /// [`Connects::failed`].
    pub failed: AtomicU64,
    /// Connections that are open now.
    pub open: AtomicU64,
    /// [`Messages::sent`].
    pub sent: AtomicU64,
    /// [`Messages::received`].
    pub received: AtomicU64,
    /// True exactly when all connections of the ramp are open or have failed.
    pub is_settled: AtomicBool,
    /// True exactly when nothing more is expected: all was sent, all came back.
    pub is_drained: AtomicBool,
}

impl Live {
    /// Shows a worker's present counts.
    pub fn show(&self, tally: &Tally, open: u64) {
        let stores = [
            (&self.established, tally.connects.established),
            (&self.failed, tally.connects.failed),
            (&self.open, open),
            (&self.sent, tally.messages.sent),
            (&self.received, tally.messages.received),
        ];
        for (shown, count) in stores {
            shown.store(count, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merged_counts_are_sums_and_the_outermost_times() {
        let mut all = Tally::new();
        for (first_ns, last_ns) in [(5, 7), (3, 6)] {
            let mut one = Tally::new();
            one.connects =
                Connects { attempted: 2, first_ns: Some(first_ns), last_ns, ..Connects::default() };
            one.messages.sent = 10;
            one.handshakes.saturating_record(1000);
            all.merge(one);
        }
        assert_eq!((all.connects.attempted, all.connects.first_ns, all.connects.last_ns), (4, Some(3), 7));
        assert_eq!((all.messages.sent, all.handshakes.len()), (20, 2));
    }

    #[test]
    fn reasons_are_bounded_and_none_is_uncounted() {
        let mut tally = Tally::new();
        for n in 0..100 {
            tally.reason(format!("reason {n}"), 1);
        }
        assert_eq!(tally.reasons.len(), REASONS_MAX + 1);
        assert_eq!(tally.reasons.values().sum::<u64>(), 100);
    }
}
