//! Figures: latencies and what is told of them.
//!
//! In:  durations.
//! Out: count, median, 99th percentile, maximum, in milliseconds.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Longer ones count as this long.
const LONGEST_US: u64 = 600_000_000;

/// What is told of some latencies.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Figures {
    /// How many there were.
    pub count: u64,
    /// The median.
    pub p50_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// Latencies as they are measured.
#[derive(Debug)]
pub(crate) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("the bounds are right"))
    }

    /// Adds one. What took longer than `interval` has held up those that were due in that time: they count too, each from
    /// when it was due, so that one long wait is not one sample among many.
    pub(crate) fn add(&mut self, took: Duration, interval: Duration) {
        self.0.record_correct(micros(took), micros(interval)).expect("it is within the bounds");
    }

    /// Adds one that held up no other.
    pub(crate) fn add_alone(&mut self, took: Duration) {
        self.0.saturating_record(micros(took));
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("the bounds are the same");
    }

    pub(crate) fn figures(&self) -> Figures {
        let quantile_ms = |quantile| ms(self.0.value_at_quantile(quantile));
        Figures {
            count: self.0.len(),
            p50_ms: quantile_ms(0.5),
            p99_ms: quantile_ms(0.99),
            max_ms: ms(self.0.max()),
        }
    }
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(LONGEST_US).clamp(1, LONGEST_US)
}

fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}
