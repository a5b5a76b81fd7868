//! Counts: connections to the control port, and the reasons for closing them.
//!
//! In:  connections that open and close.
//! Out: counters for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

/// The reason for closing a connection to the control port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Closed {
    /// All places were taken by requests in progress.
    Full,
    /// A new connection took its place: it had been idle the longest.
    Evicted,
    /// The head of a request was not complete in time.
    Head,
    /// No request arrived before the idle timeout.
    Idle,
    /// The client read an answer too slowly.
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

    /// Open connections.
    pub(super) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub(super) fn accepts(&self) -> u64 {
        self.accepts.load(Ordering::Relaxed)
    }

    /// The number of closed connections for each reason.
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
