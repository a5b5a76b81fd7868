//! Publications: what is published on one node arrives on all.

use serde_json::{Value, json};

use crate::nodes::{Nodes, api, client};

#[test]
fn what_a_client_publishes_reaches_the_clients_of_all_nodes_in_one_order() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let (mut ann, mut bob) = (client(&a), client(&b));
    for channel in ["news", "kept:news"] {
        ann.subscribe(channel);
        bob.subscribe(channel);
        for round in 0..20 {
            ann.ask("publish", &json!({"channel": channel, "data": {"from": "ann", "round": round}}));
            bob.ask("publish", &json!({"channel": channel, "data": {"from": "bob", "round": round}}));
        }
        let of = |heard: Vec<Value>| heard.into_iter().map(|push| push["pub"].clone()).collect::<Vec<_>>();
        let heard_by_ann = of((0..40).map(|_| ann.push()).collect());
        let heard_by_bob = of((0..40).map(|_| bob.push()).collect());
        assert_eq!(heard_by_ann, heard_by_bob);
        for who in ["ann", "bob"] {
            let rounds: Vec<&Value> = heard_by_ann
                .iter()
                .filter(|heard| heard["data"]["from"] == who)
                .map(|heard| &heard["data"]["round"])
                .collect();
            assert_eq!(
                rounds,
                (0..20).map(|round| json!(round)).collect::<Vec<_>>().iter().collect::<Vec<_>>()
            );
        }
        if channel == "kept:news" {
            let offsets: Vec<u64> =
                heard_by_bob.iter().map(|heard| heard["offset"].as_u64().unwrap()).collect();
            assert_eq!(offsets, (1..=40).collect::<Vec<u64>>());
        }
    }
}

#[test]
fn the_server_api_of_any_node_publishes_to_all_and_reads_what_any_has_published() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let mut bob = client(&b);
    bob.subscribe("kept:x");
    let published = api(&a, "publish", &json!({"channel": "kept:x", "data": {"n": 1}, "tags": {"k": "v"}}));
    assert_eq!(published["result"]["offset"], 1, "{published}");
    let heard = bob.push();
    assert_eq!((&heard["pub"]["data"], &heard["pub"]["tags"]), (&json!({"n": 1}), &json!({"k": "v"})));
    let epoch = published["result"]["epoch"].clone();
    for node in [&a, &b] {
        let history = api(node, "history", &json!({"channel": "kept:x", "limit": 10}));
        let history = &history["result"];
        assert_eq!((&history["offset"], &history["epoch"]), (&json!(1), &epoch), "{history}");
        assert_eq!(history["publications"][0]["data"], json!({"n": 1}), "{history}");
    }
    // The same key is the same publication, wherever it comes from.
    for node in [&a, &b] {
        let again = json!({"channel": "kept:x", "data": 2, "idempotency_key": "two"});
        assert_eq!(api(node, "publish", &again)["result"]["offset"], 2);
    }
    assert_eq!(bob.push()["pub"]["data"], json!(2));
    api(&b, "publish", &json!({"channel": "kept:x", "data": 3}));
    assert_eq!(bob.push()["pub"]["data"], json!(3), "2 came once");
    // Removed on one node, it is gone on all.
    api(&a, "history_remove", &json!({"channel": "kept:x"}));
    let history = api(&b, "history", &json!({"channel": "kept:x", "limit": 10}));
    assert_eq!(
        (&history["result"]["offset"], history["result"]["publications"].as_array().map(Vec::len)),
        (&json!(3), Some(0))
    );
}

#[test]
fn a_version_that_is_not_newer_is_published_on_no_node() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let mut bob = client(&b);
    bob.subscribe("kept:v");
    let publish = |node, version: u64| {
        api(node, "publish", &json!({"channel": "kept:v", "data": version, "version": version}))
    };
    publish(&a, 5);
    publish(&b, 4);
    publish(&b, 6);
    assert_eq!((bob.push()["pub"]["data"].clone(), bob.push()["pub"]["data"].clone()), (json!(5), json!(6)));
}
