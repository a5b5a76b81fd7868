//! Latency: how times are recorded and summed up.
//!
//! In:  nanoseconds.
//! Out: histograms with three significant digits, and their percentiles in microseconds.
//!
//! Every latency counts from the moment at which its message was *due*, not from when it was at last sent: a load
//! tool that waits while the server stalls would otherwise leave out just the requests that suffered ("coordinated
//! omission": Gil Tene, "How NOT to Measure Latency", and his wrk2).

use hdrhistogram::Histogram;
use serde::Serialize;

/// The smallest difference that is kept: 64 ns.
const RESOLUTION_NS: u64 = 64;
/// Longer times are recorded as this: 10 minutes.
const LONGEST_NS: u64 = 600_000_000_000;

/// An empty histogram of nanoseconds; about 200 KiB.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(RESOLUTION_NS, LONGEST_NS, 3).expect("the bounds are legal")
}

/// The percentiles that people ask for, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half were at most this.
    pub p50: f64,
    /// Nine of ten were at most this.
    pub p90: f64,
    /// 99 of 100 were at most this.
    pub p99: f64,
    /// 999 of 1,000 were at most this.
    pub p999: f64,
    /// The longest.
    pub max: f64,
    /// The average. Says little: look at the others.
    pub mean: f64,
}

impl Percentiles {
    /// Of a histogram of nanoseconds; none when it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| tenths(crate::units::real(histogram.value_at_quantile(quantile)));
        (!histogram.is_empty()).then(|| Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: tenths(crate::units::real(histogram.max())),
            mean: tenths(histogram.mean()),
        })
    }
}

/// Nanoseconds as microseconds with one decimal: more would be noise.
fn tenths(ns: f64) -> f64 {
    (ns / 100.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_in_microseconds() {
        let mut histogram = histogram();
        for us in 1..=1000 {
            histogram.saturating_record(us * 1000);
        }
        let percentiles = Percentiles::of(&histogram).expect("not empty");
        assert!((percentiles.p50 - 500.0).abs() < 1.0, "{percentiles:?}");
        assert!((percentiles.p999 - 999.0).abs() < 1.0, "{percentiles:?}");
        assert!((percentiles.max - 1000.0).abs() < 1.0, "{percentiles:?}");
    }

    #[test]
    fn nothing_recorded_has_no_percentiles() {
        assert_eq!(Percentiles::of(&histogram()), None);
    }
}
