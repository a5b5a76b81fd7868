//! Counters: what metrics tell of one deployment of Redis.
//!
//! In:  what happened, from several tasks.
//! Out: numbers that only grow, and what waits now.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    breaker::Down,
    failure::{FAILURES, Failure, NAMES},
};

/// Upper bounds of the buckets of batch sizes, in publications; one bucket more is without a bound.
pub const BATCH_BUCKETS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Upper bounds of the buckets of round trips, in microseconds; one bucket more is without a bound.
pub const ROUND_TRIP_BUCKETS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000];

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) publications: AtomicU64,
    pub(super) publication_bytes: AtomicU64,
    pub(super) reads: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) reloads: AtomicU64,
    failures: [AtomicU64; FAILURES],
    batches: [AtomicU64; BATCH_BUCKETS.len() + 1],
    batch_publications: AtomicU64,
    round_trips: [AtomicU64; ROUND_TRIP_BUCKETS_US.len() + 1],
    round_trip_us: AtomicU64,
    clock_skew_ms: Mutex<Option<i64>>,
}

impl Counters {
    pub(super) fn failed(&self, failure: &Failure) {
        self.failures[failure.index()].fetch_add(1, Relaxed);
    }

    pub(super) fn batch(&self, size: usize) {
        let bucket = BATCH_BUCKETS.iter().position(|most| size <= *most);
        self.batches[bucket.unwrap_or(BATCH_BUCKETS.len())].fetch_add(1, Relaxed);
        self.batch_publications.fetch_add(size as u64, Relaxed);
    }

    /// Redis' clock as it was told, in seconds and microseconds since 1970, by a reply that took so long. It was read about
    /// half of that time ago.
    pub(super) fn clock(&self, (seconds, micros): (u64, u64), took: Duration) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let theirs = Duration::from_secs(seconds) + Duration::from_micros(micros);
        let skew_ms = difference_ms(theirs, now.saturating_sub(took / 2));
        *self.clock_skew_ms.lock().unwrap_or_else(PoisonError::into_inner) = Some(skew_ms);
    }

    pub(super) fn round_trip(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = ROUND_TRIP_BUCKETS_US.iter().position(|most| us <= *most);
        self.round_trips[bucket.unwrap_or(ROUND_TRIP_BUCKETS_US.len())].fetch_add(1, Relaxed);
        self.round_trip_us.fetch_add(us, Relaxed);
    }

    pub(super) fn numbers(&self, down: Option<Down>, opened: u64, (asks, bytes): (usize, usize)) -> Numbers {
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        Numbers {
            down,
            breaker_opened: opened,
            asks_waiting: asks,
            bytes_waiting: bytes,
            publications: get(&self.publications),
            publication_bytes: get(&self.publication_bytes),
            reads: get(&self.reads),
            connections: get(&self.connections),
            scripts_loaded_again: get(&self.reloads),
            clock_skew_ms: *self.clock_skew_ms.lock().unwrap_or_else(PoisonError::into_inner),
            failures: std::array::from_fn(|n| (NAMES[n], get(&self.failures[n]))),
            batches: std::array::from_fn(|n| get(&self.batches[n])),
            batch_publications: get(&self.batch_publications),
            round_trips: std::array::from_fn(|n| get(&self.round_trips[n])),
            round_trip_us: get(&self.round_trip_us),
        }
    }
}

/// One time less another, in milliseconds.
pub(crate) fn difference_ms(one: Duration, other: Duration) -> i64 {
    let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    ms(one).saturating_sub(ms(other))
}

/// What happened so far, and what waits now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    /// Why the breaker is open, where it is.
    pub down: Option<Down>,
    /// How often it opened.
    pub breaker_opened: u64,
    /// Publications that wait to be sent.
    pub asks_waiting: usize,
    /// Bytes of publications that wait or are under way, with what is around them.
    pub bytes_waiting: usize,
    /// Publications that Redis took.
    pub publications: u64,
    /// The bytes of their Protobuf messages.
    pub publication_bytes: u64,
    /// Other asks that Redis answered.
    pub reads: u64,
    /// Connections that came about, in a cluster to each node.
    pub connections: u64,
    /// How often Redis had forgotten a script: a restart, a failover, SCRIPT FLUSH.
    pub scripts_loaded_again: u64,
    /// Redis' clock less ours, in milliseconds, when it was last looked at; none before that, and where it may not be.
    pub clock_skew_ms: Option<i64>,
    /// Asks without a reply, by the name of [`Failure`].
    pub failures: [(&'static str, u64); FAILURES],
    /// Batches by size; see [`BATCH_BUCKETS`].
    pub batches: [u64; BATCH_BUCKETS.len() + 1],
    /// The publications of all of them.
    pub batch_publications: u64,
    /// Round trips by time; see [`ROUND_TRIP_BUCKETS_US`].
    pub round_trips: [u64; ROUND_TRIP_BUCKETS_US.len() + 1],
    /// All of them together, in microseconds.
    pub round_trip_us: u64,
}

impl Numbers {
    /// How many asks failed in that way.
    pub fn failed(&self, name: &str) -> u64 {
        self.failures.iter().find(|(known, _)| *known == name).map_or(0, |(_, count)| *count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_falls_into_the_bucket_that_holds_it() {
        let counters = Counters::default();
        for size in [1, 2, 3, 64, 65] {
            counters.batch(size);
        }
        for us in [1, 100, 101, 2_000_000] {
            counters.round_trip(Duration::from_micros(us));
        }
        counters.failed(&Failure::Late);
        let numbers = counters.numbers(None, 0, (1, 2));
        assert_eq!(numbers.batches, [1, 1, 1, 0, 0, 0, 1, 1]);
        assert_eq!(numbers.batch_publications, 1 + 2 + 3 + 64 + 65);
        assert_eq!(numbers.round_trips, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!((numbers.failed("late"), numbers.failed("lost"), numbers.failed("?")), (1, 0, 0));
    }

    #[test]
    fn half_of_the_round_trip_is_no_skew() {
        let counters = Counters::default();
        let skew = || counters.numbers(None, 0, (0, 0)).clock_skew_ms;
        assert_eq!(skew(), None, "nobody has looked");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        // It was asked 40 s ago, and looked at its clock 20 s ago.
        let then = now.checked_sub(Duration::from_secs(20)).unwrap();
        counters.clock((then.as_secs(), then.subsec_micros().into()), Duration::from_secs(40));
        assert!(skew().is_some_and(|skew| skew.abs() < 10_000), "{:?}", skew());
        counters.clock((now.as_secs() - 3_600, 0), Duration::ZERO);
        assert!(skew().is_some_and(|skew| (-3_620_000..-3_590_000).contains(&skew)), "{:?}", skew());
    }
}
