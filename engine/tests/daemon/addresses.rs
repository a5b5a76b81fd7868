//! Addresses: who a client is taken for, and who may connect.
//!
//! In:  connections from several addresses of this machine, with and without what proxies write.
//! Out: 403 for those who are not allowed; limits that hold for the client, not for its proxy.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use holdfast_testkit::{
    Daemon, Launch, eventually,
    http::Http,
    peer::{Peer, request},
};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

const HERE: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

/// Sends bytes and a handshake for `/echo`; returns the status of the answer, and the connection.
pub(super) fn ask(mut peer: Peer, before: &[u8], fields: &str) -> (u16, Peer) {
    let request = request("/echo").replacen("\r\n\r\n", &format!("\r\n{fields}\r\n"), 1);
    peer.send_if_heard(&[before, request.as_bytes()].concat());
    let (head, _) = peer.response();
    (head[9..12].parse().expect("a status"), peer)
}

/// The status for a handshake with these fields, from this address.
fn status(daemon: &Daemon, from: [u8; 4], before: &[u8], fields: &str) -> u16 {
    ask(Peer::connect_from(from, daemon), before, fields).0
}

fn refusals(daemon: &Daemon, reason: &str) -> u64 {
    daemon.metric("holdfast_refusals_total", &[("reason", reason)])
}

/// A header of version 2 for a TCP connection over IPv4.
fn version_2(client: [u8; 4]) -> Vec<u8> {
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &client[..], &HERE, &[0x12, 0x34, 0, 80]].concat()
}

#[test]
fn denied_networks_are_refused_and_the_most_general_list_does_not_help_them() {
    let daemon = Daemon::start("[limits]\nallow = ['127.0.0.0/8']\ndeny = ['127.0.0.2', '127.1.0.0/16']");
    for (from, expected) in [(HERE, 101), (OTHER, 403), ([127, 1, 2, 3], 403), ([127, 0, 0, 3], 101)] {
        assert_eq!(status(&daemon, from, b"", ""), expected, "{from:?}");
    }
    assert_eq!(refusals(&daemon, "denied"), 2);
    daemon.stop();
}

#[test]
fn where_some_are_allowed_others_are_not() {
    let daemon = Daemon::start("[limits]\nallow = ['127.0.0.2/32', '2001:db8::/32']");
    assert_eq!((status(&daemon, HERE, b"", ""), status(&daemon, OTHER, b"", "")), (403, 101));
    daemon.stop();
}

/// Nobody needs a descriptor of the process's own to be let in, nor to be told apart.
#[test]
fn a_process_without_free_descriptors_lets_clients_in_and_knows_who_they_are() {
    let daemon = Daemon::start(
        "[http_server.proxy_protocol]\ntrusted = ['127.0.0.9']\n[limits]\ndeny = ['127.0.0.2', '192.0.2.0/24']\n\
         [limits.address]\nconnections = 20",
    );
    let pid = i32::try_from(daemon.pid()).ok().and_then(Pid::from_raw);
    let limit = |limit| prlimit(pid, Resource::Nofile, limit).expect("it is our child");
    // Whatever descriptor comes next is above it.
    let before = limit(Rlimit { current: Some(3), ..getrlimit(Resource::Nofile) });
    let control = TcpStream::connect(daemon.control()).expect("the kernel takes it");
    control.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout can be set");
    (&control).write_all(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n").expect("the kernel takes it");
    let error = (&control).read(&mut [0; 9]).expect_err("there is no descriptor left for it");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");
    let mut clients: Vec<Peer> =
        (0..20).map(|_| Peer::connect_from(HERE, &daemon).upgraded("/echo")).collect();
    clients.iter_mut().for_each(|client| client.expect_echo("let in"));
    assert_eq!(status(&daemon, HERE, b"", ""), 429, "that is as many as one address may have");
    assert_eq!(status(&daemon, OTHER, b"", ""), 403);
    assert_eq!(status(&daemon, [127, 0, 0, 3], b"", ""), 101);
    for (client, expected) in [([192, 0, 2, 7], 403), ([192, 0, 3, 7], 101)] {
        assert_eq!(status(&daemon, [127, 0, 0, 9], &version_2(client), ""), expected, "{client:?}");
    }
    limit(before);
    drop(clients);
    daemon.await_empty();
    daemon.stop();
}

#[test]
fn an_ipv6_client_has_an_address_too() {
    let launch = || Launch { listen: "[::1]:0".parse().ok(), ..Launch::default() };
    let daemon = Daemon::launch("[limits]\ndeny = ['::1']", launch());
    assert_eq!(ask(Peer::connect(&daemon), b"", "").0, 403);
    daemon.stop();
    let daemon = Daemon::launch("[limits.subnet]\nconnections = 2", launch());
    let kept = [(); 2].map(|()| Peer::open(&daemon, "/echo"));
    assert_eq!(ask(Peer::connect(&daemon), b"", "").0, 429);
    assert_eq!(refusals(&daemon, "subnet_connections"), 1);
    drop(kept);
    daemon.stop();
}

#[test]
fn a_client_over_ipv4_is_one_on_an_ipv6_listener_too() {
    let launch = Launch { listen: "[::]:0".parse().ok(), ..Launch::default() };
    let daemon = Daemon::launch("[limits]\ndeny = ['127.0.0.0/8']", launch);
    let port = daemon.address().port();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens on both");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    daemon.stop();
}

#[test]
fn the_address_in_a_proxy_header_counts() {
    let daemon = Daemon::start(
        "[http_server.proxy_protocol]\ntrusted = ['127.0.0.1']\n[limits]\ndeny = ['192.0.2.0/24', '2001:db8::/32']",
    );
    for (header, expected) in [
        (&b"PROXY TCP4 192.0.2.7 198.51.100.1 1000 80\r\n"[..], 403),
        (b"PROXY TCP4 192.0.3.7 198.51.100.1 1000 80\r\n", 101),
        (b"PROXY TCP6 2001:db8::1 ::1 1000 80\r\n", 403),
        (b"PROXY TCP6 2001:db9::1 ::1 1000 80\r\n", 101),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1000 80\r\n", 403),
        (b"PROXY UNKNOWN\r\n", 101),
        (&version_2([192, 0, 2, 1]), 403),
        (&version_2([192, 0, 3, 1]), 101),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 101),
    ] {
        assert_eq!(status(&daemon, HERE, header, ""), expected, "{}", header.escape_ascii());
    }
    daemon.stop();
}

#[test]
fn a_header_may_come_in_pieces_and_what_follows_it_is_kept() {
    let daemon = Daemon::start("[http_server.proxy_protocol]\ntrusted = ['127.0.0.1']");
    for header in [b"PROXY TCP4 192.0.2.7 198.51.100.1 1000 80\r\n".to_vec(), version_2([192, 0, 2, 7])] {
        let mut peer = Peer::connect(&daemon);
        let (first, rest) = header.split_at(header.len() - 1);
        for byte in first {
            peer.send(&[*byte]);
            std::thread::sleep(Duration::from_millis(1));
        }
        let (status, mut peer) = ask(peer, rest, "");
        assert_eq!(status, 101);
        peer.expect_echo("through the proxy");
    }
    daemon.stop();
}

#[test]
fn a_trusted_proxy_must_send_its_header_and_nobody_else_may() {
    let daemon = Daemon::start("[http_server.proxy_protocol]\ntrusted = ['127.0.0.2']");
    let line = b"PROXY TCP4 192.0.2.7 198.51.100.1 1000 80\r\n";
    assert_eq!(status(&daemon, OTHER, line, ""), 101);
    for before in [&b""[..], b"PROXY TCP4 nonsense\r\n"] {
        let mut peer = Peer::connect_from(OTHER, &daemon);
        peer.send_if_heard(&[before, request("/echo").as_bytes()].concat());
        peer.expect_end();
    }
    eventually("they are counted", || refusals(&daemon, "proxy_header") == 2);
    assert_eq!(status(&daemon, HERE, b"", ""), 101);
    // 505: it is taken for the line of a request.
    assert_eq!(status(&daemon, HERE, line, ""), 505, "a stranger's header is not read");
    daemon.stop();
}

#[test]
fn the_rightmost_address_that_is_no_proxys_counts() {
    let daemon = Daemon::start(
        "[http_server.forwarded]\ntrusted = ['127.0.0.1', '10.0.0.0/8']\n[limits]\ndeny = ['192.0.2.0/24']",
    );
    for (from, fields, expected) in [
        (HERE, "X-Forwarded-For: 192.0.2.1\r\n", 403),
        (HERE, "X-Forwarded-For: 192.0.3.1, 192.0.2.1, 10.1.1.1\r\n", 403),
        (HERE, "X-Forwarded-For: 192.0.2.1, 192.0.3.1\r\n", 101),
        (HERE, "X-Forwarded-For: 192.0.3.1\r\nX-Forwarded-For: 192.0.2.1\r\n", 403),
        (HERE, "Forwarded: for=192.0.2.1\r\n", 101),
        (HERE, "", 101),
        (OTHER, "X-Forwarded-For: 192.0.2.1\r\n", 101),
    ] {
        assert_eq!(status(&daemon, from, b"", fields), expected, "{from:?} {fields}");
    }
    daemon.stop();
    let daemon = Daemon::start(
        "[http_server.forwarded]\ntrusted = ['127.0.0.1']\nheader = 'forwarded'\n[limits]\ndeny = ['2001:db8::/32']",
    );
    for (fields, expected) in [
        ("Forwarded: for=\"[2001:db8::1]:80\";proto=https\r\n", 403),
        ("Forwarded: for=\"[2001:db9::1]\"\r\n", 101),
        ("X-Forwarded-For: 2001:db8::1\r\n", 101),
    ] {
        assert_eq!(status(&daemon, HERE, b"", fields), expected, "{fields}");
    }
    daemon.stop();
}

#[test]
fn both_kinds_of_proxies_may_stand_one_behind_the_other() {
    let daemon = Daemon::start(
        "[http_server.proxy_protocol]\ntrusted = ['127.0.0.1']\n[http_server.forwarded]\ntrusted = ['10.0.0.1']\n\
         [limits]\ndeny = ['192.0.2.0/24']",
    );
    let fields = "X-Forwarded-For: 192.0.2.1\r\n";
    assert_eq!(status(&daemon, HERE, b"PROXY TCP4 10.0.0.1 10.0.0.9 1 2\r\n", fields), 403);
    assert_eq!(status(&daemon, HERE, b"PROXY TCP4 10.0.0.2 10.0.0.9 1 2\r\n", fields), 101);
    daemon.stop();
}

#[test]
fn each_request_of_a_proxys_connection_counts_for_its_own_client() {
    let daemon = Daemon::start(
        "[poll]\nenabled = true\n[http_server.forwarded]\ntrusted = ['127.0.0.1']\n[limits.address]\nconnections = 1",
    );
    let mut http = Http::connect(&daemon);
    let poll = |http: &mut Http, client: &str| {
        http.post("/connection/poll", &format!("X-Forwarded-For: {client}\r\n"), "{}");
        http.answer().status
    };
    // 400: it was let in, and asks for nothing.
    assert_eq!(poll(&mut http, "192.0.2.1"), 400);
    drop(http);
    daemon.await_empty();
    let fields = |client: &str| format!("X-Forwarded-For: {client}\r\n");
    let mut proxy = Http::connect(&daemon);
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.1"] {
        proxy.ask("OPTIONS", "/connection/poll", &fields(client));
        assert_eq!(proxy.answer().status, 204, "{client}");
    }
    let kept = ask(Peer::connect(&daemon), b"", &fields("192.0.2.2"));
    assert_eq!(kept.0, 101, "the proxy's connection is another client's by now");
    proxy.ask("OPTIONS", "/connection/poll", &fields("192.0.2.2"));
    assert_eq!(proxy.answer().status, 429);
    daemon.stop();
}
