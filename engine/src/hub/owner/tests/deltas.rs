//! Deltas: whatever happens between two publications, a patch's base is the last one sent before it.

use std::str;

use holdfast_protocol::client::{Format, FromServer, PushBody, decode_replies, delta};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::*;
use crate::ids::ShardId;

const DELTAS: ChannelPolicy = ChannelPolicy { history_size: 3, delta: true, ..POLICY };
const COMMON: &str =
    "a text that is long enough for every patch to it to be smaller than what it makes, so that there is one";

/// A subscriber that negotiated patches: in JSON, and in Protobuf.
struct Reader {
    formats: [(Format, Vec<u8>); 2],
    /// The sequence number of the last publication it received.
    had: Option<u64>,
    patches: usize,
}

impl Reader {
    fn hear(&mut self, delivery: &Delivery, expected: &[u8]) {
        let stored = delivery.publication.as_ref().expect("it is a publication");
        let for_delta = delivery.for_delta.as_ref().expect("there is a form for patches");
        let patch = for_delta.patch.as_ref().filter(|patch| self.had == Some(patch.base));
        self.patches += usize::from(patch.is_some());
        let frames = patch.map_or(&for_delta.whole, |patch| &patch.frames);
        for (format, base) in &mut self.formats {
            let message = frames.payload(*format);
            let Some(Ok(FromServer::Push(push))) = decode_replies(*format, &message).next() else {
                panic!("it is a push")
            };
            let PushBody::Publication(publication) = push.body else { panic!("it is a publication") };
            let data = match format {
                Format::Json => publication.data.unquoted().expect("it is a text").into_owned().into_bytes(),
                Format::Protobuf => publication.data.bytes().to_vec(),
            };
            assert_eq!(publication.delta, patch.is_some());
            *base = match publication.delta {
                true => delta::apply(base, &data, 10_000).expect("it is a patch to what it has"),
                false => data,
            };
            assert_eq!(str::from_utf8(base), str::from_utf8(expected));
        }
        self.had = Some(stored.sequence);
    }
}

#[test]
fn a_patch_builds_on_what_went_out_before_it_whatever_the_history_has() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);
    let mut bench = Bench::new(20_000).with(DELTAS);
    bench.subscribe("c", None);
    let mut reader =
        Reader { formats: [(Format::Json, vec![]), (Format::Protobuf, vec![])], had: None, patches: 0 };
    for number in 0..2_000_u32 {
        match random.random_range(0..10) {
            0 => {
                let answer_to = AnswerTo::Client {
                    shard: ShardId::FIRST,
                    client: CLIENT,
                    command: COMMAND,
                    is_read: false,
                };
                let question = ChannelQuery::RemoveHistory;
                bench.handle(ToOwner::Ask { channel: "c".into(), question, answer_to });
            }
            // A second is 20 ticks.
            1 => bench.pass_to(bench.now.0 + random.random_range(0..40)),
            // Publications of other channels use up the budget.
            2 => bench.fill_history(),
            _ => {}
        }
        bench.posts.clear();
        bench.policy.delta_publish = random.random_bool(0.3);
        // Its length differs from its neighbors': a patch against one fails on another.
        let text = format!("\"{}{COMMON}: {number}\"", "x".repeat(number as usize % 7));
        let publish = Publish {
            data: Data::checked(Bytes::from(text.clone())),
            skip_history: random.random_bool(0.4),
            delta: random.random_bool(0.7),
            answer_to: None,
            ..publish("c", "")
        };
        bench.handle(ToOwner::Publish(Box::new(publish)));
        let Some((ShardId::FIRST, FromOwner::Deliver(delivery))) = bench.posts.pop() else {
            panic!("it goes out")
        };
        // Some do not pass its filter.
        if random.random_bool(0.9) {
            reader.hear(&delivery, text.as_bytes());
        }
        assert!(bench.bytes(Budget::History) <= 20_000);
    }
    assert!(reader.patches > 500, "{} patches", reader.patches);
    bench.unsubscribe("c");
    bench.pass_to(bench.now.0 + 100_000);
    assert_eq!(bench.bytes(Budget::History), 0);
}

#[test]
fn who_has_recovered_has_not_had_what_no_history_kept() {
    let mut bench = Bench::new(1 << 20).with(ChannelPolicy { delta_publish: true, ..DELTAS });
    let since = bench.publish("c", "").expect("it is kept");
    let kept = bench.publish("c", "").expect("it is kept");
    bench.subscribe("c", None);
    let skipped = Publish { skip_history: true, answer_to: None, ..publish("c", "") };
    bench.handle(ToOwner::Publish(Box::new(skipped)));
    let recovered = bench.subscribe("c", Some(&since)).recovered.expect("nothing is lost");
    let newest = recovered.last().expect("there is one");
    assert_eq!(newest.offset, kept.offset);
    bench.posts.clear();
    let data = Data::checked(Bytes::from(format!("\"{COMMON}\"")));
    for _ in 0..2 {
        let next = Publish { data: data.clone(), answer_to: None, ..publish("c", "") };
        bench.handle(ToOwner::Publish(Box::new(next)));
    }
    let patches = bench.posts.iter().filter_map(|(_, said)| match said {
        FromOwner::Deliver(delivery) => delivery.for_delta.as_ref()?.patch.as_ref(),
        _ => None,
    });
    let bases: Vec<_> = patches.map(|patch| patch.base).collect();
    assert!(!bases.is_empty() && !bases.contains(&newest.sequence), "{bases:?}");
}
