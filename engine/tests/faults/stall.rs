//! Stall: clients that stop reading in the middle of a frame.
//!
//! In:  clients that take so many bytes of a frame's header or payload and then none, while others read on.
//! Out: everything, in order, to the others; to who reads on later, the rest of the frame and all after it, or a close
//! frame behind whole messages; from who does not, its memory back.

use std::{io::Write, thread};

use holdfast_testkit::{
    Daemon,
    client::{Client, SECRET},
    eventually,
    peer::{Frame, Peer, binary},
};
use serde_json::{Value, json};

use crate::{api::Publisher, base::Base};

/// Bytes after which a client stops. The first frame has a header of ten bytes, for its payload is over 64 KiB: so this
/// is within the header's first part, within its length, right behind it, and at several places of the payload.
const STOPS: [usize; 8] = [1, 2, 5, 9, 10, 11, 5_000, 60_000];
const NEIGHBORS: usize = 4;
/// Publications in a round: together they are less than may wait for a neighbor.
const ROUND: u64 = 32;
const ROUNDS_MAX: u64 = 400;

fn start(client: &str) -> Daemon {
    Daemon::start(&format!(
        "[client]\nping_interval = '1h'\ntoken.hmac_secret_key = '{SECRET}'\n{client}\n\
         [http_api]\ninsecure = true\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true"
    ))
}

/// A publication. Lengths differ, so that the stops of the kernel's own buffers are at many places too.
fn numbered(number: u64) -> Value {
    let pad = match number {
        1 => 70_000,
        _ => [10, 300, 20_000, 1_500, 66_000, 5][usize::try_from(number % 6).expect("it is small")],
    };
    let pattern = format!("{number}, ");
    json!({ "n": number, "pad": pattern.repeat(pad / pattern.len()) })
}

/// Reads publications up to one, of which none may be missing or other than it was published.
fn read(client: &mut Client, from: u64, to: u64) {
    for number in from..=to {
        assert_eq!(client.push()["pub"]["data"], numbered(number));
    }
}

/// Clients that have subscribed and for which the kernel keeps little.
fn narrow(daemon: &Daemon, count: usize) -> Vec<Client> {
    let come = |_| {
        let peer = Peer::connect_with_receive_buffer(4096, daemon).upgraded("/connection/websocket");
        let mut client = Client::over(peer, "narrow");
        client.subscribe("news");
        client
    };
    (0..count).map(come).collect()
}

/// Publishes, and has clients stop in the first publication, until something has come to pass; neighbors get all of it
/// meanwhile. Answers with how many were published.
fn publish_until(daemon: &Daemon, stalled: &mut [Client], mut is_so: impl FnMut() -> bool) -> u64 {
    let mut neighbors: Vec<Client> = (0..NEIGHBORS).map(|_| Client::connect(daemon, "neighbor")).collect();
    for neighbor in &mut neighbors {
        neighbor.subscribe("news");
    }
    let mut publisher = Publisher::connect(daemon.control());
    for round in 0..ROUNDS_MAX {
        let (first, last) = (round * ROUND + 1, (round + 1) * ROUND);
        publisher.publish_all("news", (first..=last).map(numbered));
        if round == 0 {
            stalled.iter_mut().zip(STOPS).for_each(|(client, stop)| client.peer().take(stop));
        }
        for neighbor in &mut neighbors {
            read(neighbor, first, last);
        }
        if is_so() {
            return last;
        }
    }
    panic!("{ROUNDS_MAX} rounds were not enough");
}

fn slow_readers(daemon: &Daemon) -> u64 {
    daemon.metric("holdfast_slow_readers", &[])
}

#[test]
fn who_stops_in_the_middle_of_a_frame_and_reads_on_later_gets_every_byte() {
    let daemon = start("queue_max_size = '512MiB'");
    let stall = || {
        let mut stalled = narrow(&daemon, STOPS.len());
        let published = publish_until(&daemon, &mut stalled, || slow_readers(&daemon) == STOPS.len() as u64);
        // Half of them go without another byte, some with a reset.
        let gone = stalled.split_off(STOPS.len() / 2);
        gone.into_iter().enumerate().for_each(|(at, client)| {
            if at % 2 == 0 {
                client.reset();
            }
        });
        for client in &mut stalled {
            read(client, 1, published);
        }
        eventually("nobody is slow", || slow_readers(&daemon) == 0);
        Publisher::connect(daemon.control()).publish_all("news", [numbered(published + 1)]);
        for client in &mut stalled {
            read(client, published + 1, published + 1);
        }
    };
    stall();
    let base = Base::of(&daemon);
    stall();
    stall();
    base.expect_back(&daemon);
    daemon.stop();
}

#[test]
fn who_reads_on_too_late_gets_whole_messages_up_to_a_close_frame() {
    let daemon = start("queue_max_size = '1MiB'\nclose_timeout = '10m'");
    let mut stalled = narrow(&daemon, STOPS.len());
    let cut = || daemon.metric("holdfast_slow_reader_disconnects_total", &[("limit", "queue")]);
    let published = publish_until(&daemon, &mut stalled, || cut() == STOPS.len() as u64);
    for client in stalled {
        let mut heard = 0;
        let code = client.read_to_close(|push| {
            heard += 1;
            assert_eq!(push["pub"]["data"], numbered(heard));
        });
        assert_eq!(code, 3008);
        assert!(heard < published);
    }
    daemon.await_closes("slow", STOPS.len() as u64);
    daemon.stop();
}

#[test]
fn what_waited_for_who_never_reads_on_is_given_back_while_its_connection_is_open_on_the_other_side() {
    let daemon = start("queue_max_size = '16MiB'\nclose_timeout = '100ms'");
    let mut kept = Vec::new();
    let mut stall = || {
        let mut stalled = narrow(&daemon, STOPS.len());
        let before = daemon.closes("slow");
        publish_until(&daemon, &mut stalled, || daemon.closes("slow") == before + STOPS.len() as u64);
        kept.push(stalled);
    };
    stall();
    let base = Base::of(&daemon);
    stall();
    stall();
    base.expect_back(&daemon);
    daemon.stop();
}

#[test]
fn an_echo_that_is_not_read_holds_up_its_sender_alone_and_loses_no_byte() {
    const MESSAGES: u8 = 250;
    let message =
        |number: u8| (0..=255).map(|byte: u8| byte ^ number).cycle().take(60_001).collect::<Vec<u8>>();
    let daemon = start("");
    let mut echo = Peer::connect_with_receive_buffer(4096, &daemon).upgraded("/echo");
    let mut neighbor = Peer::open(&daemon, "/echo");
    thread::scope(|scope| {
        let mut sender = echo.sender();
        scope.spawn(move || {
            for number in 0..MESSAGES {
                sender.write_all(&binary(&message(number))).expect("it is read in the end");
            }
        });
        echo.take(3);
        eventually("it is slow", || slow_readers(&daemon) == 1);
        neighbor.expect_echo("nothing holds me up");
        for number in 0..MESSAGES {
            assert_eq!(echo.frame(), Frame::binary(&message(number)));
        }
    });
    daemon.stop();
}
