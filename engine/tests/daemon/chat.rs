//! Chat: the page of the control port, as far as a look from outside goes. What it does, engine/tests/sdk tries in a
//! browser.
//!
//! In:  requests to the control address.
//! Out: files with the headers that keep others' scripts out; where clients connect.

use holdfast_testkit::Daemon;

#[test]
fn there_is_no_page_unless_it_is_enabled() {
    let daemon = Daemon::start("");
    assert!(!daemon.request("GET", "/", "Accept: text/html\r\n", "").1.contains("chat.js"));
    for path in ["/chat.js", "/chat.json"] {
        assert!(daemon.ask(path).0.starts_with("HTTP/1.1 404 Not Found\r\n"), "{path}");
    }
    daemon.stop();
}

#[test]
fn every_file_that_the_page_names_is_served_and_runs_nobody_elses_script() {
    let daemon = Daemon::start("[admin]\nenabled = true\n");
    for (path, kind) in [
        ("/", "text/html"),
        ("/chat.css", "text/css"),
        ("/chat.js", "text/javascript"),
        ("/hints.js", "text/javascript"),
        ("/room.js", "text/javascript"),
        ("/view.js", "text/javascript"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        let (head, body) = daemon.ask(path);
        let head = head.to_lowercase();
        assert!(head.starts_with("http/1.1 200 ok\r\n"), "{path}: {head}");
        assert!(head.contains(&format!("\r\ncontent-type: {kind}")), "{path}: {head}");
        assert!(head.contains("\r\nx-content-type-options: nosniff"), "{path}: {head}");
        assert!(head.contains("script-src 'self'") && head.contains("default-src 'none'"), "{path}: {head}");
        assert!(!body.contains("https://"), "{path} names a place outside");
        assert!(!body.contains("innerHTML"), "{path} makes markup of text");
    }
    daemon.stop();
}

#[test]
fn the_page_is_told_where_clients_connect_and_whether_it_may() {
    let config = "[admin]\nenabled = true\n[client]\nallowed_origins = [\"http://chat.test:*\"]\n";
    let daemon = Daemon::start(config);
    let told = |origin: &str| -> serde_json::Value {
        let (_, body) = daemon.ask(&format!("/chat.json?origin={origin}"));
        serde_json::from_str(&body).expect("is JSON")
    };
    let there = told("http%3A%2F%2Fchat.test%3A9000");
    assert_eq!(there["host"], daemon.address().ip().to_string());
    assert_eq!(there["port"], daemon.address().port());
    assert_eq!((&there["admits_origin"], &there["admits_anonymous"]), (&true.into(), &false.into()));
    assert_eq!(there["transports"], serde_json::json!(["websocket"]));
    for origin in ["http%3A%2F%2Fother.test", ""] {
        assert_eq!(told(origin)["admits_origin"], false, "{origin}");
    }
    daemon.stop();
}
