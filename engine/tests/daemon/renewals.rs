//! Renewals: what a new token, and what the application says later, changes of a session that is under way.
//!
//! In:  refreshes of connections and of subscriptions, from clients, the server API and the backend; connects that tell
//!      what the session before had.
//! Out: other channels, another info, another expiry, or the end.

use std::time::{SystemTime, UNIX_EPOCH};

use holdfast_testkit::{
    Daemon,
    app::App,
    client::{Client, SECRET, token},
    eventually,
};
use serde_json::{Value, json};

fn daemon(client: &str) -> Daemon {
    Daemon::start(&format!(
        "[client]\nallow_anonymous_connect_without_token = true\nping_interval = '1s'\npong_timeout = '900ms'\n\
         {client}\n[client.token]\nhmac_secret_key = '{SECRET}'\n[http_api]\nkey = 'k'\n\
         [channel.without_namespace]\npresence = true\nallow_presence_for_client = true\n\
         allow_publish_for_client = true\n\
         [[channel.namespaces]]\nname = 'open'\nallow_subscribe_for_client = true\n\
         allow_subscribe_for_anonymous = true\nallow_user_limited_channels = true\n\
         history_size = 10\nhistory_ttl = '1m'\nforce_recovery = true\n\
         [[channel.namespaces]]\nname = 'asked'\nallow_subscribe_for_client = true\nsubscribe_proxy_enabled = true\n\
         [channel.proxy.subscribe]\nendpoint = 'http://127.0.0.1:9/'\n"
    ))
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

fn connect(daemon: &Daemon, claims: &Value) -> Client {
    Client::connect_with(daemon, &json!({ "token": token(claims) })).0
}

fn refresh(claims: &Value) -> Value {
    json!({ "token": token(claims) })
}

/// A call of the server API: its result, or its error.
fn api(daemon: &Daemon, method: &str, request: &Value) -> Value {
    let (_, body) =
        daemon.request("POST", &format!("/api/{method}"), "X-API-Key: k\r\n", &request.to_string());
    serde_json::from_str(&body).expect("the answer is JSON")
}

/// Others see a client in a channel so, as soon as the channel's home core has heard of it.
fn expect_seen(daemon: &Daemon, channel: &str, client: &Client, expected: &Value) {
    eventually(&format!("{channel} shows {expected}"), || seen(daemon, channel, client) == *expected);
}

/// How others see a client in a channel.
fn seen(daemon: &Daemon, channel: &str, client: &Client) -> Value {
    let mut answer = api(daemon, "presence", &json!({ "channel": channel }));
    answer["result"]["presence"][&client.id].take()
}

#[test]
fn a_new_token_with_other_channels_makes_the_client_come_again() {
    let daemon = daemon("");
    let claims = |channels: Value| json!({ "sub": "ann", "exp": now_s() + 600, "channels": channels });
    for other in [json!(["a"]), json!(["a", "b", "c"]), json!([]), json!(["b", "nope:c"])] {
        let mut client = connect(&daemon, &claims(json!(["a", "b"])));
        let same = json!({ "sub": "ann", "exp": now_s() + 600, "subs": { "b": {}, "a": {} } });
        assert_eq!(client.command("refresh", &refresh(&same))["expires"], true, "the same channels");
        client.send(&[("refresh", refresh(&claims(other.clone())))]);
        assert_eq!(client.expect_close().0, 3010, "{other}");
    }
    // What the client, or the server later, has subscribed it to, is no matter of the token's.
    let mut client = connect(&daemon, &claims(json!(["a"])));
    client.subscribe("open:1");
    assert_eq!(api(&daemon, "subscribe", &json!({ "user": "ann", "channel": "b" })), json!({ "result": {} }));
    assert_eq!(client.push()["channel"], "b");
    client.command("refresh", &refresh(&claims(json!(["a"]))));
    client.command("refresh", &refresh(&claims(json!(["a", "b", "open:1"]))));
    // It has one no longer that the token asks for.
    client.command("unsubscribe", &json!({ "channel": "a" }));
    client.send(&[("refresh", refresh(&claims(json!(["a"]))))]);
    assert_eq!(client.expect_close().0, 3010);
    daemon.stop();
}

#[test]
fn the_users_own_channel_is_not_the_tokens() {
    let daemon = daemon("[client.subscribe_to_user_personal_channel]\nenabled = true\n");
    let claims = json!({ "sub": "ann", "exp": now_s() + 600, "channels": ["#ann"] });
    let mut client = connect(&daemon, &claims);
    client.command("refresh", &refresh(&json!({ "sub": "ann", "exp": now_s() + 600 })));
    daemon.stop();
}

#[test]
fn others_see_what_the_newest_token_says() {
    let daemon = daemon("");
    let claims = |info: Value| json!({ "sub": "ann", "exp": now_s() + 600, "info": info, "channels": ["a"] });
    let mut client = connect(&daemon, &claims(json!({ "role": "guest" })));
    let subscription = |info: Value| {
        let claims = json!({ "sub": "ann", "channel": "b", "exp": now_s() + 600, "info": info });
        json!({ "channel": "b", "token": token(&claims) })
    };
    client.command("subscribe", &subscription(json!(1)));
    client.command("refresh", &refresh(&claims(json!({ "role": "host" }))));
    let expected = |chan_info: Value| {
        let mut info = json!({ "user": "ann", "client": client.id, "conn_info": { "role": "host" } });
        if !chan_info.is_null() {
            info["chan_info"] = chan_info;
        }
        info
    };
    expect_seen(&daemon, "a", &client, &expected(Value::Null));
    expect_seen(&daemon, "b", &client, &expected(json!(1)));
    let (a, b) = (expected(Value::Null), expected(json!(2)));
    client.command("sub_refresh", &subscription(json!(2)));
    expect_seen(&daemon, "b", &client, &b);
    // Publications say the same, and of a token that says nothing, what was said before stays.
    client.command("refresh", &refresh(&json!({ "sub": "ann", "exp": now_s() + 600, "channels": ["a"] })));
    for (channel, expected) in [("a", a), ("b", b)] {
        client.command("publish", &json!({ "channel": channel, "data": 1 }));
        assert_eq!(client.push()["pub"]["info"], expected, "{channel}");
    }
    let renewed = json!({ "user": "ann", "expire_at": now_s() + 900, "info": { "role": "owner" } });
    assert_eq!(api(&daemon, "refresh", &renewed), json!({ "result": {} }));
    assert_eq!(client.push()["refresh"]["expires"], true);
    eventually("the API's info is seen", || {
        seen(&daemon, "b", &client)["conn_info"] == json!({ "role": "owner" })
    });
    client.command("unsubscribe", &json!({ "channel": "b" }));
    expect_seen(&daemon, "b", &client, &Value::Null);
    daemon.stop();
}

#[test]
fn what_has_expired_already_does_not_begin() {
    let app = App::start();
    let daemon = Daemon::start(&format!(
        "[client.token]\nhmac_secret_key = '{SECRET}'\n[http_api]\nkey = 'k'\n\
         [[channel.namespaces]]\nname = 'asked'\nsubscribe_proxy_enabled = true\n\
         [channel.proxy.subscribe]\nendpoint = '{}'\n",
        app.url("/subscribe")
    ));
    let live = now_s() + 600;
    for past in [1, now_s() - 1] {
        let mut client = connect(&daemon, &json!({ "sub": "ann", "exp": live }));
        let of_channel = |claims: Value| {
            let mut claims = claims;
            (claims["sub"], claims["channel"]) = (json!("ann"), json!("a"));
            json!({ "channel": "a", "token": token(&claims) })
        };
        let expired = of_channel(json!({ "exp": live, "expire_at": past }));
        assert_eq!(client.error("subscribe", &expired), 110);
        assert_eq!(client.error("subscribe", &of_channel(json!({ "exp": past }))), 109);
        app.answer("/subscribe", &json!({ "result": { "expire_at": past } }));
        assert_eq!(client.error("subscribe", &json!({ "channel": "asked:1" })), 110);
        client.command("subscribe", &of_channel(json!({ "exp": live })));
        assert_eq!(client.error("sub_refresh", &expired), 110);
        assert_eq!(
            client.error("refresh", &refresh(&json!({ "sub": "ann", "exp": live, "expire_at": past }))),
            110
        );
        let late = api(&daemon, "subscribe", &json!({ "user": "ann", "channel": "b", "expire_at": past }));
        assert_eq!(late["error"]["code"], 110, "{late}");
        let nobody = api(&daemon, "subscribe", &json!({ "user": "eve", "channel": "b", "expire_at": past }));
        assert_eq!(nobody["error"]["code"], 110, "{nobody}");
        // Nothing of this has changed what there was.
        assert_eq!(client.error("subscribe", &of_channel(json!({ "exp": live }))), 105);
        api(&daemon, "refresh", &json!({ "user": "ann", "expire_at": past }));
        assert_eq!(client.expect_close().0, 3005);
        let mut late = Client::open(&daemon, "");
        let claims = json!({ "sub": "ann", "exp": live, "expire_at": past });
        assert_eq!(late.error("connect", &refresh(&claims)), 110);
    }
    daemon.stop();
}

#[test]
fn what_the_server_had_subscribed_comes_back_where_the_client_may() {
    let daemon = daemon("channel_limit = 4");
    let mut client = connect(&daemon, &json!({ "sub": "ann" }));
    api(&daemon, "subscribe", &json!({ "user": "ann", "channel": "open:1" }));
    let made = client.push()["subscribe"].take();
    client.reset();
    eventually("it has gone", || {
        api(&daemon, "info", &json!({}))["result"]["nodes"][0]["num_clients"] == json!(0)
    });
    api(&daemon, "publish", &json!({ "channel": "open:1", "data": "missed" }));
    let known = json!({ "recover": true, "epoch": made["epoch"], "offset": 0 });
    let request = |claims: Value| {
        json!({ "token": token(&claims), "subs": {
            "open:1": known, "open:2": {}, "open:#ann": {}, "open:#eve": {},
            "closed": {}, "$private": {}, "asked:1": {}, "": {},
        } })
    };
    let (_ann, connected) = Client::connect_with(&daemon, &request(json!({ "sub": "ann" })));
    let subs = connected["subs"].as_object().expect("there are some");
    let names: Vec<_> = subs.keys().map(String::as_str).collect();
    assert_eq!(names, ["open:#ann", "open:1", "open:2"]);
    assert_eq!(
        (&subs["open:1"]["recovered"], &subs["open:1"]["publications"][0]["data"]),
        (&json!(true), &json!("missed"))
    );
    // The token's own come first, and once.
    let claims = json!({ "sub": "ann", "channels": ["closed", "open:1"], "exp": now_s() + 600 });
    let (mut ann, connected) = Client::connect_with(&daemon, &request(claims.clone()));
    assert_eq!(connected["subs"].as_object().map(serde_json::Map::len), Some(4), "{connected}");
    assert_eq!(connected["subs"]["open:1"]["recovered"], true);
    ann.command("refresh", &refresh(&claims));
    let (_nobody, connected) =
        Client::connect_with(&daemon, &json!({ "subs": { "open:1": {}, "closed": {} } }));
    assert_eq!(connected["subs"].as_object().map(serde_json::Map::len), Some(1), "{connected}");
    for (subs, code) in [
        (json!({ "nope:1": {} }), 3501),
        (json!({ "open:1": {}, "open:2": {}, "open:3": {}, "open:4": {}, "open:5": {} }), 3505),
    ] {
        let mut client = Client::open(&daemon, "");
        client.send(&[("connect", json!({ "subs": subs }))]);
        assert_eq!(client.expect_close().0, code);
    }
    daemon.stop();
}
