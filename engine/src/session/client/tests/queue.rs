//! Clients that are sent more than they read, and that send more than they may.

use holdfast_protocol::client::DisconnectCode;
use serde_json::{Value, json};

use super::{publish, published, subscribe};
use crate::{
    config::SlowReaderPolicy,
    metrics::CloseReason,
    session::script::{Peer, Script},
};

const QUEUE_BYTES_MAX: u32 = 4096;

/// What a client hears that reads nothing, of [`kilobyte`]s: the limit, the longest, and the one that is too much.
const HEARD: usize = 6;

fn kilobyte() -> String {
    "x".repeat(1_000)
}

#[track_caller]
fn hears(script: &mut Script, peer: Peer, publications: usize) {
    for _ in 0..publications {
        script.expect(peer, published("a", &kilobyte()));
    }
}

#[track_caller]
fn fill(script: &mut Script, publisher: Peer, publications: usize) {
    for _ in 0..publications {
        script.send(publisher, publish(9, "a", &kilobyte()));
        script.deliver();
        script.expect(publisher, json!({"id": 9, "publish": {}}));
    }
}

#[test]
fn a_queue_that_is_too_long_ends_that_session_alone_with_all_that_it_held() {
    let mut script = Script::new(|config| {
        config.client.queue_max_size_bytes = QUEUE_BYTES_MAX;
        config.channel.without_namespace.presence = true;
    });
    let (neighbor, publisher) = (script.open_connected(), script.open_connected());
    script.subscribe(neighbor, "a");
    let before = script.holdings();
    let slow = script.open_connected();
    script.subscribe(slow, "a");
    script.subscribe(slow, "b");
    script.io.stop_reading(slow.socket);
    fill(&mut script, publisher, HEARD - 1);
    hears(&mut script, slow, HEARD - 1);
    script.expect_silence(slow);
    // Its home has not answered these when it ends.
    let channel = script.hub.subscriptions.find("a").expect("it has subscribers");
    script.send(publisher, publish(9, "a", &kilobyte()));
    while script.deliver_one() {}
    script.send_frame(slow, [subscribe(3, "c"), json!({"id": 4, "unsubscribe": {"channel": "c"}})]);
    assert!(script.holdings().command_bytes > 0, "a command waits");
    script.act(|sessions| sessions.fan_out_channel(channel));
    hears(&mut script, slow, 1);
    script.expect_end(slow, DisconnectCode::SLOW, CloseReason::Slow);
    hears(&mut script, neighbor, HEARD);
    script.deliver();
    assert_eq!(script.holdings(), before);
    script.expect(publisher, json!({"id": 9, "publish": {}}));
    fill(&mut script, publisher, 1);
    hears(&mut script, neighbor, 1);
    script.expect_silence(neighbor);
    script.expect_nothing_kept();
}

#[test]
fn a_slow_reader_that_is_told_of_joins_and_one_of_a_stream_end_alike() {
    for is_stream in [false, true] {
        let mut script = Script::new(|config| {
            config.client.queue_max_size_bytes = QUEUE_BYTES_MAX;
            let channels = &mut config.channel.without_namespace;
            (channels.join_leave, channels.force_push_join_leave) = (true, true);
        });
        let publisher = script.open_connected();
        let slow = if is_stream { script.open_stream() } else { script.open() };
        script.connect(slow, "");
        script.send(slow, subscribe(2, "a"));
        script.deliver();
        while script.io.hear(slow.socket).is_some() {}
        script.io.stop_reading(slow.socket);
        fill(&mut script, publisher, HEARD + 1);
        hears(&mut script, slow, HEARD);
        if is_stream {
            let code = DisconnectCode::SLOW;
            let body = json!({"code": code.code, "reason": code.reason, "reconnect": true});
            script.expect(slow, json!({"push": {"disconnect": body}}));
        }
        script.expect_end(slow, DisconnectCode::SLOW, CloseReason::Slow);
        script.expect_nothing_kept();
    }
}

#[test]
fn what_is_held_back_goes_out_when_its_reader_reads_and_is_forgotten_when_it_leaves() {
    let mut script = Script::new(|config| {
        config.channel.without_namespace.slow_readers = SlowReaderPolicy::KeepLatest;
    });
    let [publisher, slow, gone] = std::array::from_fn(|_| script.open_connected());
    for client in [slow, gone] {
        script.subscribe(client, "a");
        script.io.stop_reading(client.socket);
    }
    fill(&mut script, publisher, 3);
    script.expect_silence(slow);
    assert_eq!(script.holdings().held_back, 2);
    script.leave(gone);
    assert_eq!(script.holdings().held_back, 1);
    assert!(script.io.read_all(slow.socket), "it is told when there is room");
    script.act(|sessions| sessions.feed(slow.socket));
    let heard = script.hear(slow);
    assert_eq!(heard["push"]["pub"]["tags"], json!({"holdfast-left-out": "2"}), "{heard}");
    script.expect_silence(slow);
    assert_eq!(script.holdings().held_back, 0);
    script.expect_nothing_kept();
}

#[test]
fn what_follows_a_fault_in_the_same_frame_is_not_done_and_what_was_before_it_is_answered() {
    let mut script = Script::new(|_| {});
    let neighbor = script.open_connected();
    script.subscribe(neighbor, "b");
    let before = script.holdings();
    let client = script.open_connected();
    script.subscribe(client, "a");
    let unsubscribe = json!({"id": 3, "unsubscribe": {"channel": "a"}});
    let second_connect = json!({"id": 4, "connect": {}});
    script.send_frame(client, [unsubscribe, second_connect, publish(5, "b", "x"), subscribe(6, "c")]);
    // It does not know of its end yet.
    script.send(client, publish(7, "b", "y"));
    script.expect(client, json!({"id": 3, "unsubscribe": {}}));
    script.expect_end(client, DisconnectCode::BAD_REQUEST, CloseReason::ProtocolError);
    script.deliver();
    script.expect_silence(neighbor);
    assert_eq!(script.holdings(), before);
    script.expect_nothing_kept();
}

#[test]
fn what_waits_behind_a_fault_is_not_done_either() {
    let mut script = Script::new(|_| {});
    let (client, neighbor) = (script.open_connected(), script.open_connected());
    script.subscribe(neighbor, "b");
    script.send_frame(client, [subscribe(2, "a"), json!({"id": 3, "unsubscribe": {"channel": "a"}})]);
    script.send_frame(client, [publish(0, "b", "x"), publish(5, "b", "y")]);
    script.send(client, publish(6, "b", "z"));
    script.expect_silence(client);
    script.deliver();
    script.expect(client, json!({"id": 2, "subscribe": {}}));
    script.expect(client, json!({"id": 3, "unsubscribe": {}}));
    script.expect_end(client, DisconnectCode::BAD_REQUEST, CloseReason::ProtocolError);
    script.expect_silence(neighbor);
    script.expect_nothing_kept();
}

#[test]
fn commands_keep_their_order_where_a_turn_has_no_time_for_all_of_them() {
    let mut script = Script::new(|_| {});
    let client = script.open_connected();
    script.quantum_ns = 1;
    let unsubscribe = |id: u32| json!({"id": id, "unsubscribe": {"channel": "a"}});
    script.send_frame(client, [unsubscribe(2), unsubscribe(3), subscribe(4, "a"), unsubscribe(5)]);
    script.send_frame(client, [unsubscribe(6), unsubscribe(7), unsubscribe(8)]);
    script.deliver();
    let heard: Vec<Value> = std::iter::from_fn(|| script.io.hear(client.socket)).collect();
    let ids: Vec<_> = heard.iter().filter_map(|reply| reply["id"].as_u64()).collect();
    assert_eq!(ids, [2, 3, 4, 5, 6, 7, 8], "{heard:?}");
    assert!(heard.iter().all(|reply| reply["error"].is_null()), "{heard:?}");
    script.expect_nothing_kept();
}
