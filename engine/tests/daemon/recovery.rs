//! Recovery: what those are told who come back.
//!
//! In:  subscriptions from a position; positions in the requests to connect.
//! Out: what was missed and where it begins; or the newest, in channels where no other matters; or a refusal.

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET, token},
    eventually,
};
use serde_json::{Value, json};

use crate::{
    polls::Poller,
    streams::{SSE, STREAM, Streamed},
};

fn start() -> Daemon {
    Daemon::start(&format!(
        "[client]\ntoken.hmac_secret_key = '{SECRET}'\nrecovery_max_publication_limit = 6\nreply_max_size = '64KiB'\n\
         [http_api]\ninsecure = true\n[sse]\nenabled = true\n[http_stream]\nenabled = true\n[poll]\nenabled = true\n\
         [channel.without_namespace]\nhistory_size = 8\nhistory_ttl = '10m'\nforce_recovery = true\npresence = true\n\
         join_leave = true\nforce_push_join_leave = true\nallow_subscribe_for_client = true\nallow_tags_filter = true\n\
         [[channel.namespaces]]\nname = 'cache'\nhistory_size = 8\nhistory_ttl = '10m'\nforce_recovery = true\n\
         force_recovery_mode = 'cache'\nallow_subscribe_for_client = true\nallow_tags_filter = true\n\
         [[channel.namespaces]]\nname = 'brief'\nhistory_size = 8\nhistory_ttl = '200ms'\nforce_recovery = true\n\
         force_recovery_mode = 'cache'\nallow_subscribe_for_client = true\n\
         [[channel.namespaces]]\nname = 'forgets'\nallow_recovery = true\nallow_subscribe_for_client = true"
    ))
}

fn call(daemon: &Daemon, method: &str, request: &Value) -> Value {
    let (_, answer) = daemon.request("POST", &format!("/api/{method}"), "", &request.to_string());
    let mut answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
    assert!(answer.get("error").is_none(), "{method} {request}: {answer}");
    answer["result"].take()
}

/// Publishes these numbers. Returns the channel's epoch.
fn publish(daemon: &Daemon, channel: &str, numbers: impl IntoIterator<Item = u64>) -> Value {
    let each = numbers.into_iter().map(|number| json!({ "channel": channel, "data": number }));
    each.map(|request| call(daemon, "publish", &request)["epoch"].take()).last().expect("there are some")
}

fn since(channel: &str, offset: u64, epoch: &Value) -> Value {
    json!({ "channel": channel, "recover": true, "offset": offset, "epoch": epoch })
}

/// What is said of a recovery: whether it is one, where it begins, and the data of what was missed.
fn said(answer: &Value) -> (bool, u64, Vec<u64>) {
    assert_eq!(answer["was_recovering"], true, "{answer}");
    let missed = answer["publications"].as_array().into_iter().flatten();
    (
        answer["recovered"] == true,
        answer["offset"].as_u64().unwrap_or(0),
        missed.map(|publication| publication["data"].as_u64().expect("a number")).collect(),
    )
}

/// Subscribes, and is not subscribed any more afterwards.
fn recover(client: &mut Client, request: &Value) -> (bool, u64, Vec<u64>) {
    let answer = client.command("subscribe", request);
    client.command("unsubscribe", &json!({ "channel": request["channel"] }));
    said(&answer)
}

#[test]
fn a_recovery_begins_where_the_client_was_over_every_transport() {
    let daemon = start();
    let epoch = publish(&daemon, "room", 1..=7);
    let mut client = Client::connect(&daemon, "ann");
    for (offset, epoch) in [(3, &epoch), (3, &json!("")), (7, &epoch)] {
        let expected = (true, offset, (offset + 1..=7).collect());
        assert_eq!(recover(&mut client, &since("room", offset, epoch)), expected);
    }
    for (offset, epoch) in [(0, &epoch), (3, &json!("other")), (9, &epoch)] {
        assert_eq!(
            recover(&mut client, &since("room", offset, epoch)),
            (false, 7, vec![]),
            "lost: where it is now"
        );
    }
    let command = json!({ "id": 2, "subscribe": since("room", 3, &epoch) });
    let expected = (true, 3, vec![4, 5, 6, 7]);
    for path in [SSE, STREAM] {
        let mut streamed = Streamed::open(&daemon, path, "bob");
        assert_eq!(streamed.command(&daemon, &command.to_string()).status, 204);
        assert_eq!(said(&streamed.message()["subscribe"]), expected, "{path}");
    }
    let mut poller = Poller::open(&daemon, "cid");
    assert_eq!(said(&poller.poll(&[command])[0]["subscribe"]), expected);
    daemon.stop();
}

#[test]
fn a_recovery_of_the_servers_subscriptions_begins_where_the_client_was() {
    let daemon = start();
    let epoch = publish(&daemon, "room", 1..=7);
    let token = token(&json!({ "sub": "ann", "channels": ["room", "cache:new"] }));
    let mut subs = json!({ "room": since("room", 4, &epoch) });
    let (_, connected) = Client::connect_with(&daemon, &json!({ "token": token, "subs": subs }));
    assert_eq!(said(&connected["subs"]["room"]), (true, 4, vec![5, 6, 7]));
    subs["room"]["epoch"] = json!("other");
    let (_, connected) = Client::connect_with(&daemon, &json!({ "token": token, "subs": subs }));
    assert_eq!(said(&connected["subs"]["room"]), (false, 7, vec![]));

    // What the server API gives follows as publications.
    let mut client = Client::connect(&daemon, "bob");
    let recover_since = json!({ "offset": 5, "epoch": epoch });
    let request = json!({ "user": "bob", "channel": "room", "recover_since": recover_since });
    call(&daemon, "subscribe", &request);
    let push = client.push();
    assert_eq!((&push["subscribe"]["offset"], &push["subscribe"]["epoch"]), (&json!(5), &epoch));
    assert_eq!(
        [client.push(), client.push()].map(|push| push["pub"]["offset"].clone()),
        [json!(6), json!(7)]
    );
    daemon.stop();
}

#[test]
fn who_refuses_a_loss_is_refused_and_not_seen_and_may_come_back_from_elsewhere() {
    let daemon = start();
    let epoch = publish(&daemon, "room", 1..=12);
    let mut watcher = Client::connect(&daemon, "eve");
    watcher.subscribe("room");
    assert_eq!(watcher.push()["join"]["info"]["user"], "eve");
    let mut client = Client::connect(&daemon, "ann");
    let strict = |offset: u64, epoch: &Value| {
        let mut request = since("room", offset, epoch);
        request["flag"] = json!(3);
        request
    };
    // Gone from the history; more than is recovered at once; another life; the future.
    for (offset, epoch) in [(3, &epoch), (5, &epoch), (12, &json!("other")), (13, &epoch)] {
        assert_eq!(client.error("subscribe", &strict(offset, epoch)), 112, "{offset}");
    }
    publish(&daemon, "long", [1]);
    for _ in 0..2 {
        call(&daemon, "publish", &json!({ "channel": "long", "data": "x".repeat(50_000) }));
    }
    let long = json!({ "channel": "long", "recover": true, "flag": 2 });
    assert_eq!(client.error("subscribe", &long), 112, "longer than a reply may be");
    let presence = call(&daemon, "presence", &json!({ "channel": "room" }));
    assert_eq!(presence["presence"].as_object().map(|clients| clients.len()), Some(1), "{presence}");

    // Nothing is left of it: it may subscribe, and is heard.
    assert_eq!(said(&client.command("subscribe", &strict(10, &epoch))), (true, 10, vec![11, 12]));
    assert_eq!(watcher.push()["join"]["info"]["user"], "ann", "nobody has come or gone before");
    client.command("unsubscribe", &json!({ "channel": "room" }));
    assert_eq!(watcher.push()["leave"]["info"]["user"], "ann");
    // Who does not come back has nothing to lose, and where nothing is kept nothing is lost.
    let first = client.command("subscribe", &json!({ "channel": "room", "flag": 2 }));
    assert_eq!(first["offset"], 12);
    client.command(
        "subscribe",
        &json!({ "channel": "forgets:it", "recover": true, "recoverable": true, "flag": 2 }),
    );
    daemon.stop();
}

#[test]
fn a_cache_gives_the_newest_and_claims_nothing_where_it_has_none() {
    let daemon = start();
    let mut client = Client::connect(&daemon, "ann");
    let nothing = (false, 0, vec![]);
    assert_eq!(recover(&mut client, &since("cache:a", 0, &json!(""))), nothing, "never published");
    let quiet = client.command("subscribe", &json!({ "channel": "cache:a" }));
    client.command("unsubscribe", &json!({ "channel": "cache:a" }));
    assert_eq!(recover(&mut client, &since("cache:a", 0, &quiet["epoch"])), nothing, "never published");

    let epoch = publish(&daemon, "cache:a", 1..=5);
    for (offset, epoch, expected) in [
        (2, &epoch, (true, 2, vec![5])),
        (0, &json!(""), (true, 0, vec![5])),
        (5, &epoch, (true, 5, vec![])),
        // Positions that are no places here: the one before the newest takes theirs.
        (5, &json!("other"), (true, 4, vec![5])),
        (900, &json!("other"), (true, 4, vec![5])),
        (900, &epoch, (true, 4, vec![5])),
    ] {
        assert_eq!(recover(&mut client, &since("cache:a", offset, epoch)), expected, "{offset} of {epoch}");
    }
    call(&daemon, "history_remove", &json!({ "channel": "cache:a" }));
    for (offset, epoch, recovered) in
        [(2, &epoch, false), (0, &json!(""), false), (5, &json!("other"), false), (5, &epoch, true)]
    {
        let (told, at, missed) = recover(&mut client, &since("cache:a", offset, epoch));
        assert_eq!((told, at, missed), (recovered, 5, vec![]), "{offset} of {epoch}, after a removal");
    }
    let strict = json!({ "channel": "cache:a", "recover": true, "offset": 2, "epoch": epoch, "flag": 2 });
    assert!(!recover(&mut client, &strict).0, "of a cache, nothing is complete");

    let epoch = publish(&daemon, "brief:a", [1]);
    eventually("it has expired", || {
        let page = call(&daemon, "history", &json!({ "channel": "brief:a", "limit": 1 }));
        page["publications"].as_array().is_none_or(|none| none.is_empty())
    });
    assert_eq!(recover(&mut client, &since("brief:a", 0, &epoch)), (false, 1, vec![]), "expired");
    daemon.stop();
}

#[test]
fn a_cache_gives_the_newest_that_the_client_wants() {
    let daemon = start();
    let mut client = Client::connect(&daemon, "ann");
    let tagged = |data: u64, kind: &str| {
        call(&daemon, "publish", &json!({ "channel": "cache:t", "data": data, "tags": { "kind": kind } }))
    };
    tagged(1, "even");
    tagged(2, "odd");
    tagged(3, "odd");
    let epoch = tagged(4, "even")["epoch"].take();
    let wants = |offset: u64, kind: &str| {
        let mut request = since("cache:t", offset, &epoch);
        request["tf"] = json!({ "key": "kind", "cmp": "eq", "val": kind });
        request
    };
    assert_eq!(recover(&mut client, &wants(1, "odd")), (true, 1, vec![3]));
    assert_eq!(recover(&mut client, &wants(1, "even")), (true, 1, vec![4]));
    assert_eq!(recover(&mut client, &wants(4, "odd")), (true, 4, vec![]), "it has all there is");
    assert_eq!(recover(&mut client, &wants(1, "none")), (false, 4, vec![]));
    // Six are looked at.
    (0..6).for_each(|data| _ = tagged(data, "even"));
    assert_eq!(recover(&mut client, &wants(1, "odd")), (false, 10, vec![]));
    daemon.stop();
}

#[test]
fn the_servers_subscriptions_recover_as_their_namespace_does() {
    let daemon = start();
    let channels = ["cache:a", "cache:empty", "room"];
    let token = token(&json!({ "sub": "ann", "channels": channels }));
    let epochs = [publish(&daemon, "cache:a", 1..=20), json!("other"), publish(&daemon, "room", 1..=20)];
    let subs: serde_json::Map<_, _> = channels
        .into_iter()
        .zip(&epochs)
        .map(|(channel, epoch)| (channel.to_owned(), since(channel, 2, epoch)))
        .collect();
    let (_, connected) = Client::connect_with(&daemon, &json!({ "token": token, "subs": subs }));
    let said = channels.map(|channel| said(&connected["subs"][channel]));
    assert_eq!(said, [(true, 2, vec![20]), (false, 0, vec![]), (false, 20, vec![])]);
    daemon.stop();
}
