//! Waiting: commands that come before they may be handled, and what they cost.
//!
//! In:  commands behind a connect that a backend decides about, in every wrong and right form; more of them than are read.
//! Out: the same order and the same close codes as without waiting; memory within its bounds.

use std::{
    io::{ErrorKind, Write},
    time::Duration,
};

use holdfast_testkit::{
    Daemon,
    app::{App, Reply},
    client::{Client, SECRET, token},
    eventually,
    peer::{FIN, PING, PONG, Peer, TEXT, frame, request, text},
};
use serde_json::{Value, json};

const TEXT_FRAME: u8 = FIN | TEXT;

/// A daemon whose backend takes its time over connects and calls.
fn daemon(app: &App, client: &str) -> Daemon {
    daemon_with(app, client, "")
}

fn daemon_with(app: &App, client: &str, more: &str) -> Daemon {
    Daemon::start_on_one_core(&format!(
        "[client]\nstale_close_delay = '1m'\n{client}\n[client.token]\nhmac_secret_key = '{SECRET}'\n\
         [client.proxy.connect]\nenabled = true\nendpoint = '{}'\ntimeout = '1m'\n\
         [rpc.without_namespace]\nproxy_enabled = true\n[rpc.proxy]\nendpoint = '{}'\ntimeout = '1m'\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\nallow_publish_for_client = true\n{more}",
        app.url("/connect"),
        app.url("/rpc"),
    ))
}

fn answer_after(app: &App, path: &str, after_ms: u64, body: &Value) {
    let after = Duration::from_millis(after_ms);
    app.answer_with(path, Reply { status: 200, body: body.to_string(), after });
}

fn ann() -> Value {
    json!({ "result": { "user": "ann" } })
}

fn lines(commands: &[Value]) -> String {
    commands.iter().map(Value::to_string).collect::<Vec<_>>().join("\n")
}

fn connect() -> Value {
    json!({ "id": 1, "connect": {} })
}

/// Its reply comes at once.
fn unsubscribe(id: u32) -> Value {
    json!({ "id": id, "unsubscribe": { "channel": "c" } })
}

fn waiting_bytes(daemon: &Daemon) -> u64 {
    daemon.metric("holdfast_memory_bytes", &[("budget", "commands")])
}

/// The numbers of the replies, up to the close frame, whose code is the last.
fn replies_and_code(mut client: Client) -> (Vec<u64>, u16) {
    let mut ids = Vec::new();
    loop {
        match client.next_or_end() {
            Ok(reply) => ids.extend(reply["id"].as_u64()),
            Err(code) => return (ids, code.expect("there is a close frame")),
        }
    }
}

#[test]
fn what_follows_a_connect_is_refused_in_the_same_way_whether_the_connect_waits_or_not() {
    let app = App::start();
    let daemon = daemon(&app, "");
    let nonsense = |command: &Value| format!("{command}\nnonsense");
    // Each is sent as these frames, of which the first begins with the connect.
    let cases: [(&str, Vec<String>, Vec<u64>); 9] = [
        ("garbage in its frame", vec![format!("{}\nnonsense", connect())], vec![1]),
        (
            "garbage behind a command",
            vec![format!("{}\n{}", connect(), nonsense(&unsubscribe(2)))],
            vec![1, 2],
        ),
        ("garbage in the next frame", vec![connect().to_string(), nonsense(&unsubscribe(2))], vec![1, 2]),
        (
            "an empty frame",
            vec![connect().to_string(), unsubscribe(2).to_string(), String::new()],
            vec![1, 2],
        ),
        ("an empty line", vec![format!("{}\n\n{}", connect(), unsubscribe(2))], vec![1]),
        ("a pong that nobody asked for", vec![lines(&[connect(), unsubscribe(2), json!({})])], vec![1, 2]),
        ("a pong in a frame of its own", vec![connect().to_string(), "{}".to_owned()], vec![1]),
        ("a second connect", vec![lines(&[connect(), unsubscribe(2), connect()])], vec![1, 2]),
        ("a command without a number", vec![lines(&[connect(), json!({ "rpc": {} })])], vec![1]),
    ];
    for after_ms in [0, 300] {
        answer_after(&app, "/connect", after_ms, &ann());
        for (what, frames, ids) in &cases {
            let mut client = Client::open(&daemon, "");
            let bytes: Vec<u8> = frames.iter().flat_map(|frame| text(frame)).collect();
            client.peer().send(&bytes);
            assert_eq!(replies_and_code(client), (ids.clone(), 3501), "{what}, after {after_ms} ms");
        }
    }
    // With a token nobody is asked: nothing waits.
    let known = json!({ "id": 1, "connect": { "token": token(&json!({ "sub": "ann" })) } });
    for (what, frames, ids) in &cases {
        let mut client = Client::open(&daemon, "");
        let frames = frames.iter().map(|frame| frame.replacen(&connect().to_string(), &known.to_string(), 1));
        let bytes: Vec<u8> = frames.flat_map(|frame| text(&frame)).collect();
        client.peer().send(&bytes);
        assert_eq!(replies_and_code(client), (ids.clone(), 3501), "{what}, with a token");
    }
    daemon.stop();
}

#[test]
fn what_follows_a_connect_that_is_refused_finds_nobody_connected() {
    let app = App::start();
    let daemon = daemon(&app, "");
    let refusal = json!({ "error": { "code": 1000, "message": "not you" } });
    for after_ms in [0, 300] {
        answer_after(&app, "/connect", after_ms, &refusal);
        let mut client = Client::open(&daemon, "");
        client.peer().send(&text(&lines(&[connect(), unsubscribe(2)])));
        assert_eq!(replies_and_code(client), (vec![1], 3501));
        // Another connect is another try, as it is when the first was not waited for.
        let mut client = Client::open(&daemon, "");
        let again = json!({ "id": 2, "connect": { "token": token(&json!({ "sub": "ann" })) } });
        client.peer().send(&text(&lines(&[connect(), again, unsubscribe(3)])));
        assert_eq!(client.message()["error"]["code"], 1000);
        assert!(client.message().get("connect").is_some());
        assert_eq!(client.message()["id"], 3);
    }
    daemon.stop();
}

#[test]
fn thousands_of_commands_behind_a_connect_that_waits_are_handled_in_their_order() {
    const COUNT: u64 = 3_000;
    let app = App::start();
    let daemon = daemon(&app, "");
    answer_after(&app, "/connect", 500, &ann());
    let mut listener = Client::connect(&daemon, "bob");
    listener.subscribe("room");
    let mut client = Client::open(&daemon, "");
    let publish = |n: u64| json!({ "id": n + 1, "publish": { "channel": "room", "data": n } });
    let mut bytes = text(&lines(&[connect(), publish(1), publish(2)]));
    for n in 3..=COUNT {
        bytes.extend(text(&publish(n).to_string()));
    }
    client.peer().send(&bytes);
    for n in 1..=COUNT {
        assert_eq!(listener.push()["pub"]["data"], n);
    }
    assert!(client.message().get("connect").is_some());
    for n in 1..=COUNT {
        assert_eq!(client.message()["id"], n + 1);
    }
    eventually("nothing waits any more", || waiting_bytes(&daemon) == 0);
    daemon.stop();
}

#[test]
fn who_sends_without_end_behind_a_connect_that_waits_is_held_up_by_tcp_and_costs_little() {
    const SENT_MAX: usize = 64 << 20;
    let app = App::start();
    let daemon = daemon(&app, "");
    answer_after(&app, "/connect", 30_000, &ann());
    let mut neighbor = Client::connect(&daemon, "bob");
    let before = daemon.user_memory_bytes();
    let small = json!({ "id": 2, "publish": { "channel": "c", "data": 1 } }).to_string();
    for (count, payload) in ["", "{}", &small].into_iter().enumerate() {
        let mut client = Client::open(&daemon, "");
        client.peer().send(&text(&connect().to_string()));
        app.await_asked("/connect", count + 1);
        let mut sender = client.peer().sender();
        sender.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout can be set");
        let flood = frame(TEXT_FRAME, payload.as_bytes()).repeat(4096);
        let mut sent = 0;
        while sent < SENT_MAX {
            match sender.write(&flood) {
                Ok(count) => sent += count,
                Err(error) => {
                    let is_held_up = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                    assert!(is_held_up, "{payload:?}: {error}");
                    break;
                }
            }
        }
        assert!(sent < SENT_MAX, "{payload:?}: {sent} bytes were taken");
        neighbor.subscribe(&format!("c{count}"));
        let waits = waiting_bytes(&daemon);
        assert!(waits < 8 << 20, "{waits} bytes wait for {payload:?}");
        let grown = daemon.user_memory_bytes().saturating_sub(before);
        assert!(grown < 24 << 20, "{grown} bytes for {payload:?}");
        client.reset();
    }
    eventually("all is given back", || waiting_bytes(&daemon) == 0);
    daemon.stop();
}

#[test]
fn when_all_that_waits_is_too_much_those_go_for_whom_most_waits() {
    let app = App::start();
    let daemon = daemon(&app, "command_budget = '1MiB'");
    answer_after(&app, "/connect", 4_000, &ann());
    let mut small = Client::open(&daemon, "");
    small.peer().send(&text(&lines(&[connect(), unsubscribe(2)])));
    let pad = "x".repeat(60_000);
    let command = json!({ "id": 2, "publish": { "channel": "c", "data": pad } }).to_string();
    let clients = (0..24).map(|_| {
        let mut client = Client::open(&daemon, "");
        client.peer().send(&text(&connect().to_string()));
        client.peer().send(&text(&command));
        client
    });
    let clients: Vec<Client> = clients.collect();
    eventually("some are sent away", || daemon.closes("receive_budget") > 0);
    let waits = waiting_bytes(&daemon);
    assert!(waits < 3 << 20, "{waits} bytes wait");
    assert_eq!(code_of_some(clients), 3013);
    assert!(small.message().get("connect").is_some());
    assert_eq!(small.message()["id"], 2, "who has little waiting is served");
    daemon.stop();
}

/// The code with which some of these were sent away.
fn code_of_some(clients: Vec<Client>) -> u16 {
    let codes = clients.into_iter().filter_map(|mut client| {
        loop {
            match client.next_or_end() {
                Ok(reply) if reply["id"] == 2 => return None,
                Ok(_) => {}
                Err(code) => return code,
            }
        }
    });
    codes.max().expect("some were sent away")
}

#[test]
fn calls_that_wait_for_a_backend_are_bounded_in_number_and_in_bytes_and_a_single_long_one_passes() {
    let app = App::start();
    let client = "command_budget = '1MiB'\nqueue_max_size = '2MiB'";
    let daemon = daemon_with(&app, client, "[websocket]\nmessage_size_limit = '1MiB'");
    answer_after(&app, "/rpc", 2_000, &json!({ "result": { "data": 7 } }));
    let mut client = Client::connect(&daemon, "ann");
    client.send(&[("rpc", json!({ "data": "x".repeat(900_000) }))]);
    app.await_asked("/rpc", 1);
    let mut other = Client::connect(&daemon, "bob");
    assert_eq!(other.error("rpc", &json!({ "data": "x".repeat(200_000) })), 111, "the budget is used up");
    assert_eq!(client.message()["rpc"]["data"], 7);
    let first = other.send(&vec![("rpc", json!({})); 200]);
    let mut errors = 0;
    for _ in 0..200 {
        let reply = other.message();
        assert!(reply["id"].as_u64().is_some_and(|id| id >= u64::from(first)));
        errors += u32::from(reply["error"]["code"] == 111);
    }
    assert_eq!(errors, 200 - 128);
    eventually("nothing waits any more", || waiting_bytes(&daemon) == 0);
    daemon.stop();
}

#[test]
fn header_fields_of_a_connect_have_a_limit() {
    let app = App::start();
    let endpoint = app.url("/connect");
    let daemon = Daemon::start_on_one_core(&format!(
        "[client.proxy.connect]\nenabled = true\nendpoint = '{endpoint}'\nemulated_headers = ['X-A']"
    ));
    app.answer("/connect", &ann());
    let with = |len: usize| json!({ "headers": { "X-A": "a".repeat(len) } });
    assert_eq!(Client::open(&daemon, "").error("connect", &with(9_000)), 106);
    Client::open(&daemon, "").command("connect", &with(8_000));
    daemon.stop();
}

#[test]
fn records_of_clients_have_a_budget_past_which_newcomers_are_told_to_come_later() {
    let daemon = Daemon::start_on_one_core(&format!(
        "[client]\nsession_budget = '1MiB'\nchannel_limit = 4000\n[client.token]\nhmac_secret_key = '{SECRET}'\n\
         [sse]\nenabled = true\n[http_stream]\nenabled = true\n[poll]\nenabled = true\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true"
    ));
    let used = || daemon.metric("holdfast_memory_bytes", &[("budget", "sessions")]);
    let mut client = Client::connect(&daemon, "ann");
    let mut subscribed = 0;
    let refused = loop {
        let reply = client.ask("subscribe", &json!({ "channel": format!("{subscribed:0100}") }));
        match reply["error"]["code"].as_u64() {
            None => subscribed += 1,
            Some(code) => break code,
        }
    };
    assert_eq!(refused, 111);
    assert!((500..4_000).contains(&subscribed), "{subscribed} channels in a megabyte");
    assert!(used() <= (1 << 20) + (64 << 10), "{} bytes", used());
    for (method, path, body) in [
        ("GET", "/connection/websocket", String::new()),
        ("POST", "/connection/http_stream", connect().to_string()),
        ("POST", "/connection/poll", json!({ "commands": [connect()] }).to_string()),
        ("GET", "/connection/sse?cf_connect=%7B%7D", String::new()),
    ] {
        let mut peer = Peer::connect(&daemon);
        let head = match path {
            "/connection/websocket" => request(path),
            _ => format!(
                "{method} {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        };
        peer.send(head.as_bytes());
        let (head, _) = peer.response();
        assert!(head.starts_with("HTTP/1.1 503") && head.contains("\r\nRetry-After: "), "{path}: {head}");
    }
    // Who has one subscription less makes room for another one.
    client.command("unsubscribe", &json!({ "channel": format!("{:0100}", 0) }));
    client.subscribe("c");
    client.reset();
    eventually("all is given back", || used() < 300 << 10);
    Client::connect(&daemon, "bob").subscribe("c");
    daemon.stop();
}

/// The connection of a client below its protocol.
#[test]
fn a_ping_behind_a_connect_that_waits_is_answered_when_it_is_over() {
    let app = App::start();
    let daemon = daemon(&app, "");
    answer_after(&app, "/connect", 300, &ann());
    let mut peer = Peer::open(&daemon, "/connection/websocket");
    peer.send(&text(&connect().to_string()));
    app.await_asked("/connect", 1);
    peer.send(&text(&unsubscribe(2).to_string()));
    peer.send(&frame(FIN | PING, b"late"));
    let opcodes: Vec<u8> = (0..3).map(|_| peer.frame().opcode).collect();
    assert!(opcodes.contains(&PONG), "{opcodes:?}");
    daemon.stop();
}
