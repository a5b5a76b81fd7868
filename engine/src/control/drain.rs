//! Drain: the control plane's part of a graceful stop.
//!
//! In:  SIGTERM, SIGINT, `POST /api/drain`.
//! Out: readiness, which fails immediately; after the configured delay, a stop order for the shards, with a common
//!      pace; a progress line per second; a warning if another daemon takes over the port.
//!
//! A signal during the delay ends the delay. The next signal disconnects all clients at once. Another one closes all
//! remaining connections.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    signal::unix::Signal,
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::successors;
use crate::{
    config::{Config, ShutdownConfig},
    log::EACH,
    mesh::StopOrder,
    metrics::Metric,
    session::message::Shared,
    supervise::{self, Manager, endless},
};

/// The consequence of two daemons on one port.
pub(super) const APART: &str = "until one of them has ended, publications in one do not reach the clients of the other: publish \
    to both control ports (docs/operations/start-and-stop.md)";

/// How long clients may take to close after a further signal.
const HURRIED: Duration = Duration::from_secs(1);

/// Interval of the progress lines.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// The state of the drain.
#[derive(Debug)]
pub(super) struct Drain {
    shared: Arc<Shared>,
    shutdown: ShutdownConfig,
    close_ms: u64,
    clients: SocketAddr,
    begun: OnceLock<Begun>,
    /// Wakes the task that waits for the end of the delay.
    skip_delay: Notify,
    /// Wakes who waits for clients to be sent away.
    away: Notify,
    /// True exactly during the delay.
    is_delayed: AtomicBool,
    is_hurried: AtomicBool,
}

/// The plan, made when the drain begins.
#[derive(Clone, Copy, Debug)]
struct Begun {
    at: Instant,
    notify_within: Duration,
    close_within: Duration,
    others: u32,
}

/// The progress of the drain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// Clients not disconnected yet.
    pub(super) clients: u64,
    /// All clients are told to disconnect within this time.
    pub(super) notify_within: Duration,
    /// Remaining connections are aborted after this time.
    pub(super) close_within: Duration,
    /// Sockets of other daemons that listen for clients on the same port.
    pub(super) others: u32,
}

impl Drain {
    /// `clients` is the clients' address.
    pub(super) fn new(config: &Config, shared: Arc<Shared>, clients: SocketAddr) -> Self {
        Self {
            shared,
            shutdown: config.shutdown.clone(),
            close_ms: config.client.close_timeout_ms,
            clients,
            begun: OnceLock::new(),
            skip_delay: Notify::new(),
            away: Notify::new(),
            is_delayed: AtomicBool::new(false),
            is_hurried: AtomicBool::new(false),
        }
    }

    /// True exactly when the drain has started.
    pub(super) fn is_under_way(&self) -> bool {
        self.shared.is_draining()
    }

    /// Starts the drain, unless it has already started.
    pub(super) fn begin(self: &Arc<Self>, cause: &'static str) -> Progress {
        let begun = self.begun.get_or_init(|| {
            let delay = Duration::from_millis(self.shutdown.delay_ms);
            let order = self.order();
            self.shared.begin_draining();
            Manager::stopping();
            if delay.is_zero() {
                self.send_away(cause);
            } else {
                tracing::info!(
                    cause,
                    delay_ms = self.shutdown.delay_ms,
                    "draining: /health/ready fails, and clients are still accepted and served"
                );
                self.is_delayed.store(true, Ordering::Relaxed);
                supervise::task("drain", Arc::clone(self).send_away_after(delay, cause));
            }
            Begun {
                at: Instant::now(),
                notify_within: delay + order.notify_within,
                close_within: delay + order.close_within,
                others: order.successors,
            }
        });
        let passed = begun.at.elapsed();
        Progress {
            clients: self.clients(),
            notify_within: begun.notify_within.saturating_sub(passed),
            close_within: begun.close_within.saturating_sub(passed),
            others: begun.others,
        }
    }

    /// Handles a signal. Each further signal speeds up the stop.
    pub(super) fn on_signal(self: &Arc<Self>, name: &'static str) {
        if !self.is_under_way() {
            self.begin(name);
            return;
        }
        if self.is_delayed.load(Ordering::Relaxed) {
            return self.skip_delay.notify_one();
        }
        let was_hurried = self.is_hurried.swap(true, Ordering::Relaxed);
        let within = if was_hurried { Duration::ZERO } else { HURRIED };
        tracing::info!(
            cause = name,
            close_within_ms = within.as_millis(),
            "draining: a further signal shortens the stop"
        );
        self.stop(StopOrder::at_once(within));
    }

    /// Comes back once, when clients are told to leave.
    pub(super) async fn sends_away(&self) {
        self.away.notified().await;
    }

    async fn send_away_after(self: Arc<Self>, delay: Duration, cause: &'static str) {
        // The delay ends by timeout or by notification.
        let _ = timeout(delay, self.skip_delay.notified()).await;
        self.send_away(cause);
        self.is_delayed.store(false, Ordering::Relaxed);
    }

    fn send_away(&self, cause: &'static str) {
        let order = self.order();
        let StopOrder { notify_within, close_within, successors } = order;
        let (notify_within_ms, close_within_ms) = (notify_within.as_millis(), close_within.as_millis());
        tracing::info!(
            cause,
            clients = self.clients(),
            notify_within_ms,
            close_within_ms,
            successors,
            "draining: clients are told to leave"
        );
        if successors > 0 {
            tracing::warn!(successors, "another daemon takes over the port; {APART}");
        }
        self.stop(order);
        self.away.notify_one();
        endless("progress", tell_progress(Arc::clone(&self.shared)));
    }

    /// Orders all shards to stop. The daemon does not wait for shards that miss the deadline.
    fn stop(&self, order: StopOrder) {
        self.shared.beats().end_within(order.close_within);
        self.shared.stop(order);
    }

    /// The current order for the shards.
    fn order(&self) -> StopOrder {
        let own = self.shared.shards();
        let successors = successors::listeners(self.clients).saturating_sub(own);
        StopOrder {
            notify_within: Duration::from_millis(pace(&self.shutdown, self.close_ms, self.clients())),
            close_within: Duration::from_millis(self.shutdown.timeout_ms),
            successors: u32::try_from(successors).unwrap_or(0),
        }
    }

    fn clients(&self) -> u64 {
        clients(&self.shared)
    }
}

/// Starts or speeds up the drain on each signal.
pub(super) async fn watch_signals(drain: Arc<Drain>, mut terminate: Signal, mut interrupt: Signal) {
    loop {
        let name = tokio::select! {
            Some(()) = terminate.recv() => "SIGTERM",
            Some(()) = interrupt.recv() => "SIGINT",
            else => return,
        };
        drain.on_signal(name);
    }
}

/// Logs the progress until the control plane ends.
async fn tell_progress(shared: Arc<Shared>) {
    loop {
        sleep(PROGRESS_EVERY).await;
        let connections = shared.sum(Metric::Connections);
        tracing::info!(target: EACH, clients = clients(&shared), connections, "draining: clients remain");
    }
}

pub(super) fn clients(shared: &Shared) -> u64 {
    shared.sum(Metric::Sessions) + shared.sum(Metric::PollSessions)
}

/// The time for disconnecting this many clients, in milliseconds.
fn pace(shutdown: &ShutdownConfig, close_ms: u64, clients: u64) -> u64 {
    let at_pace_ms = match u64::from(shutdown.clients_per_second) {
        0 => 0,
        pace => clients.saturating_mul(1000) / pace,
    };
    // The last client also gets time for its close handshake.
    let latest_ms = shutdown.timeout_ms - close_ms.min(shutdown.timeout_ms / 4);
    at_pace_ms.max(shutdown.drain_ms).min(latest_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_kept_unless_the_deadline_or_the_least_time_say_otherwise() {
        let with = |timeout_ms, clients_per_second, drain_ms| ShutdownConfig {
            delay_ms: 0,
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
