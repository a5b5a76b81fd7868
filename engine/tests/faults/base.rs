//! Base: what a daemon holds while nobody is there, to be compared with what it holds after a fault.
//!
//! In:  a daemon that has warmed up.
//! Out: a failed test, where it does not come back to that.

use crate::support::{Daemon, comes_to_pass, eventually};

/// User memory that may be more than before, beside what is kept on purpose. The allocator keeps a page or two for each
/// size of pieces and each thread, of 64 KiB, 512 KiB or 4 MiB, and which of them have been used differs from time to
/// time. That does not add up: where a fault leaves more each time, a test that has it often enough finds it.
const KEPT_BYTES: u64 = 12 << 20;

/// What a daemon holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    memory_bytes: u64,
    history_bytes: u64,
    descriptors: usize,
}

impl Base {
    /// As it is when all connections have gone.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        daemon.await_empty();
        Self {
            memory_bytes: daemon.user_memory_bytes(),
            history_bytes: history_bytes(daemon),
            descriptors: daemon.descriptors(),
        }
    }

    /// Waits until all is as it was.
    pub(crate) fn expect_back(self, daemon: &Daemon) {
        daemon.await_empty();
        let metrics = daemon.metrics();
        for name in ["clients", "subscriptions", "places_taken", "slow_readers", "slow_reader_bytes"] {
            assert_eq!(metrics.sum(&format!("holdfast_{name}"), &[]), 0, "{name}");
        }
        // Scrapes have descriptors too, for a moment.
        eventually("descriptors are given back", || daemon.descriptors() <= self.descriptors);
        let history = history_bytes(daemon).saturating_sub(self.history_bytes);
        let most = self.memory_bytes + history + KEPT_BYTES;
        let is_back = comes_to_pass(|| daemon.user_memory_bytes() <= most);
        let now = daemon.user_memory_bytes();
        println!(
            "user memory: {} bytes before, {now} after, with {history} more of history",
            self.memory_bytes
        );
        assert!(is_back, "it stays above {most} bytes");
    }
}

/// Memory of publications that are kept on purpose.
fn history_bytes(daemon: &Daemon) -> u64 {
    daemon.metric("holdfast_history_bytes", &[])
}
