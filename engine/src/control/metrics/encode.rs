//! Encode: a family and its samples, in the words of their definition.
//!
//! In:  a family, and the numbers that somebody counted.
//! Out: its description, and a sample for each number.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use crate::metrics::{Family, Kind};

/// Encodes the description of a family. Its samples follow.
pub(super) fn head<'e>(
    encoder: &'e mut DescriptorEncoder<'_>,
    family: &'e Family,
) -> Result<MetricEncoder<'e>, fmt::Error> {
    let unit = match family.unit {
        "" => None,
        "seconds" => Some(&Unit::Seconds),
        "bytes" => Some(&Unit::Bytes),
        unit => unreachable!("no family is in {unit}"),
    };
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    encoder.encode_descriptor(family.name, family.help, unit, kind)
}

pub(super) fn encode_number(encoder: MetricEncoder<'_>, kind: Kind, value: u64) -> fmt::Result {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(encoder),
        Kind::Gauge => ConstGauge::new(value).encode(encoder),
        Kind::Histogram => unreachable!("a histogram is more than one number"),
    }
}

/// Encodes a family with a single sample.
pub(super) fn encode_one(encoder: &mut DescriptorEncoder<'_>, family: &Family, value: u64) -> fmt::Result {
    encode_number(head(encoder, family)?, family.kind, value)
}

/// Encodes a family with one sample for each value of its label.
pub(super) fn encode_each(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    numbers: impl IntoIterator<Item = (&'static str, u64)>,
) -> fmt::Result {
    let mut encoder = head(encoder, family)?;
    for (value, number) in numbers {
        encode_number(encoder.encode_family(&[(family.label, value)])?, family.kind, number)?;
    }
    Ok(())
}

/// Encodes how often something was how large: what each bucket holds, of which the last has no bound, and all together.
pub(super) fn encode_buckets(
    mut encoder: MetricEncoder<'_>,
    bounds: impl IntoIterator<Item = f64>,
    held: &[u64],
    sum: f64,
) -> fmt::Result {
    let bounds = bounds.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(held.iter().copied()).collect();
    encoder.encode_histogram::<[(&str, &str); 0]>(sum, held.iter().sum(), &buckets, None)
}
