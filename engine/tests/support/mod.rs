//! Support: what every test of a running daemon needs.
//!
//! In:  a configuration.
//! Out: a daemon of one's own on free ports, and a look into it from outside.
//!
//! Nothing here waits for a time to pass: it waits for conditions, and gives up long after any sane delay.

mod daemon;
mod metrics;
mod process;

use std::{
    thread::sleep,
    time::{Duration, Instant},
};

pub(crate) use self::{
    daemon::{Daemon, Launch},
    metrics::Metrics,
};

/// When a test gives up: long enough for a machine that has far too much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `is_so`. Panics with `what` when it does not come to pass.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "this never came to pass: {what}");
        sleep(Duration::from_millis(10));
    }
}
