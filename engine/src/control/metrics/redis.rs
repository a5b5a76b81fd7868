//! Redis: encodes what is known of each Redis, of the broker, and of the other nodes.
//!
//! In:  the counters of the library for Redis and of the broker, as they are now.
//! Out: families with a label `redis`, and those of the node.

use std::fmt;

use holdfast_redis::{
    command::{BATCH_BUCKETS, Down, Numbers, ROUND_TRIP_BUCKETS_US},
    receive::{cause::Cause, health::Health},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::gauge::ConstGauge,
};

use super::encode::{encode_buckets, encode_each, encode_number, encode_one, head};
use crate::{
    control::nodes::{Nodes, RedisState},
    metrics::{Family, broker, redis},
};

const US_PER_S: f64 = 1e6;
const MS_PER_S: f64 = 1e3;

/// The label that tells Redis apart.
const REDIS: &str = "redis";

/// The state of a breaker through which everything goes.
const CLOSED: &str = "closed";

/// The causes that only a probe finds.
const PROBED: [&str; 2] = ["silent", "deaf"];

/// What a node has that is one of many.
#[derive(Debug)]
pub(super) struct ManyNodes(pub(super) Nodes);

impl Collector for ManyNodes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let mut all = self.0.redis();
        tell_apart(&mut all);
        encode_publications(encoder, &all)?;
        encode_asks(encoder, &all)?;
        encode_links(encoder, &all)?;
        encode_clocks(encoder, &all)?;
        encode_one(encoder, &broker::NODES, self.0.count() as u64)?;
        let counts = self.0.counts();
        counts.lag().encode(head(encoder, &broker::LAG)?)?;
        let mut outlets = head(encoder, &broker::OUTLET)?;
        for (core, bytes) in counts.outlet_bytes().enumerate() {
            let labels = [(broker::OUTLET.label, core.to_string())];
            encode_number(outlets.encode_family(&labels)?, broker::OUTLET.kind, bytes)?;
        }
        encode_each(encoder, &broker::DROPPED, counts.dropped_publications())?;
        encode_one(encoder, &broker::CONTROL_DROPPED, counts.control_dropped_messages())?;
        let (messages, bytes) = counts.queue();
        encode_one(encoder, &broker::QUEUE_MESSAGES, messages)?;
        encode_one(encoder, &broker::QUEUE, bytes)?;
        encode_one(encoder, &broker::QUEUE_REFUSALS, counts.queue_refusals())
    }
}

/// Two of one name, as two databases of one server are, would be one series twice.
fn tell_apart(all: &mut [RedisState]) {
    for at in 1..all.len() {
        let (before, rest) = all.split_at_mut(at);
        let name = rest[0].name.clone();
        let is_taken = |name: &str| before.iter().any(|other| other.name == name);
        let mut count = 1;
        while is_taken(&rest[0].name) {
            count += 1;
            rest[0].name = format!("{name}#{count}");
        }
    }
}

/// Encodes one number of each Redis.
fn encode_all(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    all: &[RedisState],
    number: impl Fn(&RedisState) -> u64,
) -> fmt::Result {
    let mut encoder = head(encoder, family)?;
    for state in all {
        let labels = [(REDIS, state.name.as_str())];
        encode_number(encoder.encode_family(&labels)?, family.kind, number(state))?;
    }
    Ok(())
}

/// Encodes the numbers of each Redis, one for each value of the family's label.
fn encode_all_by<Numbers: IntoIterator<Item = (&'static str, u64)>>(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    all: &[RedisState],
    numbers: impl Fn(&RedisState) -> Numbers,
) -> fmt::Result {
    let mut encoder = head(encoder, family)?;
    for state in all {
        for (value, number) in numbers(state) {
            let labels = [(REDIS, state.name.as_str()), (family.label, value)];
            encode_number(encoder.encode_family(&labels)?, family.kind, number)?;
        }
    }
    Ok(())
}

/// Encodes how often something was how large at each Redis.
fn encode_histograms(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    all: &[RedisState],
    bounds: &[f64],
    held: impl Fn(&Numbers) -> (&[u64], f64),
) -> fmt::Result {
    let mut encoder = head(encoder, family)?;
    for state in all {
        let (counts, sum) = held(&state.commands);
        let labels = [(REDIS, state.name.as_str())];
        encode_buckets(encoder.encode_family(&labels)?, bounds.iter().copied(), counts, sum)?;
    }
    Ok(())
}

fn encode_publications(encoder: &mut DescriptorEncoder<'_>, all: &[RedisState]) -> fmt::Result {
    encode_all_by(encoder, &redis::PUBLICATIONS, all, |state| {
        [("out", state.commands.publications), ("in", state.link.messages)]
    })?;
    encode_all_by(encoder, &redis::PUBLICATION_BYTES, all, |state| {
        [("out", state.commands.publication_bytes), ("in", state.link.bytes)]
    })?;
    let bounds = BATCH_BUCKETS.map(|most| most as f64);
    encode_histograms(encoder, &redis::BATCH, all, &bounds, |numbers| {
        (&numbers.batches, numbers.batch_publications as f64)
    })
}

fn encode_asks(encoder: &mut DescriptorEncoder<'_>, all: &[RedisState]) -> fmt::Result {
    let bounds = ROUND_TRIP_BUCKETS_US.map(|most| most as f64 / US_PER_S);
    encode_histograms(encoder, &redis::ROUND_TRIP, all, &bounds, |numbers| {
        (&numbers.round_trips, numbers.round_trip_us as f64 / US_PER_S)
    })?;
    encode_all(encoder, &redis::READS, all, |state| state.commands.reads)?;
    encode_all_by(encoder, &redis::ASKS_REFUSED, all, |state| state.commands.failures)?;
    encode_all(encoder, &redis::ASKS_WAITING, all, |state| state.commands.asks_waiting as u64)?;
    encode_all(encoder, &redis::QUEUE, all, |state| state.commands.bytes_waiting as u64)?;
    encode_all_by(encoder, &redis::BREAKER, all, |state| breaker(state.commands.down))?;
    encode_all(encoder, &redis::BREAKER_OPENED, all, |state| state.commands.breaker_opened)?;
    encode_all(encoder, &redis::CONNECTIONS, all, |state| state.commands.connections)?;
    encode_all(encoder, &redis::SCRIPTS_RELOADED, all, |state| state.commands.scripts_loaded_again)
}

/// 1 for the state of a breaker.
fn breaker(down: Option<Down>) -> impl Iterator<Item = (&'static str, u64)> {
    let states = [None].into_iter().chain(Down::ALL.map(Some));
    states.map(move |state| (state.map_or(CLOSED, Down::name), u64::from(state == down)))
}

fn encode_links(encoder: &mut DescriptorEncoder<'_>, all: &[RedisState]) -> fmt::Result {
    encode_all(encoder, &redis::LINK_UP, all, |state| state.link.is_up.into())?;
    encode_all_by(encoder, &redis::RECONNECTS, all, |state| causes(&state.link))?;
    encode_all(encoder, &redis::PROBES, all, |state| state.link.probes)?;
    encode_all_by(encoder, &redis::PROBE_FAILURES, all, |state| {
        causes(&state.link).filter(|(cause, _)| PROBED.contains(cause))
    })?;
    encode_all_by(encoder, &redis::CHANNELS, all, |state| {
        [("wanted", state.link.wanted as u64), ("confirmed", state.link.confirmed as u64)]
    })
}

/// How often a connection ended, or did not come about, by cause.
fn causes(link: &Health) -> impl Iterator<Item = (&'static str, u64)> + use<> {
    link.causes.into_iter().enumerate().map(|(cause, count)| (Cause::name_of(cause), count))
}

fn encode_clocks(encoder: &mut DescriptorEncoder<'_>, all: &[RedisState]) -> fmt::Result {
    let mut encoder = head(encoder, &redis::CLOCK_SKEW)?;
    for state in all {
        if let Some(skew_ms) = state.commands.clock_skew_ms {
            let skew = ConstGauge::new(skew_ms as f64 / MS_PER_S);
            skew.encode(encoder.encode_family(&[(REDIS, state.name.as_str())])?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use holdfast_redis::{
        command::{CommandOptions, Servers, commands},
        layout::{Layout, Mode},
        receive::{
            cause::CAUSES,
            connection::{Address, ConnectionOptions},
            event::{Consumer, Event},
            link::{LinkOptions, link},
        },
    };

    use super::*;

    struct Nobody;

    impl Consumer for Nobody {
        fn offer(&mut self, _: Event) -> Result<(), Event> {
            Ok(())
        }
    }

    fn state(name: &str) -> RedisState {
        let server = Servers::One(Address { host: "redis.test".into(), port: 1 });
        let layout = Layout::new("p", Mode::Plain).unwrap();
        let (handle, _) = link(LinkOptions::new(ConnectionOptions::new("redis.test", 1)), Nobody, None);
        RedisState {
            name: name.into(),
            link: handle.health(),
            commands: commands(CommandOptions::new(server), layout).0.numbers(),
        }
    }

    #[tokio::test]
    async fn every_redis_has_a_name_of_its_own() {
        let mut all = ["a:1", "b:1", "a:1", "a:1", "a:1#2"].map(state);
        tell_apart(&mut all);
        assert_eq!(all.map(|state| state.name), ["a:1", "b:1", "a:1#2", "a:1#3", "a:1#2#2"]);
    }

    #[tokio::test]
    async fn the_page_names_every_value_that_a_label_can_have() {
        let assert_named = |family: Family, values: &[&str]| {
            let missing = values.iter().find(|value| !family.note.contains(&format!("`{value}`")));
            assert_eq!(missing, None, "{}", family.name);
        };
        let one = state("a:1");
        assert_named(redis::ASKS_REFUSED, &one.commands.failures.map(|(reason, _)| reason));
        assert_named(redis::RECONNECTS, &std::array::from_fn::<_, CAUSES, _>(Cause::name_of));
        assert_named(redis::PROBE_FAILURES, &PROBED);
        let states: Vec<_> = breaker(None).map(|(state, _)| state).collect();
        assert_named(redis::BREAKER, &states);
        assert!(PROBED.iter().all(|cause| causes(&one.link).any(|(known, _)| known == *cause)));
    }

    #[test]
    fn a_breaker_has_one_state() {
        for down in [None].into_iter().chain(Down::ALL.map(Some)) {
            let on: Vec<_> = breaker(down).filter(|(_, number)| *number == 1).collect();
            assert_eq!(on, [(down.map_or(CLOSED, Down::name), 1)]);
        }
    }
}
