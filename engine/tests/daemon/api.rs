//! Api: what the application's backend can do.
//!
//! In:  requests to `/api` on the control address.
//! Out: what clients then hear, and what the caller is told.

mod bounds;
mod description;
mod refusals;

use std::time::{SystemTime, UNIX_EPOCH};

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET},
    eventually,
};
use serde_json::{Value, json};

const KEY: &str = "X-API-Key: k\r\n";

fn daemon() -> Daemon {
    daemon_with("key = 'k'\nkeys = ['second']")
}

fn daemon_with(http_api: &str) -> Daemon {
    Daemon::start(&format!(
        "[client]\nchannel_limit = 3\nping_interval = '1s'\npong_timeout = '900ms'\n\
         expired_sub_close_delay = '1s'\n[client.token]\nhmac_secret_key = '{SECRET}'\n\
         [http_api]\n{http_api}\n\
         [node]\nname = 'here'\n\
         [channel.without_namespace]\nhistory_size = 10\nhistory_ttl = '1m'\npresence = true\n\
         allow_subscribe_for_client = true\n\
         [[channel.namespaces]]\nname = 'plain'\nallow_subscribe_for_client = true"
    ))
}

/// The answer to a request: its status, and its body.
fn post(daemon: &Daemon, path: &str, fields: &str, body: &str) -> (u16, Value) {
    let (head, body) = daemon.request("POST", path, fields, body);
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line");
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

/// The answer to a call with a key.
fn call(daemon: &Daemon, method: &str, request: &Value) -> Value {
    let (status, answer) = post(daemon, &format!("/api/{method}"), KEY, &request.to_string());
    assert_eq!(status, 200, "{answer}");
    answer
}

/// The result of a call that is to succeed.
fn done(daemon: &Daemon, method: &str, request: &Value) -> Value {
    let mut answer = call(daemon, method, request);
    assert!(answer.get("error").is_none(), "{method} {request}: {answer}");
    answer["result"].take()
}

/// The code of the error that a call is to end with.
fn error(daemon: &Daemon, method: &str, request: &Value) -> u64 {
    let answer = call(daemon, method, request);
    answer["error"]["code"].as_u64().unwrap_or_else(|| panic!("{method} {request}: {answer}"))
}

fn offsets(history: &Value) -> Vec<u64> {
    let publications = history["publications"].as_array().expect("there are some").iter();
    publications.map(|publication| publication["offset"].as_u64().expect("it has an offset")).collect()
}

#[test]
fn what_is_published_is_heard_once_and_kept() {
    let daemon = daemon();
    let mut client = Client::connect(&daemon, "ann");
    client.subscribe("news");
    let request =
        json!({ "channel": "news", "data": { "n": 1 }, "tags": { "a": "b" }, "idempotency_key": "x" });
    let first = done(&daemon, "publish", &request);
    assert_eq!(first["offset"], 1);
    assert_eq!(done(&daemon, "publish", &request), first, "the same key, the same answer");
    let push = client.push();
    assert_eq!((&push["channel"], &push["pub"]["data"]), (&json!("news"), &json!({ "n": 1 })));
    assert_eq!((&push["pub"]["offset"], &push["pub"]["tags"]), (&json!(1), &json!({ "a": "b" })));
    assert!(push["pub"].get("info").is_none(), "nobody said it");

    assert_eq!(
        done(&daemon, "publish", &json!({ "channel": "news", "data": 2, "skip_history": true })),
        json!({})
    );
    assert_eq!(client.push()["pub"], json!({ "data": 2 }), "and the first one came only once");
    done(&daemon, "publish", &json!({ "channel": "news", "b64data": "eyJuIjozfQ==" }));
    assert_eq!(client.push()["pub"], json!({ "data": { "n": 3 }, "offset": 2 }));
    daemon.stop();
}

#[test]
fn a_version_that_is_not_newer_is_not_published_again() {
    let daemon = daemon();
    let publish = |version: u64, epoch: &str| {
        let request =
            json!({ "channel": "news", "data": version, "version": version, "version_epoch": epoch });
        done(&daemon, "publish", &request)["offset"].as_u64()
    };
    let offsets = [publish(5, "a"), publish(4, "a"), publish(5, ""), publish(6, ""), publish(1, "b")];
    assert_eq!(offsets, [1, 1, 1, 2, 3].map(Some));
    let unversioned = json!({ "channel": "news", "data": "plain" });
    assert_eq!(done(&daemon, "publish", &unversioned)["offset"], 4);
    assert_eq!([publish(1, "b"), publish(2, "b")], [Some(4), Some(5)]);
    daemon.stop();
}

#[test]
fn history_is_read_both_ways_and_removed() {
    let daemon = daemon();
    for n in 1..=5 {
        done(&daemon, "publish", &json!({ "channel": "news", "data": n }));
    }
    let read = |request: Value| done(&daemon, "history", &request);
    let all = read(json!({ "channel": "news", "limit": -1 }));
    assert_eq!((offsets(&all), &all["offset"]), (vec![1, 2, 3, 4, 5], &json!(5)));
    assert_eq!(all["publications"][4]["data"], 5);
    let epoch = &all["epoch"];
    assert_eq!(offsets(&read(json!({ "channel": "news", "limit": 2, "reverse": true }))), [5, 4]);
    let since = json!({ "offset": 3, "epoch": epoch });
    assert_eq!(offsets(&read(json!({ "channel": "news", "limit": 9, "since": since }))), [4, 5]);
    assert_eq!(
        offsets(&read(json!({ "channel": "news", "limit": 9, "since": since, "reverse": true }))),
        [2, 1]
    );
    assert_eq!(read(json!({ "channel": "news" }))["publications"], json!([]));
    let lost = json!({ "channel": "news", "since": { "offset": 1, "epoch": "lost" } });
    assert_eq!(error(&daemon, "history", &lost), 112);

    assert_eq!(done(&daemon, "history_remove", &json!({ "channel": "news" })), json!({}));
    let after = read(json!({ "channel": "news", "limit": -1 }));
    assert_eq!((&after["publications"], &after["offset"], &after["epoch"]), (&json!([]), &json!(5), epoch));
    daemon.stop();
}

#[test]
fn a_broadcast_reaches_every_channel_and_answers_for_each() {
    let daemon = daemon();
    let mut client = Client::connect(&daemon, "ann");
    client.subscribe("one");
    client.subscribe("plain:two");
    let channels = json!({ "channels": ["one", "nope:x", "plain:two"], "data": "hi" });
    let responses = done(&daemon, "broadcast", &channels)["responses"].take();
    assert_eq!(responses[0]["result"]["offset"], 1);
    assert_eq!(responses[1]["error"]["code"], 102);
    assert_eq!(responses[2], json!({ "result": {} }));
    let mut heard = [client.push(), client.push()].map(|push| push["channel"].as_str().unwrap().to_owned());
    heard.sort();
    assert_eq!(heard, ["one", "plain:two"]);
    assert_eq!(error(&daemon, "broadcast", &json!({ "data": 1 })), 107);
    daemon.stop();
}

#[test]
fn presence_channels_and_info_tell_who_is_there() {
    let daemon = daemon();
    let mut clients = ["ann", "ann", "bob"].map(|user| Client::connect(&daemon, user));
    for client in &mut clients {
        client.subscribe("news");
    }
    clients[0].subscribe("plain:two");
    let presence = done(&daemon, "presence", &json!({ "channel": "news" }))["presence"].take();
    for client in &clients {
        assert_eq!(presence[&client.id]["client"], client.id);
    }
    assert_eq!(presence[&clients[2].id]["user"], "bob");
    let stats = done(&daemon, "presence_stats", &json!({ "channel": "news" }));
    assert_eq!(stats, json!({ "num_clients": 3, "num_users": 2 }));
    assert_eq!(error(&daemon, "presence", &json!({ "channel": "plain:two" })), 108);

    let all = json!({ "channels": { "news": { "num_clients": 3 }, "plain:two": { "num_clients": 1 } } });
    assert_eq!(done(&daemon, "channels", &json!({})), all);
    let some = json!({ "channels": { "plain:two": { "num_clients": 1 } } });
    assert_eq!(done(&daemon, "channels", &json!({ "pattern": "plain:*" })), some);

    let node = done(&daemon, "info", &json!({}))["nodes"][0].take();
    let numbers = ["num_clients", "num_users", "num_channels", "num_subs"].map(|name| node[name].as_u64());
    assert_eq!(numbers, [3, 2, 2, 4].map(Some), "{node}");
    assert_eq!(node["name"], "here");
    drop(clients);
    eventually("nobody is there", || done(&daemon, "info", &json!({}))["nodes"][0]["num_channels"] == 0);
    daemon.stop();
}

#[test]
fn a_batch_does_its_commands_in_order_and_answers_for_each() {
    let daemon = daemon();
    for parallel in [false, true] {
        let batch = json!({ "parallel": parallel, "commands": [
            { "publish": { "channel": "news", "data": 1 } },
            { "publish": { "channel": "nope:x", "data": 1 } },
            { "presence_stats": { "channel": "news" } },
            { "none": {} },
            {},
            null,
            { "publish": null },
            { "publish": { "channel": "news", "data": 1 }, "info": {} },
            { "info": null, "presence_stats": { "channel": "news" } },
        ]});
        let replies = call(&daemon, "batch", &batch)["replies"].take();
        assert_eq!(replies[0]["publish"]["offset"], 1 + u64::from(parallel));
        assert_eq!(replies[1]["error"]["code"], 102);
        assert_eq!(replies[2], json!({ "presence_stats": { "num_clients": 0, "num_users": 0 } }));
        let codes: Vec<_> = (3..8).map(|at| replies[at]["error"]["code"].as_u64()).collect();
        assert_eq!(codes, [104, 104, 107, 104, 107].map(Some), "{replies}");
        assert_eq!(replies[8], json!({ "presence_stats": { "num_clients": 0, "num_users": 0 } }));
    }
    daemon.stop();
}

#[test]
fn the_older_form_names_its_method_in_the_body() {
    let daemon = daemon();
    let named = |body: Value| post(&daemon, "/api", KEY, &body.to_string()).1;
    let published = named(json!({ "method": "publish", "params": { "channel": "news", "data": 1 } }));
    assert_eq!(published["result"]["offset"], 1);
    assert_eq!(named(json!({ "method": "none", "params": {} }))["error"]["code"], 104);
    daemon.stop();
}

#[test]
fn the_server_subscribes_clients_and_ends_their_subscriptions() {
    let daemon = daemon();
    let mut client = Client::connect(&daemon, "ann");
    let mut other = Client::connect(&daemon, "ann");
    let first = done(&daemon, "publish", &json!({ "channel": "news", "data": 1 }));
    done(&daemon, "publish", &json!({ "channel": "news", "data": 2 }));
    let request = json!({
        "user": "ann", "client": client.id, "channel": "news", "data": { "for": "you" }, "info": { "role": "guest" },
        "recover_since": first, "override": { "force_recovery": { "value": true } },
    });
    assert_eq!(done(&daemon, "subscribe", &request), json!({}));
    let push = client.push();
    assert_eq!((&push["channel"], &push["subscribe"]["data"]), (&json!("news"), &json!({ "for": "you" })));
    assert_eq!((&push["subscribe"]["recoverable"], &push["subscribe"]["offset"]), (&json!(true), &json!(1)));
    assert_eq!(client.push()["pub"], json!({ "data": 2, "offset": 2 }), "what was missed");
    done(&daemon, "subscribe", &request);
    done(&daemon, "publish", &json!({ "channel": "news", "data": 3 }));
    assert_eq!(client.push()["pub"]["data"], 3, "a second subscription is none");
    let presence = done(&daemon, "presence", &json!({ "channel": "news" }))["presence"].take();
    assert_eq!(presence[&client.id]["chan_info"], json!({ "role": "guest" }));

    done(&daemon, "unsubscribe", &json!({ "user": "ann", "channel": "news" }));
    let unsubscribe =
        json!({ "channel": "news", "unsubscribe": { "code": 2000, "reason": "server unsubscribe" } });
    assert_eq!(client.push(), unsubscribe);
    let stats = done(&daemon, "presence_stats", &json!({ "channel": "news" }));
    assert_eq!(stats["num_clients"], 0);

    // The other one has heard nothing of it, and can be named without its user.
    other.subscribe("news");
    other.subscribe("plain:two");
    done(&daemon, "unsubscribe", &json!({ "client": other.id }));
    let mut left = [other.push(), other.push()].map(|push| push["channel"].as_str().unwrap().to_owned());
    left.sort();
    assert_eq!(left, ["news", "plain:two"]);
    daemon.stop();
}

#[test]
fn a_subscription_of_the_server_that_expires_ends_the_connection() {
    let daemon = daemon();
    let mut client = Client::connect(&daemon, "ann");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    let soon = json!({ "user": "ann", "channel": "news", "expire_at": now.as_secs() + 3 });
    done(&daemon, "subscribe", &soon);
    assert_eq!(client.push()["channel"], "news");
    assert_eq!(client.expect_close().0, 3006);
    daemon.stop();
}

#[test]
fn the_server_keeps_to_the_channel_limit() {
    let daemon = daemon();
    let mut client = Client::connect(&daemon, "ann");
    for channel in ["a", "b", "c"] {
        client.subscribe(channel);
    }
    assert_eq!(error(&daemon, "subscribe", &json!({ "user": "ann", "channel": "d" })), 106);
    assert_eq!(error(&daemon, "subscribe", &json!({ "user": "ann", "channel": "nope:d" })), 102);
    daemon.stop();
}

#[test]
fn clients_are_sent_away_with_the_code_that_the_backend_chose() {
    let daemon = daemon();
    let [first, kept, third, fourth] =
        ["ann", "ann", "bob", "eve"].map(|user| Client::connect(&daemon, user));
    let chosen = json!({ "code": 4501, "reason": "signed out" });
    let request = json!({ "user": "ann", "whitelist": [kept.id], "disconnect": chosen });
    assert_eq!(done(&daemon, "disconnect", &request), json!({}));
    assert_eq!(first.expect_close(), (4501, "signed out".to_owned()));
    done(&daemon, "disconnect", &json!({ "session": third.id }));
    assert_eq!(third.expect_close(), (3503, "force disconnect".to_owned()));
    done(&daemon, "refresh", &json!({ "user": "eve", "expired": true }));
    assert_eq!(fourth.expect_close().0, 3005);
    // Nobody is meant, or nobody is there: no fault, and no effect.
    for request in
        [json!({ "user": "nobody" }), json!({ "user": "bob", "client": kept.id }), json!({ "client": "x" })]
    {
        assert_eq!(done(&daemon, "disconnect", &request), json!({}));
    }
    for code in [0, 1000, 2999, 5000] {
        let request = json!({ "user": "ann", "disconnect": { "code": code, "reason": "" } });
        assert_eq!(error(&daemon, "disconnect", &request), 107, "{code}");
    }
    for request in [json!({}), json!({ "user": null })] {
        assert_eq!(error(&daemon, "disconnect", &request), 107, "everybody is never meant: {request}");
    }
    let mut kept = kept;
    kept.subscribe("news");
    daemon.stop();
}

#[test]
fn the_anonymous_user_is_a_user_like_others() {
    let daemon = daemon_with("key = 'k'");
    let anonymous = || Client::connect(&daemon, "");
    let mut named = Client::connect(&daemon, "ann");
    let (mut first, kept, last) = (anonymous(), anonymous(), anonymous());
    done(&daemon, "subscribe", &json!({ "user": "", "channel": "news", "client": first.id }));
    assert_eq!(first.push()["channel"], "news");
    done(&daemon, "unsubscribe", &json!({ "user": "", "channel": "news" }));
    assert_eq!(first.push()["unsubscribe"]["code"], 2000);
    done(&daemon, "disconnect", &json!({ "user": "", "whitelist": [kept.id] }));
    assert_eq!((first.expect_close().0, last.expect_close().0), (3503, 3503));
    done(&daemon, "refresh", &json!({ "user": "", "expired": true }));
    assert_eq!(kept.expect_close().0, 3005);
    named.subscribe("news");
    daemon.stop();
}

#[test]
fn a_refresh_tells_clients_when_they_expire() {
    let daemon = daemon();
    let mut client = Client::connect(&daemon, "ann");
    done(&daemon, "refresh", &json!({ "user": "ann", "expire_at": 4_102_444_800_u64 }));
    let refresh = client.push()["refresh"].take();
    assert_eq!(refresh["expires"], true);
    assert!(refresh["ttl"].as_u64() > Some(1_000_000), "{refresh}");
    done(&daemon, "refresh", &json!({ "user": "ann" }));
    assert_eq!(client.push()["refresh"], json!({}), "never");
    done(&daemon, "refresh", &json!({ "user": "ann", "expire_at": 1 }));
    assert_eq!(client.expect_close().0, 3005);
    daemon.stop();
}

#[test]
fn a_pattern_is_matched_as_centrifugo_does_and_one_that_costs_too_much_is_refused() {
    let daemon = daemon();
    let mut client = Client::connect(&daemon, "ann");
    ["room-1", "room-x", "plain:z"].into_iter().for_each(|channel| drop(client.subscribe(channel)));
    let found = |pattern: &str| {
        let found = done(&daemon, "channels", &json!({ "pattern": pattern }));
        found["channels"].as_object().expect("a map").keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(found("room-[0-9]"), ["room-1"]);
    assert_eq!(found("room-[!0-9]"), ["room-x"]);
    assert_eq!(found("{room-?,plain:?}"), ["plain:z", "room-1", "room-x"]);
    assert_eq!(found("*{1,z}"), ["plain:z", "room-1"]);
    assert_eq!(found("\\*"), [""; 0]);
    let stars = "*a".repeat(100_000);
    let alternatives = "{a,b}".repeat(100);
    for pattern in
        [stars.as_str(), &alternatives, "{a", "[a", "[z-a]", "a\\", &"{".repeat(500), &"?".repeat(2_000)]
    {
        assert_eq!(error(&daemon, "channels", &json!({ "pattern": pattern })), 107);
    }
    daemon.stop();
}

#[test]
fn thousands_of_channels_and_commands_are_answered_whole_while_others_are_served() {
    let daemon = daemon();
    let channels: Vec<_> = (0..20_000).map(|n| format!("c{n}")).collect();
    let commands: Vec<_> = (0..5_000).map(|n| json!({ "history": { "channel": format!("c{n}") } })).collect();
    std::thread::scope(|scope| {
        let broadcast =
            scope.spawn(|| done(&daemon, "broadcast", &json!({ "channels": channels, "data": 1 })));
        let batch = scope.spawn(|| {
            let batch = json!({ "commands": commands, "parallel": true });
            post(&daemon, "/api/batch", KEY, &batch.to_string()).1
        });
        while !(broadcast.is_finished() && batch.is_finished()) {
            assert!(daemon.ask("/health").0.starts_with("HTTP/1.1 200 "));
        }
        let responses = broadcast.join().unwrap()["responses"].take();
        let responses = responses.as_array().expect("a list");
        assert_eq!(responses.len(), 20_000);
        assert!(responses.iter().all(|response| response["result"]["offset"].is_u64()));
        let replies = batch.join().unwrap()["replies"].take();
        let replies = replies.as_array().expect("a list");
        assert_eq!(replies.len(), 5_000);
        assert!(replies.iter().all(|reply| reply["history"]["offset"].is_u64()));
    });
    daemon.stop();
}
