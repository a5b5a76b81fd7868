//! Breaker: whether Redis is worth asking.
//!
//! In:  what became of asks; what the supervisor sees of the connection.
//! Out: for each ask, at once, whether it is sent at all.
//!
//! ```text
//!             ROLE is master, PONG
//!    Open ───────────────────────────> Closed
//!     ^                                  │
//!     └── connection lost, `timeouts_max`┘
//!         late replies in a row, wrong primary
//! ```
//!
//! Only the supervisor closes it: a reply that was on its way proves nothing. No I/O, no clock.

use std::{
    fmt,
    sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};

use tokio::sync::Notify;

/// Why the breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// There has been no connection yet.
    Connecting,
    /// The connection ended.
    Lost,
    /// Replies did not come, several times in a row.
    Silent,
    /// It is a replica, or has lost its data or its cluster.
    WrongPrimary,
    /// The driver ended. It stays so.
    Stopped,
}

const NAMES: [&str; 5] = ["connecting", "lost", "silent", "wrong_primary", "stopped"];

impl Down {
    /// All of them.
    pub const ALL: [Self; NAMES.len()] =
        [Self::Connecting, Self::Lost, Self::Silent, Self::WrongPrimary, Self::Stopped];

    /// As a metric's label.
    pub const fn name(self) -> &'static str {
        NAMES[self as usize]
    }
}

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connecting => "not connected yet",
            Self::Lost => "the connection was lost",
            Self::Silent => "it does not answer",
            Self::WrongPrimary => "it is no primary",
            Self::Stopped => "the connection was given up",
        })
    }
}

const CLOSED: u8 = u8::MAX;

/// Shared by all who ask.
#[derive(Debug)]
pub(super) struct Breaker {
    /// [`CLOSED`], or the `Down`.
    state: AtomicU8,
    timeouts: AtomicU32,
    timeouts_max: u32,
    opened: AtomicU64,
    changed: Notify,
}

impl Breaker {
    pub(super) fn new(timeouts_max: u32) -> Self {
        Self {
            state: AtomicU8::new(Down::Connecting as u8),
            timeouts: AtomicU32::new(0),
            timeouts_max,
            opened: AtomicU64::new(0),
            changed: Notify::new(),
        }
    }

    /// Why it is open, where it is.
    pub(super) fn down(&self) -> Option<Down> {
        match self.state.load(Ordering::Acquire) {
            0 => Some(Down::Connecting),
            1 => Some(Down::Lost),
            2 => Some(Down::Silent),
            3 => Some(Down::WrongPrimary),
            4 => Some(Down::Stopped),
            _ => None,
        }
    }

    /// How often it opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// A reply came, of whatever kind.
    pub(super) fn answered(&self) {
        self.timeouts.store(0, Ordering::Relaxed);
    }

    /// A reply did not come in time.
    pub(super) fn timed_out(&self) {
        if self.timeouts.fetch_add(1, Ordering::Relaxed).saturating_add(1) >= self.timeouts_max {
            self.open(Down::Silent);
        }
    }

    /// Opens it; where it is open already, the first reason stays, but `Stopped` is final.
    pub(super) fn open(&self, why: Down) {
        let change = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            (state == CLOSED || why == Down::Stopped).then_some(why as u8)
        });
        if change == Ok(CLOSED) {
            self.opened.fetch_add(1, Ordering::Relaxed);
        }
        if change.is_ok() {
            self.changed.notify_waiters();
        }
    }

    /// Closes it, unless it was stopped.
    pub(super) fn close(&self) {
        self.timeouts.store(0, Ordering::Relaxed);
        let change = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            (state != CLOSED && state != Down::Stopped as u8).then_some(CLOSED)
        });
        if change.is_ok() {
            self.changed.notify_waiters();
        }
    }

    /// Comes back at the next change, or at once where `is_due` says so already.
    pub(super) async fn until(&self, is_due: impl Fn(Option<Down>) -> bool) {
        loop {
            let change = self.changed.notified();
            tokio::pin!(change);
            // From here on no change is missed.
            change.as_mut().enable();
            if is_due(self.down()) {
                return;
            }
            change.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_several_late_replies_in_a_row_and_not_after_as_many_apart() {
        let breaker = Breaker::new(3);
        assert_eq!(breaker.down(), Some(Down::Connecting));
        breaker.close();
        for _ in 0..10 {
            breaker.timed_out();
            breaker.timed_out();
            breaker.answered();
        }
        assert_eq!(breaker.down(), None);
        for _ in 0..3 {
            breaker.timed_out();
        }
        assert_eq!((breaker.down(), breaker.opened()), (Some(Down::Silent), 1));
        breaker.answered();
        assert_eq!(breaker.down(), Some(Down::Silent), "only the supervisor closes it");
        breaker.close();
        breaker.timed_out();
        assert_eq!(breaker.down(), None, "the row begins anew");
    }

    #[test]
    fn the_first_reason_stays_and_stopping_is_final() {
        let breaker = Breaker::new(3);
        breaker.close();
        breaker.open(Down::Lost);
        breaker.open(Down::Silent);
        assert_eq!((breaker.down(), breaker.opened()), (Some(Down::Lost), 1));
        breaker.open(Down::Stopped);
        breaker.close();
        assert_eq!(breaker.down(), Some(Down::Stopped));
        for down in Down::ALL {
            let breaker = Breaker::new(1);
            breaker.close();
            breaker.open(down);
            assert_eq!(breaker.down(), Some(down));
            assert!(!down.name().is_empty());
        }
    }
}
