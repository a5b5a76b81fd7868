//! Resets: a connection that breaks at any moment of its life costs nobody else anything.
//!
//! In:  resets before, in and after the handshake, in the middle of messages, with queues full.
//! Out: an empty table, and a neighbor that noticed nothing.

use holdfast_testkit::{
    Daemon,
    peer::{FIN, Frame, PING, Peer, binary, close, frame, request, text},
};

/// Everything a client may have said before it breaks off.
fn moments() -> Vec<Vec<u8>> {
    let upgraded = |rest: &[u8]| [request("/echo").as_bytes(), rest].concat();
    let long = binary(&[7; 60_000]);
    vec![
        Vec::new(),
        request("/echo").as_bytes()[..60].to_vec(),
        b"BAD\r\n\r\n".to_vec(),
        upgraded(b""),
        upgraded(&text("hello")),
        upgraded(&text("hello")[..1]),
        upgraded(&text("hello")[..4]),
        upgraded(&text("hello")[..8]),
        upgraded(&long[..30_000]),
        upgraded(&long.repeat(20)),
        upgraded(&frame(FIN | PING, b"?")),
        upgraded(&frame(FIN | 0x3, b"")),
        upgraded(&close(1000)),
        request("/broadcast").into_bytes(),
    ]
}

#[test]
fn a_reset_at_any_moment_is_forgotten_and_the_neighbor_notices_nothing() {
    let daemon = Daemon::start("[client]\nping_interval = '1h'");
    let mut neighbor = Peer::open(&daemon, "/echo");
    for round in 0..10 {
        for (number, said) in moments().into_iter().enumerate() {
            let mut peer = Peer::connect(&daemon);
            peer.send_if_heard(&said);
            if round % 2 == 0 {
                // The daemon has most likely seen what was said; in the other rounds it most likely has not.
                neighbor.expect_echo(&format!("moment {number}"));
            }
            peer.reset();
        }
        neighbor.expect_echo("still here");
    }
    drop(neighbor);
    daemon.await_empty();
    assert_eq!(daemon.metric("holdfast_accept_errors_total", &[]), 0);
    daemon.stop();
}

#[test]
fn a_reset_with_a_full_queue_frees_it() {
    let daemon = Daemon::start("[client]\nping_interval = '1h'\nqueue_max_size = '64MiB'");
    let mut publisher = Peer::open(&daemon, "/broadcast");
    for _ in 0..5 {
        let sleeper = Peer::connect_with_receive_buffer(16 * 1024, &daemon).upgraded("/broadcast");
        for number in 0..250 {
            let payload = vec![u8::try_from(number).expect("it is a byte"); 60_000];
            publisher.send(&binary(&payload));
            assert!(publisher.frame() == Frame::binary(&payload), "message {number} was lost or changed");
        }
        sleeper.reset();
    }
    publisher.send(&text("alone again"));
    assert_eq!(publisher.frame(), Frame::text("alone again"));
    drop(publisher);
    daemon.await_empty();
    daemon.stop();
}

#[test]
fn a_member_that_breaks_off_in_the_middle_of_its_message_publishes_nothing() {
    let daemon = Daemon::start("");
    let mut member = Peer::open(&daemon, "/broadcast");
    let mut broken = Peer::open(&daemon, "/broadcast");
    broken.send(&text("never said to its end")[..12]);
    broken.reset();
    let mut other = Peer::open(&daemon, "/broadcast");
    other.send(&text("whole"));
    assert_eq!(member.frame(), Frame::text("whole"));
    daemon.stop();
}
