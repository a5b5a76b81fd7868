//! Redis away: what a node does without Redis, and when it comes back.

use std::time::Duration;

use holdfast_testkit::eventually;
use serde_json::json;

use crate::nodes::{Nodes, api, api_until, client};

#[test]
fn clients_stay_while_redis_is_away_and_hear_again_when_it_is_back() {
    let Some(mut nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let (mut ann, mut bob) = (client(&a), client(&b));
    ann.subscribe("news");
    bob.subscribe("news");
    nodes.redis.end();
    eventually("publications are refused", || {
        api(&a, "publish", &json!({"channel": "news", "data": 1}))["error"]["code"] == 100
    });
    assert_eq!(ann.error("publish", &json!({"channel": "news", "data": 1})), 100, "it is temporary");
    nodes.redis.restart();
    api_until(&a, "publish", &json!({"channel": "news", "data": 2}), |answer| answer["error"].is_null());
    // It is published until it is heard: at most once is what a channel without history promises.
    eventually("it is heard on the other node", || {
        api(&a, "publish", &json!({"channel": "news", "data": 3}));
        bob.peer().has_more_within(Duration::from_millis(100))
    });
    assert!(bob.push()["pub"]["data"].is_number());
}

#[test]
fn a_redis_that_comes_back_empty_begins_a_new_epoch_and_subscribers_are_told() {
    let Some(mut nodes) = Nodes::new() else { return };
    let a = nodes.node();
    let mut ann = client(&a);
    let before = ann.subscribe("kept:x");
    api(&a, "publish", &json!({"channel": "kept:x", "data": 1}));
    assert_eq!(ann.push()["pub"]["offset"], 1);
    nodes.redis.end();
    nodes.redis.restart();
    let told = ann.push();
    assert_eq!(told["unsubscribe"]["code"], 2500, "{told}");
    let after = ann.command(
        "subscribe",
        &json!({"channel": "kept:x", "recover": true, "offset": 1, "epoch": before["epoch"]}),
    );
    assert_ne!(after["epoch"], before["epoch"]);
    assert_ne!(after["recovered"], json!(true), "{after}");
}

#[test]
fn what_was_published_while_a_node_was_cut_off_is_delivered_in_order_when_it_is_back() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let mut bob = client(&b);
    bob.subscribe("kept:x");
    let mut operator = nodes.redis.client();
    for round in 0..20_u64 {
        api(&a, "publish", &json!({"channel": "kept:x", "data": 2 * round + 1}));
        operator.ask(&[b"CLIENT", b"KILL", b"TYPE", b"pubsub"]);
        api_until(&a, "publish", &json!({"channel": "kept:x", "data": 2 * round + 2}), |answer| {
            answer["error"].is_null()
        });
    }
    let offsets: Vec<u64> = (0..40).map(|_| bob.push()["pub"]["offset"].as_u64().unwrap()).collect();
    assert_eq!(offsets, (1..=40).collect::<Vec<_>>());
}
