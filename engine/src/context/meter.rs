//! Meter: the cost of the current turn so far.
//!
//! In:  estimates of single pieces of work; the time, at coarse points; published bytes.
//! Out: the cost, in nanoseconds; and whether the current piece of work has used up its part.
//!
//! Time is measured, but not per message: estimates stand in until they have added up and the clock is read. They are from
//! one machine of our benchmarks; where they are wrong, pieces are longer or shorter than intended, and the measurement
//! corrects the account.

use std::time::Duration;

/// The sum of estimates after which the clock is read.
const READ_AFTER_NS: u64 = 64_000;

/// The limit of a turn's scheduled work, in nanoseconds. One piece of work may exceed it.
pub(crate) const TURN_NS: u64 = 2_000_000;

/// The price of a published byte: what a turn publishes goes out before more is accepted, 64 KiB at most.
pub(crate) const PUBLISHED_BYTE_NS: u64 = TURN_NS / (64 * 1024);

/// The cost of a turn.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Measured time, and the price of published bytes.
    settled_ns: u64,
    /// Estimates since the clock was read.
    estimated_ns: u64,
    read_at: Duration,
    /// The cost at which the current piece of work must stop.
    limit_ns: u64,
}

impl Meter {
    pub(crate) const fn new() -> Self {
        Self { settled_ns: 0, estimated_ns: 0, read_at: Duration::ZERO, limit_ns: u64::MAX }
    }

    /// A turn begins.
    pub(crate) fn begin_turn(&mut self, now: Duration) {
        *self = Self { read_at: now, ..Self::new() };
    }

    /// Adds a piece of work with this estimate.
    pub(crate) fn add(&mut self, estimate_ns: u64) {
        self.estimated_ns += estimate_ns;
    }

    /// Adds work on `bytes` bytes, in nanoseconds per thousand of them.
    pub(crate) fn add_bytes(&mut self, bytes: usize, kilobyte_ns: u64) {
        self.estimated_ns += bytes as u64 * kilobyte_ns / 1000;
    }

    /// Adds bytes to be sent to the members or subscribers of this shard.
    pub(crate) fn publish(&mut self, bytes: usize) {
        self.settled_ns += bytes as u64 * PUBLISHED_BYTE_NS;
    }

    /// The cost so far.
    pub(crate) fn total_ns(&self) -> u64 {
        self.settled_ns + self.estimated_ns
    }

    /// Limits the cost of the next piece of work.
    pub(crate) fn allow(&mut self, part_ns: u64) {
        self.limit_ns = self.total_ns().saturating_add(part_ns);
    }

    /// Lifts the limit for the following work.
    pub(crate) fn allow_all(&mut self) {
        self.limit_ns = u64::MAX;
    }

    /// True exactly when the current piece of work has used up its part.
    pub(crate) fn is_over(&self) -> bool {
        self.total_ns() >= self.limit_ns
    }

    /// True exactly when it is time to read the clock.
    pub(crate) fn is_reading_due(&self) -> bool {
        self.estimated_ns >= READ_AFTER_NS
    }

    /// Replaces the estimates by the measured time.
    pub(crate) fn read(&mut self, now: Duration) {
        let took = now.saturating_sub(self.read_at);
        self.settled_ns += u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.estimated_ns = 0;
        self.read_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_count_until_the_clock_is_read_and_what_is_published_counts_in_any_case() {
        let mut meter = Meter::new();
        meter.begin_turn(Duration::from_micros(100));
        meter.add(READ_AFTER_NS);
        meter.publish(10);
        assert!(meter.is_reading_due());
        assert_eq!(meter.total_ns(), READ_AFTER_NS + 10 * PUBLISHED_BYTE_NS);
        meter.read(Duration::from_micros(130));
        assert_eq!(meter.total_ns(), 30_000 + 10 * PUBLISHED_BYTE_NS);
        assert!(!meter.is_reading_due());
    }

    #[test]
    fn a_piece_of_work_is_over_when_it_has_cost_its_part() {
        let mut meter = Meter::new();
        meter.begin_turn(Duration::ZERO);
        meter.add(5_000);
        meter.allow(1_000);
        assert!(!meter.is_over());
        meter.add_bytes(500, 2_000);
        assert!(meter.is_over());
        meter.allow_all();
        assert!(!meter.is_over());
    }
}
