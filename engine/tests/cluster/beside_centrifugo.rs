//! Beside Centrifugo: a node of each kind, with the same configuration and the same Redis, acts as one deployment.
//!
//! In:  clients on both, and calls at both; each once from here to there, and once from there to here.
//! Out: what happens at one is seen at the other, as between two of a kind.
//!
//! Where no Centrifugo is named, nothing is tested, which is said.

use std::collections::BTreeSet;

use holdfast_testkit::{client::Client, eventually};
use serde_json::{Value, json};

use crate::centrifugo::{Node, Pair};

/// The next publication that a client hears, without the epoch that Centrifugo tells with the first of a history.
fn publication(client: &mut Client) -> Value {
    loop {
        let mut push = client.push();
        if push["pub"].is_object() {
            push["pub"].as_object_mut().unwrap().remove("epoch");
            return push;
        }
    }
}

/// The next push of that kind.
fn pushed(client: &mut Client, kind: &str) -> Value {
    loop {
        let mut push = client.push();
        if push[kind].is_object() {
            return push[kind].take();
        }
    }
}

fn done(node: &Node, method: &str, params: &Value) {
    assert_eq!(node.api(method, params), json!({"result": {}}), "{method} {params}");
}

/// The answer of both, which is one.
fn same(nodes: (Node, Node), method: &str, params: &Value) -> Value {
    let [one, other] = [nodes.0, nodes.1].map(|node| node.api(method, params));
    assert_eq!(one, other, "{method} {params}");
    one["result"].clone()
}

#[test]
fn publications_of_both_are_heard_at_both_in_one_order() {
    let Some(pair) = Pair::new() else { return };
    let [nodes, _] = pair.both_ways();
    let (mut ann, mut bob) = (nodes.0.client("ann"), nodes.1.client("bob"));
    for channel in ["news", "kept:x"] {
        let ours = ann.subscribe(channel);
        assert_eq!(ours["epoch"], bob.subscribe(channel)["epoch"]);
        for turn in 0..40 {
            let data = json!({"channel": channel, "data": {"n": turn}, "tags": {"turn": turn.to_string()}});
            match turn % 4 {
                0 => _ = nodes.0.api("publish", &data),
                1 => _ = nodes.1.api("publish", &data),
                2 => _ = ann.send(&[("publish", json!({"channel": channel, "data": turn}))]),
                _ => _ = bob.send(&[("publish", json!({"channel": channel, "data": turn}))]),
            }
        }
        let heard = [&mut ann, &mut bob].map(|client| {
            let heard = (0..40).map(|_| {
                loop {
                    let mut message = client.message();
                    if message["push"]["pub"].is_object() {
                        message["push"]["pub"].as_object_mut().unwrap().remove("epoch");
                        break message.to_string();
                    }
                }
            });
            heard.collect::<Vec<_>>()
        });
        assert_eq!(heard[0], heard[1]);
        assert_eq!(heard[0].iter().collect::<BTreeSet<_>>().len(), 40);
    }
    for page in [json!({"limit": 100}), json!({"limit": 3, "reverse": true}), json!({"limit": 0})] {
        let mut asked = page.clone();
        asked["channel"] = "kept:x".into();
        let answer = same(nodes, "history", &asked);
        assert_eq!(answer["offset"], 40);
        let by_clients = [&mut ann, &mut bob].map(|client| client.command("history", &asked));
        assert_eq!(by_clients[0], by_clients[1]);
        assert_eq!(by_clients[0]["publications"], answer["publications"]);
    }
}

#[test]
fn what_was_published_at_one_is_not_published_again_at_the_other() {
    let Some(pair) = Pair::new() else { return };
    for (here, there) in pair.both_ways() {
        let mut ann = there.client("ann");
        for channel in ["news", "kept:x"] {
            ann.subscribe(channel);
            let with_key = |data| json!({"channel": channel, "data": data, "idempotency_key": "one"});
            // The key is the second pair's too: there nothing but the last word is published.
            let first = here.api("publish", &with_key(1));
            assert_eq!(there.api("publish", &with_key(2)), first);
            here.api("publish", &json!({"channel": channel, "data": "the last word"}));
            let mut heard = Vec::new();
            while heard.last() != Some(&json!("the last word")) {
                heard.push(publication(&mut ann)["pub"]["data"].take());
            }
            assert!(!heard.contains(&json!(2)), "{heard:?}");
        }
        let versioned = |data: u64| json!({"channel": "kept:v", "data": data, "version": data});
        let known =
            same((here, there), "history", &json!({"channel": "kept:v"}))["offset"].as_u64().unwrap_or(0);
        let top =
            |node: &Node, version: u64| node.api("publish", &versioned(version))["result"]["offset"].clone();
        assert_eq!(top(&here, 10 * (known + 1)), known + 1);
        assert_eq!(top(&there, 10 * (known + 1) - 1), known + 1, "older: held back");
        assert_eq!(top(&there, 10 * (known + 1) + 1), known + 2);
    }
}

#[test]
fn a_client_that_moves_to_the_other_kind_recovers_exactly_what_it_missed() {
    let Some(mut pair) = Pair::new() else { return };
    let mut expected = 0;
    let mut move_over = |from: Client, position: &Value, (here, there): (Node, Node)| {
        drop(from);
        for _ in 0..3 {
            there.api("publish", &json!({"channel": "kept:x", "data": 1}));
            here.api("publish", &json!({"channel": "kept:x", "data": 2}));
        }
        let mut client = there.client("ann");
        let since = &position["offset"];
        let since = if since.is_null() { 0 } else { since.as_u64().unwrap() };
        let asked =
            json!({"channel": "kept:x", "recover": true, "offset": since, "epoch": position["epoch"]});
        let recovered = client.command("subscribe", &asked);
        assert_eq!(recovered["recovered"], true, "{recovered}");
        assert_eq!(recovered["epoch"], position["epoch"]);
        let none = Vec::new();
        let missed = recovered["publications"].as_array().unwrap_or(&none).iter();
        let mut heard: Vec<_> = missed.map(|publication| publication["offset"].as_u64().unwrap()).collect();
        // What was still on its way to the node comes after the answer.
        while heard.len() < 6 {
            heard.push(publication(&mut client)["pub"]["offset"].as_u64().unwrap());
        }
        assert_eq!(heard, (expected + 1..=expected + 6).collect::<Vec<_>>());
        expected += 6;
        let mut top = recovered;
        top["offset"] = expected.into();
        (client, top)
    };
    let [to_centrifugo, to_holdfast] = pair.both_ways();
    let mut client = to_centrifugo.0.client("ann");
    let mut position = client.subscribe("kept:x");
    (client, position) = move_over(client, &position, to_centrifugo);
    (client, position) = move_over(client, &position, to_holdfast);
    (client, position) = move_over(client, &position, to_centrifugo);
    // Its node ends without a word.
    pair.centrifugo.kill();
    (_, _) = move_over(client, &position, (to_holdfast.1, to_holdfast.1));
    eventually("the killed node is forgotten", || to_holdfast.1.knows().len() == 1);
}

#[test]
fn who_is_there_is_known_at_both() {
    let Some(pair) = Pair::new() else { return };
    let [nodes, _] = pair.both_ways();
    let (mut ann, mut bob) = (nodes.0.client("ann"), nodes.1.client("bob"));
    ann.subscribe("seen:x");
    bob.subscribe("seen:x");
    loop {
        let joined = pushed(&mut ann, "join");
        if joined["info"]["client"] == *bob.id {
            break;
        }
    }
    let mut carl = nodes.0.client("bob");
    carl.subscribe("seen:x");
    while pushed(&mut bob, "join")["info"]["client"] != *carl.id {}
    let stats = same(nodes, "presence_stats", &json!({"channel": "seen:x"}));
    assert_eq!(stats, json!({"num_clients": 3, "num_users": 2}));
    let presence = same(nodes, "presence", &json!({"channel": "seen:x"}));
    for (client, user) in [(&ann, "ann"), (&bob, "bob"), (&carl, "bob")] {
        assert_eq!(presence["presence"][&client.id], json!({"user": user, "client": client.id}));
    }
    let by_clients = [&mut ann, &mut bob]
        .map(|client| client.command("presence", &json!({"channel": "seen:x"}))["presence"].take());
    assert_eq!(by_clients, [presence["presence"].clone(), presence["presence"].clone()]);
    bob.command("unsubscribe", &json!({"channel": "seen:x"}));
    assert_eq!(pushed(&mut ann, "leave")["info"]["client"], *bob.id);
    let presence = same(nodes, "presence", &json!({"channel": "seen:x"}));
    assert_eq!(presence["presence"].as_object().unwrap().len(), 2);
}

#[test]
fn commands_of_the_server_api_reach_clients_of_the_other_kind() {
    let Some(pair) = Pair::new() else { return };
    for (here, there) in pair.both_ways() {
        let mut ann = there.client("ann");
        done(&here, "subscribe", &json!({"user": "ann", "channel": "kept:s", "data": {"a": 1}}));
        let made = pushed(&mut ann, "subscribe");
        assert_eq!((&made["data"], &made["recoverable"]), (&json!({"a": 1}), &json!(true)));
        here.api("publish", &json!({"channel": "kept:s", "data": 7}));
        assert_eq!(publication(&mut ann)["pub"]["data"], 7);
        done(&here, "unsubscribe", &json!({"user": "ann", "channel": "kept:s"}));
        assert_eq!(pushed(&mut ann, "unsubscribe")["code"], 2000);
        let only = json!({"user": "ann", "client": ann.id, "channel": "seen:s"});
        done(&here, "subscribe", &only);
        pushed(&mut ann, "subscribe");
        eventually("the subscription is seen in presence", || {
            here.api("presence_stats", &json!({"channel": "seen:s"}))["result"]["num_clients"] == 1
        });
        done(&here, "refresh", &json!({"user": "ann", "expire_at": 4_000_000_000_u64}));
        assert_eq!(pushed(&mut ann, "refresh")["expires"], true);
        let other = there.client("ann");
        let with = json!({"code": 4001, "reason": "enough"});
        done(&here, "disconnect", &json!({"user": "ann", "whitelist": [ann.id], "disconnect": with}));
        assert_eq!(other.expect_close(), (4001, "enough".to_owned()));
        let expired = json!({"user": "ann", "client": ann.id, "expired": true});
        done(&here, "refresh", &expired);
        assert_eq!(ann.read_to_close(|_| {}), 3005);
    }
}

#[test]
fn channels_of_both_are_counted_together() {
    let Some(pair) = Pair::new() else { return };
    let [nodes, _] = pair.both_ways();
    let (mut ann, mut bob) = (nodes.0.client("ann"), nodes.1.client("bob"));
    for (client, channels) in [(&mut ann, ["both", "one"]), (&mut bob, ["both", "other"])] {
        channels.iter().for_each(|channel| drop(client.subscribe(channel)));
    }
    let all = json!({"both": {"num_clients": 2}, "one": {"num_clients": 1}, "other": {"num_clients": 1}});
    assert_eq!(same(nodes, "channels", &json!({}))["channels"], all);
    let some = json!({"one": {"num_clients": 1}, "other": {"num_clients": 1}});
    assert_eq!(same(nodes, "channels", &json!({"pattern": "o*"}))["channels"], some);
}

#[test]
fn commands_for_a_stream_may_come_to_the_other_kind() {
    let Some(pair) = Pair::new() else { return };
    for (here, there) in pair.both_ways() {
        let mut stream = here.http();
        stream.post("/connection/http_stream", "", "{\"id\":1,\"connect\":{}}\n");
        assert_eq!(stream.answer().status, 200);
        // Between them are the lengths of chunks.
        let mut next = || loop {
            let line = stream.line();
            if line.starts_with("{\"") {
                return serde_json::from_str::<Value>(&line).unwrap();
            }
        };
        let connected = next();
        let emulate = |commands: &str| {
            let mut http = there.http();
            let (node, session) = (&connected["connect"]["node"], &connected["connect"]["session"]);
            let body = json!({"node": node, "session": session, "data": commands});
            http.post("/emulation", "Content-Type: application/json\r\n", &body.to_string());
            http.answer().status
        };
        assert_eq!(emulate("{\"id\":2,\"subscribe\":{\"channel\":\"news\"}}"), 204);
        assert_eq!(next()["id"], 2);
        there.api("publish", &json!({"channel": "news", "data": 1}));
        assert_eq!(next()["push"]["pub"]["data"], 1);
    }
}

#[test]
fn who_leaves_in_good_order_is_forgotten_at_once() {
    let Some(pair) = Pair::new() else { return };
    let [(_, centrifugo), _] = pair.both_ways();
    pair.daemon.stop();
    eventually("Holdfast's node is forgotten", || centrifugo.knows().len() == 1);
}
