//! Subscriptions whose home answers late.

use holdfast_protocol::client::{ErrorCode, UnsubscribeCode};
use serde_json::{Value, json};

use super::{error, publish, published, subscribe};
use crate::session::{
    calls::ClientCommand,
    script::{Peer, Script, token},
};

fn unsubscribe(id: u32, channel: &str) -> Value {
    json!({"id": id, "unsubscribe": {"channel": channel}})
}

fn with_presence() -> Script {
    Script::new(|config| {
        let channels = &mut config.channel.without_namespace;
        (channels.presence, channels.join_leave) = (true, true);
        channels.allow_presence_for_anonymous = true;
        channels.allow_presence_for_client = true;
    })
}

/// How many are in a channel, as one of its clients is told.
fn present(script: &mut Script, peer: Peer, channel: &str) -> usize {
    script.send(peer, json!({"id": 90, "presence": {"channel": channel}}));
    script.deliver();
    let heard = script.hear(peer);
    assert!(heard["presence"].is_object(), "{heard}");
    heard["presence"]["presence"].as_object().map_or(0, |present| present.len())
}

#[test]
fn an_unsubscribe_waits_for_the_answer_to_the_subscribe_before_it_and_holds_up_what_follows() {
    let mut script = Script::new(|_| {});
    let client = script.open_connected();
    script.send_frame(client, [subscribe(2, "a"), unsubscribe(3, "a"), publish(4, "b", "x")]);
    script.send(client, subscribe(5, "a"));
    script.expect_silence(client);
    assert!(script.io.is_paused(client.socket));
    assert!(script.deliver_one(), "the home answers");
    script.expect(client, json!({"id": 2, "subscribe": {}}));
    script.expect(client, json!({"id": 3, "unsubscribe": {}}));
    script.expect_silence(client);
    script.deliver();
    script.expect(client, json!({"id": 4, "publish": {}}));
    script.expect(client, json!({"id": 5, "subscribe": {}}));
    script.expect_silence(client);
    assert!(!script.io.is_paused(client.socket));
    assert_eq!((script.holdings().subscribers, script.holdings().channels), (1, (1, 1)));
    script.expect_nothing_kept();
}

#[test]
fn an_unsubscribe_from_another_channel_does_not_wait() {
    let mut script = Script::new(|_| {});
    let client = script.open_connected();
    script.subscribe(client, "a");
    script.send_frame(client, [subscribe(3, "b"), unsubscribe(4, "a"), unsubscribe(5, "nowhere")]);
    script.expect(client, json!({"id": 4, "unsubscribe": {}}));
    script.expect(client, json!({"id": 5, "unsubscribe": {}}));
    script.expect_silence(client);
    script.deliver();
    script.expect(client, json!({"id": 3, "subscribe": {}}));
    script.expect_nothing_kept();
}

#[test]
fn an_answer_to_a_subscription_that_has_ended_since_is_not_taken_for_the_next_ones() {
    let mut script = Script::new(|_| {});
    let (client, publisher) = (script.open_connected(), script.open_connected());
    script.send(client, subscribe(2, "a"));
    script.wish(client, ClientCommand::Unsubscribe { channel: Some("a".into()) });
    let code = UnsubscribeCode::SERVER;
    let told = json!({"channel": "a", "unsubscribe": {"code": code.code, "reason": code.reason}});
    script.expect(client, error(2, ErrorCode::INTERNAL));
    script.expect(client, json!({"push": told}));
    // The client may well give it the same number.
    script.send(client, subscribe(2, "a"));
    assert!(script.deliver_one(), "the first one is answered");
    script.expect_silence(client);
    script.deliver();
    script.expect(client, json!({"id": 2, "subscribe": {}}));
    script.send(publisher, publish(2, "a", "x"));
    script.deliver();
    script.expect(client, published("a", "x"));
    script.expect_silence(client);
    assert_eq!(script.holdings().subscribers, 1);
    script.expect_nothing_kept();
}

#[test]
fn an_answer_for_a_client_that_has_gone_is_not_for_the_one_that_has_its_place() {
    let mut script = Script::new(|_| {});
    let gone = script.open_connected();
    script.send(gone, subscribe(2, "a"));
    script.leave(gone);
    let next = script.open();
    assert_eq!(next.key.place, gone.key.place);
    script.send_frame(next, [json!({"id": 1, "connect": {}}), subscribe(2, "a")]);
    assert_eq!(script.hear(next)["id"], 1);
    assert!(script.deliver_one(), "the one that has gone is answered");
    script.expect_silence(next);
    script.deliver();
    script.expect(next, json!({"id": 2, "subscribe": {}}));
    script.expect_silence(next);
    script.expect_nothing_kept();
}

#[test]
fn who_leaves_before_its_home_answers_is_present_nowhere() {
    let mut script = with_presence();
    let watcher = script.open_connected();
    script.subscribe(watcher, "a");
    let before = script.holdings();
    let (client, connecting) = (script.open_connected(), script.open());
    script.send(client, subscribe(2, "a"));
    let claims = json!({"sub": "ann", "channels": ["a", "b"]});
    script.send(connecting, json!({"id": 1, "connect": {"token": token(&claims)}}));
    script.leave(client);
    script.leave(connecting);
    script.deliver();
    assert_eq!(script.holdings(), before);
    assert_eq!(present(&mut script, watcher, "a"), 1);
    let late = script.open_connected();
    script.subscribe(late, "a");
    assert_eq!(present(&mut script, watcher, "a"), 2);
    script.leave(late);
    script.deliver();
    assert_eq!(present(&mut script, watcher, "a"), 1);
    script.expect_nothing_kept();
}

#[test]
fn who_unsubscribes_at_once_is_present_no_more() {
    let mut script = with_presence();
    let (watcher, client) = (script.open_connected(), script.open_connected());
    script.send_frame(client, [subscribe(2, "a"), unsubscribe(3, "a")]);
    script.deliver();
    script.expect(client, json!({"id": 2, "subscribe": {}}));
    script.expect(client, json!({"id": 3, "unsubscribe": {}}));
    assert_eq!(present(&mut script, watcher, "a"), 0);
    script.expect_nothing_kept();
}

#[test]
fn who_subscribes_in_a_turn_does_not_hear_what_was_published_before_in_it() {
    let mut script = Script::new(|_| {});
    let [first, second, publisher] = std::array::from_fn(|_| script.open_connected());
    script.subscribe(first, "a");
    script.send(publisher, publish(2, "a", "before"));
    script.send(second, subscribe(2, "a"));
    script.send(publisher, publish(3, "a", "after"));
    script.deliver();
    script.expect(second, json!({"id": 2, "subscribe": {}}));
    script.expect(second, published("a", "after"));
    script.expect_silence(second);
    script.expect(first, published("a", "before"));
    script.expect(first, published("a", "after"));
    script.expect_silence(first);
    script.expect_nothing_kept();
}

#[test]
fn those_behind_one_that_unsubscribes_hear_on() {
    let mut script = Script::new(|_| {});
    let clients: [Peer; 4] = std::array::from_fn(|_| script.open_connected());
    for client in clients {
        script.subscribe(client, "a");
    }
    let [first, second, third, last] = clients;
    for client in [first, last] {
        script.send(client, unsubscribe(3, "a"));
        script.expect(client, json!({"id": 3, "unsubscribe": {}}));
    }
    script.send(first, publish(4, "a", "x"));
    script.deliver();
    script.expect(first, json!({"id": 4, "publish": {}}));
    for (client, hears) in [(first, false), (second, true), (third, true), (last, false)] {
        if hears {
            script.expect(client, published("a", "x"));
        }
        script.expect_silence(client);
    }
    assert_eq!(script.holdings().subscribers, 2);
    script.expect_nothing_kept();
}
