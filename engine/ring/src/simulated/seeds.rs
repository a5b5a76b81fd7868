//! Seeds: one simulation, run with many of them.
//!
//! In:  a simulation; `SIM_SEED` (just this one) or `SIM_SEEDS` (so many, from a random one on) in the environment.
//! Out: nothing, or the seed that fails, how to run it again, and the last steps of its trace.

use std::{
    num::NonZero,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use super::trace::Trace;

/// No more is tried after so many failures.
const FAILURES_MAX: usize = 3;

/// Prints a trace when the simulation that it belongs to fails.
pub struct Watch {
    seed: u64,
    trace: Trace,
}

impl Watch {
    /// Watches the simulation of `seed` until it is dropped.
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        Self { seed, trace }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("seed {}: {}", self.seed, self.trace);
            eprintln!("seed {} fails; to run it again: make sim SEED={}", self.seed, self.seed);
        }
    }
}

/// Runs `simulation` with the seeds from 0 to `count`, or those that the environment names, on all CPUs.
///
/// # Panics
/// Where one of them fails.
pub fn with_seeds(count: u64, simulation: impl Fn(u64) + Sync) {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a seed is a number"));
    let (first, count) = match (number("SIM_SEED"), number("SIM_SEEDS")) {
        (Some(seed), _) => (seed, 1),
        // Short enough to be typed again.
        (None, Some(count)) => (u64::from(rand::random::<u32>()), count),
        (None, None) => (0, count),
    };
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let may_go_on = failed.lock().is_ok_and(|failed| failed.len() < FAILURES_MAX);
            if at >= count || !may_go_on {
                return;
            }
            let seed = first.wrapping_add(at);
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| simulation(seed)));
            if outcome.is_err()
                && let Ok(mut failed) = failed.lock()
            {
                failed.push(seed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().expect("no thread fails with it in its hands");
    assert!(failed.is_empty(), "failing seeds: {failed:?}; to run one again: make sim SEED={}", failed[0]);
    println!("{count} seeds from {first} on");
}
