//! Network: packets that get lost, late and out of order; a network that is parted for a while.
//!
//! In:  clients behind a bad wire.
//! Out: over a connection that lives, every message once, in order and unchanged. A connection behind a wire that is cut
//! for too long is closed with all that belongs to it; its client comes back and recovers every publication that it missed.

use std::{io::Write, thread, time::Duration};

use holdfast_testkit::{
    Daemon, Launch,
    client::{Client, SECRET},
    eventually,
    peer::{Frame, Peer, text},
    skip,
};
use serde_json::{Value, json};

use crate::{
    api::Publisher,
    base::Base,
    wire::{DAEMON, Quality, Wire},
};

const CLIENTS: usize = 12;
const ECHOES: usize = 4;
const PAD_BYTES: usize = 300;

/// Loss that would ring every bell.
const BAD: Quality = Quality { lost: 50, delay: Duration::from_millis(10), late: 20 };
const GOOD: Quality = Quality { lost: 0, delay: Duration::from_millis(1), late: 0 };

/// Starts a daemon on the wire; to be called on its side.
fn start(client: &str) -> Daemon {
    let config = format!(
        "[client]\ntoken.hmac_secret_key = '{SECRET}'\nclose_timeout = '200ms'\n{client}\n\
         [http_api]\ninsecure = true\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\nforce_recovery = true\n\
         history_size = 10000\nhistory_ttl = '1h'"
    );
    Daemon::launch(&config, Launch { listen: Some((DAEMON, 0).into()), ..Launch::default() })
}

fn numbered(number: u64) -> Value {
    json!({ "n": number, "pad": "x".repeat(PAD_BYTES) })
}

/// A client and how far it has read.
struct Reader {
    client: Client,
    epoch: String,
    offset: u64,
}

impl Reader {
    /// Comes for the first time.
    fn come(daemon: &Daemon) -> Self {
        let mut client = Client::connect(daemon, "reader");
        let answer = client.subscribe("news");
        let epoch = answer["epoch"].as_str().expect("there is a history").to_owned();
        Self { client, epoch, offset: answer["offset"].as_u64().unwrap_or(0) }
    }

    /// Comes again, and gets what it missed.
    fn come_back(daemon: &Daemon, epoch: String, offset: u64) -> Self {
        let mut reader = Self { client: Client::connect(daemon, "reader"), epoch, offset };
        let answer = reader.client.command(
            "subscribe",
            &json!({ "channel": "news", "recover": true, "epoch": reader.epoch, "offset": offset }),
        );
        assert_eq!(answer["recovered"], true, "{answer}");
        answer["publications"]
            .as_array()
            .into_iter()
            .flatten()
            .for_each(|publication| reader.take(publication));
        reader
    }

    /// Reads up to an offset.
    fn read_to(&mut self, offset: u64) {
        while self.offset < offset {
            let push = self.client.push();
            self.take(&push["pub"]);
        }
    }

    fn take(&mut self, publication: &Value) {
        self.offset += 1;
        assert_eq!(publication["offset"], self.offset, "lost, or twice");
        assert_eq!(publication["data"], numbered(self.offset));
    }
}

/// Reads with all of them at the same time.
fn read_all(readers: &mut [Reader], offset: u64) {
    thread::scope(|scope| {
        for reader in readers {
            scope.spawn(move || reader.read_to(offset));
        }
    });
}

/// Sends messages while it reads what comes back.
fn echo(mut peer: Peer, messages: u64) {
    let said = |number: u64| format!("{number} {}", "y".repeat(PAD_BYTES));
    let mut sender = peer.sender();
    thread::scope(|scope| {
        scope.spawn(move || {
            for number in 0..messages {
                sender.write_all(&text(&said(number))).expect("it is read in the end");
            }
        });
        for number in 0..messages {
            assert_eq!(peer.frame(), Frame::text(&said(number)));
        }
    });
}

#[test]
fn over_a_wire_that_loses_delays_and_reorders_packets_every_message_comes_once_and_in_order() {
    const PUBLICATIONS: u64 = 1_000;
    const ECHOED: u64 = 300;
    let wire = match Wire::make(BAD, 1) {
        Ok(wire) => wire,
        Err(why) => return skip("packet loss", &why),
    };
    wire.daemon_side.enter(|| {
        let daemon = start("ping_interval = '1h'");
        let talk = || {
            let (mut readers, echoes): (Vec<_>, Vec<_>) = wire.clients_side.enter(|| {
                let readers = (0..CLIENTS).map(|_| Reader::come(&daemon));
                (readers.collect(), (0..ECHOES).map(|_| Peer::open(&daemon, "/echo")).collect())
            });
            let last = readers[0].offset + PUBLICATIONS;
            thread::scope(|scope| {
                echoes.into_iter().for_each(|peer| drop(scope.spawn(|| echo(peer, ECHOED))));
                let numbers = last - PUBLICATIONS + 1..=last;
                scope.spawn(|| {
                    Publisher::connect(daemon.control()).publish_all("news", numbers.map(numbered));
                });
                read_all(&mut readers, last);
            });
        };
        talk();
        let base = Base::of(&daemon);
        talk();
        base.expect_back(&daemon);
        daemon.stop();
    });
    let lost = wire.lost();
    println!("{lost:?} packets were lost");
    assert!(lost.iter().all(|&lost| lost > 100), "{lost:?} packets lost are no fault");
}

#[test]
fn who_is_cut_off_for_long_is_closed_and_recovers_every_publication_when_it_comes_back() {
    const HEARD: u64 = 200;
    const MISSED: u64 = 250;
    let wire = match Wire::make(GOOD, 2) {
        Ok(wire) => wire,
        Err(why) => return skip("a network that is parted", &why),
    };
    wire.daemon_side.enter(|| {
        let daemon = start("ping_interval = '6s'\npong_timeout = '5900ms'");
        let mut publisher = Publisher::connect(daemon.control());
        let mut publish =
            |from: u64, count: u64| publisher.publish_all("news", (from + 1..=from + count).map(numbered));
        let mut readers: Vec<Reader> =
            wire.clients_side.enter(|| (0..CLIENTS).map(|_| Reader::come(&daemon)).collect());
        let mut bases = Vec::new();
        for round in 0..2 {
            let from = round * (HEARD + MISSED);
            publish(from, HEARD);
            read_all(&mut readers, from + HEARD);
            let closed = daemon.closes("no_pong");
            let mut near = Reader::come(&daemon);
            wire.cut(true);
            publish(from + HEARD, MISSED);
            near.read_to(from + HEARD + MISSED);
            drop(near);
            daemon.await_closes("no_pong", closed + CLIENTS as u64);
            bases.push(Base::of(&daemon));
            // Their other ends are still there; who has heard nothing for long enough gives up, too.
            let known: Vec<_> = readers.drain(..).map(|reader| (reader.epoch, reader.offset)).collect();
            wire.cut(false);
            readers = wire.clients_side.enter(|| {
                known.into_iter().map(|(epoch, offset)| Reader::come_back(&daemon, epoch, offset)).collect()
            });
            assert!(
                readers.iter().all(|reader| reader.offset == from + HEARD + MISSED),
                "they have all of it"
            );
        }
        publish(2 * (HEARD + MISSED), 1);
        read_all(&mut readers, 2 * (HEARD + MISSED) + 1);
        drop(readers);
        bases[0].expect_back(&daemon);
        daemon.stop();
    });
}

#[test]
fn a_connection_outlives_a_partition_that_is_short_and_gets_all_that_was_published_meanwhile() {
    const EACH: u64 = 200;
    let wire = match Wire::make(GOOD, 3) {
        Ok(wire) => wire,
        Err(why) => return skip("a network that is parted for a short time", &why),
    };
    wire.daemon_side.enter(|| {
        let daemon = start("ping_interval = '30s'\npong_timeout = '29s'");
        let mut readers: Vec<Reader> =
            wire.clients_side.enter(|| (0..CLIENTS).map(|_| Reader::come(&daemon)).collect());
        let mut publisher = Publisher::connect(daemon.control());
        for round in 0..3 {
            wire.cut(true);
            let lost = wire.lost()[0];
            publisher.publish_all("news", (round * EACH + 1..=(round + 1) * EACH).map(numbered));
            // Each connection has sent something for nothing at least twice.
            eventually("packets are lost", || wire.lost()[0] >= lost + 3 * CLIENTS as u64);
            wire.cut(false);
            read_all(&mut readers, (round + 1) * EACH);
        }
        assert_eq!(daemon.metric("holdfast_closes_total", &[]), 0);
        assert_eq!(daemon.metric("holdfast_sessions", &[]), CLIENTS as u64);
        daemon.stop();
    });
}
