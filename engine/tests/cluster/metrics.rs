//! Metrics: what a node that is one of many publishes of Redis, of its rooms and of the others.
//!
//! In:  publications, a Redis that is killed, frozen or restarted, another node.
//! Out: the numbers that an operator watches.

use std::collections::{HashMap, HashSet};

use holdfast_testkit::{Daemon, Metrics, eventually};
use rustix::process::Signal;
use serde_json::json;

use crate::nodes::{Nodes, api, api_until, client, until_acquainted};

fn metrics(node: &Daemon) -> Metrics {
    Metrics::parse(&node.ask("/metrics").1)
}

/// Waits until a number is as it should be.
fn until(node: &Daemon, name: &str, labels: &[(&str, &str)], is_so: impl Fn(u64) -> bool) {
    let what = format!("{name} {labels:?}");
    eventually(&what, || is_so(metrics(node).sum(name, labels)));
}

#[test]
fn what_is_published_is_counted_by_direction_and_by_redis() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let mut bob = client(&b);
    bob.subscribe("news");
    bob.subscribe("kept:x");
    for data in 0..20 {
        api(&a, "publish", &json!({"channel": "kept:x", "data": data}));
        api(&a, "publish", &json!({"channel": "news", "data": data}));
    }
    (0..40).for_each(|_| drop(bob.push()));
    let address = format!("127.0.0.1:{}", nodes.redis.port);
    let of = |more: &'static [(&'static str, &'static str)]| {
        [("redis", address.as_str())].into_iter().chain(more.iter().copied()).collect::<Vec<_>>()
    };
    let (at_a, at_b) = (metrics(&a), metrics(&b));
    assert_eq!(at_a.sum("holdfast_redis_publications_total", &of(&[("direction", "out")])), 40);
    assert!(at_a.sum("holdfast_redis_publication_bytes_total", &of(&[("direction", "out")])) >= 40);
    assert_eq!(at_a.sum("holdfast_redis_batch_publications_sum", &of(&[])), 40);
    assert_eq!(at_b.sum("holdfast_redis_publications_total", &of(&[("direction", "out")])), 0);
    assert!(at_b.sum("holdfast_redis_publications_total", &of(&[("direction", "in")])) >= 40);
    assert!(at_b.sum("holdfast_redis_publication_bytes_total", &of(&[("direction", "in")])) >= 40);
    // Each read of the socket tells how long its oldest publication was on its way.
    let reads = at_b.sum("holdfast_broker_lag_seconds_count", &[]);
    assert!((1..=40).contains(&reads), "{reads}");
    for node in [&at_a, &at_b] {
        assert!(node.sum("holdfast_redis_round_trip_seconds_count", &of(&[])) > 0);
        assert_eq!(node.sum("holdfast_redis_breaker", &of(&[("state", "closed")])), 1);
        assert_eq!(node.sum("holdfast_redis_breaker", &of(&[])), 1, "it has one state");
        assert_eq!(node.sum("holdfast_redis_link_up", &of(&[])), 1);
        assert_eq!(node.sum("holdfast_redis_asks_refused_total", &of(&[])), 0);
        assert_eq!(node.sum("holdfast_broker_dropped_total", &[]), 0);
        let skew =
            node.select("holdfast_redis_clock_skew_seconds", &of(&[])).next().expect("it was measured");
        assert!(skew.value.abs() < 1.0, "it is the same clock: {skew:?}");
    }
    until(&b, "holdfast_rooms", &[("state", "live")], |rooms| rooms == 2);
    assert_eq!(metrics(&b).sum("holdfast_rooms", &[]), 2, "a room has one state");
    // Both channels, those of all nodes and of this one, and that of its probes.
    until(&b, "holdfast_redis_channels", &[("state", "wanted")], |channels| channels == 5);
    until(&b, "holdfast_redis_channels", &[("state", "confirmed")], |channels| channels == 5);
}

#[test]
fn a_redis_that_is_killed_shows_in_the_breaker_the_causes_and_the_refusals() {
    let Some(mut nodes) = Nodes::new() else { return };
    let a = nodes.node();
    let mut ann = client(&a);
    ann.subscribe("kept:x");
    let before = metrics(&a);
    assert_eq!(before.sum("holdfast_redis_breaker_opened_total", &[]), 0);
    nodes.redis.end();
    until(&a, "holdfast_redis_link_up", &[], |up| up == 0);
    until(&a, "holdfast_redis_breaker", &[("state", "closed")], |closed| closed == 0);
    until(&a, "holdfast_redis_reconnects_total", &[("cause", "closed")], |ended| ended >= 1);
    until(&a, "holdfast_redis_reconnects_total", &[("cause", "connect")], |failed| failed >= 1);
    let down = metrics(&a);
    assert_eq!(down.sum("holdfast_redis_breaker", &[("state", "lost")]), 1);
    assert_eq!(down.sum("holdfast_redis_breaker_opened_total", &[]), 1);
    assert_eq!(down.sum("holdfast_redis_channels", &[("state", "confirmed")]), 0);
    let refused = || metrics(&a).sum("holdfast_redis_asks_refused_total", &[("reason", "down")]);
    let before = refused();
    assert_eq!(api(&a, "publish", &json!({"channel": "news", "data": 1}))["error"]["code"], 100);
    assert!(refused() > before);
    nodes.redis.restart();
    until(&a, "holdfast_redis_link_up", &[], |up| up == 1);
    until(&a, "holdfast_redis_breaker", &[("state", "closed")], |closed| closed == 1);
    // It came back empty: the room cannot have what it may have missed.
    assert_eq!(ann.push()["unsubscribe"]["code"], 2500);
    until(&a, "holdfast_room_heals_impossible_total", &[("reason", "epoch")], |lost| lost == 1);
}

#[test]
fn what_a_node_missed_and_reads_is_counted_as_healed() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    until_acquainted(&[&a, &b]);
    let mut bob = client(&b);
    bob.subscribe("kept:x");
    until(&b, "holdfast_rooms", &[("state", "live")], |rooms| rooms == 1);
    let mut operator = nodes.redis.client();
    let mut published = 0;
    eventually("something is missed, and healed", || {
        operator.ask(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]);
        published += 1;
        api_until(&a, "publish", &json!({"channel": "kept:x", "data": published}), |answer| {
            answer["error"].is_null()
        });
        assert_eq!(bob.push()["pub"]["offset"], published);
        metrics(&b).sum("holdfast_room_heals_total", &[]) > 0
    });
    let healed = metrics(&b).sum("holdfast_room_healed_publications_total", &[]);
    assert!((1..=published).contains(&healed), "{healed} of {published}");
    assert_eq!(metrics(&b).sum("holdfast_room_heals_impossible_total", &[]), 0);
    assert!(metrics(&b).sum("holdfast_redis_reconnects_total", &[("cause", "closed")]) > 0);
}

#[test]
fn a_redis_that_hangs_is_found_by_a_probe() {
    let Some(nodes) = Nodes::new() else { return };
    let a = nodes.node();
    until(&a, "holdfast_redis_link_up", &[], |up| up == 1);
    nodes.redis.stand_still();
    until(&a, "holdfast_redis_probe_failures_total", &[("cause", "silent")], |failed| failed >= 1);
    until(&a, "holdfast_redis_breaker", &[("state", "closed")], |closed| closed == 0);
    nodes.redis.go_on();
    until(&a, "holdfast_redis_link_up", &[], |up| up == 1);
    assert!(metrics(&a).sum("holdfast_redis_probes_total", &[]) >= 1);
}

#[test]
fn nodes_that_are_known_are_counted() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    for node in [&a, &b] {
        until(node, "holdfast_nodes", &[], |nodes| nodes == 2);
    }
    b.signal(Signal::KILL);
    b.wait();
    until(&a, "holdfast_nodes", &[], |nodes| nodes == 1);
}

/// The families of a text of metrics, with their types.
fn families(text: &str) -> HashMap<String, String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

#[test]
fn a_node_alone_has_none_of_it_and_every_series_is_there_once_in_the_form_that_scrapers_want() {
    let Some(nodes) = Nodes::new() else { return };
    let (node, alone) = (nodes.node(), Daemon::start(""));
    let (text, text_alone) = (node.ask("/metrics").1, alone.ask("/metrics").1);
    let all = families(&text);
    let of_one: HashSet<_> = families(&text_alone).into_keys().collect();
    let of_many: Vec<_> = all.keys().filter(|name| !of_one.contains(*name)).collect();
    assert!(of_many.len() > 25, "{of_many:?}");
    for name in &of_many {
        let starts = ["holdfast_redis_", "holdfast_broker_", "holdfast_room", "holdfast_nodes"];
        assert!(starts.iter().any(|start| name.starts_with(start)), "{name}");
        // https://prometheus.io/docs/practices/naming: what only grows says so.
        assert_eq!(all[*name] == "counter", name.ends_with("_total"), "{name}");
    }
    assert!(!text_alone.contains("redis") && !text_alone.contains("holdfast_room"), "a node alone has none");
    let mut seen = HashSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(seen.insert(line.rsplit_once(' ').unwrap().0), "twice: {line}");
    }
    for name in all.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
        let samples = Metrics::parse(&text);
        let count = samples.sum(&format!("{name}_count"), &[]);
        assert_eq!(samples.sum(&format!("{name}_bucket"), &[("le", "+Inf")]), count, "{name}");
    }
    // The page has each of them.
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in all.keys() {
        assert!(page.contains(&format!("`{name}`")) || page.contains(&format!("`{name}{{")), "{name}");
    }
}
