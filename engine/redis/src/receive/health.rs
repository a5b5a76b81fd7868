//! Health: what operators see of a link.
//!
//! In:  counts, written by the link.
//! Out: a snapshot for `/health/broker` and for metrics, from any thread.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::cause::{CAUSES, Cause};

/// Where a link is.
#[derive(Debug, Clone)]
pub struct Health {
    /// True exactly when there is a connection that answered PING, and has not failed a probe since.
    pub is_up: bool,
    /// True exactly when the server answered for all that is wanted: what is not confirmed was refused.
    pub is_settled: bool,
    /// How long it has been so, or not so.
    pub since: Duration,
    /// Why the last connection ended, or did not come about, in words.
    pub last_cause: Option<String>,
    /// Channels that the owner wants or wanted a moment ago.
    pub wanted: usize,
    /// Channels that the server confirmed.
    pub confirmed: usize,
    /// Messages that were received.
    pub messages: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Messages that were dropped because the consumer had no room.
    pub dropped: u64,
    /// Probes that were sent.
    pub probes: u64,
    /// Connections that ended, or did not come about, by [`Cause::index`].
    pub causes: [u64; CAUSES],
}

impl Health {
    /// Of two links together: up and settled where both are.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let since = match (self.is_up, other.is_up) {
            (true, false) => other.since,
            (false, true) => self.since,
            // Both are up since the later one is; one of them is missing since the earlier one was.
            (true, true) => self.since.min(other.since),
            (false, false) => self.since.max(other.since),
        };
        let mut causes = self.causes;
        causes.iter_mut().zip(other.causes).for_each(|(cause, more)| *cause += more);
        Self {
            is_up: self.is_up && other.is_up,
            is_settled: self.is_settled && other.is_settled,
            since,
            // What ended a connection that is back is less interesting.
            last_cause: if self.is_up && !other.is_up {
                other.last_cause.or(self.last_cause)
            } else {
                self.last_cause.or(other.last_cause)
            },
            wanted: self.wanted + other.wanted,
            confirmed: self.confirmed + other.confirmed,
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
            dropped: self.dropped + other.dropped,
            probes: self.probes + other.probes,
            causes,
        }
    }
}

/// The counts of one link.
#[derive(Debug)]
pub(super) struct Counts {
    state: Mutex<State>,
    /// The connection is there.
    is_connected: AtomicBool,
    pub(super) is_settled: AtomicBool,
    pub(super) wanted: AtomicUsize,
    pub(super) confirmed: AtomicUsize,
    pub(super) messages: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) probes: AtomicU64,
    causes: [AtomicU64; CAUSES],
}

#[derive(Debug)]
struct State {
    changed_at: Instant,
    last_cause: Option<Arc<Cause>>,
}

impl Counts {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: Mutex::new(State { changed_at: now, last_cause: None }),
            is_connected: AtomicBool::new(false),
            is_settled: AtomicBool::new(false),
            wanted: AtomicUsize::new(0),
            confirmed: AtomicUsize::new(0),
            messages: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            probes: AtomicU64::new(0),
            causes: [const { AtomicU64::new(0) }; CAUSES],
        }
    }

    pub(super) fn up(&self, now: Instant) {
        self.is_connected.store(true, Ordering::Relaxed);
        self.state.lock().unwrap_or_else(PoisonError::into_inner).changed_at = now;
    }

    pub(super) fn down(&self, cause: Arc<Cause>, now: Instant) {
        self.causes[cause.index()].fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_connected.swap(false, Ordering::Relaxed) {
            state.changed_at = now;
        }
        state.last_cause = Some(cause);
    }

    /// How long there has been no connection; none while there is one.
    pub(super) fn away(&self) -> Option<Duration> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.is_connected.load(Ordering::Relaxed)).then(|| state.changed_at.elapsed())
    }

    pub(super) fn health(&self) -> Health {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Health {
            is_up: self.is_connected.load(Ordering::Relaxed),
            is_settled: self.is_settled.load(Ordering::Relaxed),
            since: state.changed_at.elapsed(),
            last_cause: state.last_cause.as_ref().map(ToString::to_string),
            wanted: self.wanted.load(Ordering::Relaxed),
            confirmed: self.confirmed.load(Ordering::Relaxed),
            messages: count(&self.messages),
            bytes: count(&self.bytes),
            dropped: count(&self.dropped),
            probes: count(&self.probes),
            causes: std::array::from_fn(|index| count(&self.causes[index])),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn two_links_are_as_well_as_the_worse_of_them_and_have_done_as_much_as_both() {
        let start = Instant::now();
        let (one, other) = (Counts::new(start), Counts::new(start));
        one.up(start);
        one.wanted.store(3, Ordering::Relaxed);
        one.is_settled.store(true, Ordering::Relaxed);
        other.wanted.store(4, Ordering::Relaxed);
        other.down(Arc::new(Cause::Connect(io::Error::other("refused"))), start);
        for health in [one.health().and(other.health()), other.health().and(one.health())] {
            assert_eq!((health.is_up, health.is_settled, health.wanted), (false, false, 7));
            assert_eq!(health.last_cause.as_deref(), Some("no connection came about: refused"));
            assert_eq!(health.causes.iter().sum::<u64>(), 1);
        }
        other.up(start);
        assert!(one.health().and(other.health()).is_up);
    }
}
