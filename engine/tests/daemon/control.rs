//! Control: what operators see.
//!
//! In:  requests to the control address.
//! Out: `/health`; `/metrics` as OpenMetrics or in the older format, for each core; where to go on.

use std::{
    collections::HashSet,
    io::{Read as _, Write as _},
    net::TcpStream,
};

use holdfast_testkit::{
    Daemon, Metrics, PATIENCE, eventually,
    peer::{Frame, Peer, text},
};

#[test]
fn a_ready_daemon_is_healthy() {
    let daemon = Daemon::start("");
    let (head, body) = daemon.ask("/health");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "{}");
    assert!(daemon.ask("/nowhere").0.starts_with("HTTP/1.1 404 Not Found\r\n"));
    daemon.stop();
}

/// How the names of families begin that the control thread counts.
const OF_NO_CORE: [&str; 8] = [
    "holdfast_api_",
    "holdfast_backend_",
    "holdfast_beat_age_seconds",
    "holdfast_control_",
    "holdfast_log_lines_lost",
    "holdfast_memory_limit_bytes",
    "holdfast_memory_short",
    "holdfast_resident_memory_bytes",
];

#[test]
fn metrics_are_whole_openmetrics_with_every_family_for_every_core() {
    let daemon = Daemon::start("");
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5\r\n";
    let (head, text) = daemon.request("GET", "/metrics", accept, "");
    let head = head.to_lowercase();
    assert!(head.contains("\r\ncontent-type: application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(text.ends_with("# EOF\n"));
    assert_eq!(text.matches("# EOF").count(), 1);

    let metrics = daemon.metrics();
    let cores: HashSet<_> =
        metrics.select("holdfast_connections", &[]).filter_map(|sample| sample.label("core")).collect();
    assert!(!cores.is_empty());
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let mut count = 0;
    for (family, kind) in families.filter_map(|line| line.split_once(' ')) {
        assert!(text.contains(&format!("# HELP {family} ")), "{family} is not explained");
        if OF_NO_CORE.iter().any(|start| family.starts_with(start)) {
            continue;
        }
        let name = match kind {
            "counter" => format!("{family}_total"),
            "histogram" => format!("{family}_count"),
            _ => family.to_owned(),
        };
        let mut found: HashSet<_> =
            metrics.select(&name, &[]).filter_map(|sample| sample.label("core")).collect();
        let is_of_control = found.remove("control");
        assert_eq!(is_of_control, name == "holdfast_memory_bytes", "{name} is also of the control thread");
        assert_eq!(found, cores, "the cores of {name}");
        count += 1;
    }
    assert!(count >= 20, "only {count} families");
    let series: HashSet<_> = metrics.samples.iter().map(|sample| (&sample.name, &sample.labels)).collect();
    assert_eq!(series.len(), metrics.samples.len(), "a series appears twice");
    daemon.stop();
}

#[test]
fn who_names_no_format_gets_the_older_text_with_the_same_samples() {
    let daemon = Daemon::start("");
    let openmetrics = daemon.request("GET", "/metrics", "Accept: application/openmetrics-text\r\n", "").1;
    for accept in ["", "Accept: */*\r\n", "Accept: text/plain\r\n"] {
        let (head, text) = daemon.request("GET", "/metrics", accept, "");
        assert!(head.to_lowercase().contains("\r\ncontent-type: text/plain; version=0.0.4"), "{head}");
        assert!(!text.contains("# EOF") && !text.contains("# UNIT"));
        let names = |text: &str| {
            Metrics::parse(text).samples.into_iter().map(|sample| sample.name).collect::<HashSet<_>>()
        };
        assert_eq!(names(&text), names(&openmetrics));
        assert!(
            text.contains("# HELP holdfast_accepts_total ")
                && text.contains("# TYPE holdfast_accepts_total counter\n")
        );
        assert!(text.contains("# TYPE holdfast_connections gauge\n"));
        assert!(text.contains("# TYPE holdfast_turn_seconds histogram\n"));
    }
    daemon.stop();
}

#[test]
fn who_looks_at_the_control_port_learns_where_to_go_on() {
    let daemon = Daemon::start("");
    let (head, text) = daemon.ask("/");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.to_lowercase().contains("content-type: text/plain"));
    let (head, page) = daemon.request("GET", "/", "Accept: text/html,*/*;q=0.8\r\n", "");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.to_lowercase().contains("content-type: text/html"));
    for path in ["/health", "/metrics", "/api"] {
        assert!(text.contains(path) && page.contains(path), "{path}");
    }
    for path in page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(daemon.ask(path).0.starts_with("HTTP/1.1 200 "), "{path}");
    }
    daemon.stop();
    let daemon = Daemon::start("[http_api]\ndisabled = true");
    assert!(!daemon.ask("/").1.contains("/api"));
    daemon.stop();
}

#[test]
fn numbers_follow_what_happens() {
    let daemon = Daemon::start("");
    let before = daemon.metrics();
    for (name, labels) in [
        ("holdfast_connections", &[][..]),
        ("holdfast_handshakes_total", &[]),
        ("holdfast_network_bytes_total", &[("direction", "in")]),
    ] {
        assert_eq!(before.sum(name, labels), 0, "{name}");
    }
    let mut echo = Peer::open(&daemon, "/echo");
    let mut members = [Peer::open(&daemon, "/broadcast"), Peer::open(&daemon, "/broadcast")];
    echo.expect_echo("hello");
    members[0].send(&text("to both"));
    members.iter_mut().for_each(|member| assert_eq!(member.frame(), Frame::text("to both")));

    let during = daemon.metrics();
    for (name, labels, value) in [
        ("holdfast_connections", &[][..], 3),
        ("holdfast_sessions", &[], 3),
        ("holdfast_broadcast_members", &[], 2),
        ("holdfast_accepts_total", &[], 3),
        ("holdfast_handshakes_total", &[], 3),
        ("holdfast_messages_total", &[("direction", "in")], 2),
        ("holdfast_messages_total", &[("direction", "out")], 3),
        ("holdfast_closes_total", &[], 0),
    ] {
        assert_eq!(during.sum(name, labels), value, "{name} {labels:?}");
    }
    for direction in ["in", "out"] {
        assert!(during.sum("holdfast_network_bytes_total", &[("direction", direction)]) > 300);
    }
    assert!(during.sum("holdfast_turn_seconds_count", &[]) > before.sum("holdfast_turn_seconds_count", &[]));
    assert!(during.sum("holdfast_resident_memory_bytes", &[]) > 1 << 20);
    drop((echo, members));
    daemon.await_closes("peer_gone", 3);
    daemon.stop();
}

/// Connections to the control port that say this and then nothing.
fn hold(daemon: &Daemon, count: usize, says: &str) -> Vec<TcpStream> {
    let open = |_| {
        let mut stream = TcpStream::connect(daemon.control()).expect("the control port listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let _ = stream.write_all(says.as_bytes());
        stream
    };
    (0..count).map(open).collect()
}

fn ended(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    // A reset is an end too.
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn who_only_holds_connections_to_the_control_port_keeps_nobody_out() {
    let daemon = Daemon::start("[http_server]\ninternal_connection_limit = 4");
    for says in ["", "GET /health HTTP/1.1\r\nHost:", "GET /health HTTP/1.1\r\nHost: t\r\n\r\n"] {
        let mut held = hold(&daemon, 100, says);
        let (head, _) = daemon.ask("/health");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let metrics = daemon.metrics();
        assert!(metrics.sum("holdfast_control_connections", &[]) <= 4);
        for stream in &mut held[..90] {
            ended(stream);
        }
    }
    assert!(daemon.metrics().sum("holdfast_control_closes_total", &[("reason", "evicted")]) >= 280);
    daemon.stop();
}

#[test]
fn where_every_place_is_in_a_request_the_next_is_told_to_come_back() {
    let daemon = Daemon::start("[http_server]\ninternal_connection_limit = 4\n[http_api]\nkey = 'k'");
    let half = "POST /api/info HTTP/1.1\r\nHost: t\r\nX-API-Key: k\r\nContent-Length: 2\r\n\r\n{";
    let mut busy = hold(&daemon, 4, half);
    eventually("all places are taken by requests", || {
        let mut next = hold(&daemon, 1, "GET /health HTTP/1.1\r\nHost: t\r\n\r\n");
        ended(&mut next[0]).starts_with("HTTP/1.1 503 Service Unavailable\r\n")
    });
    let first = &mut busy[0];
    first.write_all(b"}").expect("it is still open");
    let mut answer = [0; 15];
    first.read_exact(&mut answer).expect("an answer comes");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    assert!(daemon.ask("/health").0.starts_with("HTTP/1.1 200 OK\r\n"), "it has given its place");
    assert!(daemon.metrics().sum("holdfast_control_closes_total", &[("reason", "full")]) >= 1);
    daemon.stop();
}
