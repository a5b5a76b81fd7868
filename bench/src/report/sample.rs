//! Sample: a made-up report for the tests of the outputs.
//!
//! Out: the report of a run that never was, and its latencies.

use hdrhistogram::Histogram;

use super::{Connect, MachineMemory, Report, Sample, ServerFigures};
use crate::latency::{Percentiles, histogram};
use crate::tally::Messages;

/// Latencies as a loaded server has them: most short, a long tail.
pub(crate) fn latencies() -> Histogram<u64> {
    let mut histogram = histogram();
    for n in 1..100_000u64 {
        let tail = 900_000_000_000 / (100_000 - n).pow(2);
        histogram.saturating_record(180_000 + n + tail.min(40_000_000));
    }
    histogram
}

/// A broadcast to 100,000 that went well.
pub(crate) fn broadcast() -> Report {
    let percentiles = Percentiles::of(&latencies());
    let series = (0..40u32)
        .map(|n| {
            let (at_s, ramp) = (f64::from(n) / 2.0, u64::from(n.min(20)) * 5000);
            let received = u64::from(n.saturating_sub(20)) * 250_000;
            let busy = f64::from(n.saturating_sub(20));
            let wobble = f64::from(n * 7919 % 13);
            Sample {
                at_s,
                open: ramp,
                established: ramp,
                sent: received / 100_000,
                received,
                p50_us: (n > 20).then_some(270.0 + wobble),
                p99_us: (n > 20).then_some(900.0 + 40.0 * wobble),
                max_us: (n > 20).then_some(4000.0 + 900.0 * wobble),
                server_cpu_s: Some(0.2 * at_s.min(10.0) + 0.45 * busy),
                server_rss_anon_bytes: Some(9_000_000 + ramp * 208),
            }
        })
        .collect();
    Report {
        scenario: "broadcast",
        target: "ws://127.0.0.1:8000/broadcast".to_owned(),
        connections: 100_000,
        size: Some(128),
        load: "5.0/s messages of 128 bytes from 1 publisher to 100,000 connections".to_owned(),
        measured_s: 10.0,
        messages: Messages { sent: 50, received: 5_000_000, ..Messages::default() },
        deliveries: 5_000_000,
        deliveries_per_s: 500_000.0,
        latency_us: percentiles,
        first_receiver_us: percentiles,
        median_receiver_us: percentiles,
        p99_receiver_us: percentiles,
        last_receiver_us: percentiles,
        lateness_us: percentiles,
        connect: Connect {
            attempted: 100_000,
            established: 100_000,
            rate_per_s: 9_870.0,
            latency_us: percentiles,
            ..Connect::default()
        },
        back_us: None,
        recovery: None,
        marks: Vec::new(),
        server: Some(ServerFigures {
            cpu_s: 9.0,
            cpu_us_per_message: Some(1.8),
            cpu_us_per_connection: None,
            rss_anon_bytes_before: 9_000_000,
            rss_anon_bytes_after: 29_800_000,
            rss_anon_bytes_per_connection: Some(208.0),
        }),
        machine: MachineMemory {
            available_bytes_before: Some(23_000_000_000),
            available_bytes_after: Some(22_100_000_000),
            bytes_per_connection: Some(9_000.0),
        },
        ok: false,
        findings: Vec::new(),
        reasons: Vec::new(),
        series,
        version: "0.0.0",
        command:
            "holdfast-bench broadcast --target ws://127.0.0.1:8000/broadcast --connections 100k --rate 5/s \
                  --duration 10s --server-pid 4242 --html report.html"
                .to_owned(),
    }
}
