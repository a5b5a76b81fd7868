//! Testkit: what every test of a running daemon needs. It is a dependency of tests only.
//!
//! In:  a configuration.
//! Out: a daemon of one's own on free ports, a look into it from outside, and clients for it: `peer` can misbehave and has
//! its own framing, so that a mistake in the protocol crate cannot cancel itself out; `client` speaks the client protocol
//! over it; `http` is for the transports beside WebSocket. `app` is a backend for the daemon to ask, `redis` a server between nodes.
//!
//! Nothing here waits for a time to pass: it waits for conditions, and gives up long after any sane delay.
#![forbid(unsafe_code)]

pub mod app;
pub mod client;
mod daemon;
pub mod http;
mod metrics;
pub mod peer;
mod process;
pub mod redis;

use std::{
    env,
    io::{self, Write as _},
    thread::sleep,
    time::{Duration, Instant},
};

pub use self::{
    daemon::{Daemon, Launch},
    metrics::{Metrics, Sample},
    process::{binary, command, forget_configuration},
};

/// When a test gives up: long enough for a machine that has far too much else to do.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says that something is not tested, and why. Where CI=true, that is a failure.
///
/// # Panics
/// Where CI=true.
pub fn skip(what: &str, why: &str) {
    assert!(!env::var("CI").is_ok_and(|ci| ci == "true"), "{what}: {why}");
    leave_out(what, why);
}

/// Says that something is not tested, and why, where nobody expects it to be: what it needs is on few machines.
pub fn leave_out(what: &str, why: &str) {
    // Not `eprintln`: that is shown only where a test fails.
    let _ = writeln!(io::stderr(), "SKIPPED: {what} is not tested: {why}");
}

/// Waits until `is_so`.
///
/// # Panics
/// With `what`, where it does not come to pass.
pub fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    assert!(comes_to_pass(is_so), "this never came to pass: {what}");
}

/// Waits until `is_so`. False where it does not come to pass.
pub fn comes_to_pass(mut is_so: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !is_so() {
        if began.elapsed() > PATIENCE {
            return false;
        }
        sleep(Duration::from_millis(10));
    }
    true
}
