//! Presence: who is in a channel, on whatever node.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::nodes::{Nodes, api, api_until, client};

fn count(answer: &Value) -> usize {
    answer["result"]["presence"].as_object().map_or(0, serde_json::Map::len)
}

#[test]
fn clients_of_all_nodes_are_present_and_their_joins_and_leaves_are_seen_everywhere() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let (mut ann, mut bob) = (client(&a), client(&b));
    ann.subscribe("seen:room");
    ann.push();
    bob.subscribe("seen:room");
    let joined = ann.push();
    assert!(joined["join"]["info"]["client"].is_string(), "{joined}");
    for node in [&a, &b] {
        let all = json!({"channel": "seen:room"});
        api_until(node, "presence", &all, |answer| count(answer) == 2);
        let stats = api(node, "presence_stats", &all);
        assert_eq!(stats["result"]["num_clients"], 2, "{stats}");
    }
    let present = ann.command("presence", &json!({"channel": "seen:room"}));
    assert_eq!(present["presence"].as_object().map(serde_json::Map::len), Some(2));
    bob.ask("unsubscribe", &json!({"channel": "seen:room"}));
    let left = ann.push();
    assert_eq!(left["leave"]["info"]["client"], joined["join"]["info"]["client"]);
    api_until(&b, "presence", &json!({"channel": "seen:room"}), |answer| count(answer) == 1);
}

#[test]
fn a_killed_nodes_clients_are_forgotten_and_those_who_live_are_not() {
    let Some(nodes) = Nodes::new() else { return };
    let options = "presence_ttl = \"5s\"";
    let (a, b) = (nodes.node_with(options), nodes.node_with(options));
    let (mut ann, mut bob) = (client(&a), client(&b));
    ann.subscribe("seen:room");
    bob.subscribe("seen:room");
    let all = json!({"channel": "seen:room"});
    api_until(&b, "presence", &all, |answer| count(answer) == 2);
    a.signal(Signal::KILL);
    a.wait();
    api_until(&b, "presence", &all, |answer| count(answer) == 1);
    // Longer than presence lasts without a refresh.
    for _ in 0..80 {
        assert_eq!(count(&api(&b, "presence", &all)), 1);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[test]
fn presence_that_redis_has_lost_is_told_again() {
    let Some(mut nodes) = Nodes::new() else { return };
    let a = nodes.node_with("presence_ttl = \"5s\"");
    let mut ann = client(&a);
    ann.subscribe("seen:room");
    let all = json!({"channel": "seen:room"});
    api_until(&a, "presence", &all, |answer| count(answer) == 1);
    nodes.redis.end();
    nodes.redis.restart();
    api_until(&a, "presence", &all, |answer| answer["error"].is_null() && count(answer) == 0);
    api_until(&a, "presence", &all, |answer| count(answer) == 1);
}
