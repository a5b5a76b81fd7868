//! What expires, and a backend that takes its time to say whether it goes on.

use holdfast_protocol::client::{DisconnectCode, ErrorCode, UnsubscribeCode};
use serde_json::{Value, json};

use super::{error, subscribe};
use crate::{
    backend::Event,
    metrics::CloseReason,
    session::script::{CALLS_MAX, NOON_S, Peer, Script, token},
};

/// Tokens expire after so many seconds.
const VALID_S: u64 = 10;

fn until(seconds: u64) -> String {
    token(&json!({"sub": "ann", "exp": NOON_S + seconds}))
}

/// A shard whose backend says whether connections go on, with a client whose token expires.
fn proxied() -> (Script, Peer) {
    let mut script = Script::new(|config| {
        config.client.proxy.refresh.enabled = true;
        config.rpc.without_namespace.is_proxied = true;
    });
    let client = script.open();
    script.connect(client, &until(VALID_S));
    (script, client)
}

/// The same for subscriptions: one to `a` expires.
fn sub_proxied() -> (Script, Peer) {
    let mut script = Script::new(|config| config.channel.without_namespace.is_sub_refresh_proxied = true);
    let client = script.open_connected();
    subscribe_until(&mut script, client, VALID_S);
    (script, client)
}

fn subscribe_until(script: &mut Script, client: Peer, seconds: u64) {
    let token = token(&json!({"channel": "a", "exp": NOON_S + seconds}));
    script.send(client, json!({"id": 2, "subscribe": {"channel": "a", "token": token}}));
    script.deliver();
    script.expect(client, json!({"id": 2, "subscribe": {}}));
}

fn expired_sub() -> Value {
    let code = UnsubscribeCode::EXPIRED;
    json!({"push": {"channel": "a", "unsubscribe": {"code": code.code, "reason": code.reason}}})
}

#[test]
fn an_expired_session_goes_on_until_the_backend_answers() {
    let (mut script, client) = proxied();
    script.pass_s(VALID_S);
    assert!(script.ping(client) && script.is_nothing_asked(), "it has not expired yet");
    script.pass_s(1);
    assert!(script.ping(client));
    let asked = script.asked(Event::Refresh);
    // A backend that is slower than any grace.
    script.pass_s(300);
    assert!(script.ping(client) && script.is_nothing_asked(), "it is asked once");
    let now_s = NOON_S + VALID_S + 301;
    script.backend_said(asked, &json!({"result": {"expire_at": now_s + 100}}));
    script.expect_silence(client);
    script.pass_s(100);
    assert!(script.ping(client) && script.is_nothing_asked());
    script.pass_s(1);
    assert!(script.ping(client));
    script.asked(Event::Refresh);
    script.expect_nothing_kept();
}

#[test]
fn what_a_refresh_says_of_a_client_is_charged_to_it() {
    let meta = json!({"tier": "x".repeat(10_000)});
    let grown = |script: &mut Script, before: u64| script.holdings().session_bytes > before + 10_000;

    let mut script = Script::new(|_| ());
    let client = script.open();
    script.connect(client, &until(VALID_S));
    let before = script.holdings().session_bytes;
    let token = token(&json!({"sub": "ann", "exp": NOON_S + VALID_S + 1, "meta": meta.clone()}));
    script.send(client, json!({"id": 2, "refresh": {"token": token}}));
    assert_eq!(script.hear(client)["id"], 2);
    assert!(grown(&mut script, before));
    script.expect_nothing_kept();

    let (mut script, client) = proxied();
    let before = script.holdings().session_bytes;
    script.pass_s(VALID_S + 1);
    assert!(script.ping(client));
    let asked = script.asked(Event::Refresh);
    script.backend_said(asked, &json!({"result": {"expire_at": NOON_S + 100, "meta": meta}}));
    assert!(grown(&mut script, before));
    script.expect_nothing_kept();
}

#[test]
fn an_expired_session_ends_where_the_backend_says_so() {
    for body in [
        json!({"result": {"expired": true, "expire_at": NOON_S + 1_000}}),
        json!({"result": {"expire_at": NOON_S + VALID_S}}),
        json!({"result": {}}),
        json!({}),
        json!({"error": {"code": 1000, "message": "no"}}),
    ] {
        let (mut script, client) = proxied();
        script.pass_s(VALID_S + 1);
        script.ping(client);
        let asked = script.asked(Event::Refresh);
        script.backend_said(asked, &body);
        script.expect_end(client, DisconnectCode::EXPIRED, CloseReason::Disconnected);
        script.expect_nothing_kept();
    }
}

#[test]
fn a_backend_that_does_not_answer_is_asked_again_after_a_minute() {
    let (mut script, client) = proxied();
    script.pass_s(VALID_S + 1);
    script.ping(client);
    let asked = script.asked(Event::Refresh);
    script.backend_failed(asked);
    script.pass_s(60);
    assert!(script.ping(client) && script.is_nothing_asked(), "not within the minute");
    script.pass_s(1);
    assert!(script.ping(client));
    script.asked(Event::Refresh);
    script.expect_silence(client);
    script.expect_nothing_kept();
}

#[test]
fn where_the_queue_to_the_backend_is_full_what_has_expired_goes_on_for_a_minute() {
    let (mut script, client) = proxied();
    let busy = script.open_connected();
    for id in 0..CALLS_MAX {
        script.send(busy, json!({"id": id + 2, "rpc": {"method": "m"}}));
    }
    script.send(busy, json!({"id": 90, "rpc": {"method": "m"}}));
    script.expect(busy, error(90, ErrorCode::INTERNAL));
    script.pass_s(VALID_S + 1);
    assert!(script.ping(client));
    (0..CALLS_MAX).for_each(|_| _ = script.asked(Event::Rpc));
    assert!(script.ping(client) && script.is_nothing_asked());
    script.pass_s(61);
    assert!(script.ping(client));
    script.asked(Event::Refresh);
    script.expect_silence(client);
    script.expect_nothing_kept();
}

#[test]
fn an_answer_about_a_client_that_has_left_is_nothing_to_the_one_in_its_place() {
    let (mut script, gone) = proxied();
    script.pass_s(VALID_S + 1);
    script.ping(gone);
    let asked = script.asked(Event::Refresh);
    script.leave(gone);
    let next = script.open();
    assert_eq!(next.key.place, gone.key.place);
    script.connect(next, &until(VALID_S + 2));
    script.pass_s(2);
    script.ping(next);
    script.asked(Event::Refresh);
    script.backend_said(asked, &json!({"result": {"expired": true}}));
    script.expect_silence(next);
    script.expect_nothing_kept();
}

#[test]
fn a_session_that_is_refreshed_in_its_grace_goes_on_and_another_one_ends() {
    let mut script = Script::new(|config| config.client.expired_close_delay_ms = 25_000);
    let (prompt, late) = (script.open(), script.open());
    script.connect(prompt, &until(VALID_S));
    script.connect(late, &until(VALID_S));
    script.pass_s(VALID_S + 25);
    assert!(script.ping(prompt) && script.ping(late));
    let token = until(VALID_S + 125);
    script.send(prompt, json!({"id": 2, "refresh": {"token": token}}));
    let refreshed = json!({"client": "*", "version": "*", "expires": true, "ttl": 100});
    script.expect(prompt, json!({"id": 2, "refresh": refreshed}));
    script.pass_s(1);
    assert!(script.ping(prompt) && !script.ping(late));
    script.expect_silence(prompt);
    script.expect_end(late, DisconnectCode::EXPIRED, CloseReason::Disconnected);
    script.expect_nothing_kept();
}

#[test]
fn an_expired_subscription_goes_on_until_the_backend_answers() {
    let (mut script, client) = sub_proxied();
    script.pass_s(VALID_S + 1);
    assert!(script.ping(client));
    let asked = script.asked(Event::SubRefresh);
    script.pass_s(300);
    assert!(script.ping(client) && script.is_nothing_asked());
    script.backend_failed(asked);
    script.pass_s(60);
    assert!(script.ping(client) && script.is_nothing_asked());
    script.pass_s(1);
    assert!(script.ping(client));
    let asked = script.asked(Event::SubRefresh);
    script.expect_silence(client);
    script.backend_said(asked, &json!({"result": {"expired": true}}));
    script.expect(client, expired_sub());
    script.deliver();
    script.expect_silence(client);
    assert_eq!(script.holdings().subscribers, 0);
    script.expect_nothing_kept();
}

#[test]
fn what_the_backend_says_of_a_subscription_is_not_about_the_next_one_to_the_same_channel() {
    let (mut script, client) = sub_proxied();
    script.pass_s(VALID_S + 1);
    script.ping(client);
    let asked = script.asked(Event::SubRefresh);
    script.send(client, json!({"id": 3, "unsubscribe": {"channel": "a"}}));
    script.expect(client, json!({"id": 3, "unsubscribe": {}}));
    subscribe_until(&mut script, client, 1_000);
    script.backend_said(asked, &json!({"result": {"expired": true}}));
    script.expect_silence(client);
    assert_eq!(script.holdings().subscribers, 1);
    script.expect_nothing_kept();
}

#[test]
fn a_subscription_that_the_backend_is_asked_about_may_end_before_the_answer() {
    let mut script = Script::new(|config| config.channel.without_namespace.is_subscribe_proxied = true);
    let client = script.open_connected();
    script.send_frame(client, [subscribe(2, "a"), json!({"id": 3, "unsubscribe": {"channel": "a"}})]);
    let asked = script.asked(Event::Subscribe);
    script.expect_silence(client);
    script.backend_said(asked, &json!({"result": {}}));
    script.expect_silence(client);
    script.deliver();
    script.expect(client, json!({"id": 2, "subscribe": {}}));
    script.expect(client, json!({"id": 3, "unsubscribe": {}}));
    script.deliver();
    assert_eq!(script.holdings().channels, (0, 0));
    script.send(client, subscribe(4, "a"));
    let asked = script.asked(Event::Subscribe);
    script.leave(client);
    script.backend_said(asked, &json!({"result": {}}));
    script.expect_nothing_kept();
}
