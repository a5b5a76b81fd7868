//! Base: what a daemon holds while nobody is there, to be compared with what it holds after a fault.
//!
//! In:  a daemon that has warmed up.
//! Out: a failed test, where it does not come back to that.

use std::time::{Duration, Instant};

use holdfast_testkit::{Daemon, comes_to_pass, eventually};

/// User memory that may be more than before, beside what is kept on purpose. The allocator keeps a page or two for each
/// size of pieces and each thread, of 64 KiB, 512 KiB or 4 MiB, and which of them have been used differs from time to
/// time. That does not add up: where a fault leaves more each time, a test that has it often enough finds it.
const KEPT_BYTES: u64 = 16 << 20;

/// Free memory is looked for once a second, and goes when it has been free for a second.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(3);

/// What a daemon holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    memory_bytes: u64,
    history_bytes: u64,
    descriptors: usize,
}

impl Base {
    /// As it is when all connections have gone, and memory falls no more.
    pub(crate) fn of(daemon: &Daemon) -> Self {
        daemon.await_empty();
        let (mut memory_bytes, mut fallen) = (daemon.user_memory_bytes(), Instant::now());
        eventually("memory falls no more", || {
            let now = daemon.user_memory_bytes();
            if now < memory_bytes {
                (memory_bytes, fallen) = (now, Instant::now());
            }
            fallen.elapsed() > GIVEN_BACK_WITHIN
        });
        Self { memory_bytes, history_bytes: history_bytes(daemon), descriptors: daemon.descriptors() }
    }

    /// Waits until all is as it was.
    pub(crate) fn expect_back(self, daemon: &Daemon) {
        self.expect_back_within(daemon, KEPT_BYTES);
    }

    /// Waits until all is as it was, but for so much memory.
    pub(crate) fn expect_back_within(self, daemon: &Daemon, kept_bytes: u64) {
        daemon.await_empty();
        let metrics = daemon.metrics();
        for name in ["clients", "subscriptions", "places_taken", "slow_readers", "slow_reader_bytes"] {
            assert_eq!(metrics.sum(&format!("holdfast_{name}"), &[]), 0, "{name}");
        }
        // Scrapes have descriptors too, for a moment.
        eventually("descriptors are given back", || daemon.descriptors() <= self.descriptors);
        let history = history_bytes(daemon).saturating_sub(self.history_bytes);
        let most = self.memory_bytes + history + kept_bytes;
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
