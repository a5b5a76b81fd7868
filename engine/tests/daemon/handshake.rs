//! Handshake: who is let in, and what the others are told.
//!
//! In:  requests, whole, in pieces, wrong, late or never.
//! Out: an upgrade, or one complete HTTP answer and then the end of the stream.

use holdfast_testkit::{
    Daemon,
    peer::{Frame, Peer, request, text},
};

/// A way to get a request wrong.
struct Wrong {
    request: Vec<u8>,
    status: &'static str,
    /// Header lines that the answer must have.
    headers: &'static [&'static str],
}

fn wrong(request: impl Into<Vec<u8>>, status: &'static str, headers: &'static [&'static str]) -> Wrong {
    Wrong { request: request.into(), status, headers }
}

/// The right request with a line changed; an empty replacement takes it out.
fn without(line: &str, replacement: &str) -> String {
    let right = request("/echo");
    assert!(right.contains(line), "{line}");
    right.replacen(&format!("{line}\r\n"), replacement, 1)
}

fn all_wrong() -> Vec<Wrong> {
    const BAD: &str = "400 Bad Request";
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    const VERSION: &str = "Sec-WebSocket-Version: 13";
    const UPGRADE_REQUIRED: &str = "426 Upgrade Required";
    const UPGRADE_HEADERS: &[&str] = &["Sec-WebSocket-Version: 13", "Upgrade: websocket"];
    const TOO_LARGE: &str = "431 Request Header Fields Too Large";
    let many_headers: String = (0..100).map(|number| format!("X-{number}: 1\r\n")).collect();
    let long_header = format!("X-Long: {}\r\n", "x".repeat(20_000));
    vec![
        wrong(without("Host: test", ""), BAD, &[]),
        wrong(without("Host: test", "Host: a\r\nHost: b\r\n"), BAD, &[]),
        wrong(without(KEY, ""), BAD, &[]),
        wrong(without(KEY, "Sec-WebSocket-Key: short\r\n"), BAD, &[]),
        wrong(without("Connection: Upgrade", "Connection: keep-alive\r\n"), BAD, &[]),
        wrong(request("/echo").replace("HTTP/1.1", "HTTP/1.0"), BAD, &[]),
        wrong(request("/nowhere"), "404 Not Found", &[]),
        wrong(request("/echo").replace("GET", "POST"), "405 Method Not Allowed", &["Allow: GET"]),
        wrong(without("Host: test", "Host: test\r\nContent-Length: 5\r\n"), "413 Content Too Large", &[]),
        wrong(
            without("Host: test", "Host: test\r\nTransfer-Encoding: chunked\r\n"),
            "413 Content Too Large",
            &[],
        ),
        wrong(without("Host: test", "Host: test\r\nContent-Length: 0\r\nContent-Length: 0\r\n"), BAD, &[]),
        wrong(without("Host: test", "Host: test\r\nContent-Length: 0, 0\r\n"), BAD, &[]),
        wrong(without("Host: test", "Host: te st\r\n"), BAD, &[]),
        wrong(without("Host: test", "Host: test\r\n x\r\n"), BAD, &[]),
        wrong(without("Host: test", "Host : test\r\n"), BAD, &[]),
        wrong(without("Host: test", "Host: test\r\nX: a\0b\r\n"), BAD, &[]),
        wrong(without("Host: test", "Host: test\r\nX: a\rb\r\n"), BAD, &[]),
        wrong(without("Host: test", "Host: test\r\nContent-Type: a\r\nContent-Type: b\r\n"), BAD, &[]),
        wrong(without("Host: test", "Host: test\r\nOrigin: a\r\nOrigin: b\r\n"), BAD, &[]),
        wrong(request("/echo").replacen("\r\n", "\n", 1), BAD, &[]),
        wrong(request("/echo").replace("\r\n", "\n"), BAD, &[]),
        wrong(request("/echo#fragment"), BAD, &[]),
        wrong(request("echo"), BAD, &[]),
        wrong("GET /echo\r\n\r\n", BAD, &[]),
        wrong(without("Upgrade: websocket", ""), UPGRADE_REQUIRED, UPGRADE_HEADERS),
        wrong(without(VERSION, "Sec-WebSocket-Version: 8\r\n"), UPGRADE_REQUIRED, UPGRADE_HEADERS),
        wrong(without(VERSION, ""), UPGRADE_REQUIRED, UPGRADE_HEADERS),
        wrong(without("Host: test", &many_headers), TOO_LARGE, &[]),
        wrong(without("Host: test", &long_header), TOO_LARGE, &[]),
        // The preface of HTTP/2 (RFC 9113 §3.4) and the beginning of a ClientHello (RFC 8446 §4.1.2).
        wrong("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 HTTP Version Not Supported", &[]),
        wrong(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), BAD, &[]),
        wrong("SSH-2.0-OpenSSH_9.9\r\n", BAD, &[]),
        wrong(b"\x00\xff\x00\xff garbage".as_slice(), BAD, &[]),
    ]
}

#[test]
fn every_wrong_request_is_answered_in_full_and_its_neighbor_notices_nothing() {
    let daemon = Daemon::start("");
    let mut neighbor = Peer::open(&daemon, "/echo");
    let cases: Vec<(Wrong, Peer)> = all_wrong()
        .into_iter()
        .map(|case| {
            let mut peer = Peer::connect(&daemon);
            peer.send(&case.request);
            (case, peer)
        })
        .collect();
    let count = cases.len() as u64;
    for (case, mut peer) in cases {
        let (head, body) = peer.response();
        let shown = case.request[..case.request.len().min(300)].escape_ascii();
        assert!(head.starts_with(&format!("HTTP/1.1 {}\r\n", case.status)), "to {shown}:\n{head}");
        for header in case.headers.iter().chain(&["Connection: close"]) {
            assert!(head.contains(&format!("\r\n{header}\r\n")), "no {header} to {shown}:\n{head}");
        }
        assert!(body.ends_with('\n') && body.len() > 20, "{body:?} explains nothing");
        peer.expect_end();
        neighbor.expect_echo("still here");
    }
    daemon.await_closes("refused", count);
    assert_eq!(daemon.metric("holdfast_refusals_total", &[]), count);
    daemon.stop();
}

#[test]
fn a_request_that_comes_byte_by_byte_is_understood() {
    let daemon = Daemon::start("");
    let mut peer = Peer::connect(&daemon);
    for byte in request("/echo").as_bytes() {
        peer.send(&[*byte]);
    }
    peer.expect_upgrade();
    peer.expect_echo("slow but right");
    daemon.stop();
}

#[test]
fn frames_in_the_same_segment_as_the_request_are_answered() {
    let daemon = Daemon::start("");
    let pipelined = [request("/echo").into_bytes(), text("one"), text("two")].concat();
    let mut whole = Peer::connect(&daemon);
    whole.send(&pipelined);
    let mut cut = Peer::connect(&daemon);
    let (first, rest) = pipelined.split_at(40);
    cut.send(first);
    daemon.metrics();
    cut.send(rest);
    for mut peer in [whole, cut] {
        peer.expect_upgrade();
        assert_eq!(peer.frame(), Frame::text("one"));
        assert_eq!(peer.frame(), Frame::text("two"));
    }
    daemon.stop();
}

#[test]
fn a_query_is_no_part_of_the_path() {
    let daemon = Daemon::start("");
    Peer::open(&daemon, "/echo?room=7").expect_echo("here");
    Peer::open(&daemon, "/broadcast?").expect_echo("there");
    Peer::open(&daemon, "http://other.example/echo?room=7").expect_echo("and anywhere else");
    daemon.stop();
}

#[test]
fn who_does_not_finish_its_request_is_told_so_in_time() {
    let daemon = Daemon::start("[client]\nstale_close_delay = '500ms'");
    let mut neighbor = Peer::open(&daemon, "/echo");
    let mut silent = Peer::connect(&daemon);
    let mut half = Peer::connect(&daemon);
    half.send(&request("/echo").as_bytes()[..50]);
    for peer in [&mut silent, &mut half] {
        let (head, _) = peer.response();
        assert!(head.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{head}");
        peer.expect_end();
    }
    daemon.await_closes("handshake_timeout", 2);
    neighbor.expect_echo("still here");
    daemon.stop();
}

#[test]
fn who_leaves_in_the_middle_of_its_request_is_forgotten() {
    let daemon = Daemon::start("");
    for sent in [0, 1, 50] {
        let mut peer = Peer::connect(&daemon);
        peer.send(&request("/echo").as_bytes()[..sent]);
        peer.finish_sending();
        peer.expect_end();
    }
    daemon.await_empty();
    daemon.await_closes("peer_gone", 3);
    daemon.stop();
}

#[test]
fn a_client_of_another_make_connects_talks_and_leaves() {
    use tungstenite::{Message, client::client_with_config, protocol::WebSocketConfig};

    let daemon = Daemon::start("");
    let stream = std::net::TcpStream::connect(daemon.address()).unwrap();
    let config = WebSocketConfig::default().read_buffer_size(0);
    let url = format!("ws://{}/echo", daemon.address());
    let (mut client, _) = client_with_config(url, stream, Some(config)).unwrap();
    for message in [Message::text("grüß dich"), Message::binary(vec![7; 60_000]), Message::text("")] {
        client.send(message.clone()).unwrap();
        assert_eq!(client.read().unwrap(), message);
    }
    client.close(None).unwrap();
    let end = loop {
        match client.read() {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(end, tungstenite::Error::ConnectionClosed), "{end}");
    daemon.await_closes("by_peer", 1);
    daemon.stop();
}

#[test]
fn a_web_page_connects_only_where_its_origin_is_allowed() {
    let daemon = Daemon::start(
        "[client]\nallowed_origins = ['https://*.example.com', 'https://{a,b}.test:300?', 'weapp://*']",
    );
    let from = |origin: &str| {
        request("/connection/websocket").replacen("Host:", &format!("Origin: {origin}\r\nHost:"), 1)
    };
    // The last one is what mini-games of WeChat send on iOS.
    for origin in ["https://app.example.com", "https://b.test:3001", "weapp://wechat-game-runtime"] {
        let mut page = Peer::connect(&daemon);
        page.send(from(origin).as_bytes());
        page.expect_upgrade();
    }
    for origin in ["https://example.com.evil.org", "https://c.test:3001", "https://weapp.example"] {
        let mut stranger = Peer::connect(&daemon);
        stranger.send(from(origin).as_bytes());
        assert!(stranger.response().0.starts_with("HTTP/1.1 403 "), "{origin}");
    }
    let mut no_page = Peer::connect(&daemon);
    no_page.send(request("/connection/websocket").as_bytes());
    no_page.expect_upgrade();
    daemon.stop();
}

#[test]
fn what_is_switched_off_is_not_found() {
    let daemon = Daemon::start("[websocket]\ndisabled = true");
    let mut peer = Peer::connect(&daemon);
    peer.send(request("/connection/websocket").as_bytes());
    assert!(peer.response().0.starts_with("HTTP/1.1 404 "));
    daemon.stop();
}

#[test]
fn how_many_header_fields_a_request_may_have_is_an_option() {
    let with = |daemon: &Daemon, fields: usize| {
        let mut peer = Peer::connect(daemon);
        let more: String = (0..fields - 5).map(|number| format!("X-{number}: 1\r\n")).collect();
        let head = request("/echo");
        assert_eq!(head.matches("\r\n").count() - 2, 5, "the fields that a handshake has: {head}");
        peer.send(head.replacen("\r\n\r\n", &format!("\r\n{more}\r\n"), 1).as_bytes());
        peer.response().0[9..12].to_owned()
    };
    for (option, most) in [
        ("", 64),
        ("[client]\nrequest_head_fields_limit = 20", 20),
        ("[client]\nrequest_head_fields_limit = 128", 128),
    ] {
        let daemon = Daemon::start(option);
        assert_eq!(
            (with(&daemon, most), with(&daemon, most + 1)),
            ("101".to_owned(), "431".to_owned()),
            "{option}"
        );
        daemon.stop();
    }
}
