//! Rights: a node that logs in as the user of docs/cluster/redis-away.md can do all that nodes do.
//!
//! In:  the line of the page; a Redis that lets in nobody else.
//! Out: publications, histories, presence, joins; and nothing that Redis denied.

use std::{fs, path::Path};

use holdfast_testkit::{Metrics, eventually};
use serde_json::json;

use crate::nodes::{Nodes, api, api_until, client};

/// What the page gives its user.
fn rights() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/cluster/redis-away.md");
    let page = fs::read_to_string(page).expect("the page is there");
    let line = page.lines().find_map(|line| line.strip_prefix("user ")).expect("it has the rights");
    line.to_owned()
}

#[test]
fn the_user_of_the_page_may_do_all_that_a_node_does() {
    let Some(nodes) = Nodes::new() else { return };
    let rights = rights();
    let words = ["ACL", "SETUSER"].into_iter().chain(rights.split_whitespace());
    let words: Vec<&[u8]> = words.map(str::as_bytes).collect();
    let mut operator = nodes.redis.client();
    assert_eq!(operator.ask(&words), "OK", "{rights}");
    assert_eq!(operator.ask(&[b"ACL", b"SETUSER", b"default", b"off"]), "OK");
    let login = "user = \"holdfast\"\npassword = \"PASSWORD\"\npresence_user_mapping = true";
    let (a, b) = (nodes.node_with(login), nodes.node_with(login));
    let (mut ann, mut bob) = (client(&a), client(&b));
    ann.subscribe("kept:x");
    api(&b, "publish", &json!({"channel": "kept:x", "data": 1, "idempotency_key": "one"}));
    assert_eq!(ann.push()["pub"]["offset"], 1);
    let history = api(&a, "history", &json!({"channel": "kept:x", "limit": 10, "reverse": true}));
    assert_eq!(history["result"]["publications"][0]["data"], 1, "{history}");
    ann.subscribe("seen:x");
    ann.push();
    bob.subscribe("seen:x");
    assert!(ann.push()["join"].is_object());
    api_until(&a, "presence_stats", &json!({"channel": "seen:x"}), |answer| {
        answer["result"]["num_clients"] == 2
    });
    bob.ask("unsubscribe", &json!({"channel": "seen:x"}));
    api_until(&a, "presence_stats", &json!({"channel": "seen:x"}), |answer| {
        answer["result"]["num_clients"] == 1
    });
    assert_eq!(api(&a, "history_remove", &json!({"channel": "kept:x"}))["result"], json!({}));
    for node in [&a, &b] {
        eventually("the clock is looked at", || {
            Metrics::parse(&node.ask("/metrics").1)
                .select("holdfast_redis_clock_skew_seconds", &[])
                .next()
                .is_some()
        });
        let metrics = Metrics::parse(&node.ask("/metrics").1);
        assert_eq!(metrics.sum("holdfast_redis_asks_refused_total", &[("reason", "denied")]), 0);
    }
}
