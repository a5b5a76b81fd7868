//! Limits: what happens when there is no more room.
//!
//! In:  more connections than are allowed, than there are descriptors for, than memory is left for.
//! Out: 503 with Retry-After for those that come; those that are there stay.

use holdfast_testkit::{
    Daemon, Launch, eventually,
    http::Http,
    peer::{BINARY, FIN, Frame, Peer, close, frame, request, text},
};

/// Comes, and says whether it was let in. One that was not has got a whole answer.
fn come(daemon: &Daemon, path: &str) -> Option<Peer> {
    let mut peer = Peer::connect(daemon);
    peer.send_if_heard(request(path).as_bytes());
    let (head, _) = peer.response();
    if head.starts_with("HTTP/1.1 101 ") {
        return Some(peer);
    }
    assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
    assert!(head.contains("\r\nRetry-After: "), "{head}");
    peer.finish_sending();
    peer.expect_end();
    None
}

#[test]
fn over_the_connection_limit_new_ones_are_told_to_come_back_and_old_ones_stay() {
    const LIMIT: usize = 20;
    let daemon = Daemon::start(&format!("[client]\nconnection_limit = {LIMIT}"));
    let mut peers: Vec<Peer> = (0..LIMIT).map(|_| Peer::open(&daemon, "/echo")).collect();
    for _ in 0..10 {
        assert!(come(&daemon, "/echo").is_none(), "more than {LIMIT} were let in");
    }
    assert_eq!(daemon.metric("holdfast_refusals_total", &[("reason", "capacity")]), 10);
    for peer in &mut peers {
        peer.expect_echo("I was here first");
    }
    let mut leaver = peers.pop().expect("there are some");
    leaver.send(&close(1000));
    leaver.expect_close(1000);
    eventually("a place is free", || match come(&daemon, "/echo") {
        Some(mut peer) => {
            peer.expect_echo("here at last");
            true
        }
        None => false,
    });
    daemon.stop();
}

#[test]
fn a_full_table_loses_no_connection_that_it_accepted() {
    // Tables so small that a crowd fills them: some must wait until others are gone.
    const CROWD: usize = 900;
    let daemon = Daemon::start_on_one_core("[client]\nconnection_limit = 20");
    let mut peers: Vec<Peer> = (0..CROWD).map(|_| Peer::connect(&daemon)).collect();
    let mut admitted = Vec::new();
    for mut peer in peers.drain(..) {
        peer.send_if_heard(request("/echo").as_bytes());
        let (head, _) = peer.response();
        match &head[..12] {
            "HTTP/1.1 101" => admitted.push(peer),
            "HTTP/1.1 503" => drop(peer),
            _ => panic!("{head}"),
        }
    }
    assert!(!admitted.is_empty() && admitted.len() <= 20, "{} were let in", admitted.len());
    admitted.iter_mut().for_each(|peer| peer.expect_echo("one of the few"));
    assert_eq!(daemon.metric("holdfast_accepts_total", &[]), CROWD as u64);
    drop(admitted);
    daemon.await_empty();
    Peer::open(&daemon, "/echo").expect_echo("room for everybody");
    daemon.stop();
}

#[test]
fn several_small_rings_hold_more_than_one_descriptor_table() {
    const NOFILE: u32 = 256;
    const PEERS: usize = 600;
    let launch = Launch { shards: 1, nofile: Some(NOFILE), ..Launch::default() };
    let daemon = Daemon::launch("[client]\nconnection_limit = 700", launch);
    let mut peers: Vec<Peer> = (0..PEERS).map(|_| Peer::open(&daemon, "/broadcast")).collect();
    peers[0].send(&text("to all tables"));
    for peer in &mut peers {
        assert_eq!(peer.frame(), Frame::text("to all tables"));
    }
    drop(peers);
    daemon.await_empty();
    daemon.stop();
}

#[test]
fn over_the_memory_limit_new_connections_are_told_to_come_back() {
    let daemon = Daemon::start("[engine]\nmemory_limit = '1MiB'");
    eventually("the limit is noticed", || come(&daemon, "/echo").is_none());
    assert!(come(&daemon, "/echo").is_none());
    daemon.stop();
}

#[test]
fn where_too_much_has_come_in_part_those_who_sent_most_are_told_to_come_back() {
    const LONG: usize = 60_000;
    const SHORT: usize = 2_000;
    let daemon = Daemon::start_on_one_core("[client]\nreceive_budget = '512KiB'\n[poll]\nenabled = true");
    let partial = || daemon.metric("holdfast_partial_bytes", &[]);
    let message = frame(FIN | BINARY, &[7; LONG]);
    let mut modest = Peer::open(&daemon, "/echo");
    modest.send(&message[..SHORT]);
    let mut request = Http::connect(&daemon);
    request.send(b"POST /connection/poll HTTP/1.1\r\nHost: h\r\nContent-Length: 4000\r\n\r\n");
    request.send(&[b' '; SHORT]);
    eventually("both have come", || partial() >= 2 * SHORT as u64);
    let mut greedy: Vec<Peer> = (0..10).map(|_| Peer::open(&daemon, "/echo")).collect();
    for peer in &mut greedy {
        peer.send_if_heard(&message[..LONG]);
    }
    eventually("some have gone", || daemon.closes("receive_budget") > 0);
    let mut stayed = 0;
    for peer in &mut greedy {
        peer.send_if_heard(&message[LONG..]);
        match peer.frame() {
            Frame { opcode: BINARY, payload } => {
                assert_eq!(payload, [7; LONG]);
                stayed += 1;
            }
            close => assert_eq!(close.close_code(), 1013),
        }
    }
    assert_eq!(stayed + daemon.closes("receive_budget"), 10);
    assert!(stayed > 0);
    modest.send(&message[SHORT..]);
    assert_eq!(modest.frame(), Frame::binary(&[7; LONG]), "who has sent little stays");
    request.send(&[b' '; SHORT]);
    assert_eq!(request.answer().status, 400, "a body of spaces is no poll");
    drop((greedy, modest, request));
    daemon.await_empty();
    assert_eq!(partial(), 0);
    daemon.stop();
}
