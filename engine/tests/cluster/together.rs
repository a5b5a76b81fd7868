//! Together: what two nodes do for each other, through whatever Redis.
//!
//! In:  lines of `engine.redis`.
//! Out: two nodes, of which is shown that each hears, reads, recovers and sees what the other one does, in many channels.

use std::collections::BTreeSet;

use holdfast_testkit::{Daemon, PATIENCE, client::Client};
use serde_json::{Value, json};

use crate::nodes::{api, api_until, client, node_at, until_acquainted};

/// Nearly as many as a client may have: some of them are on each of several Redis, and in each partition.
const CHANNELS: usize = 120;

/// Two nodes that act as one.
pub(crate) fn two_nodes(options: &str) -> (Daemon, Daemon) {
    let (a, b) = (node_at(options), node_at(options));
    until_acquainted(&[&a, &b]);
    all_is_heard(&a, &b, "before");
    history_and_recovery(&a, &b);
    presence(&a, &b);
    (a, b)
}

/// Each of many channels is heard on `to` when it is published to on `from`, once.
pub(crate) fn all_is_heard(from: &Daemon, to: &Daemon, word: &str) {
    let channels: Vec<String> = (0..CHANNELS).map(|n| format!("{word}-{n}")).collect();
    let mut bob = client(to);
    for channel in &channels {
        subscribe(&mut bob, channel);
    }
    for channel in &channels {
        let params = json!({"channel": channel, "data": channel});
        api_until(from, "publish", &params, |answer| answer["error"].is_null());
    }
    let mut missing: BTreeSet<&str> = channels.iter().map(String::as_str).collect();
    while let Some(channel) = missing.first().copied() {
        let message = bob.message_within(PATIENCE).unwrap_or_else(|| panic!("{channel} was not heard"));
        let push = &message["push"];
        assert_eq!(push["pub"]["data"], push["channel"], "{message}");
        let channel = push["channel"].as_str().unwrap();
        assert!(missing.remove(channel), "{channel} came once");
    }
}

/// Subscribes, as SDKs do: what fails for the moment is tried again.
pub(crate) fn subscribe(client: &mut Client, channel: &str) -> Value {
    let began = std::time::Instant::now();
    loop {
        let reply = client.ask("subscribe", &json!({"channel": channel}));
        if reply["error"].is_null() {
            return reply["subscribe"].clone();
        }
        assert_eq!(reply["error"]["code"], 100, "{channel}: {reply}");
        assert!(began.elapsed() < PATIENCE, "{channel}: {reply}");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn history_and_recovery(a: &Daemon, b: &Daemon) {
    let mut bob = client(b);
    for n in 0..20 {
        let channel = format!("kept:before-{n}");
        let position = client(a).subscribe(&channel);
        for data in 1..=3 {
            let published = api(a, "publish", &json!({"channel": channel, "data": data}));
            assert_eq!(published["result"]["offset"], data, "{published}");
        }
        let history = api(b, "history", &json!({"channel": channel, "limit": 10}));
        let all: Vec<&Value> =
            history["result"]["publications"].as_array().unwrap().iter().map(|of| &of["data"]).collect();
        assert_eq!(all, [&json!(1), &json!(2), &json!(3)], "{channel}");
        let from = json!({"channel": channel, "recover": true, "offset": 1, "epoch": position["epoch"]});
        let recovered = bob.command("subscribe", &from);
        assert_eq!(recovered["recovered"], true, "{recovered}");
        let missed: Vec<&Value> =
            recovered["publications"].as_array().unwrap().iter().map(|of| &of["data"]).collect();
        assert_eq!(missed, [&json!(2), &json!(3)], "{channel}");
    }
}

fn presence(a: &Daemon, b: &Daemon) {
    let (mut ann, mut bob) = (client(a), client(b));
    for n in 0..20 {
        let channel = format!("seen:before-{n}");
        ann.subscribe(&channel);
        let joined = ann.push();
        assert_eq!(joined["join"]["info"]["client"], *ann.id, "{joined}");
        bob.subscribe(&channel);
        let joined = ann.push();
        assert_eq!(joined["join"]["info"]["client"], *bob.id, "{joined}");
        bob.push();
        for node in [a, b] {
            let count = |answer: &Value| answer["result"]["num_clients"] == 2;
            api_until(node, "presence_stats", &json!({"channel": channel}), count);
        }
    }
}
