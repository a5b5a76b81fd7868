//! Figures: the cost of a publication at its owner, for comparison. It asserts nothing.

use std::{hint::black_box, time::Instant};

use super::*;

/// Publications of each row.
const COUNT: u32 = 400_000;
const KEYED: u32 = 100_000;
const TICK: u32 = 50_000;

/// Nanoseconds of [`OwnedChannels::handle`] for a publication of 128 bytes, without subscribers.
fn row(what: &str, channels: u32, is_keyed: bool, budget_bytes: u64) {
    let payload = Bytes::from(vec![b'1'; 128]);
    let policy = ChannelPolicy { history_size: 100, history_ttl_ms: 600_000, ..POLICY };
    let mut bench = Bench::new(budget_bytes).with(policy);
    let names: Vec<Arc<str>> = (0..channels).map(|at| format!("hist:{at}").into()).collect();
    let count = if is_keyed { KEYED } else { COUNT };
    let mut worst = 0;
    let began = Instant::now();
    let mut since = began;
    for at in 0..count {
        let key = if is_keyed { format!("key-{at}") } else { String::new() };
        let publish = Publish {
            channel: Arc::clone(&names[(at % channels) as usize]),
            data: Data::checked(payload.clone()),
            answer_to: None,
            idempotency_key: key.into(),
            ..publish("", "")
        };
        bench.now = Tick(at / TICK);
        bench.handle(ToOwner::Publish(Box::new(publish)));
        if at % 10_000 == 9_999 {
            worst = worst.max(since.elapsed().as_nanos() / 10_000);
            since = Instant::now();
        }
    }
    let mean = began.elapsed().as_nanos() / u128::from(count);
    println!("{what}: {mean} ns a publication, {worst} ns in the slowest 10,000");
    black_box(bench.homes);
}

#[test]
#[ignore = "it measures, and is for people to read"]
fn figures() {
    for _ in 0..3 {
        row("1 channel", 1, false, 1 << 30);
        row("10,000 channels", 10_000, false, 1 << 30);
        row("10,000 channels, budget full", 10_000, false, 8 << 20);
    }
    row("1 channel, idempotency keys", 1, true, 1 << 30);
}
