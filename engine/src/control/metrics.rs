//! Metrics: the shards' numbers as Prometheus text.
//!
//! In:  `GET /metrics`; the published numbers of every shard.
//! Out: the OpenMetrics text format, a label `core` on all that a shard counts.

use std::{fmt, sync::Arc};

use axum::{
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use super::{State, memory};
use crate::{
    metrics::{CATALOG, Family, Kind, Metric, Published, TURN_BUCKETS_US},
    peers::Shared,
};

const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

pub(super) async fn metrics(Extract(state): Extract<State>) -> Response {
    let mut registry = Registry::with_prefix("holdfast");
    registry.register_collector(Box::new(Shards(state.shared)));
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[derive(Debug)]
struct Shards(Arc<Shared>);

impl Collector for Shards {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shards = || self.0.metrics.iter().enumerate();
        for family in CATALOG {
            encode_family(&mut encoder, family, shards())?;
        }
        encode_turns(&mut encoder, shards())?;
        let resident = ConstGauge::new(memory::resident_bytes().unwrap_or(0));
        resident.encode(encoder.encode_descriptor(
            "resident_memory",
            "Resident memory of the process.",
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?)
    }
}

fn encode_family<'s>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    shards: impl Iterator<Item = (usize, &'s Published)>,
) -> fmt::Result {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    let mut encoder = encoder.encode_descriptor(family.name, family.help, None, kind)?;
    for (core, published) in shards {
        for (metric, label) in family.metrics {
            let value = published.get(*metric);
            let mut labels = vec![("core", core.to_string())];
            if !family.label.is_empty() {
                labels.push((family.label, (*label).to_owned()));
            }
            let encoder = encoder.encode_family(&labels)?;
            match family.kind {
                Kind::Counter => ConstCounter::new(value).encode(encoder)?,
                Kind::Gauge => ConstGauge::new(value).encode(encoder)?,
            }
        }
    }
    Ok(())
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
