//! Recovery: a client that comes back to another node misses nothing.

use holdfast_testkit::{Daemon, client::Client};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::nodes::{Nodes, api, client};

fn data(publications: &Value) -> Vec<u64> {
    publications.as_array().unwrap().iter().map(|publication| publication["data"].as_u64().unwrap()).collect()
}

fn publish(node: &Daemon, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        api(node, "publish", &json!({"channel": "kept:r", "data": number}));
    }
}

fn recover(client: &mut Client, position: &Value) -> Value {
    let request = json!({
        "channel": "kept:r", "recover": true, "offset": position["offset"], "epoch": position["epoch"]
    });
    client.command("subscribe", &request)
}

#[test]
fn what_was_missed_on_one_node_is_recovered_on_another_and_what_follows_comes_once() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let mut ann = client(&a);
    let mut position = ann.subscribe("kept:r");
    publish(&a, 1..=3);
    for _ in 0..3 {
        position["offset"] = ann.push()["pub"]["offset"].clone();
    }
    drop(ann);
    publish(&a, 4..=9);
    let mut ann = client(&b);
    let recovered = recover(&mut ann, &position);
    assert_eq!(
        (data(&recovered["publications"]), &recovered["recovered"]),
        ((4..=9).collect(), &json!(true))
    );
    publish(&a, 10..=12);
    assert_eq!((0..3).map(|_| ann.push()["pub"]["data"].as_u64().unwrap()).collect::<Vec<_>>(), [10, 11, 12]);
    // A second one, whose part is older than what the node has kept for the first.
    let mut bob = client(&b);
    position["offset"] = json!(1);
    let recovered = recover(&mut bob, &position);
    assert_eq!(data(&recovered["publications"]), (2..=12).collect::<Vec<_>>());
}

#[test]
fn a_position_of_another_epoch_or_beyond_the_history_is_not_recovered_and_says_so() {
    let Some(nodes) = Nodes::new() else { return };
    let a = nodes.node();
    let mut ann = client(&a);
    let position = ann.subscribe("kept:r");
    publish(&a, 1..=120);
    for (offset, epoch) in [
        (json!(5), position["epoch"].clone()),
        (json!(119), json!("other")),
        (json!(500), position["epoch"].clone()),
    ] {
        let mut bob = client(&a);
        let answer = recover(&mut bob, &json!({"offset": offset, "epoch": epoch}));
        assert_ne!(answer["recovered"], json!(true), "{offset} {epoch}: {answer}");
        assert_eq!(answer["was_recovering"], json!(true));
        assert_eq!((&answer["offset"], &answer["epoch"]), (&json!(120), &position["epoch"]));
    }
}

#[test]
fn a_killed_nodes_clients_go_on_elsewhere() {
    let Some(nodes) = Nodes::new() else { return };
    let (a, b) = (nodes.node(), nodes.node());
    let mut ann = client(&a);
    let mut position = ann.subscribe("kept:r");
    publish(&b, 1..=2);
    position["offset"] = [ann.push(), ann.push()][1]["pub"]["offset"].clone();
    a.signal(Signal::KILL);
    a.wait();
    publish(&b, 3..=4);
    let mut ann = client(&b);
    assert_eq!(data(&recover(&mut ann, &position)["publications"]), [3, 4]);
}
