//! Faults: a Redis that is there, and says no or has forgotten.
//!
//! In:  commands of an operator, or of an application that took the wrong key.
//! Out: an error that is temporary, a line in the log, and everything as before once the reason is gone.

use holdfast_testkit::{Daemon, eventually, redis::Server};
use serde_json::{Value, json};

use crate::nodes::{Nodes, api, api_until, client, node_at};

fn publish(node: &Daemon, channel: &str) -> Value {
    api(node, "publish", &json!({"channel": channel, "data": {"x": "y"}}))
}

/// Publications of this channel fail for the moment, and the log says why; others do not.
fn is_refused(node: &Daemon, channel: &str, why: &str) {
    eventually(&format!("{channel} is refused"), || publish(node, channel)["error"]["code"] == 100);
    let mut client = client(node);
    assert_eq!(client.error("publish", &json!({"channel": channel, "data": 1})), 100, "it is temporary");
    eventually(&format!("the log says {why}"), || node.log().contains(why));
}

fn is_taken(node: &Daemon, channel: &str) {
    api_until(node, "publish", &json!({"channel": channel, "data": 1}), |answer| answer["error"].is_null());
}

#[test]
fn a_redis_that_was_emptied_begins_new_epochs_and_subscribers_are_told() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let mut bob = client(&b);
    let before = bob.subscribe("kept:x");
    publish(&a, "kept:x");
    assert_eq!(bob.push()["pub"]["offset"], 1);
    assert_eq!(nodes.redis.client().ask(&[b"FLUSHALL"]), "OK");
    publish(&a, "kept:x");
    let told = bob.push();
    assert_eq!(told["unsubscribe"]["code"], 2500, "{told}");
    let from = json!({"channel": "kept:x", "recover": true, "offset": 1, "epoch": before["epoch"]});
    let after = bob.command("subscribe", &from);
    assert_ne!(after["recovered"], json!(true), "{after}");
    assert_ne!(after["epoch"], before["epoch"]);
    publish(&a, "kept:x");
    assert_eq!(bob.push()["pub"]["data"], json!({"x": "y"}));
}

#[test]
fn scripts_that_redis_forgot_are_sent_again() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let mut bob = client(&b);
    bob.subscribe("kept:x");
    bob.subscribe("seen:x");
    bob.push();
    for offset in 1..=3 {
        assert_eq!(nodes.redis.client().ask(&[b"SCRIPT", b"FLUSH"]), "OK");
        let published = publish(&a, "kept:x");
        assert_eq!(published["result"]["offset"], offset, "{published}");
        assert_eq!(bob.push()["pub"]["offset"], offset);
        assert_eq!(nodes.redis.client().ask(&[b"SCRIPT", b"FLUSH"]), "OK");
        let stats = api(&a, "presence_stats", &json!({"channel": "seen:x"}));
        assert_eq!(stats["result"]["num_clients"], 1, "{stats}");
    }
}

#[test]
fn a_key_of_another_type_takes_one_channel_until_it_is_gone() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let mut operator = nodes.redis.client();
    // What is there before the first publication of a history is removed.
    publish(&a, "kept:x");
    operator.ask(&[b"SET", b"centrifugo.stream.kept:x", b"of somebody else"]);
    operator.ask(&[b"SET", b"centrifugo.stream.meta.kept:y", b"of somebody else"]);
    for channel in ["kept:x", "kept:y"] {
        is_refused(&a, channel, "WRONGTYPE");
    }
    let mut bob = client(&b);
    assert_eq!(bob.error("subscribe", &json!({"channel": "kept:y"})), 100);
    let history = api(&b, "history", &json!({"channel": "kept:x", "limit": 1}));
    assert_eq!(history["error"]["code"], 100, "{history}");
    bob.subscribe("kept:other");
    assert_eq!(publish(&a, "kept:other")["result"]["offset"], 1);
    assert_eq!(bob.push()["pub"]["offset"], 1);
    operator.ask(&[b"DEL", b"centrifugo.stream.kept:x", b"centrifugo.stream.meta.kept:y"]);
    for channel in ["kept:x", "kept:y"] {
        bob.subscribe(channel);
        is_taken(&a, channel);
        assert_eq!(bob.push()["pub"]["data"], 1, "{channel}");
    }
}

#[test]
fn a_redis_without_memory_refuses_what_is_kept_and_delivers_what_is_not() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let mut bob = client(&b);
    bob.subscribe("kept:x");
    bob.subscribe("news");
    publish(&a, "kept:x");
    assert_eq!(bob.push()["pub"]["offset"], 1);
    let mut operator = nodes.redis.client();
    operator.ask(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    is_refused(&a, "kept:x", "OOM");
    assert!(publish(&a, "news")["error"].is_null());
    assert_eq!(bob.push()["channel"], "news");
    operator.ask(&[b"CONFIG", b"SET", b"maxmemory", b"0"]);
    is_taken(&a, "kept:x");
    assert_eq!(bob.push()["pub"]["offset"], 2, "no offset was lost");
}

#[test]
fn a_replica_as_the_address_is_said_to_be_one_and_served_once_it_is_a_primary() {
    let Some(primary) = Server::start(&[]) else { return };
    let port = primary.port.to_string();
    let Some(replica) = Server::start(&["--replicaof", "127.0.0.1", &port]) else { return };
    let a = node_at(&format!("address = \"127.0.0.1:{}\"", replica.port));
    is_refused(&a, "kept:x", "its role is slave");
    eventually("the log says that nothing is heard there", || a.log().contains("this Redis is no master"));
    let mut bob = client(&a);
    assert_eq!(bob.error("subscribe", &json!({"channel": "kept:x"})), 100);
    assert!(a.ask("/health/broker").0.starts_with("HTTP/1.1 503"));
    assert_eq!(replica.client().ask(&[b"REPLICAOF", b"NO", b"ONE"]), "OK");
    is_taken(&a, "kept:x");
    eventually("all is well", || a.ask("/health/broker").0.starts_with("HTTP/1.1 200"));
    bob.subscribe("kept:x");
    publish(&a, "kept:x");
    assert_eq!(bob.push()["pub"]["offset"], 2);
}

#[test]
fn connections_that_an_operator_kills_are_made_again() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let mut bob = client(&b);
    bob.subscribe("kept:x");
    let mut taken = 0;
    for round in 0..10 {
        let mut operator = nodes.redis.client();
        let kind: &[u8] = if round % 2 == 0 { b"normal" } else { b"pubsub" };
        operator.ask(&[b"CLIENT", b"KILL", b"TYPE", kind, b"SKIPME", b"yes"]);
        is_taken(&a, "kept:x");
        taken += 1;
        // Whoever repeats a publication that failed repeats one that may have been taken.
        let history = api(&a, "history", &json!({"channel": "kept:x"}));
        assert!(history["error"].is_object() || history["result"]["offset"].as_u64() >= Some(taken));
    }
    let top = api_until(&a, "history", &json!({"channel": "kept:x"}), |answer| answer["error"].is_null());
    let top = top["result"]["offset"].as_u64().expect("it has a position");
    for offset in 1..=top {
        assert_eq!(bob.push()["pub"]["offset"], offset, "no gap and no repeat");
    }
}
