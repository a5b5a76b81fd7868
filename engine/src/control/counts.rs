//! Counts: connections to the control port, and the reasons why we closed them.
//!
//! In:  connections that open and close.
//! Out: counters for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// Why the control port closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// Every place was taken by a request under way.
    Full,
    /// Its place went to a new one: it had been idle the longest.
    Evicted,
    /// A request's head was not complete in time.
    Head,
    /// No request arrived for a long time.
    Idle,
    /// An answer was read too slowly.
    Answer,
    /// The TLS handshake failed.
    Tls,
}

impl Closed {
    pub(super) const ALL: [(Self, &str); 6] = [
        (Self::Full, "full"),
        (Self::Evicted, "evicted"),
        (Self::Head, "head"),
        (Self::Idle, "idle"),
        (Self::Answer, "answer"),
        (Self::Tls, "tls"),
    ];
}

/// The counters. Only the control thread writes them.
#[derive(Debug, Default)]
pub(super) struct Counts {
    connections: AtomicU64,
    accepts: AtomicU64,
    closes: [AtomicU64; Closed::ALL.len()],
}

impl Counts {
    pub(super) fn accepted(&self) {
        self.accepts.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ended(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self, why: Closed) {
        self.closes[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Connections that are open.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub(super) fn accepts(&self) -> u64 {
        self.accepts.load(Ordering::Relaxed)
    }

    /// Each reason with its number of closes.
    pub(super) fn closes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Closed::ALL.iter().map(|(why, name)| (*name, self.closes[*why as usize].load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_at_its_own_place() {
        for (place, (why, name)) in Closed::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, place, "{name}");
        }
    }
}
