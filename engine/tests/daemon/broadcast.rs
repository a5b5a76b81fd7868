//! Broadcast: one message to all.
//!
//! In:  several publishers at once, on all cores; members that come and go, or do not read.
//! Out: every member has every message once, each publisher's in order; who does not read is closed.

use std::{collections::HashMap, io::Write, net::TcpStream, thread};

use holdfast_testkit::{
    Daemon, eventually,
    peer::{BINARY, FIN, Frame, Peer, TEXT, binary, close, frame, text},
};

const MEMBERS: usize = 60;
const PUBLISHERS: usize = 4;

/// Message `number` of a publisher: its place in the order, and filling whose length and content follow from it.
fn message(publisher: usize, number: usize) -> Frame {
    let filling = "x".repeat((publisher * 37 + number * 101) % 700);
    // Text stays text and binary stays binary.
    let opcode = if publisher.is_multiple_of(2) { TEXT } else { BINARY };
    Frame { opcode, payload: format!("{publisher} {number} {filling}").into_bytes() }
}

/// Who published a message, and where in that publisher's order it stands.
fn place(message: &Frame) -> (usize, usize) {
    let words = str::from_utf8(&message.payload).expect("it was published as text");
    let mut words = words.split(' ').map(str::parse);
    let mut number = || words.next().expect("it has two numbers").expect("they are numbers");
    (number(), number())
}

/// What a member has seen of each publisher.
#[derive(Default)]
struct Seen(HashMap<usize, usize>);

impl Seen {
    /// Takes the next message in. Panics where one is missing, repeated, out of order or changed.
    fn take(&mut self, came: &Frame) {
        let (publisher, number) = place(came);
        assert!(*came == message(publisher, number), "message {number} of {publisher} was changed");
        let next = self.0.entry(publisher).or_default();
        assert_eq!(number, *next, "of publisher {publisher}");
        *next += 1;
    }
}

/// Publishes that many messages, as fast as they are taken.
fn publish(mut sender: TcpStream, publisher: usize, messages: usize) {
    for number in 0..messages {
        let Frame { opcode, payload } = message(publisher, number);
        sender.write_all(&frame(FIN | opcode, &payload)).expect("it goes out");
    }
}

#[test]
fn every_member_on_every_core_gets_all_messages_of_each_publisher_in_order() {
    const MESSAGES: usize = 1_000;
    // Queues that hold it all: this is about order and loss, not about slow readers.
    let daemon = Daemon::start(
        "[client]\nqueue_max_size = '64MiB'\nping_interval = '1h'\n[engine]\nmailbox_messages_max = 64",
    );
    let members: Vec<Peer> = (0..MEMBERS).map(|_| Peer::open(&daemon, "/broadcast")).collect();
    let mut publishers: Vec<Peer> = (0..PUBLISHERS).map(|_| Peer::open(&daemon, "/broadcast")).collect();
    for core in daemon.metrics().select("holdfast_broadcast_members", &[]) {
        assert!(core.value > 0.0, "a core has no member: {core:?}");
    }
    thread::scope(|scope| {
        for (publisher, peer) in publishers.iter().enumerate() {
            let sender = peer.sender();
            scope.spawn(move || publish(sender, publisher, MESSAGES));
        }
        for mut member in members {
            scope.spawn(move || {
                let mut seen = Seen::default();
                (0..PUBLISHERS * MESSAGES).for_each(|_| seen.take(&member.frame()));
                member.send(&close(1000));
                member.expect_close(1000);
            });
        }
    });
    // Publishers are members like the others.
    for publisher in &mut publishers {
        let mut seen = Seen::default();
        (0..PUBLISHERS * MESSAGES).for_each(|_| seen.take(&publisher.frame()));
    }
    let sent = daemon.metric("holdfast_messages_total", &[("direction", "out")]);
    assert_eq!(sent, (PUBLISHERS * MESSAGES * (MEMBERS + PUBLISHERS)) as u64);
    daemon.stop();
}

#[test]
fn large_messages_arrive_whole_at_every_member() {
    let daemon = Daemon::start("[client]\nping_interval = '1h'");
    let mut members: Vec<Peer> = (0..20).map(|_| Peer::open(&daemon, "/broadcast")).collect();
    for length in [2_047, 2_049, 20_000, 65_536] {
        let payload: Vec<u8> = (0..=255).cycle().take(length).collect();
        members[0].send(&binary(&payload));
        for member in &mut members {
            assert!(member.frame() == Frame::binary(&payload), "{length} bytes did not arrive as they went");
        }
    }
    daemon.stop();
}

#[test]
fn a_member_that_never_reads_is_closed_and_the_others_miss_nothing() {
    const BYTES: usize = 32_000;
    /// More than the kernel and the queue hold for one connection, by far.
    const MESSAGES_MAX: usize = 4_000;
    let daemon = Daemon::start("[client]\nping_interval = '1h'");
    let mut members: Vec<Peer> = (0..10).map(|_| Peer::open(&daemon, "/broadcast")).collect();
    let sleeper = Peer::connect_with_receive_buffer(16 * 1024, &daemon).upgraded("/broadcast");
    let mut published = 0;
    while daemon.closes("slow") == 0 {
        assert!(published < MESSAGES_MAX, "a member that never reads is never closed");
        // One at a time, so that nobody else can fall behind.
        let payload = vec![u8::try_from(published % 256).expect("it is a byte"); BYTES];
        members[published % 10].send(&binary(&payload));
        for member in &mut members {
            assert!(member.frame() == Frame::binary(&payload), "message {published} was lost or changed");
        }
        published += 1;
    }
    daemon.await_closes("slow", 1);
    eventually("its membership ends", || daemon.metric("holdfast_broadcast_members", &[]) == 10);
    drop(sleeper);
    members[0].send(&text("and on"));
    for member in &mut members {
        assert_eq!(member.frame(), Frame::text("and on"));
    }
    daemon.stop();
}

#[test]
fn members_that_leave_in_the_middle_of_a_burst_take_nothing_from_the_others() {
    const MESSAGES: usize = 1_500;
    let daemon = Daemon::start("[client]\nqueue_max_size = '64MiB'\nping_interval = '1h'");
    let mut publisher = Peer::open(&daemon, "/broadcast");
    // Those who stay and those who leave take turns in the tables.
    let peers: Vec<Peer> = (0..MEMBERS).map(|_| Peer::open(&daemon, "/broadcast")).collect();
    let sender = publisher.sender();
    thread::scope(|scope| {
        scope.spawn(move || publish(sender, 0, MESSAGES));
        for (number, mut peer) in peers.into_iter().enumerate() {
            scope.spawn(move || {
                let mut seen = Seen::default();
                match number % 4 {
                    0 | 1 => (0..MESSAGES).for_each(|_| seen.take(&peer.frame())),
                    2 => {
                        (0..number * 10).for_each(|_| seen.take(&peer.frame()));
                        peer.reset();
                    }
                    _ => {
                        (0..number * 10).for_each(|_| seen.take(&peer.frame()));
                        peer.send(&close(1001));
                        let farewell = std::iter::from_fn(|| peer.frame_or_end()).last();
                        assert_eq!(farewell.expect("a close frame comes").close_code(), 1001);
                    }
                }
            });
        }
    });
    let mut seen = Seen::default();
    (0..MESSAGES).for_each(|_| seen.take(&publisher.frame()));
    drop(publisher);
    daemon.await_empty();
    daemon.stop();
}

#[test]
fn echo_and_broadcast_do_not_mix() {
    let daemon = Daemon::start("");
    let mut member = Peer::open(&daemon, "/broadcast");
    let mut other = Peer::open(&daemon, "/echo");
    other.expect_echo("mine alone");
    member.send(&text("for members"));
    assert_eq!(member.frame(), Frame::text("for members"));
    other.expect_echo("nothing else came");
    daemon.stop();
}
