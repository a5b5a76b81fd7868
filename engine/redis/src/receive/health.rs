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
