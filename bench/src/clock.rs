//! Clock: the one file of the load tool that reads the time.
//!
//! Out: nanoseconds since the run began, the same scale on every thread.
//!
//! Never the wall clock: a latency must not jump when somebody sets the time.

use std::time::{Duration, Instant};

/// A monotonic clock whose zero is the start of the run.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock that reads zero now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Nanoseconds since the clock was started.
    pub fn now_ns(&self) -> u64 {
        crate::units::nanos(self.origin.elapsed())
    }

    /// Waits on this thread until the clock reads `at_ns`.
    pub fn sleep_until(&self, at_ns: u64) {
        std::thread::sleep(Duration::from_nanos(at_ns.saturating_sub(self.now_ns())));
    }
}
