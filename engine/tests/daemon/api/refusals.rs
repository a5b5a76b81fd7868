//! Refusals: who may not call, and what a wrong call is told.

use serde_json::json;

use super::{KEY, daemon, daemon_with, error, post};

#[test]
fn without_a_good_key_nothing_is_done() {
    let daemon = daemon();
    let body = r#"{"channel":"news","data":1}"#;
    for (path, fields) in [
        ("/api/publish", ""),
        ("/api/publish", "X-API-Key: wrong\r\n"),
        ("/api/publish", "Authorization: Bearer k\r\n"),
        ("/api/publish?api_key=wrong", ""),
        ("/api", ""),
        ("/api/batch", ""),
    ] {
        let (status, answer) = post(&daemon, path, fields, body);
        assert_eq!((status, &answer["error"]["code"]), (401, &json!(101)), "{path} {fields}");
    }
    for (path, fields) in [
        ("/api/history", "X-API-Key: second\r\n"),
        ("/api/history", "Authorization: apikey k\r\n"),
        ("/api/history?api_key=k", ""),
    ] {
        let (status, answer) = post(&daemon, path, fields, r#"{"channel":"news"}"#);
        assert_eq!((status, &answer["result"]["offset"]), (200, &json!(0)), "{path} {fields}");
    }
    daemon.stop();
}

#[test]
fn without_a_configured_key_the_api_is_closed_unless_it_is_said_to_be_open() {
    for (http_api, status) in [("", 401), ("insecure = true", 200), ("disabled = true", 404)] {
        let daemon = daemon_with(http_api);
        assert_eq!(post(&daemon, "/api/info", "", "{}").0, status, "{http_api}");
        daemon.stop();
    }
}

#[test]
fn no_web_page_calls_an_api_without_a_key_through_its_visitors_browser() {
    let daemon = daemon_with("insecure = true\nallowed_hosts = ['holdfast.internal']");
    let control = daemon.control();
    let json = "Content-Type: application/json\r\n";
    let own = format!("Host: {control}\r\nOrigin: http://{control}\r\n{json}");
    let named = format!("Host: holdfast.internal:9000\r\n{json}");
    for fields in ["", own.as_str(), named.as_str()] {
        assert_eq!(post(&daemon, "/api/info", fields, "{}").0, 200, "{fields}");
    }
    let rebound = format!("Host: evil.test:9000\r\nOrigin: http://evil.test:9000\r\n{json}");
    let foreign = format!("Origin: http://evil.test\r\n{json}");
    let hidden = format!("Origin: null\r\n{json}");
    for (fields, expected) in [
        (rebound.as_str(), 421),
        ("Host: evil.test\r\n", 421),
        (foreign.as_str(), 403),
        (hidden.as_str(), 403),
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415),
        ("Content-Type: multipart/form-data; boundary=x\r\n", 415),
        ("Content-Type: \r\n", 415),
    ] {
        for path in ["/api/info", "/api/publish", "/api/drain", "/api/penalties_clear", "/api/batch", "/api"]
        {
            let (status, answer) = post(&daemon, path, fields, "{}");
            assert_eq!(status, expected, "{path} {fields}: {answer}");
            assert!(answer["error"]["message"].as_str().unwrap().contains("without a key"), "{answer}");
        }
    }
    assert_eq!(daemon.ask("/health/ready").1, "{}", "nothing was drained");
    daemon.stop();
    // Who has a key is no web page's victim.
    let daemon = daemon_with("key = 'k'");
    let fields = format!("{KEY}Host: evil.test\r\nOrigin: http://evil.test\r\nContent-Type: text/plain\r\n");
    assert_eq!(post(&daemon, "/api/info", &fields, "{}").0, 200);
    daemon.stop();
}

#[test]
fn bad_requests_are_refused_with_a_reason() {
    let daemon = daemon();
    for body in ["{", "[1]", r#"{"channel":5}"#, r#"{"channel":"a","data":}"#] {
        let (status, answer) = post(&daemon, "/api/publish", KEY, body);
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(107)), "{body}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(" at line 1 column "), "{message}");
    }
    let long = format!(r#"{{"channel":"a","data":"{}"}}"#, "x".repeat(16 << 20));
    assert_eq!(post(&daemon, "/api/publish", KEY, &long).0, 413);
    assert_eq!(post(&daemon, "/api/nothing", KEY, "{}").0, 404);
    for (method, request, code) in [
        ("publish", json!({ "channel": "a" }), 107),
        ("publish", json!({ "data": 1 }), 107),
        ("publish", json!({ "channel": "a", "data": 1, "idempotency_key": "k".repeat(256) }), 107),
        ("broadcast", json!({ "channels": ["a"], "data": 1, "version_epoch": "k".repeat(256) }), 107),
        ("publish", json!({ "channel": "a", "b64data": "?" }), 107),
        ("publish", json!({ "channel": "x".repeat(256), "data": 1 }), 107),
        ("publish", json!({ "channel": "nope:x", "data": 1 }), 102),
        ("history", json!({ "channel": "plain:x" }), 108),
        ("history_remove", json!({ "channel": "plain:x" }), 108),
        ("rpc", json!({ "method": "any" }), 104),
        ("rpc", json!({}), 107),
    ] {
        assert_eq!(error(&daemon, method, &request), code, "{method} {request}");
    }
    daemon.stop();
}

#[test]
fn the_status_tells_the_error_where_the_caller_or_the_operator_wants_it() {
    let asked = daemon();
    let configured = daemon_with("key = 'k'\nerror_mode = 'transport'");
    let transport = format!("{KEY}X-Centrifugo-Error-Mode: transport\r\n");
    for (daemon, fields) in [(&asked, transport.as_str()), (&configured, KEY)] {
        for (method, request, status) in [
            ("publish", json!({ "channel": "nope:x", "data": 1 }), 404),
            ("publish", json!({ "channel": "a" }), 400),
            ("presence", json!({ "channel": "plain:x" }), 400),
            ("rpc", json!({ "method": "any" }), 404),
            ("history", json!({ "channel": "a", "since": { "offset": 1, "epoch": "lost" } }), 416),
            ("publish", json!({ "channel": "a", "data": 1 }), 200),
        ] {
            let (got, answer) = post(daemon, &format!("/api/{method}"), fields, &request.to_string());
            assert_eq!(got, status, "{method} {request}: {answer}");
            if status != 200 {
                // The error alone, as the status says already that it is one.
                let keys: Vec<_> = answer.as_object().expect("it is an object").keys().collect();
                assert_eq!(keys, ["code", "message"], "{method} {request}");
                assert!(answer["code"].as_u64() > Some(99), "{answer}");
            }
        }
    }
    asked.stop();
    configured.stop();
}
