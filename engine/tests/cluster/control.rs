//! Control: the server API of one node, and the clients and channels of all.
//!
//! In:  calls at one node; clients at others; nodes that are killed, or stand still.
//! Out: the same as on one node, or a word that an answer is not complete.

use std::time::{Duration, Instant};

use holdfast_testkit::{Daemon, client::Client, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::nodes::{Nodes, api, api_until, client, uids, until_acquainted};

/// Calls a method that has nothing to say.
fn done(node: &Daemon, method: &str, params: &Value) {
    assert_eq!(api(node, method, params), json!({"result": {}}), "{method} {params}");
}

#[test]
fn a_user_is_disconnected_on_all_nodes_and_who_is_on_the_whitelist_stays() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    until_acquainted(&[&a, &b]);
    let (here, there, stays) =
        (Client::connect(&a, "ann"), Client::connect(&b, "ann"), Client::connect(&b, "ann"));
    let (mut stays, mut other) = (stays, Client::connect(&b, "bob"));
    let whitelist = json!([stays.id]);
    let with = json!({"code": 4001, "reason": "enough"});
    done(&a, "disconnect", &json!({"user": "ann", "whitelist": whitelist, "disconnect": with}));
    assert_eq!(here.expect_close(), (4001, "enough".to_owned()));
    assert_eq!(there.expect_close(), (4001, "enough".to_owned()));
    stays.subscribe("news");
    other.subscribe("news");
    done(&a, "disconnect", &json!({"client": other.id}));
    assert_eq!(other.expect_close().0, 3503);
}

#[test]
fn subscriptions_are_made_and_ended_on_all_nodes() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    until_acquainted(&[&a, &b]);
    let mut ann = Client::connect(&b, "ann");
    let expired = json!({"user": "ann", "channel": "news", "expire_at": 1});
    assert_eq!(api(&a, "subscribe", &expired)["error"]["code"], 110);
    done(&a, "subscribe", &json!({"user": "ann", "channel": "news", "data": {"a": 1}}));
    let pushed = ann.push();
    assert_eq!((&pushed["channel"], &pushed["subscribe"]["data"]), (&json!("news"), &json!({"a": 1})));
    api(&a, "publish", &json!({"channel": "news", "data": 7}));
    assert_eq!(ann.push()["pub"]["data"], 7);
    // An override of the node that is asked holds on the others.
    let shown = json!({"presence": {"value": true}});
    done(&a, "subscribe", &json!({"user": "ann", "channel": "seen:x", "override": shown}));
    assert!(ann.push()["subscribe"].is_object());
    api_until(&a, "presence_stats", &json!({"channel": "seen:x"}), |answer| {
        answer["result"]["num_clients"] == 1
    });
    done(&a, "unsubscribe", &json!({"user": "ann", "channel": "news"}));
    let mut pushed = ann.push();
    while pushed["unsubscribe"].is_null() {
        pushed = ann.push();
    }
    assert_eq!((&pushed["channel"], &pushed["unsubscribe"]["code"]), (&json!("news"), &json!(2000)));
    done(&a, "refresh", &json!({"user": "ann", "expired": true}));
    assert_eq!(ann.expect_close().0, 3005);
}

#[test]
fn info_lists_all_nodes_and_forgets_one_that_was_killed() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b, c) = (nodes.node(), nodes.node(), nodes.node());
    until_acquainted(&[&a, &b, &c]);
    let _ann = client(&c);
    let counts = |answer: &Value| {
        let nodes = answer["result"]["nodes"].as_array().expect("it lists nodes").clone();
        nodes.iter().filter(|node| node["num_clients"] == 1).count()
    };
    let answer = api_until(&a, "info", &json!({}), |answer| counts(answer) == 1);
    assert!(answer["result"].get("partial").is_none(), "{answer}");
    let began = Instant::now();
    c.signal(Signal::KILL);
    drop(c);
    for node in [&a, &b] {
        api_until(node, "info", &json!({}), |answer| uids(answer).len() == 2);
    }
    assert!(began.elapsed() < Duration::from_secs(10), "forgotten after {:?}", began.elapsed());
    // Who leaves in good order is forgotten at once.
    let began = Instant::now();
    b.stop();
    api_until(&a, "info", &json!({}), |answer| uids(answer).len() == 1);
    assert!(began.elapsed() < Duration::from_secs(5), "forgotten after {:?}", began.elapsed());
}

#[test]
fn channels_of_all_nodes_are_counted_together() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    until_acquainted(&[&a, &b]);
    let (mut ann, mut bob) = (client(&a), client(&b));
    ann.subscribe("both");
    ann.subscribe("one");
    bob.subscribe("both");
    bob.subscribe("other");
    let all = json!({"channels": {"both": {"num_clients": 2}, "one": {"num_clients": 1}, "other": {"num_clients": 1}}});
    let some = json!({"channels": {"one": {"num_clients": 1}, "other": {"num_clients": 1}}});
    for node in [&a, &b] {
        assert_eq!(api(node, "channels", &json!({}))["result"], all);
        assert_eq!(api(node, "channels", &json!({"pattern": "o*"}))["result"], some);
    }
}

#[test]
fn an_answer_without_a_node_that_stands_still_comes_within_a_second_and_says_so() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    until_acquainted(&[&a, &b]);
    let mut ann = client(&a);
    ann.subscribe("one");
    let still = uids(&api(&b, "info", &json!({})))[0].clone();
    b.signal(Signal::STOP);
    let began = Instant::now();
    let answer = api(&a, "channels", &json!({}));
    let took = began.elapsed();
    b.signal(Signal::CONT);
    let expected = json!({"channels": {"one": {"num_clients": 1}}, "partial": true, "missing": [still]});
    assert_eq!(answer["result"], expected);
    assert!(took < Duration::from_millis(1_900), "{took:?}");
    api_until(&a, "channels", &json!({}), |answer| answer["result"].get("partial").is_none());
}

#[test]
fn a_history_that_is_removed_on_one_node_is_recovered_from_none() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    until_acquainted(&[&a, &b]);
    let mut bob = client(&b);
    let before = bob.subscribe("kept:x");
    for data in 0..3 {
        api(&a, "publish", &json!({"channel": "kept:x", "data": data}));
        bob.push();
    }
    let since = json!({"channel": "kept:x", "recover": true, "offset": 1, "epoch": before["epoch"]});
    assert_eq!(client(&b).command("subscribe", &since)["recovered"], true);
    done(&a, "history_remove", &json!({"channel": "kept:x"}));
    eventually("the other node forgets it", || {
        client(&b).command("subscribe", &since)["recovered"] != json!(true)
    });
    assert!(client(&a).command("subscribe", &since)["recovered"] != json!(true));
    api(&a, "publish", &json!({"channel": "kept:x", "data": 3}));
    assert_eq!(bob.push()["pub"]["offset"], 4, "who is there hears on");
}

#[test]
fn the_health_of_redis_is_told_and_makes_no_node_less_ready() {
    let Some(mut nodes) = Nodes::new() else { return };
    let a = nodes.node();
    let status = |path: &str| {
        let (head, body) = a.ask(path);
        (head[9..12].to_owned(), serde_json::from_str::<Value>(&body).unwrap_or_default())
    };
    eventually("all is well", || status("/health/broker").0 == "200");
    let (_, well) = status("/health/broker");
    let address = format!("127.0.0.1:{}", nodes.redis.port);
    let redis = &well["redis"][0];
    assert_eq!((&well["nodes"], &redis["address"]), (&json!(1), &json!(address)), "{well}");
    assert_eq!(
        (&redis["up"], &redis["settled"], &redis["breaker"]),
        (&json!(true), &json!(true), &json!("closed"))
    );
    assert_eq!(redis["wanted"], redis["confirmed"]);
    nodes.redis.end();
    eventually("it is missed", || status("/health/broker").0 == "503");
    eventually("the breaker opens", || status("/health/broker").1["redis"][0]["breaker"] != "closed");
    assert_eq!(status("/health/ready").0, "200");
    assert_eq!(api(&a, "info", &json!({}))["result"]["partial"], true);
    nodes.redis.restart();
    eventually("all is well again", || status("/health/broker").0 == "200");
    let alone = Daemon::start("");
    assert!(alone.ask("/health/broker").0.starts_with("HTTP/1.1 404 "));
}
