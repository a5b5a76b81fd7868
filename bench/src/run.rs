//! Run: one load test from its first connection to its report.
//!
//! In:  a plan.
//! Out: a report with its histograms, or why there is none.
//!
//! The phases: ramp (open the connections), run (what the scenario is about), drain (what is still on its way), stop.
//! The main thread sets them and snapshots on; the workers do the work.

use std::sync::atomic::Ordering;
use std::thread;
use std::time::SystemTime;

use hdrhistogram::Histogram;
use holdfast_protocol::client::Format;

use crate::clock::Clock;
use crate::dialect::Dialect;
use crate::latency::{Percentiles, histogram};
use crate::observer::{Observer, Totals};
use crate::plan::Plan;
use crate::progress::Progress;
use crate::report::marks;
use crate::report::{Connect, MachineMemory, Reason, Report, Sample, ServerFigures, growth_per};
use crate::scenario::{PublishApi, Scenario};
use crate::spread::Spreads;
use crate::system::{self, Server, Usage};
use crate::tally::Tally;
use crate::units::{nanos, real, show_count, show_rate};
use crate::worker::{self, shared::Shared};

/// From the last connection to the first message: the server's work on handshakes is done by then.
const SETTLE_NS: u64 = 300_000_000;
const NS_PER_S: f64 = 1e9;
/// Below so many connections, whatever else runs on the machine drowns their memory.
const OPEN_MIN: u64 = 10_000;

/// A report, and the histograms behind it.
pub struct Outcome {
    /// The report, judged.
    pub report: Report,
    /// Named latencies for `hgrm` and the page; the first is what the scenario is about.
    pub histograms: Vec<(&'static str, Histogram<u64>)>,
}

/// What was seen from outside at the ends of the measured part.
#[derive(Clone, Copy, Default)]
struct Snapshot {
    at_ns: u64,
    usage: Option<Usage>,
    available_bytes: Option<u64>,
    open: u64,
}

impl Snapshot {
    fn now(clock: Clock, server: Option<&Server>, open: u64) -> Self {
        Self {
            at_ns: clock.now_ns(),
            usage: server.and_then(Server::usage),
            available_bytes: system::available_bytes(),
            open,
        }
    }
}

/// Carries the plan out. `command` is told in the report.
///
/// # Errors
/// A sentence for the operator: a process of the server is not there, or this machine gives no rings.
pub fn run(plan: &Plan, command: String) -> Result<Outcome, String> {
    worker::rings::raise_descriptor_limit();
    let server = Server::new(&plan.server_pids)?;
    let server = server.as_ref();
    let (clock, began) = (Clock::start(), SystemTime::now());
    let shared = Shared::new(plan);
    let mark: u16 = rand::random();
    let before = Snapshot::now(clock, server, 0);
    let mut observer = Observer::new(clock, &shared, server, Progress::new(plan.outputs.quiet));
    thread::scope(|scope| {
        let shared = &shared;
        let start = |number| {
            let name = format!("worker-{number}");
            let work = move || {
                worker::work(plan, clock, shared, number, mark)
                    .inspect_err(|_| shared.has_failed.store(true, Ordering::Release))
            };
            thread::Builder::new()
                .name(name)
                .spawn_scoped(scope, work)
                .map_err(|error| format!("no thread: {error}"))
        };
        let workers: Result<Vec<_>, _> = (0..plan.threads).map(start).collect();
        let workers = workers.inspect_err(|_| shared.stop())?;
        let backend =
            plan.publish_api.as_ref().map(|api| scope.spawn(move || publish(plan, api, clock, shared, mark)));
        let (begin, end) = phases(plan, clock, &mut observer, server);
        shared.stop();
        let mut tally = Tally::new();
        for worker in workers {
            tally.merge(
                worker
                    .join()
                    .map_err(|_| "a worker panicked: this is a bug of the load tool".to_owned())??,
            );
        }
        if let Some(backend) = backend {
            tally.merge(
                backend
                    .join()
                    .map_err(|_| "the publisher panicked: this is a bug of the load tool".to_owned())?,
            );
        }
        let series = observer.finish();
        let marks = plan.marks.as_deref().map_or_else(|| Ok(Vec::new()), |path| marks::read(path, began))?;
        let mut outcome = outcome(
            plan,
            command,
            &tally,
            &observer.latencies,
            &observer.spreads,
            series,
            [before, begin, end],
        );
        outcome.report.marks = marks;
        Ok(outcome)
    })
}

fn publish(plan: &Plan, api: &PublishApi, clock: Clock, shared: &Shared, mark: u16) -> Tally {
    match plan.scenario {
        Scenario::Failover { .. } => worker::persistent::publish(plan, api, clock, shared, mark),
        _ => worker::backend::publish(plan, api, clock, shared, mark),
    }
}

/// Leads the workers through the phases; returns what was seen at both ends of the measured part.
fn phases(
    plan: &Plan,
    clock: Clock,
    observer: &mut Observer<'_>,
    server: Option<&Server>,
) -> (Snapshot, Snapshot) {
    let shared = observer.shared();
    let connections = u64::from(plan.connections);
    if !matches!(plan.scenario, Scenario::Churn { .. }) {
        observer.watch("connecting", connections, show_ramp, |shared, _| {
            shared.live.iter().all(|live| live.is_settled.load(Ordering::Acquire))
        });
    }
    let totals = observer.totals();
    let is_hopeless =
        totals.established == 0 && totals.failed > 0 || shared.has_failed.load(Ordering::Acquire);
    if is_hopeless {
        let look = Snapshot::now(clock, server, totals.open);
        return (look, look);
    }
    let start_ns = clock.now_ns() + SETTLE_NS;
    let end_ns = match plan.scenario {
        Scenario::Churn { total: Some(_), .. } => u64::MAX,
        _ => start_ns + plan.duration_ns,
    };
    let patience_ns = match plan.scenario {
        // What a visit may take at most, after the last one has begun.
        Scenario::Churn { .. } => 3 * plan.connect_timeout_ns + plan.drain_timeout_ns,
        // The duration is the patience.
        Scenario::Storm { .. } => nanos(std::time::Duration::from_secs(1)),
        _ => plan.drain_timeout_ns,
    };
    shared.run(start_ns, end_ns);
    clock.sleep_until(start_ns);
    let begin = Snapshot::now(clock, server, observer.totals().open);
    let is_timed = end_ns != u64::MAX;
    let full = if is_timed { plan.duration_ns } else { expected_visits(plan) };
    let show = |totals: &Totals, now_ns: u64| {
        let position = if is_timed { now_ns.saturating_sub(start_ns) } else { totals.established };
        (position.min(full), show_run(plan, totals))
    };
    observer.watch(plan.scenario.name(), full, show, |shared, now_ns| {
        shared.live.iter().all(|live| live.is_drained.load(Ordering::Acquire))
            || now_ns > end_ns.saturating_add(patience_ns)
    });
    observer.sample_now();
    (begin, Snapshot::now(clock, server, observer.totals().open))
}

fn expected_visits(plan: &Plan) -> u64 {
    match plan.scenario {
        Scenario::Churn { total: Some(total), .. } => u64::from(total),
        _ => 0,
    }
}

fn show_ramp(totals: &Totals, _: u64) -> (u64, String) {
    let failed =
        if totals.failed > 0 { format!(", {} failed", show_count(totals.failed)) } else { String::new() };
    (totals.established, format!("{} open{failed}", show_count(totals.open)))
}

fn show_run(plan: &Plan, totals: &Totals) -> String {
    match plan.scenario {
        Scenario::Hold | Scenario::Storm { .. } => format!("{} open", show_count(totals.open)),
        Scenario::Churn { .. } => format!("{} visits", show_count(totals.established)),
        Scenario::Failover { .. } => format!(
            "{} open, {} acknowledged, {} received",
            show_count(totals.open),
            show_count(totals.sent),
            show_count(totals.received)
        ),
        Scenario::Echo { .. } | Scenario::Broadcast { .. } => {
            format!("{} sent, {} received", show_count(totals.sent), show_count(totals.received))
        }
    }
}

fn outcome(
    plan: &Plan,
    command: String,
    tally: &Tally,
    latencies: &Histogram<u64>,
    spreads: &Spreads,
    series: Vec<Sample>,
    snapshots: [Snapshot; 3],
) -> Outcome {
    let [before, begin, end] = snapshots;
    let connects = &tally.connects;
    let measured_s = real(measured_ns(plan, tally, begin, end)) / NS_PER_S;
    let received = tally.messages.received;
    let connect = Connect {
        attempted: connects.attempted,
        established: connects.established,
        failed: connects.failed,
        lost_later: connects.lost_later,
        unclean: connects.unclean,
        pings_answered: connects.pings,
        rate_per_s: match plan.scenario {
            Scenario::Storm { .. } => {
                per_s(tally.returns.len(), connects.last_ns.saturating_sub(begin.at_ns))
            }
            _ => per_s(connects.established, connects.last_ns.saturating_sub(connects.first_ns.unwrap_or(0))),
        },
        latency_us: Percentiles::of(&tally.handshakes),
    };
    let in_measured_part = match plan.scenario {
        Scenario::Churn { .. } => connects.established,
        Scenario::Storm { .. } => tally.returns.len(),
        _ => 0,
    };
    let server = usages(before, begin, end).map(|[before, begin, after]| {
        let cpu_s = after.cpu_s - begin.cpu_s;
        let each = |count: u64| (count > 0).then(|| (cpu_s * 1e9 / real(count)).round() / 1e3);
        ServerFigures {
            cpu_s: (cpu_s * 1e3).round() / 1e3,
            cpu_us_per_message: each(received),
            cpu_us_per_connection: each(in_measured_part),
            rss_anon_bytes_before: before.rss_anon_bytes,
            rss_anon_bytes_after: after.rss_anon_bytes,
            rss_anon_bytes_per_connection: growth_per(before.rss_anon_bytes, after.rss_anon_bytes, end.open),
        }
    });
    let server_ended = !plan.server_pids.is_empty() && server.is_none();
    let machine = MachineMemory {
        available_bytes_before: before.available_bytes,
        available_bytes_after: end.available_bytes,
        bytes_per_connection: match (before.available_bytes, end.available_bytes) {
            (Some(before), Some(after)) if end.open >= OPEN_MIN => {
                growth_per(after, before, end.open).filter(|bytes| *bytes > 0.0)
            }
            _ => None,
        },
    };
    let report = Report {
        scenario: plan.scenario.name(),
        target: plan.target.url.clone(),
        connections: plan.connections,
        size: has_messages(plan).then_some(plan.size),
        load: load(plan) + &protocol(plan),
        measured_s: (measured_s * 1e3).round() / 1e3,
        messages: tally.messages,
        deliveries: received,
        deliveries_per_s: if measured_s > 0.0 {
            (real(received) / measured_s * 10.0).round() / 10.0
        } else {
            0.0
        },
        latency_us: Percentiles::of(latencies),
        first_receiver_us: Percentiles::of(&spreads.first),
        median_receiver_us: Percentiles::of(&spreads.median),
        p99_receiver_us: Percentiles::of(&spreads.p99),
        last_receiver_us: Percentiles::of(&spreads.last),
        lateness_us: Percentiles::of(&tally.lateness),
        connect,
        back_us: Percentiles::of(&tally.returns),
        recovery: matches!(plan.scenario, Scenario::Failover { .. }).then_some(tally.recovery),
        marks: Vec::new(),
        server,
        machine,
        ok: false,
        findings: server_ended
            .then(|| "the server's process ended during the run".to_owned())
            .into_iter()
            .collect(),
        reasons: reasons(tally),
        series,
        version: env!("CARGO_PKG_VERSION"),
        command,
    };
    // Where there are messages, how long they took is the question.
    let none = histogram();
    let named = [
        ("message", latencies),
        ("first receiver", &spreads.first),
        ("last receiver", &spreads.last),
        ("back", &tally.returns),
        ("handshake", if has_messages(plan) { &none } else { &tally.handshakes }),
    ];
    let histograms: Vec<_> = named
        .into_iter()
        .filter(|(_, histogram)| !histogram.is_empty())
        .map(|(name, h)| (name, h.clone()))
        .collect();
    Outcome { report: report.judged(), histograms }
}

fn has_messages(plan: &Plan) -> bool {
    match plan.scenario {
        Scenario::Echo { .. } | Scenario::Broadcast { .. } | Scenario::Failover { .. } => true,
        Scenario::Churn { echo, .. } => echo,
        Scenario::Storm { recover } => recover > 0,
        Scenario::Hold => false,
    }
}

/// The measured part ends with what was asked for, or with the last thing that happened if that was later; waiting in
/// vain for what was lost is no part of it.
fn measured_ns(plan: &Plan, tally: &Tally, begin: Snapshot, end: Snapshot) -> u64 {
    let (last_message_ns, last_connect_ns) = (tally.last_message_ns, tally.connects.last_ns);
    let planned_end_ns = (begin.at_ns + plan.duration_ns).min(end.at_ns);
    let end_ns = match plan.scenario {
        Scenario::Hold => planned_end_ns,
        Scenario::Echo { .. } | Scenario::Broadcast { .. } | Scenario::Failover { .. } => {
            planned_end_ns.max(last_message_ns)
        }
        Scenario::Churn { total: Some(_), .. } | Scenario::Storm { .. } => {
            last_connect_ns.max(last_message_ns)
        }
        Scenario::Churn { .. } => planned_end_ns.max(last_connect_ns).max(last_message_ns),
    };
    end_ns.saturating_sub(begin.at_ns)
}

fn usages(before: Snapshot, begin: Snapshot, end: Snapshot) -> Option<[Usage; 3]> {
    Some([before.usage?, begin.usage?, end.usage?])
}

fn per_s(count: u64, time_ns: u64) -> f64 {
    if time_ns == 0 { 0.0 } else { (real(count) * NS_PER_S / real(time_ns) * 10.0).round() / 10.0 }
}

fn reasons(tally: &Tally) -> Vec<Reason> {
    let mut reasons: Vec<_> = tally
        .reasons
        .iter()
        .map(|(reason, count)| Reason { reason: reason.clone(), count: *count })
        .collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
    reasons
}

/// What was asked for, in words.
fn load(plan: &Plan) -> String {
    let connections = show_count(u64::from(plan.connections));
    let seconds = real(plan.duration_ns) / NS_PER_S;
    match plan.scenario {
        Scenario::Hold => format!("{connections} connections, held for {seconds} s"),
        Scenario::Echo { busy, rate_per_s } => {
            let busy = show_count(u64::from(busy));
            let pace = rate_per_s
                .map_or_else(|| "closed loop".to_owned(), |rate| format!("{} in all", show_rate(rate)));
            format!("messages of {} bytes on {busy} of {connections} connections, {pace}", plan.size)
        }
        Scenario::Broadcast { publishers, rate_per_s, burst, .. } => {
            let at_once = if burst == 1 { String::new() } else { format!(", {burst} at once") };
            let from = match &plan.publish_api {
                Some(PublishApi { every_channel: true, .. }) => {
                    "through the server API to every channel,".to_owned()
                }
                Some(_) => "through the server API".to_owned(),
                None if publishers == 1 => "from 1 publisher".to_owned(),
                None => format!("from {publishers} publishers"),
            };
            format!(
                "{} messages of {} bytes{at_once} {from} to {connections} connections",
                show_rate(rate_per_s),
                plan.size
            )
        }
        Scenario::Churn { rate_per_s, echo, .. } => {
            let echo = if echo { ", an echo each" } else { "" };
            format!("{} arrivals{echo}, at most {connections} at a time", show_rate(rate_per_s))
        }
        Scenario::Failover { rate_per_s } => format!(
            "{} messages of {} bytes through the server API to {connections} clients, whatever fails",
            show_rate(rate_per_s),
            plan.size
        ),
        Scenario::Storm { recover: 0 } => format!("{connections} connections drop and come back at once"),
        Scenario::Storm { recover } => format!(
            "{connections} connections drop, come back at once, and recover {recover} messages of {} bytes each",
            plan.size
        ),
    }
}

fn protocol(plan: &Plan) -> String {
    let format = match plan.dialect {
        Dialect::Raw(_) => return String::new(),
        Dialect::Centrifuge(Format::Json) => "JSON",
        Dialect::Centrifuge(Format::Protobuf) => "Protobuf",
    };
    let of = if plan.channels == 1 { "channel" } else { "channels" };
    format!("; Centrifuge in {format}, {} {of}", show_count(u64::from(plan.channels)))
}
