//! Worker: a thread that drives its share of the connections.
//!
//! In:  the plan, the phase that the main thread sets.
//! Out: its tally at the end; figures for the progress display and half-second latencies on the way.
//!
//! Each worker has rings of its own and shares nothing that it would have to wait for. A turn hands over what is to
//! be sent, sleeps until something comes or is due, and handles all that came: under load there is no system call a
//! message.

mod absence;
pub(crate) mod backend;
mod broadcast;
mod churn;
mod connection;
mod echo;
mod events;
mod failover;
mod hold;
mod link;
pub(crate) mod persistent;
mod ramp;
pub(crate) mod rings;
mod secure;
mod session;
pub(crate) mod shared;
mod storm;

use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use holdfast_protocol::client::reply::SubscribeResult;
use holdfast_ring::Socket;
use rustix::thread::{CpuSet, sched_setaffinity, set_current_timer_slack};

use self::link::Link;
use self::session::Subscription;
use self::shared::{Phase, Shared, WorkerReport};
use crate::clock::Clock;
use crate::latency::histogram;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::tally::Tally;

/// The longest sleep: how soon a change of phase is noticed.
const SLEEP_NS_MAX: u64 = 10_000_000;
/// How often latencies are handed to the main thread.
pub(crate) const INTERVAL_NS: u64 = 500_000_000;
const TICK_NS: u64 = 1_000_000_000;

/// What a scenario does with its connections. Members are a worker's connections, numbered from 0.
trait Play {
    /// Does what is due; returns when something is due again.
    fn act(&mut self, link: &mut Link<'_>, phase: Phase) -> u64;

    /// True exactly when all connections of the ramp are open or have failed.
    fn is_settled(&self, link: &Link<'_>) -> bool;

    /// True exactly when nothing more is to be sent or expected.
    fn is_drained(&mut self, link: &mut Link<'_>, phase: Phase) -> bool;

    /// What a member subscribes to, where the dialect has channels; none for one that only publishes.
    fn subscription(&self, link: &Link<'_>, member: u32) -> Option<Subscription<'_>> {
        Some(Subscription { channel: link.plan.channel(link.id(member)), since: None })
    }

    /// A member's subscription is answered. What it recovered comes as messages, and then it is open.
    fn subscribed(&mut self, _: &mut Link<'_>, _: u32, _: &SubscribeResult<'_>) {}

    /// A message that a member published was taken or refused, where the dialect tells.
    fn answered(&mut self, _: &mut Link<'_>, _: u32) {}

    /// A handshake is done.
    fn opened(&mut self, link: &mut Link<'_>, socket: Socket, member: u32);

    /// A message came.
    fn message(&mut self, link: &mut Link<'_>, socket: Socket, member: u32, payload: &[u8]);

    /// An open connection has ended, and not by our wish.
    fn lost(&mut self, link: &mut Link<'_>, member: u32);

    /// A member's connection is over, however it went, and its place is free.
    fn vacated(&mut self, link: &mut Link<'_>, member: u32);

    /// The run is over: counts what never came.
    fn finish(&mut self, link: &mut Link<'_>);
}

/// Runs one worker to the end of the run. `run` marks this run's messages.
///
/// # Errors
/// A sentence for the operator when the kernel gives no ring, or a ring breaks.
pub(crate) fn work(
    plan: &Plan,
    clock: Clock,
    shared: &Shared,
    thread: u32,
    run: u16,
) -> Result<Tally, String> {
    settle_thread(plan, thread)?;
    let mut link = Link::new(plan, clock, thread, run)?;
    match plan.scenario {
        Scenario::Hold => perform(&mut link, shared, &mut hold::Hold::new(plan, thread))?,
        Scenario::Echo { busy, rate_per_s } => {
            perform(&mut link, shared, &mut echo::Echo::new(plan, thread, busy, rate_per_s))?;
        }
        Scenario::Broadcast { .. } => {
            perform(&mut link, shared, &mut broadcast::Broadcast::new(plan, shared, thread))?;
        }
        Scenario::Churn { rate_per_s, total, echo } => {
            perform(&mut link, shared, &mut churn::Churn::new(plan, thread, rate_per_s, total, echo))?;
        }
        Scenario::Storm { recover } => {
            perform(&mut link, shared, &mut storm::Storm::new(plan, shared, thread, recover))?;
        }
        Scenario::Failover { .. } => {
            perform(&mut link, shared, &mut failover::Failover::new(plan, shared, thread))?;
        }
    }
    Ok(link.tally)
}

/// Pins the thread if that was asked for, and makes its timers precise.
fn settle_thread(plan: &Plan, thread: u32) -> Result<(), String> {
    if let Some(core) = plan.cores.get(thread as usize % plan.cores.len().max(1)) {
        let mut set = CpuSet::new();
        set.set(*core);
        sched_setaffinity(None, &set)
            .map_err(|error| format!("--cores: cannot pin to core {core}: {error}"))?;
    }
    sharpen_timers();
    Ok(())
}

/// Has this thread's timers fire when they are due instead of 50 µs later.
fn sharpen_timers() {
    // Where it is refused, latencies show it as the load tool's own lateness.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
}

fn perform<P: Play>(link: &mut Link<'_>, shared: &Shared, play: &mut P) -> Result<(), String> {
    let live = &shared.live[link.thread as usize];
    let mut interval = link.now_ns / INTERVAL_NS;
    let mut tick_ns = link.now_ns + TICK_NS;
    loop {
        link.read_clock();
        let phase = shared.phase();
        if phase == Phase::Stop {
            break;
        }
        let due_ns = play.act(link, phase);
        let before_ns = link.now_ns;
        link.read_clock();
        let sleep_ns = due_ns.saturating_sub(link.now_ns.max(before_ns)).min(SLEEP_NS_MAX);
        link.turn(Duration::from_nanos(sleep_ns), play)?;
        if link.now_ns >= tick_ns {
            tick_ns = link.now_ns + TICK_NS;
            link.sockets.tick();
        }
        if link.now_ns / INTERVAL_NS != interval {
            hand_over(link, shared, interval);
            interval = link.now_ns / INTERVAL_NS;
        }
        live.show(&link.tally, link.connections.open());
        live.is_settled.store(play.is_settled(link), Ordering::Release);
        live.is_drained.store(play.is_drained(link, phase), Ordering::Release);
    }
    play.finish(link);
    hand_over(link, shared, interval);
    link.farewell(play)
}

/// Gives the main thread the latencies since the last time. If it cannot take them, they go with the next.
fn hand_over(link: &mut Link<'_>, shared: &Shared, interval: u64) {
    if link.latencies.is_empty() {
        return;
    }
    let histogram = std::mem::replace(&mut link.latencies, Box::new(histogram()));
    if let Err(WorkerReport::Latencies { histogram, .. }) =
        shared.parcels.push(WorkerReport::Latencies { interval, histogram })
    {
        link.latencies = histogram;
    }
}
