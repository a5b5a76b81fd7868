//! Identity: who may connect, how often, and what its token makes of it.
//!
//! In:  connects with and without tokens, on all cores.
//! Out: sessions, or the code that says why not.

use std::collections::VecDeque;

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET, token},
    eventually,
    peer::{Frame, text},
};
use serde_json::json;

const KEY: &str = "X-API-Key: k\r\n";

fn daemon(client: &str) -> Daemon {
    Daemon::start(&format!(
        "[client]\n{client}\n[client.token]\nhmac_secret_key = '{SECRET}'\n[http_api]\nkey = 'k'\n\
         [channel.without_namespace]\npresence = true\nallow_presence_for_subscriber = true\n\
         allow_subscribe_for_client = true\n\
         [[channel.namespaces]]\nname = 'quiet'\nallow_subscribe_for_client = true"
    ))
}

fn close_code(daemon: &Daemon, request: serde_json::Value) -> u16 {
    let mut client = Client::open(daemon, "");
    client.send(&[("connect", request)]);
    client.expect_close().0
}

#[test]
fn who_has_no_token_is_sent_away_for_a_bad_request() {
    let daemon = daemon("disallow_anonymous_connection_tokens = true");
    assert_eq!(close_code(&daemon, json!({})), 3501);
    assert_eq!(close_code(&daemon, json!({ "token": "forged" })), 3500);
    assert_eq!(close_code(&daemon, json!({ "token": token(&json!({ "sub": "" })) })), 3507);
    Client::connect(&daemon, "ann");
    daemon.stop();
}

#[test]
fn a_token_for_channels_that_are_not_there_connects_nobody() {
    let daemon = daemon("channel_limit = 2");
    let connect = |claims: serde_json::Value| json!({ "token": token(&claims) });
    let mut client = Client::open(&daemon, "");
    assert_eq!(client.error("connect", &connect(json!({ "sub": "ann", "channels": ["a", "nope:b"] }))), 102);
    let many = connect(json!({ "sub": "ann", "channels": ["a", "b", "c"] }));
    assert_eq!(close_code(&daemon, many), 3505);
    let mut client = Client::open(&daemon, "");
    let expired = connect(json!({ "sub": "ann", "expire_at": 1 }));
    assert_eq!(client.error("connect", &expired), 110);
    let (_, connected) =
        Client::connect_with(&daemon, &connect(json!({ "sub": "ann", "channels": ["a", "a"] })));
    assert_eq!(connected["subs"].as_object().expect("they are listed").len(), 1);
    daemon.stop();
}

#[test]
fn a_token_that_expires_at_the_end_of_time_is_good_until_then() {
    let daemon = daemon("ping_interval = '1s'\npong_timeout = '900ms'");
    let connect = json!({ "token": token(&json!({ "sub": "ann", "exp": u64::MAX })) });
    let (mut client, connected) = Client::connect_with(&daemon, &connect);
    assert_eq!(connected["expires"], true);
    let subscription = token(&json!({ "sub": "ann", "channel": "a", "exp": u64::MAX }));
    client.command("subscribe", &json!({ "channel": "a", "token": subscription }));
    // Expiries are looked at with every ping.
    for _ in 0..2 {
        assert_eq!(client.peer().frame(), Frame::text("{}"));
        client.peer().send(&text("{}"));
    }
    client.command("presence", &json!({ "channel": "a" }));
    daemon.stop();
}

#[test]
fn a_user_has_as_many_connections_as_it_may_over_all_cores() {
    let daemon = daemon("user_connection_limit = 3");
    let connect = json!({ "token": token(&json!({ "sub": "ann" })) });
    // Over which cores they are spread is the kernel's choice: many enough that no core has them all.
    let mut clients: Vec<_> = (0..24).map(|_| Client::open(&daemon, "")).collect();
    for client in &mut clients {
        client.send(&[("connect", connect.clone()), ("subscribe", json!({ "channel": "a" }))]);
    }
    let mut stay = Vec::new();
    let mut refused = 0;
    for client in clients {
        match client.next_or_close() {
            Ok(stays) => stay.push(stays),
            Err(code) => {
                assert_eq!(code, 3504);
                refused += 1;
            }
        }
    }
    assert_eq!((stay.len(), refused), (3, 21));
    Client::connect(&daemon, "bob");
    stay.pop().expect("there are three").reset();
    eventually("there is a place again", || {
        let mut client = Client::open(&daemon, "");
        client.send(&[("connect", connect.clone())]);
        client.next_or_close().map(|client| stay.push(client)).is_ok()
    });
    assert_eq!(close_code(&daemon, connect), 3504);
    daemon.stop();
}

#[test]
fn the_oldest_connection_of_a_user_goes_for_the_newest_where_the_policy_says_so() {
    let daemon = daemon("user_connection_limit = 3\nuser_connection_policy = 'disconnect_oldest'");
    let mut other = Client::connect(&daemon, "bob");
    let connect = json!({ "token": token(&json!({ "sub": "ann" })) });
    let mut clients: VecDeque<Client> = VecDeque::new();
    for _ in 0..12 {
        clients.push_back(Client::connect_with(&daemon, &connect).0);
        if clients.len() > 3 {
            let oldest = clients.pop_front().expect("there are four");
            assert_eq!(oldest.next_or_close().err(), Some(3504));
        }
    }
    for client in clients.iter_mut().chain([&mut other]) {
        client.subscribe("room");
    }
    eventually("only these are left", || daemon.metric("holdfast_clients", &[]) == 4);
    daemon.stop();
}

#[test]
fn a_token_decides_whether_its_subscriber_is_seen() {
    let daemon = daemon("");
    let subscribe = |user: &str, channel: &str, overrides: serde_json::Value| {
        let claims = json!({ "sub": user, "channel": channel, "override": overrides });
        json!({ "channel": channel, "token": token(&claims), "join_leave": true })
    };
    let [mut plain, mut watching, mut shown] =
        ["bob", "eve", "ann"].map(|user| Client::connect(&daemon, user));
    let hidden = subscribe("ann", "open", json!({ "presence": { "value": false } }));
    shown.command("subscribe", &hidden);
    let presence = shown.command("presence", &json!({ "channel": "open" }));
    assert!(presence["presence"].get(&*shown.id).is_none(), "{presence}");

    plain.subscribe("quiet:1");
    let watches = json!({ "force_push_join_leave": { "value": true } });
    watching.command("subscribe", &subscribe("eve", "quiet:1", watches));
    let tells = subscribe("ann", "quiet:1", json!({ "join_leave": { "value": true } }));
    shown.command("subscribe", &tells);
    assert_eq!(watching.push()["join"]["info"]["user"], "ann");
    shown.command("unsubscribe", &json!({ "channel": "quiet:1" }));
    assert_eq!(watching.push()["leave"]["info"]["user"], "ann");
    let publish = json!({ "channel": "quiet:1", "data": 1 });
    daemon.request("POST", "/api/publish", KEY, &publish.to_string());
    assert_eq!(plain.push()["pub"]["data"], 1, "who did not ask is not told");
    assert_eq!(watching.push()["pub"]["data"], 1);
    daemon.stop();
}

#[test]
fn a_subscription_that_is_made_anew_at_once_is_the_one_that_counts() {
    let daemon = daemon("");
    let mut client = Client::connect(&daemon, "ann");
    let batch = json!({ "commands": [
        { "subscribe": { "user": "ann", "channel": "a" } },
        { "unsubscribe": { "user": "ann", "channel": "a" } },
        { "subscribe": { "user": "ann", "channel": "a", "data": { "n": 2 } } },
    ], "parallel": true });
    for _ in 0..20 {
        daemon.request("POST", "/api/batch", KEY, &batch.to_string());
        let unsubscribe = json!({ "user": "ann", "channel": "a" });
        daemon.request("POST", "/api/unsubscribe", KEY, &unsubscribe.to_string());
    }
    let subscribe = json!({ "user": "ann", "channel": "a" });
    daemon.request("POST", "/api/subscribe", KEY, &subscribe.to_string());
    daemon.request("POST", "/api/publish", KEY, &json!({ "channel": "a", "data": "end" }).to_string());
    let mut is_subscribed = false;
    loop {
        let push = client.push();
        if push.get("pub").is_some() {
            break;
        }
        is_subscribed = push.get("subscribe").is_some();
    }
    assert!(is_subscribed);
    assert_eq!(daemon.metric("holdfast_subscriptions", &[]), 1);
    assert_eq!(daemon.metric("holdfast_api_calls_total", &[("method", "unsubscribe")]), 40);
    assert_eq!(daemon.metric("holdfast_api_errors_total", &[]), 0);
    daemon.stop();
}
