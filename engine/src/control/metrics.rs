//! Metrics: the shards' numbers as Prometheus text.
//!
//! In:  `GET /metrics`; the published numbers of every shard; what the control thread counts.
//! Out: OpenMetrics text for who accepts it, else the text format of Prometheus; a label `core` on all that a shard counts.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    extract::State as Extract,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::{State, api::ApiCounts, counts::Counts, memory};
use crate::{
    backend::Event,
    log,
    memory::cgroup::Cgroup,
    memory::{Budget, BudgetLimits},
    mesh::Shared,
    metrics::{CATALOG, Family, Kind, Metric, Published, TURN_BUCKETS_US},
    supervise::Beats,
    tls::Ends,
};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// <https://prometheus.io/docs/instrumenting/exposition_formats/>
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(Extract(state): Extract<State>, headers: HeaderMap) -> Response {
    let mut registry = Registry::with_prefix("holdfast");
    registry.register_collector(Box::new(Backend(Arc::clone(&state.shared))));
    registry.register_collector(Box::new(Shards(state.shared)));
    registry.register_collector(Box::new(Connections(state.counts)));
    if state.expiries.left_s().next().is_some() {
        registry.register_collector(Box::new(Certificates(state.expiries)));
    }
    if let Some(counts) = state.api_counts {
        registry.register_collector(Box::new(ApiCalls(counts)));
    }
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) if accepts_openmetrics(&headers) => {
            ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response()
        }
        Ok(()) => ([(header::CONTENT_TYPE, PROMETHEUS)], as_prometheus(&text)).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// True exactly when the caller names OpenMetrics and no other format before it (RFC 9110 §12.5.1).
fn accepts_openmetrics(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let (mut openmetrics, mut plain) = (0.0_f32, 0.0_f32);
    for range in lines.flat_map(|line| line.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight =
            parts.filter_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).next().unwrap_or(1.0);
        if name.eq_ignore_ascii_case("application/openmetrics-text") {
            openmetrics = openmetrics.max(weight);
        } else if name.eq_ignore_ascii_case("text/plain") {
            plain = plain.max(weight);
        }
    }
    openmetrics > 0.0 && openmetrics >= plain
}

/// The same in the older format: a counter's family is named as its samples are, and there are no units and no end.
fn as_prometheus(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut help = None;
    for line in openmetrics.lines() {
        let suffix = if line.starts_with("# TYPE ") && line.ends_with(" counter") { "_total" } else { "" };
        match line.strip_prefix("# ").and_then(|line| line.split_once(' ')) {
            Some(("HELP", rest)) => help = Some(rest),
            Some(("TYPE", rest)) => {
                for (kind, rest) in [("HELP", help.take()), ("TYPE", Some(rest))] {
                    if let Some((name, words)) = rest.and_then(|rest| rest.split_once(' ')) {
                        text.extend(["# ", kind, " ", name, suffix, " ", words, "\n"]);
                    }
                }
            }
            None if !line.starts_with('#') => text.extend([line, "\n"]),
            _ => {}
        }
    }
    text
}

#[derive(Debug)]
struct Shards(Arc<Shared>);

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shards = || self.0.metrics.iter().enumerate();
        // Calls of the server API are the control thread's, not a shard's.
        let api = (Metric::Memory(Budget::Api), self.0.api_memory.bytes.load(Ordering::Relaxed));
        for family in CATALOG {
            encode_family(&mut encoder, family, shards(), api)?;
        }
        let refused = ConstCounter::new(self.0.api_memory.refused.load(Ordering::Relaxed));
        let help = "Calls of the server API for which there was no memory.";
        refused.encode(encoder.encode_descriptor("api_refusals", help, None, MetricType::Counter)?)?;
        encode_turns(&mut encoder, shards())?;
        let lost = ConstCounter::new(log::lines_lost());
        let help = "Log lines that standard error did not take.";
        lost.encode(encoder.encode_descriptor("log_lines_lost", help, None, MetricType::Counter)?)?;
        encode_beats(&mut encoder, &self.0.beats)?;
        encode_memory(&mut encoder, &self.0)
    }
}

fn encode_beats(encoder: &mut DescriptorEncoder<'_>, beats: &Beats) -> fmt::Result {
    let help = "For how long a thread has not come round: a shard to its next turn, the control thread to its next task.";
    let mut encoder = encoder.encode_descriptor("beat_age", help, Some(&Unit::Seconds), MetricType::Gauge)?;
    for part in beats.parts() {
        let age = ConstGauge::new(beats.still(part).as_secs_f64());
        age.encode(encoder.encode_family(&[("thread", part.to_string())])?)?;
    }
    Ok(())
}

fn encode_memory(encoder: &mut DescriptorEncoder<'_>, shared: &Shared) -> fmt::Result {
    let bytes = Some(&Unit::Bytes);
    let is_short = u64::from(shared.memory_short.load(Ordering::Relaxed));
    let resident = memory::resident_bytes().unwrap_or(0);
    let mut gauge = |name, help, unit, value: u64| {
        ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
    };
    gauge("memory_short", "1 while new connections are refused for want of memory.", None, is_short)?;
    let help = "How many bytes may count against a budget, over all cores, and against all; 0 where there is no limit.";
    let mut limits = encoder.encode_descriptor("memory_limit", help, bytes, MetricType::Gauge)?;
    let each = Budget::ALL.map(|(budget, name)| (name, shared.budgets.most(budget)));
    for (name, limit) in each.into_iter().chain([("all", shared.budgets.total())]) {
        let limit = if limit == BudgetLimits::NONE { 0 } else { limit };
        ConstGauge::new(limit).encode(limits.encode_family(&[("budget", name)])?)?;
    }
    let mut gauge = |name, help, unit, value: u64| {
        ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)
    };
    gauge("resident_memory", "Resident memory of the process.", bytes, resident)?;
    if let Some(group) = Cgroup::tightest() {
        let help = "Memory in use in the control group, without that of files.";
        gauge("control_group_memory", help, bytes, group.used_bytes)?;
        let help = "The memory limit of the control group.";
        gauge("control_group_memory_limit", help, bytes, group.limit_bytes)?;
    }
    Ok(())
}

fn encode_family<'s>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    shards: impl Iterator<Item = (usize, &'s Published)>,
    of_control: (Metric, u64),
) -> fmt::Result {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    let mut encoder = encoder.encode_descriptor(family.name, family.help, None, kind)?;
    let mut encode = |core: String, label: &str, value| {
        let mut labels = vec![("core", core)];
        if !family.label.is_empty() {
            labels.push((family.label, label.to_owned()));
        }
        let encoder = encoder.encode_family(&labels)?;
        match family.kind {
            Kind::Counter => ConstCounter::new(value).encode(encoder),
            Kind::Gauge => ConstGauge::new(value).encode(encoder),
        }
    };
    for (core, published) in shards {
        for (metric, label) in family.metrics {
            encode(core.to_string(), label, published.get(*metric))?;
        }
    }
    let (of_control, value) = of_control;
    match family.metrics.iter().find(|(metric, _)| *metric == of_control) {
        Some((_, label)) => encode("control".to_owned(), label, value),
        None => Ok(()),
    }
}

/// How long turns took: the time that a connection may have to wait for the loop.
fn encode_turns<'s>(
    encoder: &mut DescriptorEncoder<'_>,
    shards: impl Iterator<Item = (usize, &'s Published)>,
) -> fmt::Result {
    const US_PER_S: f64 = 1e6;
    let mut encoder = encoder.encode_descriptor(
        "turn",
        "Working time of a turn of the connection loop, without its sleep.",
        Some(&Unit::Seconds),
        MetricType::Histogram,
    )?;
    for (core, published) in shards {
        let mut buckets = Vec::with_capacity(TURN_BUCKETS_US.len() + 1);
        let mut count = 0;
        for bucket in 0..=TURN_BUCKETS_US.len() {
            let turns = published.get(Metric::turn_bucket(bucket));
            count += turns;
            let upper = TURN_BUCKETS_US.get(bucket).map_or(f64::MAX, |&us| us as f64 / US_PER_S);
            buckets.push((upper, turns));
        }
        let sum = published.get(Metric::TurnBusyUs) as f64 / US_PER_S;
        encoder
            .encode_family(&[("core", core.to_string())])?
            .encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
    }
    Ok(())
}

/// Connections to the control port.
#[derive(Debug)]
struct Connections(Arc<Counts>);

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Connections to the control port.";
        let connections = ConstGauge::new(self.0.connections());
        connections.encode(encoder.encode_descriptor(
            "control_connections",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let help = "Connections to the control port that were accepted.";
        let accepts = ConstCounter::new(self.0.accepts());
        accepts.encode(encoder.encode_descriptor("control_accepts", help, None, MetricType::Counter)?)?;
        let help = "Connections that the control port closed by itself.";
        encode_counters(&mut encoder, "control_closes", help, "reason", self.0.closes())
    }
}

/// Certificates of both ports.
#[derive(Debug)]
struct Certificates(Arc<Ends>);

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "How long the certificates of a listener still hold; below 0 where they have expired.";
        let mut encoder =
            encoder.encode_descriptor("certificate_expiry", help, Some(&Unit::Seconds), MetricType::Gauge)?;
        for (listener, left_s) in self.0.left_s() {
            ConstGauge::new(left_s).encode(encoder.encode_family(&[("listener", listener)])?)?;
        }
        Ok(())
    }
}

/// Calls of the server API.
#[derive(Debug)]
struct ApiCalls(Arc<ApiCounts>);

impl Collector for ApiCalls {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let calls = self.0.all().map(|(method, calls, _)| (method, calls));
        encode_counters(&mut encoder, "api_calls", "Calls of the server API.", "method", calls)?;
        let help = "Calls of the server API that were not let in.";
        encode_counters(&mut encoder, "api_denials", help, "reason", self.0.denials())?;
        let errors = self.0.all().map(|(method, _, errors)| (method, errors));
        encode_counters(
            &mut encoder,
            "api_errors",
            "Calls of the server API that ended with an error.",
            "method",
            errors,
        )
    }
}

/// Calls to the application's backend.
#[derive(Debug)]
struct Backend(Arc<Shared>);

impl Collector for Backend {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.0.asker.counts();
        let each = |counts: &[AtomicU64]| {
            Event::ALL.map(|(event, name)| (name, counts[event as usize].load(Ordering::Relaxed)))
        };
        let help = "Events that were put to the application's backend.";
        encode_counters(&mut encoder, "backend_calls", help, "event", each(&counts.calls))?;
        let help = "Events to which the backend gave no answer that could be used.";
        encode_counters(&mut encoder, "backend_failures", help, "event", each(&counts.failures))?;
        let under_way = ConstGauge::new(counts.calls_under_way.load(Ordering::Relaxed));
        let help = "Calls to the application's backend that are under way.";
        under_way.encode(encoder.encode_descriptor(
            "backend_calls_under_way",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let overflows = ConstCounter::new(counts.overflows.load(Ordering::Relaxed));
        let help = "Asks that the control thread was not given, because too many waited.";
        overflows.encode(encoder.encode_descriptor("backend_overflows", help, None, MetricType::Counter)?)
    }
}

fn encode_counters(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    counts: impl IntoIterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in counts {
        let labels = [(label, value)];
        ConstCounter::new(count).encode(encoder.encode_family(&labels)?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_who_prefers_it() {
        let accepts = |value: &str| {
            accepts_openmetrics(&HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())]))
        };
        for yes in [
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
            "Application/OpenMetrics-Text,text/plain",
        ] {
            assert!(accepts(yes), "{yes}");
        }
        for no in [
            "*/*",
            "text/plain",
            "text/html",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.1,text/plain",
        ] {
            assert!(!accepts(no), "{no}");
        }
        assert!(!accepts_openmetrics(&HeaderMap::new()));
    }

    #[test]
    fn the_older_format_names_counters_as_their_samples() {
        let openmetrics = "# HELP a_b Words # of it.\n# TYPE a_b counter\na_b_total{c=\"d\"} 1\n\
                           # HELP e_seconds Time.\n# TYPE e_seconds gauge\n# UNIT e_seconds seconds\ne_seconds -2\n# EOF\n";
        assert_eq!(
            as_prometheus(openmetrics),
            "# HELP a_b_total Words # of it.\n# TYPE a_b_total counter\na_b_total{c=\"d\"} 1\n\
             # HELP e_seconds Time.\n# TYPE e_seconds gauge\ne_seconds -2\n"
        );
    }
}
