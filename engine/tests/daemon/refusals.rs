//! Refusals: an operator sees who was refused what, and what would have let it in.
//!
//! In:  clients, callers and strangers that are refused in every way.
//! Out: a line in the log with the address, the origin, the user, the channel, the option or claim; and a number.

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET, token},
    eventually,
    peer::{CLOSE, Peer, request, text},
};
use serde_json::{Value, json};

/// Waits for a line with all these parts.
fn line(daemon: &Daemon, parts: &[&str]) -> String {
    let mut found = String::new();
    eventually(&format!("a line says {parts:?}"), || {
        let log = daemon.log();
        let line = log.lines().find(|line| parts.iter().all(|part| line.contains(part)));
        found = line.unwrap_or_default().to_owned();
        line.is_some()
    });
    found
}

/// The status of the answer to a handshake from an address of its own.
fn handshake(daemon: &Daemon, from: [u8; 4], path: &str, fields: &str) -> String {
    let mut peer = Peer::connect_from(from, daemon);
    let head = request(path).replacen("\r\n\r\n", &format!("\r\n{fields}\r\n"), 1);
    peer.send(head.as_bytes());
    peer.response().0[9..12].to_owned()
}

/// The code of the close frame that answers a first command.
fn disconnected(daemon: &Daemon, from: [u8; 4], command: &Value) -> u16 {
    let mut peer = Peer::connect_from(from, daemon);
    peer.send(request("/connection/websocket").as_bytes());
    peer.expect_upgrade();
    peer.send(&text(&command.to_string()));
    let last = std::iter::from_fn(|| peer.frame_or_end()).find(|frame| frame.opcode == CLOSE);
    last.expect("a close frame comes").close_code()
}

#[test]
fn a_handshake_that_is_refused_leaves_a_line_with_its_address_its_path_and_its_origin() {
    let daemon = Daemon::start("[client]\nallowed_origins = ['https://a.example']");
    let origin = "Origin: https://evil.example\r\n";
    assert_eq!(handshake(&daemon, [127, 0, 0, 7], "/connection/websocket", origin), "403");
    line(
        &daemon,
        &[
            "INFO a request was refused",
            "reason=\"origin\"",
            "code=403",
            "address=\"127.0.0.7\"",
            "path=\"/connection/websocket\"",
            "origin=\"https://evil.example\"",
            "allow=\"client.allowed_origins with this origin\"",
        ],
    );
    assert_eq!(handshake(&daemon, [127, 0, 0, 8], "/connection/sse", ""), "404");
    line(&daemon, &["reason=\"path\"", "address=\"127.0.0.8\"", "/connection/sse", "allow=\"sse.enabled\""]);
    assert_eq!(handshake(&daemon, [127, 0, 0, 9], "/echo", "Sec-WebSocket-Key: again\r\n"), "400");
    line(&daemon, &["reason=\"key_repeated\"", "address=\"127.0.0.9\"", "path=\"/echo\""]);
    for reason in ["origin", "path", "request"] {
        assert_eq!(daemon.metric("holdfast_refusals_total", &[("reason", reason)]), 1, "{reason}");
    }
    daemon.stop();
}

#[test]
fn what_a_peer_writes_is_quoted_and_cut_and_makes_no_line_of_its_own() {
    let daemon = Daemon::start(&format!("[client.token]\nhmac_secret_key = '{SECRET}'"));
    let mut client = Client::connect(&daemon, "ann\nERROR the user speaks\u{1b}[2J");
    let channel = format!("no:\nERROR the channel speaks\u{1b}[31m{}", "x".repeat(5_000));
    client.error("subscribe", &json!({ "channel": channel }));
    let shown = line(&daemon, &["event=\"subscribe\"", "a command was refused"]);
    assert!(shown.contains(r#"channel="no:\nERROR the channel speaks\u{1b}[31mxxx"#), "{shown}");
    assert!(shown.len() < 2_000, "{} bytes", shown.len());
    let log = daemon.log();
    assert!(!log.lines().any(|line| line.trim_start().starts_with("ERROR")), "{log}");
    assert!(!log.contains('\u{1b}'), "{log}");
    drop(client);
    daemon.stop();
}

#[test]
fn what_was_wrong_with_one_who_is_going_is_said_of_nobody_else() {
    let daemon = Daemon::start(&format!(
        "[engine]\nshards = 1\n[client]\nallow_anonymous_connect_without_token = true\n\
         [client.token]\nhmac_secret_key = '{SECRET}'"
    ));
    let mut going = Peer::connect(&daemon);
    going.send(request("/connection/websocket").as_bytes());
    going.expect_upgrade();
    let connect = text(&json!({ "id": 1, "connect": {} }).to_string());
    going.send(&connect);
    going.frame_or_end().expect("it is connected");
    // The second connect ends the session. The frame behind it, which is not masked, has no line of its own any more.
    going.send(&[&connect[..], &[0x81, 1, b'x']].concat());
    while going.frame_or_end().is_some() {}
    let mut other = Client::connect(&daemon, "ann");
    assert_eq!(other.error("subscribe", &json!({ "channel": "no:channel" })), 102);
    let shown = line(&daemon, &["event=\"subscribe\"", "a command was refused", "user=\"ann\""]);
    assert!(!shown.contains("mask"), "{shown}");
    drop(other);
    daemon.stop();
}

#[test]
fn who_brings_no_token_or_a_bad_one_leaves_a_line_with_what_would_have_let_it_in() {
    let daemon = Daemon::start(&format!("[client.token]\nhmac_secret_key = '{SECRET}'\naudience = 'us'"));
    let connect = |claims: &Value| json!({ "id": 1, "connect": { "token": token(claims) } });
    for (number, (command, code, parts)) in [
        (
            json!({ "id": 1, "connect": {} }),
            3501,
            ["no_token", "client.allow_anonymous_connect_without_token"],
        ),
        (
            json!({ "id": 1, "connect": { "token": "nonsense" } }),
            3500,
            ["token_not_three_parts", "holdfast token gen"],
        ),
        (connect(&json!({ "sub": "ann", "aud": "them" })), 3500, ["token_audience", "the claim aud"]),
        (
            json!({ "id": 1, "subscribe": { "channel": "news" } }),
            3501,
            ["command_before_connect", "a connect command first"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let from = [127, 0, 1, u8::try_from(number + 1).expect("few")];
        assert_eq!(disconnected(&daemon, from, &command), code);
        let address = format!("address=\"127.0.1.{}\"", number + 1);
        let shown =
            line(&daemon, &["a client was disconnected", &format!("code={code}"), parts[0], parts[1]]);
        assert!(shown.contains(&address), "{shown}");
    }
    assert_eq!(daemon.metric("holdfast_disconnects_total", &[("reason", "invalid_token")]), 2);
    assert_eq!(daemon.metric("holdfast_disconnects_total", &[("reason", "bad_request")]), 2);
    // A token that has expired leaves the connection open.
    let mut client = Client::open(&daemon, "");
    let expired = token(&json!({ "sub": "ann", "aud": "us", "exp": 1 }));
    assert_eq!(client.error("connect", &json!({ "token": expired })), 109);
    line(
        &daemon,
        &["event=\"connect\"", "token_expired", "code=109", "allow=\"the claim exp\"", "expired: exp is 1"],
    );
    drop(client);
    daemon.stop();
}

#[test]
fn a_command_that_is_refused_leaves_a_line_with_the_option_that_is_missing() {
    let daemon = Daemon::start(&format!(
        "[client.token]\nhmac_secret_key = '{SECRET}'\n[channel.without_namespace]\nallow_publish_for_subscriber = true\n\
         [[channel.namespaces]]\nname = 'news'"
    ));
    let mut client = Client::connect(&daemon, "ann");
    for (name, request, code, parts) in [
        ("subscribe", json!({ "channel": "game:1" }), 102, ["unknown_channel", "channel.namespaces"]),
        (
            "subscribe",
            json!({ "channel": "news:1" }),
            103,
            ["permission_denied", "allow_subscribe_for_client in channel.namespaces[news]"],
        ),
        ("subscribe", json!({ "channel": "$own" }), 103, ["permission_denied", "a subscription token"]),
        (
            "publish",
            json!({ "channel": "chat", "data": {} }),
            103,
            ["permission_denied", "allow_publish_for_client in channel.without_namespace"],
        ),
        ("history", json!({ "channel": "chat" }), 108, ["not_available", "history_size and history_ttl"]),
        (
            "presence",
            json!({ "channel": "news:1" }),
            108,
            ["not_available", "presence in channel.namespaces"],
        ),
        ("rpc", json!({ "method": "sum" }), 108, ["not_available", "proxy_enabled"]),
        (
            "subscribe",
            json!({ "channel": "news:1", "token": "none" }),
            103,
            ["token_not_three_parts", "holdfast token sub"],
        ),
    ] {
        assert_eq!(client.error(name, &request), code, "{name} {request}");
        let (event, user) = (format!("event=\"{name}\""), "user=\"ann\"");
        let code = format!("code={code}");
        let channel = request["channel"].as_str().map_or(String::new(), |name| format!("channel=\"{name}\""));
        line(
            &daemon,
            &[
                "a command was refused",
                &event,
                &code,
                user,
                "address=\"127.0.0.1\"",
                &channel,
                parts[0],
                parts[1],
            ],
        );
    }
    let denied = daemon.metric("holdfast_command_errors_total", &[("reason", "permission_denied")]);
    assert_eq!(denied, 4);
    assert_eq!(daemon.metric("holdfast_command_errors_total", &[]), 8);
    drop(client);
    daemon.stop();
}

#[test]
fn a_flood_of_refusals_is_one_limited_line_a_reason_and_says_how_many_were_left_out() {
    let daemon = Daemon::start(&format!(
        "[client.token]\nhmac_secret_key = '{SECRET}'\n[log]\nrepeat_limit = 3\nrepeat_interval = '1s'"
    ));
    let mut client = Client::connect(&daemon, "ann");
    for _ in 0..200 {
        client.error("subscribe", &json!({ "channel": "news" }));
    }
    let line = line(&daemon, &["more: refused event=subscribe reason=permission_denied", "left_out="]);
    let left_out =
        line.split_once("left_out=").and_then(|(_, rest)| rest.split(' ').next()?.parse::<u64>().ok());
    assert!(left_out.expect("a number") > 50, "{line}");
    drop(client);
    daemon.stop();
}

#[test]
fn behind_a_proxy_the_address_is_the_clients_whether_or_not_anything_is_limited() {
    let daemon = Daemon::start("[http_server.forwarded]\ntrusted = ['127.0.0.1']");
    let fields = "X-Forwarded-For: 192.0.2.77\r\nOrigin: https://evil.example\r\n";
    assert_eq!(handshake(&daemon, [127, 0, 0, 1], "/connection/websocket", fields), "403");
    line(&daemon, &["reason=\"origin\"", "address=\"192.0.2.77\""]);
    daemon.stop();
    let daemon = Daemon::start(
        "[http_server.proxy_protocol]\ntrusted = ['127.0.0.1']\n[limits]\ndeny = ['192.0.2.0/24']",
    );
    let mut peer = Peer::connect(&daemon);
    peer.send(format!("PROXY TCP4 192.0.2.78 127.0.0.1 1 2\r\n{}", request("/echo")).as_bytes());
    assert_eq!(&peer.response().0[9..12], "403");
    line(&daemon, &["reason=\"denied\"", "address=\"192.0.2.78\"", "limits.deny"]);
    daemon.stop();
}

#[test]
fn a_connection_that_breaks_the_protocol_and_one_that_is_too_loud_leave_lines() {
    let daemon = Daemon::start("[websocket]\nmessage_size_limit = '125B'");
    let mut peer = Peer::open(&daemon, "/echo");
    peer.send(&[0xf1, 0x80, 0, 0, 0, 0]);
    line(
        &daemon,
        &["a connection was closed", "reason=\"protocol_error\"", "path=\"/echo\"", "address=\"127.0.0.1\""],
    );
    let mut peer = Peer::open(&daemon, "/broadcast");
    peer.send(&text(&"x".repeat(126)));
    line(&daemon, &["reason=\"message_too_big\"", "path=\"/broadcast\"", "websocket.message_size_limit"]);
    daemon.stop();
}

#[test]
fn a_call_of_the_api_without_a_good_key_leaves_a_line() {
    let daemon = Daemon::start("[http_api]\nkey = 'good'");
    for fields in ["", "X-API-Key: bad-secret\r\n"] {
        assert!(daemon.request("POST", "/api/info", fields, "{}").0.contains(" 401 "));
    }
    let shown = line(
        &daemon,
        &[
            "a call of the server API was refused",
            "reason=\"no_key\"",
            "path=\"/api/info\"",
            "address=127.0.0.1",
            "http_api.key",
        ],
    );
    assert!(!shown.contains("good"), "{shown}");
    line(&daemon, &["reason=\"wrong_key\""]);
    assert!(!daemon.log().contains("bad-secret"));
    for reason in ["no_key", "wrong_key"] {
        assert_eq!(daemon.metric("holdfast_api_denials_total", &[("reason", reason)]), 1, "{reason}");
    }
    assert!(daemon.request("POST", "/api/publish", "X-API-Key: good\r\n", "{}").1.contains("107"));
    line(&daemon, &["a call of the server API was refused", "method=\"publish\"", "code=107"]);
    daemon.stop();
}

#[test]
fn at_the_start_the_log_says_what_listens_where_and_who_cannot_get_in() {
    let daemon = Daemon::start("");
    let (clients, control) = (daemon.address().to_string(), daemon.control().to_string());
    line(&daemon, &["for clients", &clients, "tls=false", "/connection/websocket /echo /broadcast"]);
    line(&daemon, &["for operators", &control, "/health /metrics /api"]);
    line(&daemon, &["WARN", "no client can connect to /connection/websocket with this configuration"]);
    line(&daemon, &["WARN", "the server API has no key"]);
    line(&daemon, &["WARN", "no origin is allowed, so no web page can connect"]);
    daemon.stop();
    let daemon = Daemon::start(&format!(
        "[client]\nallowed_origins = ['https://a.example']\n[client.token]\nhmac_secret_key = '{SECRET}'\n[http_api]\nkey = 'k'"
    ));
    assert!(!daemon.log().contains("WARN"), "{}", daemon.log());
    daemon.stop();
}
