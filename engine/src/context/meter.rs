//! Meter: what a turn's work has cost so far.
//!
//! In:  estimates of single pieces of work; the time, at coarse points; bytes that were published.
//! Out: the cost, in nanoseconds; and whether the piece of work in hand has used up its part.
//!
//! Time is measured, but not for each message: estimates stand for it until the clock is read, which happens when they have
//! added up to something. They are of a machine of our benchmarks; where they are wrong, pieces are longer or shorter than
//! they were to be, and the measurement puts the account right.

use std::time::Duration;

/// Estimates after which the clock is read.
const READ_AFTER_NS: u64 = 64_000;

/// The bound of a turn's scheduled work, in nanoseconds. What one piece of work takes longer, it may be longer.
pub(crate) const TURN_NS: u64 = 2_000_000;

/// The price of a published byte: what is published in a turn goes out before more comes, 64 KiB at most.
pub(crate) const PUBLISHED_BYTE_NS: u64 = TURN_NS / (64 * 1024);

/// The cost of a turn.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Measured, and the price of what was published.
    settled_ns: u64,
    /// Since the clock was read.
    estimated_ns: u64,
    read_at: Duration,
    /// The cost at which the piece of work in hand is to stop.
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

    /// A piece of work is done that takes about this long.
    pub(crate) fn add(&mut self, estimate_ns: u64) {
        self.estimated_ns += estimate_ns;
    }

    /// The same for work that goes through all of some bytes, at so many nanoseconds for each thousand of them.
    pub(crate) fn add_bytes(&mut self, bytes: usize, kilobyte_ns: u64) {
        self.estimated_ns += bytes as u64 * kilobyte_ns / 1000;
    }

    /// Bytes are to go out to the members or subscribers of this core.
    pub(crate) fn publish(&mut self, bytes: usize) {
        self.settled_ns += bytes as u64 * PUBLISHED_BYTE_NS;
    }

    /// The cost so far.
    pub(crate) fn total_ns(&self) -> u64 {
        self.settled_ns + self.estimated_ns
    }

    /// Lets the next piece of work cost this much.
    pub(crate) fn allow(&mut self, part_ns: u64) {
        self.limit_ns = self.total_ns().saturating_add(part_ns);
    }

    /// Lets what follows cost whatever it costs.
    pub(crate) fn allow_all(&mut self) {
        self.limit_ns = u64::MAX;
    }

    /// True exactly when the piece of work in hand has cost what it may.
    pub(crate) fn is_over(&self) -> bool {
        self.total_ns() >= self.limit_ns
    }

    /// True exactly when it is time to look at the clock.
    pub(crate) fn is_reading_due(&self) -> bool {
        self.estimated_ns >= READ_AFTER_NS
    }

    /// What was estimated is replaced by what it took.
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
