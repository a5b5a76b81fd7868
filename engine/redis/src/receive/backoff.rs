//! Backoff: how long to wait before the next connection.
//!
//! In:  how the last ones went.
//! Out: a delay with full jitter, so that the nodes of a deployment do not come back in step.
//!
//! "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. No I/O, no clock.

use std::time::Duration;

use rand::{Rng as _, rngs::SmallRng};

/// How long to wait between connections.
#[derive(Debug, Clone, Copy)]
pub struct BackoffOptions {
    /// At most so long after the first failure. 50 ms.
    pub first: Duration,
    /// At most so long after many. 5 s.
    pub max: Duration,
    /// A connection that lived so long ends the row of failures. 5 s.
    pub steady_after: Duration,
}

impl Default for BackoffOptions {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(50),
            max: Duration::from_secs(5),
            steady_after: Duration::from_secs(5),
        }
    }
}

/// A row of failures.
#[derive(Debug)]
pub(super) struct Backoff {
    options: BackoffOptions,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(options: BackoffOptions) -> Self {
        Self { options, failures: 0 }
    }

    /// A connection came to its end, or did not come about (it lived for zero seconds).
    pub(super) fn next(&mut self, lived: Duration, random: &mut SmallRng) -> Duration {
        if lived >= self.options.steady_after {
            self.failures = 0;
        }
        let doubled = self.options.first.saturating_mul(2_u32.saturating_pow(self.failures));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.options.max).mul_f64(random.random())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn delays_grow_to_the_maximum_and_a_steady_connection_ends_the_row() {
        let mut random = SmallRng::seed_from_u64(1);
        let mut backoff = Backoff::new(BackoffOptions::default());
        let mut longest = Duration::ZERO;
        for failure in 0..200 {
            let delay = backoff.next(Duration::ZERO, &mut random);
            assert!(delay <= Duration::from_millis(50 << failure.min(7)).min(Duration::from_secs(5)));
            longest = longest.max(delay);
        }
        assert!(longest > Duration::from_secs(4));
        assert!(backoff.next(Duration::from_secs(5), &mut random) <= Duration::from_millis(50));
    }
}
