//! Limits: how many connections a user may have, over all nodes.

use holdfast_testkit::{
    Daemon,
    client::{Client, token},
    eventually,
};
use rustix::process::Signal;
use serde_json::json;

use crate::nodes::{Nodes, until_acquainted};

/// The code for a connection more than a user may have.
const LIMIT: u16 = 3504;

const TWO: &str = "user_connection_limit = 2";
const TWO_NEWEST: &str = "user_connection_limit = 2\nuser_connection_policy = \"disconnect_oldest\"";

/// A client that has asked to connect: what it gets says whether it may.
fn knock(node: &Daemon, user: &str) -> Result<Client, u16> {
    let mut client = Client::open(node, "");
    client.send(&[("connect", json!({"token": token(&json!({"sub": user}))}))]);
    client.next_or_close()
}

/// Waits until a node has noticed that Redis is away.
fn until_away(node: &Daemon) {
    eventually("the node notices", || node.ask("/health/broker").0.starts_with("HTTP/1.1 503"));
}

/// How many connections of a user Redis counts.
fn counted(nodes: &Nodes, user: &str) -> String {
    nodes.redis.client().ask(&[b"ZCARD", format!("centrifugo.hf.leases.{user}").as_bytes()])
}

#[test]
fn a_user_at_its_limit_is_refused_on_every_node_until_one_of_its_connections_ends() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node_for(TWO), nodes.node_for(TWO));
    until_acquainted(&[&a, &b]);
    let (mut first, second) = (Client::connect(&a, "ann"), Client::connect(&b, "ann"));
    for node in [&a, &b] {
        assert_eq!(knock(node, "ann").err(), Some(LIMIT));
    }
    let _bob = Client::connect(&b, "bob");
    drop(second);
    eventually("its place is free", || counted(&nodes, "ann") == "1");
    let third = Client::connect(&a, "ann");
    assert_eq!(knock(&b, "ann").err(), Some(LIMIT));
    first.subscribe("news");
    drop((first, third));
    eventually("nothing is left", || counted(&nodes, "ann") == "0");
}

#[test]
fn the_oldest_connection_ends_on_whatever_node_it_is() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node_for(TWO_NEWEST), nodes.node_for(TWO_NEWEST));
    until_acquainted(&[&a, &b]);
    let first = Client::connect(&a, "ann");
    let second = Client::connect(&b, "ann");
    let mut third = Client::connect(&b, "ann");
    assert_eq!(first.expect_close().0, LIMIT);
    let mut fourth = Client::connect(&a, "ann");
    assert_eq!(second.expect_close().0, LIMIT);
    third.subscribe("news");
    fourth.subscribe("news");
    assert_eq!(counted(&nodes, "ann"), "2");
}

#[test]
fn who_comes_back_from_a_node_that_was_killed_is_let_in_elsewhere() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node_for(TWO), nodes.node_for(TWO));
    until_acquainted(&[&a, &b]);
    let lost = [Client::connect(&a, "ann"), Client::connect(&a, "ann")];
    assert_eq!(knock(&b, "ann").err(), Some(LIMIT));
    a.signal(Signal::KILL);
    a.wait();
    drop(lost);
    let back = [Client::connect(&b, "ann"), Client::connect(&b, "ann")];
    assert_eq!(knock(&b, "ann").err(), Some(LIMIT));
    assert_eq!(counted(&nodes, "ann"), "2");
    drop(back);
}

#[test]
fn without_redis_each_node_counts_its_own() {
    let Some(mut nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node_for(TWO), nodes.node_for(TWO));
    let here = Client::connect(&a, "ann");
    nodes.redis.end();
    until_away(&a);
    let also = Client::connect(&a, "ann");
    assert_eq!(knock(&a, "ann").err(), Some(LIMIT));
    let there = [Client::connect(&b, "ann"), Client::connect(&b, "ann")];
    assert_eq!(knock(&b, "ann").err(), Some(LIMIT));
    drop((here, also, there));
}

#[test]
fn without_redis_the_oldest_of_a_nodes_own_makes_room() {
    let Some(mut nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node_for(TWO_NEWEST), nodes.node_for(TWO_NEWEST));
    let (mut there, first, second) =
        (Client::connect(&b, "ann"), Client::connect(&a, "ann"), Client::connect(&a, "ann"));
    assert_eq!(there.next_or_end().err(), Some(Some(LIMIT)), "Redis knows the oldest of all");
    nodes.redis.end();
    until_away(&a);
    let third = Client::connect(&a, "ann");
    assert_eq!(first.expect_close().0, LIMIT);
    drop((second, third));
}
