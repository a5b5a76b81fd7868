//! Beats: the signs of life of each part.
//!
//! In:  a beat of each shard in every turn, and of the control thread and the pulse four times a second; the state of each
//! shard; which parts are stalled, as the watches find it.
//! Out: the same, for all threads.
//!
//! Each cache line has one writer. A beat is an addition and a store.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::log;

/// A thread or a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Shard(usize),
    /// By its name.
    Named(&'static str),
}

impl Part {
    pub(crate) const CONTROL: Self = Self::Named("control");
    pub(crate) const PULSE: Self = Self::Named("pulse");
    pub(crate) const LOG: Self = Self::Named(log::THREAD);
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard(index) => write!(f, "shard-{index}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

/// How far a part has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Starting,
    Serving,
    /// Clients are sent away.
    Draining,
    /// Clients are sent away, and another daemon takes over the port.
    HandingOver,
    /// Clients are sent away, and another daemon has the port.
    HandedOver,
    /// It has come to its end.
    Ended,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Starting, Self::Serving, Self::Draining, Self::HandingOver, Self::HandedOver, Self::Ended];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::HandingOver => "handing over",
            Self::HandedOver => "handed over",
            Self::Ended => "ended",
        }
    }
}

/// What a part reports about itself.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Told {
    beats: AtomicU64,
    /// The index of a [`State`].
    state: AtomicU8,
}

/// What a watch found about a part.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Found {
    still_ms: AtomicU64,
    is_stalled: AtomicBool,
}

/// All parts that beat: the shards, then the control thread, then the pulse.
#[derive(Debug)]
pub(crate) struct Beats {
    told: Vec<Told>,
    found: Vec<Found>,
    shards: usize,
    is_ready: AtomicBool,
    began: Instant,
    /// The deadline for the end of the process, in milliseconds since it began.
    ends_ms: AtomicU64,
}

impl Beats {
    pub(crate) fn new(shards: usize) -> Self {
        let parts = shards + 2;
        Self {
            told: (0..parts).map(|_| Told::default()).collect(),
            found: (0..parts).map(|_| Found::default()).collect(),
            shards,
            is_ready: AtomicBool::new(false),
            began: Instant::now(),
            ends_ms: AtomicU64::new(u64::MAX),
        }
    }

    /// All parts that beat.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> + use<> {
        (0..self.shards).map(Part::Shard).chain([Part::CONTROL, Part::PULSE])
    }

    /// The shards and the control thread, which the pulse watches.
    pub(super) fn watched_by_pulse(&self) -> Vec<Part> {
        self.parts().filter(|&part| part != Part::PULSE).collect()
    }

    fn place(&self, part: Part) -> usize {
        match part {
            Part::Shard(index) => index,
            Part::CONTROL => self.shards,
            Part::PULSE => self.shards + 1,
            Part::Named(_) => unreachable!("invariant: no other part beats"),
        }
    }

    /// Only the part itself calls this.
    #[inline]
    pub(crate) fn beat(&self, part: Part) {
        let beats = &self.told[self.place(part)].beats;
        beats.store(beats.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(super) fn count(&self, part: Part) -> u64 {
        self.told[self.place(part)].beats.load(Ordering::Relaxed)
    }

    /// A shard enters a state.
    pub(crate) fn enter(&self, shard: usize, state: State) {
        self.told[shard].state.store(state as u8, Ordering::Relaxed);
    }

    pub(crate) fn state_of(&self, shard: usize) -> State {
        State::ALL[usize::from(self.told[shard].state.load(Ordering::Relaxed))]
    }

    /// The control plane is open.
    pub(crate) fn ready(&self) {
        self.is_ready.store(true, Ordering::Relaxed);
    }

    /// The state of the daemon: that of its slowest shard, once it serves.
    pub(crate) fn state(&self) -> State {
        if !self.is_ready.load(Ordering::Relaxed) {
            return State::Starting;
        }
        let states = (0..self.shards).map(|shard| self.state_of(shard));
        states.min().unwrap_or(State::Serving).max(State::Serving)
    }

    /// True exactly when the part is not expected to beat any more.
    pub(super) fn has_ended(&self, part: Part) -> bool {
        matches!(part, Part::Shard(shard) if self.state_of(shard) == State::Ended)
    }

    pub(super) fn found(&self, part: Part, still: Duration, is_stalled: bool) {
        let found = &self.found[self.place(part)];
        let still_ms = u64::try_from(still.as_millis()).unwrap_or(u64::MAX);
        found.still_ms.store(still_ms, Ordering::Relaxed);
        found.is_stalled.store(is_stalled, Ordering::Relaxed);
    }

    /// The time since a part last beat.
    pub(crate) fn still(&self, part: Part) -> Duration {
        Duration::from_millis(self.found[self.place(part)].still_ms.load(Ordering::Relaxed))
    }

    /// The parts that have not beaten for too long.
    pub(crate) fn stalled(&self) -> Vec<Part> {
        let is_stalled = |part: &Part| self.found[self.place(*part)].is_stalled.load(Ordering::Relaxed);
        self.parts().filter(is_stalled).collect()
    }

    /// The time since the daemon began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Sets the deadline for the end of the process, unless an earlier one is set.
    pub(crate) fn end_within(&self, time: Duration) {
        let ends_ms = u64::try_from((self.elapsed() + time).as_millis()).unwrap_or(u64::MAX - 1);
        self.ends_ms.fetch_min(ends_ms, Ordering::Relaxed);
    }

    /// That deadline.
    pub(super) fn ends(&self) -> Option<Duration> {
        match self.ends_ms.load(Ordering::Relaxed) {
            u64::MAX => None,
            ends_ms => Some(Duration::from_millis(ends_ms)),
        }
    }
}
