//! Heartbeat: who is still there.
//!
//! In:  clients that answer pings, that do not, that answer what was not asked.
//! Out: pings to all, spread over the interval; the end of those who do not answer.

use std::{
    io::Write,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use holdfast_testkit::{
    Daemon, eventually,
    peer::{BINARY, CLOSE, FIN, PING, PONG, Peer, binary, frame, text},
};

#[test]
fn who_answers_pings_stays() {
    let daemon = Daemon::start("[client]\nping_interval = '3s'\npong_timeout = '2500ms'");
    let mut peer = Peer::open(&daemon, "/echo");
    for _ in 0..2 {
        let ping = peer.frame();
        assert_eq!(ping.opcode, PING);
        peer.send(&frame(FIN | PONG, &ping.payload));
    }
    peer.expect_echo("still here");
    assert_eq!(daemon.metric("holdfast_pings_total", &[]), 2);
    eventually("pongs are counted", || daemon.metric("holdfast_pongs_total", &[]) == 2);
    assert_eq!(daemon.closes("no_pong"), 0);
    daemon.stop();
}

#[test]
fn who_does_not_answer_pings_is_closed() {
    let daemon = Daemon::start("[client]\nping_interval = '1s'\npong_timeout = '200ms'");
    let mut silent = [Peer::open(&daemon, "/echo"), Peer::open(&daemon, "/broadcast")];
    for peer in &mut silent {
        assert_eq!(peer.frame().opcode, PING);
        // Policy violation (RFC 6455 §7.4.1): the kindest code for it.
        peer.expect_close(1008);
    }
    daemon.await_closes("no_pong", 2);
    daemon.await_empty();
    daemon.stop();
}

#[test]
fn other_messages_do_not_stand_in_for_a_pong() {
    let daemon = Daemon::start("[client]\nping_interval = '1s'\npong_timeout = '200ms'");
    let mut peer = Peer::open(&daemon, "/echo");
    while peer.frame().opcode != PING {}
    // Each of these is read before the pong is due, or comes too late to matter.
    peer.send_if_heard(&text("I talk, so I live"));
    let end = std::iter::from_fn(|| peer.frame_or_end()).last();
    assert_eq!(end.expect("a close frame comes").opcode, CLOSE);
    daemon.await_closes("no_pong", 1);
    daemon.stop();
}

#[test]
fn pongs_that_nobody_asked_for_are_harmless() {
    let daemon = Daemon::start("");
    let mut peer = Peer::open(&daemon, "/echo");
    for _ in 0..100 {
        peer.send(&frame(FIN | PONG, b"unasked"));
    }
    peer.expect_echo("still here");
    assert_eq!(daemon.metric("holdfast_pongs_total", &[]), 100);
    daemon.stop();
}

#[test]
fn first_pings_of_connections_that_came_together_are_spread() {
    const PEERS: u64 = 300;
    let daemon = Daemon::start("[client]\nping_interval = '6s'\npong_timeout = '5900ms'");
    let _peers: Vec<Peer> = (0..PEERS).map(|_| Peer::open(&daemon, "/echo")).collect();
    let pings = || daemon.metric("holdfast_pings_total", &[]);
    eventually("the first pings come", || pings() > 0);
    let first = Instant::now();
    eventually("all have been pinged", || pings() >= PEERS);
    // They are drawn from three seconds; if they came as one, they would come within a tick.
    assert!(first.elapsed() > Duration::from_millis(500), "all pings within {:?}", first.elapsed());
    daemon.stop();
}

#[test]
fn who_reads_slowly_but_reads_is_not_taken_for_dead() {
    const MESSAGES: usize = 1600;
    let daemon = Daemon::start("[client]\nping_interval = '3s'\npong_timeout = '2900ms'");
    let mut peer = Peer::connect_with_receive_buffer(16 * 1024, &daemon).upgraded("/echo");
    let mut sender = peer.sender();
    let message = binary(&[7; 60_000]);
    let has_said_all = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Its pongs have to wait behind all this, and the daemon reads no faster than the peer does.
        scope.spawn(|| {
            (0..MESSAGES).for_each(|_| sender.write_all(&message).expect("it is not cut off"));
            sender.write_all(&frame(FIN | PONG, b"")).expect("it is not cut off");
            has_said_all.store(true, Ordering::Release);
        });
        let mut messages = 0;
        while messages < MESSAGES {
            let came = peer.frame();
            messages += usize::from(came.opcode == BINARY);
            if came.opcode == PING && has_said_all.load(Ordering::Acquire) {
                peer.send(&frame(FIN | PONG, &came.payload));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert_eq!(daemon.closes("no_pong"), 0);
    daemon.stop();
}

#[test]
fn a_client_that_asks_for_native_pings_gets_no_others() {
    let daemon = Daemon::start(
        "[client]\nping_interval = '1s'\npong_timeout = '900ms'\nallow_anonymous_connect_without_token = true",
    );
    let mut peer = Peer::open(&daemon, "/connection/websocket?cf_ws_frame_ping_pong=true");
    peer.send(&text("{\"id\":1,\"connect\":{}}"));
    let reply = String::from_utf8(peer.frame().payload).expect("it is text");
    assert!(
        reply.contains("\"connect\"") && !reply.contains("\"ping\"") && !reply.contains("\"pong\""),
        "{reply}"
    );
    for _ in 0..2 {
        let ping = peer.frame();
        assert_eq!(ping.opcode, PING);
        peer.send(&frame(FIN | PONG, &ping.payload));
    }
    assert_eq!(peer.frame().opcode, PING);
    // No pong this time: the end comes in the client protocol's words.
    assert_eq!(peer.frame().close_code(), 3012);
    daemon.stop();
}
