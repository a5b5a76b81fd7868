//! Shared: the little that threads of a run share.
//!
//! In:  the main thread's phase; the workers' counts and histograms.
//! Out: the same, on the other side.
//!
//! Atomics and one bounded queue: nobody waits for anybody.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use hdrhistogram::Histogram;

use crate::clock::Clock;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::spread::DeliveryLatencies;
use crate::tally::Live;

/// Parcels under way to the main thread, which looks every few milliseconds. When it is full, the latencies of an
/// interval wait for the next one, and a message's spread is left out of the per-message summary.
const PARCELS_MAX: usize = 16_384;

/// The longest sleep of a thread that publishes: how soon a change of phase is noticed.
pub(super) const SLEEP_NS_MAX: u64 = 10_000_000;

const RAMP: u8 = 0;
const RUN: u8 = 1;
const STOP: u8 = 2;

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Open the connections.
    Ramp,
    /// Do what the scenario is about, from `start_ns` until `end_ns` of the run's clock.
    Run {
        /// May lie a little ahead, so that all threads begin together.
        start_ns: u64,
        /// Nothing new begins after it.
        end_ns: u64,
    },
    /// Close everything.
    Stop,
}

/// What a worker hands to the main thread while it works.
pub(crate) enum WorkerReport {
    /// The latencies of half a second.
    Latencies {
        /// Which half second of the run's clock.
        interval: u64,
        /// In nanoseconds.
        histogram: Box<Histogram<u64>>,
    },
    /// A broadcast message's latencies.
    DeliveryLatencies(DeliveryLatencies),
}

/// What all threads of a run see.
pub(crate) struct Shared {
    phase: AtomicU8,
    start_ns: AtomicU64,
    end_ns: AtomicU64,
    /// One a worker.
    pub(crate) live: Box<[Live]>,
    /// Of the thread that publishes through the server API, where there is one.
    pub(crate) backend: Live,
    /// To the main thread.
    pub(crate) parcels: ArrayQueue<WorkerReport>,
    /// `broadcast`: how many messages each stream sent; holds when `publishing` is zero. `failover`: how many of them a
    /// server has acknowledged.
    pub(crate) published: Box<[AtomicU32]>,
    /// `storm`: workers whose connections have not all gone.
    pub(crate) emptying: AtomicU32,
    /// `broadcast`, `storm`: workers that may still publish, and the thread that does it through the server API.
    pub(crate) publishing: AtomicU32,
    /// True exactly when a worker gave up.
    pub(crate) has_failed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            phase: AtomicU8::new(RAMP),
            start_ns: AtomicU64::new(0),
            end_ns: AtomicU64::new(0),
            live: (0..plan.threads).map(|_| Live::default()).collect(),
            backend: Live::default(),
            parcels: ArrayQueue::new(PARCELS_MAX),
            published: (0..plan.streams()).map(|_| AtomicU32::new(0)).collect(),
            emptying: AtomicU32::new(plan.threads),
            publishing: AtomicU32::new(match plan.scenario {
                Scenario::Failover { .. } => 1,
                _ => plan.threads + u32::from(plan.publish_api.is_some()),
            }),
            has_failed: AtomicBool::new(false),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            RAMP => Phase::Ramp,
            RUN => Phase::Run {
                start_ns: self.start_ns.load(Ordering::Relaxed),
                end_ns: self.end_ns.load(Ordering::Relaxed),
            },
            _ => Phase::Stop,
        }
    }

    pub(crate) fn run(&self, start_ns: u64, end_ns: u64) {
        self.start_ns.store(start_ns, Ordering::Relaxed);
        self.end_ns.store(end_ns, Ordering::Relaxed);
        self.phase.store(RUN, Ordering::Release);
    }

    /// Waits until publishing begins: from when until when. None when the run ends before.
    pub(crate) fn await_run(&self, clock: Clock) -> Option<(u64, u64)> {
        loop {
            match self.phase() {
                Phase::Ramp => clock.sleep_until(clock.now_ns() + SLEEP_NS_MAX),
                Phase::Run { start_ns, end_ns } => return Some((start_ns, end_ns)),
                Phase::Stop => return None,
            }
        }
    }

    pub(crate) fn stop(&self) {
        self.phase.store(STOP, Ordering::Release);
    }
}
