//! Observer: the main thread's view of a run that is under way.
//!
//! In:  the workers' counters and parcels; the server's processes.
//! Out: a time series, the merged latencies, the progress display.
//!
//! Looks every `LOOK` and samples twice a second; costs the workers nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::clock::Clock;
use crate::latency::{Percentiles, histogram};
use crate::progress::Progress;
use crate::report::Sample;
use crate::spread::Spreads;
use crate::system::Server;
use crate::tally::Live;
use crate::units::real;
use crate::worker::INTERVAL_NS;
use crate::worker::shared::{Shared, WorkerReport};

const LOOK: Duration = Duration::from_millis(10);
const NS_PER_S: f64 = 1e9;

/// What the workers did so far, in all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) established: u64,
    pub(crate) failed: u64,
    pub(crate) open: u64,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

pub(crate) struct Observer<'r> {
    clock: Clock,
    shared: &'r Shared,
    server: Option<&'r Server>,
    progress: Progress,
    /// When the first connection began.
    zero_ns: u64,
    sampled: u64,
    /// Latencies of half seconds that workers may still add to.
    recent: BTreeMap<u64, Histogram<u64>>,
    /// Percentiles of the half seconds before.
    past: BTreeMap<u64, Percentiles>,
    /// All latencies of messages.
    pub(crate) latencies: Histogram<u64>,
    /// Of broadcast messages.
    pub(crate) spreads: Spreads,
    series: Vec<(u64, Sample)>,
}

impl<'r> Observer<'r> {
    pub(crate) fn new(
        clock: Clock,
        shared: &'r Shared,
        server: Option<&'r Server>,
        progress: Progress,
    ) -> Self {
        let workers = u32::try_from(shared.live.len()).expect("workers are few");
        let zero_ns = clock.now_ns();
        let mut observer = Self {
            clock,
            shared,
            server,
            progress,
            zero_ns,
            sampled: zero_ns / INTERVAL_NS,
            recent: BTreeMap::new(),
            past: BTreeMap::new(),
            latencies: histogram(),
            spreads: Spreads::new(workers),
            series: Vec::new(),
        };
        observer.sample(zero_ns);
        observer
    }

    /// Watches until `is_over`, or a worker gives up. `show` says for the display how far the phase is, of `end`.
    pub(crate) fn watch(
        &mut self,
        phase: &'static str,
        end: u64,
        show: impl Fn(&Totals, u64) -> (u64, String),
        is_over: impl Fn(&Shared, u64) -> bool,
    ) {
        self.progress.begin(phase, end);
        loop {
            self.take_parcels();
            let now_ns = self.clock.now_ns();
            if now_ns / INTERVAL_NS != self.sampled {
                self.sampled = now_ns / INTERVAL_NS;
                self.sample(now_ns);
            }
            let totals = self.totals();
            let (position, message) = show(&totals, now_ns);
            self.progress.at(position, message);
            if is_over(self.shared, now_ns) || self.shared.has_failed.load(Ordering::Acquire) {
                return;
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Adds a sample out of turn, for the end of what is measured.
    pub(crate) fn sample_now(&mut self) {
        self.sample(self.clock.now_ns());
    }

    pub(crate) fn totals(&self) -> Totals {
        let sum = |of: fn(&Live) -> &AtomicU64| {
            self.shared
                .live
                .iter()
                .chain([&self.shared.backend])
                .map(|live| of(live).load(Ordering::Relaxed))
                .sum()
        };
        Totals {
            established: sum(|live| &live.established),
            failed: sum(|live| &live.failed),
            open: sum(|live| &live.open),
            sent: sum(|live| &live.sent),
            received: sum(|live| &live.received),
        }
    }

    pub(crate) fn shared(&self) -> &'r Shared {
        self.shared
    }

    /// Takes what the workers left, and gives the series.
    pub(crate) fn finish(&mut self) -> Vec<Sample> {
        self.take_parcels();
        self.spreads.finish();
        self.settle_before(u64::MAX);
        self.progress.end();
        let past = &self.past;
        let with_latency = |(interval, sample): (u64, Sample)| {
            let percentiles = past.get(&interval);
            Sample {
                p50_us: percentiles.map(|p| p.p50),
                p99_us: percentiles.map(|p| p.p99),
                max_us: percentiles.map(|p| p.max),
                ..sample
            }
        };
        std::mem::take(&mut self.series).into_iter().map(with_latency).collect()
    }

    fn sample(&mut self, now_ns: u64) {
        let totals = self.totals();
        let usage = self.server.and_then(Server::usage);
        let sample = Sample {
            at_s: (real(now_ns - self.zero_ns) / NS_PER_S * 1000.0).round() / 1000.0,
            open: totals.open,
            established: totals.established,
            sent: totals.sent,
            received: totals.received,
            server_cpu_s: usage.map(|usage| usage.cpu_s),
            server_rss_anon_bytes: usage.map(|usage| usage.rss_anon_bytes),
            ..Sample::default()
        };
        // What came in the half second that ends now.
        self.series.push(((now_ns / INTERVAL_NS).saturating_sub(1), sample));
    }

    pub(crate) fn take_parcels(&mut self) {
        while let Some(parcel) = self.shared.parcels.pop() {
            match parcel {
                WorkerReport::DeliveryLatencies(spread) => self.spreads.join(spread),
                WorkerReport::Latencies { interval, histogram: latencies } => {
                    self.latencies += &*latencies;
                    *self.recent.entry(interval).or_insert_with(histogram) += &*latencies;
                    // A worker hands an interval over within the next one, or it was too busy for a fine picture.
                    self.settle_before(interval.saturating_sub(1));
                }
            }
        }
    }

    /// Reduces half seconds to their percentiles, so that a long run does not keep all of its histograms.
    fn settle_before(&mut self, interval: u64) {
        while let Some(oldest) = self.recent.first_entry().filter(|entry| *entry.key() < interval) {
            let (interval, histogram) = oldest.remove_entry();
            self.past.extend(Percentiles::of(&histogram).map(|percentiles| (interval, percentiles)));
        }
    }
}
