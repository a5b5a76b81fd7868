//! Backend: what the application decides when it is asked about its clients.
//!
//! In:  a backend with real sockets that answers, refuses, is late or talks nonsense; clients.
//! Out: what it was asked, and what the clients are told.

use std::{
    thread::sleep,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use holdfast_testkit::{
    Daemon,
    app::{App, Reply},
    client::{Client, SECRET, token},
    eventually,
    peer::{Peer, request, text},
};
use serde_json::{Value, json};

/// Every event goes to `app`; a late answer is one after 300 ms.
fn daemon(app: &App) -> Daemon {
    daemon_with(app, "")
}

fn daemon_with(app: &App, more: &str) -> Daemon {
    let proxy = |section: &str, event: &str, more: &str| {
        format!("[{section}]\nendpoint = '{}'\ntimeout = '300ms'\n{more}\n", app.url(&format!("/{event}")))
    };
    let fields = "enabled = true\nhttp_headers = ['Cookie', 'X-Who']\nemulated_headers = ['X-Who', 'Authorization']\n\
                  http.static_headers = { X-Key = 'secret', X-Who = 'static' }";
    let meta = "include_connection_meta = true";
    let sections = [
        proxy("client.proxy.connect", "connect", fields),
        proxy("client.proxy.refresh", "refresh", "enabled = true"),
        proxy("rpc.proxy", "rpc", meta),
        proxy("channel.proxy.subscribe", "subscribe", ""),
        proxy("channel.proxy.publish", "publish", ""),
        proxy("channel.proxy.sub_refresh", "sub_refresh", ""),
    ];
    Daemon::start(&format!(
        "[client]\nping_interval = '1s'\npong_timeout = '900ms'\n\
         [client.token]\nhmac_secret_key = '{SECRET}'\n{}\
         [rpc.without_namespace]\nproxy_enabled = true\n\
         [[rpc.namespaces]]\nname = 'off'\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\nallow_publish_for_client = true\n\
         [[channel.namespaces]]\nname = 'asked'\npresence = true\nallow_presence_for_subscriber = true\n\
         history_size = 10\nhistory_ttl = '1m'\nsubscribe_proxy_enabled = true\n\
         publish_proxy_enabled = true\nsub_refresh_proxy_enabled = true\n{more}",
        sections.concat()
    ))
}

fn connect(daemon: &Daemon) -> Client {
    Client::connect(daemon, "ann")
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}

/// What no backend should say; each is a failure.
fn failures() -> [Reply; 4] {
    let reply = |status, body: &str, after_ms| Reply {
        status,
        body: body.to_owned(),
        after: Duration::from_millis(after_ms),
    };
    [
        reply(200, "{}", 5_000),
        reply(200, "<html>", 0),
        reply(500, "{}", 0),
        reply(200, r#"{"disconnect":{"code":7}}"#, 0),
    ]
}

#[test]
fn the_backend_says_who_connects_without_a_token() {
    let app = App::start();
    let daemon = daemon(&app);
    app.answer(
        "/connect",
        &json!({ "result": {
            "user": "ann", "info": { "name": "Ann" }, "data": { "welcome": true }, "meta": { "level": 3 },
            "channels": ["news"], "subs": { "asked:1": { "data": { "topic": "a" } } },
        } }),
    );
    let mut client = Client::open(&daemon, "Cookie: a=b\r\nX-Other: c\r\n");
    let connected = client.command(
        "connect",
        &json!({
            "data": { "room": 7 }, "name": "js", "version": "1.2", "subs": { "news": {} },
            "headers": { "x-who": "me", "Authorization": "Bearer t", "X-Evil": "e" },
        }),
    );
    assert_eq!(connected["data"], json!({ "welcome": true }));
    assert_eq!(connected["subs"]["asked:1"]["data"], json!({ "topic": "a" }));
    assert!(connected["subs"].get("news").is_some());

    let asked = app.asked("/connect").remove(0);
    let expected = json!({
        "client": connected["client"], "transport": "websocket", "protocol": "json", "encoding": "json",
        "data": { "room": 7 }, "name": "js", "version": "1.2", "channels": ["news"],
    });
    assert_eq!(asked.body, expected);
    let field = |name: &str| asked.headers.get(name).map(|value| value.to_str().expect("it is text"));
    assert_eq!(field("cookie"), Some("a=b"));
    assert_eq!((field("x-who"), field("authorization")), (Some("me"), Some("Bearer t")));
    assert_eq!((field("x-key"), field("content-type")), (Some("secret"), Some("application/json")));
    assert_eq!((field("x-evil"), field("x-other")), (None, None));

    app.answer("/rpc", &json!({ "result": {} }));
    client.command("rpc", &json!({ "method": "who" }));
    let asked = app.asked("/rpc").remove(0).body;
    assert_eq!((&asked["user"], &asked["meta"]), (&json!("ann"), &json!({ "level": 3 })));
    let presence = client.command("presence", &json!({ "channel": "asked:1" }))["presence"].take();
    assert_eq!(presence[connected["client"].as_str().unwrap()]["conn_info"], json!({ "name": "Ann" }));
    // Who has a token is not asked about.
    connect(&daemon);
    assert_eq!(app.asked("/connect").len(), 1);
    daemon.stop();
}

#[test]
fn the_backend_is_told_all_lines_of_a_field_in_their_order_and_as_their_bytes() {
    let app = App::start();
    let daemon = Daemon::start(&format!(
        "[poll]\nenabled = true\n[sse]\nenabled = true\n\
         [client.proxy.connect]\nenabled = true\nendpoint = '{}'\n\
         http_headers = ['X-Forwarded-For', 'Cookie', 'X-Latin']\nemulated_headers = ['X-Emulated']",
        app.url("/connect")
    ));
    app.answer("/connect", &json!({ "result": { "user": "ann" } }));
    // The first line is what the client wrote, the second one what an honest proxy has added.
    let fields = "X-Forwarded-For: 6.6.6.6\r\nCookie: a=b\r\nX-Latin: caf\u{e9}\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.1\r\n\
                  cookie: c=d\r\nx-forwarded-for: 10.0.0.2\r\n";
    // Not UTF-8.
    let fields = fields.as_bytes().iter().copied().filter(|byte| *byte != 0xc3).collect::<Vec<_>>();
    let upgrade = request("/connection/websocket");
    let (line, rest) = upgrade.split_once("\r\n").expect("it has lines");
    let mut peer = Peer::connect(&daemon);
    peer.send(&[line.as_bytes(), b"\r\n", &fields, rest.as_bytes()].concat());
    peer.expect_upgrade();
    let connect = r#"{"id":1,"connect":{"headers":{"x-emulated":"1","X-Emulated":"caf\u00e9"}}}"#;
    peer.send(&text(connect));
    peer.frame();
    let mut poll = Peer::connect(&daemon);
    let body = format!("{{\"commands\":[{connect}]}}");
    let head = format!("POST /connection/poll HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n", body.len());
    poll.send(&[head.as_bytes(), &fields, b"\r\n", body.as_bytes()].concat());
    assert!(poll.response().0.starts_with("HTTP/1.1 200 "));
    let asked = app.asked("/connect");
    assert_eq!(asked.len(), 2);
    for asked in asked {
        let field =
            |name: &str| asked.headers.get_all(name).iter().map(|value| value.as_bytes()).collect::<Vec<_>>();
        assert_eq!(field("x-forwarded-for"), [b"6.6.6.6, 192.0.2.1, 10.0.0.1, 10.0.0.2"]);
        assert_eq!(field("cookie"), [b"a=b; c=d"]);
        assert_eq!(field("x-latin"), [b"caf\xa9"]);
        assert_eq!(field("x-emulated"), ["1, caf\u{e9}".as_bytes()]);
    }
    daemon.stop();
}

#[test]
fn a_connect_is_refused_in_the_words_of_the_backend() {
    let app = App::start();
    let daemon = daemon(&app);
    let connect = || Client::open(&daemon, "");
    app.answer("/connect", &json!({ "error": { "code": 1000, "message": "not you", "temporary": true } }));
    let expected = json!({ "code": 1000, "message": "not you", "temporary": true });
    assert_eq!(connect().ask("connect", &json!({}))["error"], expected);
    for reply in failures() {
        app.answer_with("/connect", reply);
        assert_eq!(connect().error("connect", &json!({})), 100);
    }
    app.answer("/connect", &json!({ "disconnect": { "code": 4567, "reason": "go away" } }));
    let mut client = connect();
    client.send(&[("connect", json!({}))]);
    assert_eq!(client.expect_close(), (4567, "go away".to_owned()));
    // Whom the backend does not know has no credentials.
    app.answer("/connect", &json!({}));
    let mut client = connect();
    client.send(&[("connect", json!({}))]);
    assert_eq!(client.expect_close().0, 3501);
    app.answer("/connect", &json!({ "result": { "user": "ann", "channels": ["nope:1"] } }));
    assert_eq!(connect().error("connect", &json!({})), 102);
    assert_eq!(daemon.metric("holdfast_backend_calls_total", &[("event", "connect")]), 8);
    assert_eq!(daemon.metric("holdfast_backend_failures_total", &[("event", "connect")]), 4);
    daemon.stop();
}

#[test]
fn what_follows_a_connect_waits_for_its_answer_and_keeps_its_order() {
    let app = App::start();
    let daemon = daemon(&app);
    let after = Duration::from_millis(100);
    app.answer_with("/connect", Reply { status: 200, body: r#"{"result":{"user":"ann"}}"#.into(), after });
    let mut client = Client::open(&daemon, "");
    let publish = |n: u32| ("publish", json!({ "channel": "a", "data": n }));
    client.send(&[("connect", json!({})), ("subscribe", json!({ "channel": "a" })), publish(1)]);
    client.send(&[publish(2), publish(3)]);
    let messages: Vec<_> = (0..8).map(|_| client.message()).collect();
    assert!(messages[0].get("connect").is_some(), "{messages:?}");
    let mut ids: Vec<_> = messages.iter().filter_map(|message| message["id"].as_u64()).collect();
    assert_eq!(ids[..2], [1, 2], "{messages:?}");
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 5], "{messages:?}");
    let said = messages.iter().filter_map(|message| message["push"]["pub"]["data"].as_u64());
    assert_eq!(said.collect::<Vec<_>>(), [1, 2, 3]);
    daemon.stop();
}

#[test]
fn calls_are_answered_by_the_backend_and_nobody_waits_for_a_slow_one() {
    let app = App::start();
    let daemon = daemon(&app);
    let mut client = connect(&daemon);
    app.answer("/rpc", &json!({ "result": { "data": { "sum": 3 } } }));
    let call = json!({ "method": "sum", "data": [1, 2] });
    assert_eq!(client.command("rpc", &call), json!({ "data": { "sum": 3 } }));
    let asked = app.asked("/rpc").remove(0).body;
    assert_eq!((&asked["method"], &asked["data"]), (&json!("sum"), &json!([1, 2])));
    app.answer("/rpc", &json!({ "result": { "b64data": "eyJhIjoxfQ==" } }));
    assert_eq!(client.command("rpc", &call), json!({ "data": { "a": 1 } }));

    app.answer("/rpc", &json!({ "error": { "code": 1001, "message": "no numbers" } }));
    assert_eq!(client.ask("rpc", &call)["error"], json!({ "code": 1001, "message": "no numbers" }));
    for reply in failures() {
        app.answer_with("/rpc", reply);
        assert_eq!(client.error("rpc", &call), 100);
    }
    assert_eq!(client.error("rpc", &json!({ "method": "off:sum" })), 108);
    assert_eq!(client.error("rpc", &json!({ "method": "nowhere:sum" })), 104);

    let after = Duration::from_millis(150);
    app.answer_with("/rpc", Reply { status: 200, body: r#"{"result":{"data":1}}"#.into(), after });
    let first = client.send(&[("rpc", call.clone()), ("subscribe", json!({ "channel": "a" }))]);
    assert_eq!(client.message()["id"], first + 1, "the subscription did not wait");
    assert_eq!(client.message(), json!({ "id": first, "rpc": { "data": 1 } }));

    app.answer("/rpc", &json!({ "disconnect": { "code": 4001, "reason": "later" } }));
    client.send(&[("rpc", call)]);
    assert_eq!(client.expect_close(), (4001, "later".to_owned()));
    daemon.stop();
}

#[test]
fn an_answer_for_a_client_that_has_left_reaches_nobody() {
    let app = App::start();
    let daemon = daemon(&app);
    let after = Duration::from_millis(200);
    app.answer_with("/rpc", Reply { status: 200, body: r#"{"result":{"data":"late"}}"#.into(), after });
    let mut gone: Vec<_> = (0..8).map(|_| connect(&daemon)).collect();
    for client in &mut gone {
        client.send(&[("rpc", json!({ "method": "a" }))]);
    }
    app.await_asked("/rpc", 8);
    gone.into_iter().for_each(Client::reset);
    daemon.await_empty();
    // They have the places of those that have gone.
    app.answer("/rpc", &json!({ "result": { "data": "own" } }));
    let mut clients: Vec<_> = (0..8).map(|_| connect(&daemon)).collect();
    sleep(Duration::from_millis(250));
    for client in &mut clients {
        assert_eq!(client.send(&[("rpc", json!({ "method": "b" }))]), 2);
        assert_eq!(client.message(), json!({ "id": 2, "rpc": { "data": "own" } }));
    }
    daemon.stop();
}

#[test]
fn the_backend_says_who_may_subscribe_and_how() {
    let app = App::start();
    let daemon = daemon(&app);
    let mut client = connect(&daemon);
    let subscribe = |name: &str| json!({ "channel": name, "data": { "key": 1 } });
    app.answer(
        "/subscribe",
        &json!({ "result": {
            "info": { "role": "host" }, "data": { "topic": "a" }, "override": { "force_recovery": { "value": true } },
        } }),
    );
    let result = client.command("subscribe", &subscribe("asked:1"));
    assert_eq!((&result["data"], &result["recoverable"]), (&json!({ "topic": "a" }), &json!(true)));
    let asked = app.asked("/subscribe").remove(0).body;
    assert_eq!(
        (&asked["user"], &asked["channel"], &asked["data"]),
        (&json!("ann"), &json!("asked:1"), &json!({ "key": 1 }))
    );
    let presence = client.command("presence", &json!({ "channel": "asked:1" }))["presence"].take();
    assert_eq!(presence[client.id.as_str()]["chan_info"], json!({ "role": "host" }));
    assert_eq!(client.error("subscribe", &subscribe("asked:1")), 105);

    app.answer("/subscribe", &json!({ "result": { "override": { "presence": { "value": false } } } }));
    client.command("subscribe", &subscribe("asked:hidden"));
    let presence = client.command("presence", &json!({ "channel": "asked:hidden" }));
    assert!(presence["presence"].get(client.id.as_str()).is_none(), "{presence}");

    app.answer("/subscribe", &json!({ "error": { "code": 403, "message": "members only" } }));
    assert_eq!(client.error("subscribe", &subscribe("asked:2")), 403);
    for reply in failures() {
        app.answer_with("/subscribe", reply);
        assert_eq!(client.error("subscribe", &subscribe("asked:2")), 100);
    }
    let after = Duration::from_millis(100);
    app.answer_with("/subscribe", Reply { status: 200, body: "{}".into(), after });
    let first = client.send(&[
        ("subscribe", subscribe("asked:3")),
        ("subscribe", subscribe("asked:3")),
        ("unsubscribe", subscribe("asked:3")),
    ]);
    let replies: Vec<Value> = (0..3).map(|_| client.message()).collect();
    let code = |id: u32| {
        let reply = replies.iter().find(|reply| reply["id"] == id).expect("every command is answered");
        reply["error"]["code"].as_u64().unwrap_or(0)
    };
    assert_eq!([first, first + 1, first + 2].map(code), [0, 105, 0], "it ends when it is made");
    client.command("subscribe", &subscribe("asked:3"));
    app.answer("/subscribe", &json!({ "disconnect": { "code": 4500, "reason": "thief" } }));
    client.send(&[("subscribe", subscribe("asked:4"))]);
    assert_eq!(client.expect_close(), (4500, "thief".to_owned()));
    daemon.stop();
}

#[test]
fn the_backend_says_what_is_published() {
    let app = App::start();
    let daemon = daemon(&app);
    app.answer("/subscribe", &json!({}));
    let mut client = connect(&daemon);
    client.subscribe("asked:1");
    let publish = json!({ "channel": "asked:1", "data": { "text": "damn" } });
    app.answer("/publish", &json!({ "result": { "data": { "text": "d***" }, "tags": { "mild": "yes" } } }));
    client.command("publish", &publish);
    let said = client.push()["pub"].take();
    assert_eq!((&said["data"], &said["tags"]), (&json!({ "text": "d***" }), &json!({ "mild": "yes" })));
    assert_eq!((&said["info"]["user"], &said["offset"]), (&json!("ann"), &json!(1)));
    app.answer("/publish", &json!({ "result": { "skip_history": true } }));
    client.command("publish", &publish);
    let said = client.push()["pub"].take();
    assert_eq!((&said["data"], said.get("offset")), (&publish["data"], None));
    assert_eq!(app.asked("/publish")[0].body["data"], publish["data"]);
    app.answer("/publish", &json!({ "error": { "code": 1002, "message": "quiet" } }));
    assert_eq!(client.error("publish", &publish), 1002);
    for reply in failures() {
        app.answer_with("/publish", reply);
        assert_eq!(client.error("publish", &publish), 100);
    }
    daemon.stop();
}

#[test]
fn the_backend_says_whether_an_expired_session_goes_on() {
    let app = App::start();
    let daemon = daemon(&app);
    let expiring = json!({ "token": token(&json!({ "sub": "ann", "expire_at": now_s() + 3 })) });
    app.answer_each("/refresh", |nth| match nth {
        1 => json!({ "result": { "expire_at": now_s() + 2 } }),
        _ => json!({ "result": { "expired": true } }),
    });
    let (client, connected) = Client::connect_with(&daemon, &expiring);
    assert!(connected.get("expires").is_none(), "the client has nothing to do: {connected}");
    assert_eq!(client.expect_close().0, 3005);
    let asked = app.asked("/refresh");
    assert_eq!((asked.len(), &asked[0].body["user"]), (2, &json!("ann")), "it went on once");
    // A client that sends a refresh command has not understood.
    let mut client = connect(&daemon);
    client.send(&[("refresh", json!({ "token": "t" }))]);
    assert_eq!(client.expect_close().0, 3501);
    daemon.stop();
}

#[test]
fn a_session_outlives_a_backend_that_does_not_say_whether_it_goes_on() {
    let app = App::start();
    let daemon = daemon(&app);
    let expiring = json!({ "token": token(&json!({ "sub": "ann", "expire_at": now_s() + 3 })) });
    let (mut client, _) = Client::connect_with(&daemon, &expiring);
    eventually("the backend is asked, and fails", || {
        client.command("subscribe", &json!({ "channel": "a" }));
        client.command("unsubscribe", &json!({ "channel": "a" }));
        daemon.metric("holdfast_backend_failures_total", &[("event", "refresh")]) == 1
    });
    client.subscribe("b");
    assert_eq!(app.asked("/refresh").len(), 1, "and is not asked again at once");
    daemon.stop();
}

#[test]
fn the_backend_says_whether_an_expired_subscription_goes_on() {
    let app = App::start();
    let daemon = daemon(&app);
    app.answer_each("/subscribe", |_| json!({ "result": { "expire_at": now_s() + 2 } }));
    app.answer_each("/sub_refresh", |nth| match nth {
        1 => json!({ "result": { "expire_at": now_s() + 2 } }),
        _ => json!({ "result": { "expired": true } }),
    });
    let mut client = connect(&daemon);
    let result = client.subscribe("asked:1");
    assert!(result.get("expires").is_none(), "the client has nothing to do: {result}");
    let push = client.push();
    assert_eq!((&push["channel"], &push["unsubscribe"]["code"]), (&json!("asked:1"), &json!(2501)));
    assert_eq!(app.asked("/sub_refresh").len(), 2, "it went on once");
    assert_eq!(app.asked("/sub_refresh")[0].body["channel"], "asked:1");
    daemon.stop();
}

#[test]
fn others_see_what_the_backend_says_with_a_refresh() {
    let app = App::start();
    let daemon = daemon(&app);
    app.answer_each("/subscribe", |_| json!({ "result": { "expire_at": now_s() + 2, "info": "new" } }));
    app.answer("/refresh", &json!({ "result": { "expire_at": now_s() + 600, "info": "host" } }));
    app.answer("/sub_refresh", &json!({ "result": { "expire_at": now_s() + 600, "info": "old" } }));
    let expiring =
        json!({ "token": token(&json!({ "sub": "ann", "expire_at": now_s() + 3, "info": "guest" })) });
    let (mut client, _) = Client::connect_with(&daemon, &expiring);
    client.subscribe("asked:1");
    let expected = json!({ "user": "ann", "client": client.id, "conn_info": "host", "chan_info": "old" });
    eventually("both are renewed", || {
        let presence = client.command("presence", &json!({ "channel": "asked:1" }));
        presence["presence"][&client.id] == expected
    });
    daemon.stop();
}

#[test]
fn what_the_control_thread_cannot_take_is_answered_at_once_and_counted() {
    let app = App::start();
    let daemon = daemon_with(&app, "[backend]\nconcurrency = 1\nqueue_size = 1\n");
    let after = Duration::from_millis(100);
    app.answer_with("/rpc", Reply { status: 200, body: r#"{"result":{"data":1}}"#.into(), after });
    let mut client = connect(&daemon);
    client.send(&vec![("rpc", json!({ "method": "a" })); 10]);
    let replies: Vec<Value> = (0..10).map(|_| client.message()).collect();
    let refused = replies.iter().filter(|reply| reply["error"]["code"] == 100).count();
    let answered = replies.iter().filter(|reply| reply["rpc"]["data"] == 1).count();
    assert!(answered >= 1 && refused >= 6 && answered + refused == 10, "{replies:?}");
    assert_eq!(daemon.metric("holdfast_backend_overflows_total", &[]), refused as u64);
    let many = vec![("rpc", json!({ "method": "a" })); 200];
    client.send(&many);
    (0..200).for_each(|_| drop(client.message()));
    daemon.stop();
}
