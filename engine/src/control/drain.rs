//! Drain: the end of the daemon, as the control plane leads it.
//!
//! In:  SIGTERM, SIGINT, `POST /api/drain`.
//! Out: an order for the shards, with a pace for all of them together; a line of progress a second.
//!
//! A second signal hurries: all clients are told at once. A third one cuts what is left.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{signal::unix::Signal, time::Instant};

use super::successors;
use crate::{
    config::{Config, ShutdownConfig},
    metrics::Metric,
    peers::Shared,
    shard::StopOrder,
};

/// How long clients may take to go that a second signal has sent away.
const HURRIED: Duration = Duration::from_secs(1);

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// What ends the daemon.
#[derive(Debug)]
pub(super) struct Drain {
    shared: Arc<Shared>,
    shutdown: ShutdownConfig,
    close_ms: u64,
    clients: SocketAddr,
    begun: OnceLock<Begun>,
    signals: AtomicU32,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    at: Instant,
    order: StopOrder,
}

/// How far it has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Clients that are still to be sent away.
    pub(super) clients: u64,
    /// In this time all of them are told.
    pub(super) told_within: Duration,
    /// Who is still there then is cut.
    pub(super) gone_within: Duration,
}

impl Drain {
    /// `clients` is where clients connect.
    pub(super) fn new(config: &Config, shared: Arc<Shared>, clients: SocketAddr) -> Self {
        Self {
            shared,
            shutdown: config.shutdown.clone(),
            close_ms: config.client.close_timeout_ms,
            clients,
            begun: OnceLock::new(),
            signals: AtomicU32::new(0),
        }
    }

    /// True exactly when it has begun.
    pub(super) fn is_under_way(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Begins, if it has not begun.
    pub(super) fn begin(&self, cause: &'static str) -> Progress {
        let begun = self.begun.get_or_init(|| {
            let clients = self.clients();
            let (told_ms, gone_ms) = (pace(&self.shutdown, self.close_ms, clients), self.shutdown.timeout_ms);
            let own = self.shared.mailboxes.len();
            let others = successors::listeners(self.clients).saturating_sub(own);
            let order = StopOrder {
                told_within: Duration::from_millis(told_ms),
                gone_within: Duration::from_millis(gone_ms),
                successors: u32::try_from(others).unwrap_or(0),
            };
            tracing::info!(cause, clients, told_ms, gone_ms, others, "draining: clients are sent away");
            self.shared.draining.store(true, Ordering::Relaxed);
            self.shared.stop(order);
            tokio::spawn(tell_progress(Arc::clone(&self.shared)));
            Begun { at: Instant::now(), order }
        });
        let passed = begun.at.elapsed();
        Progress {
            clients: self.clients(),
            told_within: begun.order.told_within.saturating_sub(passed),
            gone_within: begun.order.gone_within.saturating_sub(passed),
        }
    }

    /// The daemon is told to end; each time, it is to be quicker.
    pub(super) fn signaled(&self, name: &'static str) {
        let before = self.signals.fetch_add(1, Ordering::Relaxed);
        if before == 0 && !self.is_under_way() {
            self.begin(name);
            return;
        }
        let within = if before <= 1 { HURRIED } else { Duration::ZERO };
        tracing::info!(cause = name, gone_ms = within.as_millis(), "draining: hurried");
        self.shared.stop(StopOrder::at_once(within));
    }

    fn clients(&self) -> u64 {
        clients(&self.shared)
    }
}

/// Ends the daemon at a signal.
pub(super) async fn watch_signals(drain: Arc<Drain>, mut terminate: Signal, mut interrupt: Signal) {
    loop {
        let name = tokio::select! {
            Some(()) = terminate.recv() => "SIGTERM",
            Some(()) = interrupt.recv() => "SIGINT",
            else => return,
        };
        drain.signaled(name);
    }
}

/// Ends with the control plane.
async fn tell_progress(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(PROGRESS_EVERY).await;
        let connections = sum(&shared, Metric::Connections);
        tracing::info!(clients = clients(&shared), connections, "draining: left");
    }
}

fn clients(shared: &Shared) -> u64 {
    sum(shared, Metric::Sessions) + sum(shared, Metric::PollSessions)
}

fn sum(shared: &Shared, metric: Metric) -> u64 {
    shared.metrics.iter().map(|published| published.get(metric)).sum()
}

/// In how many milliseconds so many clients are told.
fn pace(shutdown: &ShutdownConfig, close_ms: u64, clients: u64) -> u64 {
    let at_pace_ms = match u64::from(shutdown.clients_per_second) {
        0 => 0,
        pace => clients.saturating_mul(1000) / pace,
    };
    // Who is told last has time to say goodbye too.
    let latest_ms = shutdown.timeout_ms - close_ms.min(shutdown.timeout_ms / 4);
    at_pace_ms.max(shutdown.drain_ms).min(latest_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept_unless_the_deadline_or_the_least_time_say_otherwise() {
        let with = |timeout_ms, clients_per_second, drain_ms| ShutdownConfig {
            timeout_ms,
            clients_per_second,
            drain_ms,
        };
        for (shutdown, clients, told_ms) in [
            (with(10_000, 10_000, 0), 50, 5),
            (with(10_000, 10_000, 0), 20_000, 2_000),
            (with(10_000, 10_000, 0), 1_000_000, 7_500),
            (with(600_000, 100, 0), 1_000, 10_000),
            (with(600_000, 0, 0), 1_000_000, 0),
            (with(600_000, 10_000, 60_000), 3, 60_000),
            (with(60_000, 10_000, 60_000), 3, 55_000),
            (with(0, 10_000, 0), 3, 0),
        ] {
            assert_eq!(pace(&shutdown, 5_000, clients), told_ms, "{shutdown:?}");
        }
    }
}
