//! Lanes, at any interleaving.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::*;

const LIMITS: LaneLimits = LaneLimits {
    asks_max: 100,
    bytes_max: 100_000,
    batch_max: 4,
    batch_bytes_max: 10_000,
    under_way_max: 16,
    gather: Duration::from_millis(1),
    is_slotted: false,
};

fn ask(channel: &str, payload: &'static [u8], is_kept: bool, at: Instant) -> Ask {
    let keep = is_kept.then_some(Keep {
        size: 10,
        ttl: Duration::from_secs(60),
        meta_ttl: Duration::ZERO,
        is_delta: false,
        version: None,
    });
    let publication = Publication {
        channel: channel.to_owned(),
        payload: Bytes::from_static(payload),
        keep,
        idempotency_key: None,
        is_sent: true,
    };
    Ask { publication, answer: Answer::new(|_| {}), at }
}

fn channels(batch: &Batch) -> Vec<&str> {
    batch.asks.iter().map(|ask| ask.publication.channel.as_str()).collect()
}

#[test]
fn the_first_goes_at_once_and_what_comes_meanwhile_goes_together() {
    let now = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    assert!(lanes.take(now).is_none());
    assert!(lanes.push(1, ask("a", b"", true, now)).is_none());
    let first = lanes.take(now).unwrap();
    assert_eq!((channels(&first), first.kind), (vec!["a"], Kind::Script));
    assert!(lanes.push(2, ask("b", b"", true, now)).is_none());
    assert!(lanes.push(3, ask("c", b"", true, now)).is_none());
    assert!(lanes.take(now).is_none(), "more may come within the millisecond");
    assert_eq!(lanes.due(), Some(now + LIMITS.gather));
    let second = lanes.take(now + LIMITS.gather).unwrap();
    assert_eq!(channels(&second), ["b", "c"]);
    assert!(lanes.push(4, ask("d", b"", true, now)).is_none());
    for batch in [first, second] {
        let (returned, _) = batch.split();
        lanes.give_back(&returned);
    }
    assert_eq!(channels(&lanes.take(now).unwrap()), ["d"], "nothing is under way");
}

#[test]
fn a_full_batch_does_not_wait() {
    let now = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    assert!(lanes.push(0, ask("x", b"", true, now)).is_none());
    let _under_way = lanes.take(now).unwrap();
    for lane in 1..=5 {
        assert!(lanes.push(lane, ask("a", b"", true, now)).is_none());
    }
    assert_eq!(lanes.take(now).unwrap().asks.len(), 4);
    assert!(lanes.take(now).is_none(), "the fifth waits for more");
}

#[test]
fn a_channel_has_one_batch_under_way() {
    let now = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    assert!(lanes.push(1, ask("a", b"1", true, now)).is_none());
    let first = lanes.take(now).unwrap();
    for _ in 0..6 {
        assert!(lanes.push(1, ask("a", b"2", true, now)).is_none());
    }
    assert!(lanes.take(now + Duration::from_secs(1)).is_none());
    lanes.give_back(&first.split().0);
    assert_eq!(lanes.take(now).unwrap().asks.len(), 4);
}

#[test]
fn in_a_cluster_a_script_has_keys_of_one_slot_but_a_pipeline_may_have_any() {
    let now = Instant::now();
    let mut lanes = Lanes::new(LaneLimits { is_slotted: true, ..LIMITS });
    for lane in 1..=2 {
        assert!(lanes.push(lane, ask("kept", b"", true, now)).is_none());
    }
    for lane in 3..=4 {
        assert!(lanes.push(lane, ask("plain", b"", false, now)).is_none());
    }
    let later = now + LIMITS.gather;
    let sizes: Vec<_> =
        std::iter::from_fn(|| lanes.take(later)).map(|batch| (batch.kind, batch.asks.len())).collect();
    assert_eq!(sizes, [(Kind::Script, 1), (Kind::Script, 1), (Kind::Plain, 2)]);
}

#[test]
fn what_finds_no_room_comes_back() {
    let now = Instant::now();
    let mut lanes = Lanes::new(LaneLimits { asks_max: 2, ..LIMITS });
    assert!(lanes.push(1, ask("a", b"", true, now)).is_none());
    assert!(lanes.push(1, ask("a", b"", true, now)).is_none());
    assert!(lanes.push(2, ask("b", b"", true, now)).is_some());
    let mut lanes = Lanes::new(LaneLimits { bytes_max: 1_000, ..LIMITS });
    static LARGE: [u8; 900] = [0; 900];
    assert!(lanes.push(1, ask("a", &LARGE, true, now)).is_some());
    assert_eq!(lanes.waiting(), (0, 0));
}

#[test]
fn what_waited_too_long_is_taken_out_also_behind_a_busy_lane() {
    let start = Instant::now();
    let mut lanes = Lanes::new(LIMITS);
    assert!(lanes.push(1, ask("a", b"", true, start)).is_none());
    let under_way = lanes.take(start).unwrap();
    let later = start + Duration::from_secs(1);
    assert!(lanes.push(1, ask("a", b"old", true, start)).is_none());
    assert!(lanes.push(1, ask("a", b"new", true, later)).is_none());
    assert!(lanes.push(2, ask("b", b"old", true, start)).is_none());
    assert_eq!(lanes.drain(Some(later)).len(), 2);
    assert_eq!(lanes.waiting().0, 1);
    lanes.give_back(&under_way.split().0);
    let (returned, asks) = lanes.take(later).unwrap().split();
    assert_eq!((asks.len(), lanes.waiting().0, lanes.drain(None).len()), (1, 0, 0));
    assert!(lanes.waiting().1 > 0, "bytes count until they are answered");
    lanes.give_back(&returned);
    assert_eq!(lanes.waiting(), (0, 0));
}

/// Each channel's publications leave in their order, one batch at a time, and none is lost or repeated, whatever happens.
#[test]
fn no_order_of_events_loses_repeats_or_reorders() {
    let seed = rand::rng().random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    for _ in 0..300 {
        let mut lanes = Lanes::new(LaneLimits { is_slotted: random.random(), ..LIMITS });
        let start = Instant::now();
        let (mut now, mut pushed, mut out) = (start, 0_u32, 0_u32);
        let last: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
        let mut under_way: Vec<Batch> = Vec::new();
        for _ in 0..random.random_range(0..400) {
            // Each ask has a time of its own, by which its order is seen.
            now += Duration::from_micros(random.random_range(1..500));
            match random.random_range(0..10) {
                0..6 => {
                    let channel = random.random_range(0..8_u16);
                    let kept = random.random_bool(0.7);
                    if lanes.push(channel % 5, ask(&channel.to_string(), b"x", kept, now)).is_none() {
                        pushed += 1;
                    }
                }
                6..8 => under_way.extend(lanes.take(now)),
                8 if !under_way.is_empty() => {
                    let at = random.random_range(0..under_way.len());
                    let (returned, asks) = under_way.swap_remove(at).split();
                    for ask in asks {
                        out += 1;
                        let before = last.lock().unwrap().insert(ask.publication.channel.clone(), ask.at);
                        assert!(before.is_none_or(|before| before < ask.at));
                    }
                    lanes.give_back(&returned);
                }
                9 if random.random_bool(0.1) => {
                    out += u32::try_from(lanes.drain(Some(now - Duration::from_millis(5))).len()).unwrap();
                }
                _ => {}
            }
            let busy: Vec<u16> = under_way.iter().flat_map(|batch| batch.lanes.clone()).collect();
            let mut once = busy.clone();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), busy.len(), "a lane has one batch under way");
            assert!(under_way.iter().all(|batch| !batch.asks.is_empty() && batch.asks.len() <= 4));
        }
        loop {
            for batch in under_way.drain(..) {
                let (returned, asks) = batch.split();
                out += u32::try_from(asks.len()).unwrap();
                lanes.give_back(&returned);
            }
            match lanes.take(now + Duration::from_secs(1)) {
                Some(batch) => under_way.push(batch),
                None => break,
            }
        }
        assert_eq!((pushed, lanes.waiting()), (out, (0, 0)));
        assert_eq!((lanes.ready_asks, lanes.under_way, lanes.lanes.len()), (0, 0, 0));
    }
}
