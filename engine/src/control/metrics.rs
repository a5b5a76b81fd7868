//! Metrics: encodes the counters as Prometheus text.
//!
//! In:  `GET /metrics`; the published counters of every shard; the control thread's counters.
//! Out: OpenMetrics text for clients that accept it, otherwise Prometheus text; all shard counters have a label `core`.

mod encode;
mod redis;

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
    metrics::gauge::ConstGauge,
    registry::Registry,
};

use self::{
    encode::{encode_buckets, encode_each, encode_number, encode_one, head},
    redis::ManyNodes,
};
use super::{api::ApiCounts, counts::Counts, memory, status::State};
use crate::{
    backend::{self, Event},
    log,
    memory::{Budget, BudgetLimits, cgroup::Cgroup},
    metrics::{Bucket, CATALOG, Family, Metric, Published, process},
    session::message::Shared,
    supervise::Beats,
    tls::Ends,
};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// <https://prometheus.io/docs/instrumenting/exposition_formats/>
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(Extract(state): Extract<State>, headers: HeaderMap) -> Response {
    let mut registry = Registry::with_prefix("holdfast");
    registry.register_collector(Box::new(Backend(Arc::clone(&state.backend_counts))));
    let is_alone = state.nodes.is_none();
    registry.register_collector(Box::new(Shards { shared: state.shared, is_alone }));
    registry.register_collector(Box::new(Connections(state.counts)));
    if state.expiries.left_s().next().is_some() {
        registry.register_collector(Box::new(Certificates(state.expiries)));
    }
    if let Some(counts) = state.api_counts {
        registry.register_collector(Box::new(ApiCalls(counts)));
    }
    if let Some(nodes) = state.nodes {
        registry.register_collector(Box::new(ManyNodes(nodes)));
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

/// True exactly when the client accepts OpenMetrics and lists no other format before it (RFC 9110 §12.5.1).
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

/// Converts to the older format: a counter's family has the name of its samples, and there are no units and no end.
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
struct Shards {
    shared: Arc<Shared>,
    /// True exactly when there are no other nodes.
    is_alone: bool,
}

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shared = &self.shared;
        let shards = || shared.metrics().iter().enumerate();
        // The control thread, not a shard, counts the memory of API calls.
        let api = (Metric::Memory(Budget::Api), shared.api_memory().bytes.load(Ordering::Relaxed));
        for family in CATALOG.iter().filter(|family| !(family.needs_redis && self.is_alone)) {
            encode_family(&mut encoder, family, shards(), api)?;
        }
        encode_one(
            &mut encoder,
            &process::API_REFUSALS,
            shared.api_memory().refused.load(Ordering::Relaxed),
        )?;
        encode_turns(&mut encoder, shards())?;
        encode_one(&mut encoder, &process::LOG_LINES_LOST, log::lines_lost())?;
        encode_beats(&mut encoder, shared.beats())?;
        encode_memory(&mut encoder, shared)
    }
}

fn encode_beats(encoder: &mut DescriptorEncoder<'_>, beats: &Beats) -> fmt::Result {
    let family = process::BEAT_AGE;
    let mut encoder = head(encoder, &family)?;
    for part in beats.parts() {
        let age = ConstGauge::new(beats.still(part).as_secs_f64());
        age.encode(encoder.encode_family(&[(family.label, part.to_string())])?)?;
    }
    Ok(())
}

fn encode_memory(encoder: &mut DescriptorEncoder<'_>, shared: &Shared) -> fmt::Result {
    let is_short = u64::from(shared.is_memory_short());
    encode_one(encoder, &process::MEMORY_SHORT, is_short)?;
    let each = Budget::ALL.map(|(budget, name)| (name, shared.budgets().most(budget)));
    let limits = each.into_iter().chain([("all", shared.budgets().total())]);
    let limits = limits.map(|(name, limit)| (name, if limit == BudgetLimits::NONE { 0 } else { limit }));
    encode_each(encoder, &process::MEMORY_LIMIT, limits)?;
    encode_one(encoder, &process::RESIDENT_MEMORY, memory::resident_bytes().unwrap_or(0))?;
    if let Some(group) = Cgroup::tightest() {
        encode_one(encoder, &process::CONTROL_GROUP_MEMORY, group.used_bytes)?;
        encode_one(encoder, &process::CONTROL_GROUP_MEMORY_LIMIT, group.limit_bytes)?;
    }
    Ok(())
}

fn encode_family<'s>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    shards: impl Iterator<Item = (usize, &'s Published)>,
    of_control: (Metric, u64),
) -> fmt::Result {
    let mut encoder = head(encoder, family)?;
    let mut encode = |core: String, label: &str, value| {
        let mut labels = vec![("core", core)];
        if !family.label.is_empty() {
            labels.push((family.label, label.to_owned()));
        }
        encode_number(encoder.encode_family(&labels)?, family.kind, value)
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

/// Encodes the duration of turns: how long a connection may have to wait for the loop.
fn encode_turns<'s>(
    encoder: &mut DescriptorEncoder<'_>,
    shards: impl Iterator<Item = (usize, &'s Published)>,
) -> fmt::Result {
    const US_PER_S: f64 = 1e6;
    let family = process::TURN;
    let mut encoder = head(encoder, &family)?;
    for (core, published) in shards {
        let turns = Bucket::ALL.map(|bucket| published.get(Metric::TurnBucket(bucket)));
        let bounds = Bucket::ALL.into_iter().filter_map(Bucket::most_us).map(|us| us as f64 / US_PER_S);
        let sum = published.get(Metric::TurnBusyUs) as f64 / US_PER_S;
        encode_buckets(encoder.encode_family(&[("core", core.to_string())])?, bounds, &turns, sum)?;
    }
    Ok(())
}

/// Connections to the control port.
#[derive(Debug)]
struct Connections(Arc<Counts>);

impl Collector for Connections {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode_one(&mut encoder, &process::CONTROL_CONNECTIONS, self.0.connections())?;
        encode_one(&mut encoder, &process::CONTROL_ACCEPTS, self.0.accepts())?;
        encode_each(&mut encoder, &process::CONTROL_CLOSES, self.0.closes())
    }
}

/// Certificates of both ports.
#[derive(Debug)]
struct Certificates(Arc<Ends>);

impl Collector for Certificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let family = process::CERTIFICATE_EXPIRY;
        let mut encoder = head(&mut encoder, &family)?;
        for (listener, left_s) in self.0.left_s() {
            ConstGauge::new(left_s).encode(encoder.encode_family(&[(family.label, listener)])?)?;
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
        encode_each(&mut encoder, &process::API_CALLS, calls)?;
        encode_each(&mut encoder, &process::API_DENIALS, self.0.denials())?;
        let errors = self.0.all().map(|(method, _, errors)| (method, errors));
        encode_each(&mut encoder, &process::API_ERRORS, errors)
    }
}

/// Calls to the application's backend.
#[derive(Debug)]
struct Backend(Arc<backend::Counts>);

impl Collector for Backend {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let counts = &self.0;
        let each = |counts: &[AtomicU64]| {
            Event::ALL.map(|(event, name)| (name, counts[event as usize].load(Ordering::Relaxed)))
        };
        encode_each(&mut encoder, &process::BACKEND_CALLS, each(&counts.calls))?;
        encode_each(&mut encoder, &process::BACKEND_FAILURES, each(&counts.failures))?;
        let under_way = counts.calls_under_way.load(Ordering::Relaxed);
        encode_one(&mut encoder, &process::BACKEND_CALLS_UNDER_WAY, under_way)?;
        encode_one(&mut encoder, &process::BACKEND_OVERFLOWS, counts.overflows.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::counts::Closed;

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

    #[test]
    fn the_page_names_every_value_that_a_label_can_have() {
        let assert_named = |family: Family, values: &[&str]| {
            let missing = values.iter().find(|value| !family.note.contains(&format!("`{value}`")));
            assert_eq!(missing, None, "{}", family.name);
        };
        assert_named(process::CONTROL_CLOSES, &Closed::ALL.map(|(_, name)| name));
        assert_named(process::BACKEND_CALLS, &Event::ALL.map(|(_, name)| name));
        let denials: Vec<_> = ApiCounts::new(&[]).denials().map(|(reason, _)| reason).collect();
        assert_named(process::API_DENIALS, &denials);
    }
}
