//! Kill: SIGKILL under load, and a start on the same port.
//!
//! In:  publishers by the API, clients that remember their positions, a daemon that is killed while they are at it.
//! Out: what was acknowledged has come to each client, or the client learns from the next daemon that its position is
//! lost; never a gap in silence. The next daemon takes the port at once and is as good as the first.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use holdfast_testkit::{
    Daemon, Launch,
    client::{Client, SECRET},
    eventually,
    peer::Peer,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{api::Publisher, base::Base};

const CHANNELS: [&str; 4] = ["a", "b", "c", "d"];
const CLIENTS: usize = 40;
const KILLS: usize = 3;
/// The daemon is killed when so many have been acknowledged.
const ACKNOWLEDGED: u64 = 4_000;
/// With this, more waits for who does not read than the kernel takes.
const PAD_BYTES: usize = 4_000;
/// Publications to the last daemon, in each channel, each time.
const PUBLISHED_LAST: u64 = 500;

/// Where a client is in a channel.
#[derive(Clone, Debug)]
struct Position {
    epoch: String,
    offset: u64,
}

/// By channel.
type Positions = HashMap<&'static str, Position>;

/// A daemon whose history is large enough for all, and on what address it is to be.
fn start(address: Option<SocketAddr>) -> Daemon {
    let config = format!(
        "[client]\nping_interval = '1h'\ntoken.hmac_secret_key = '{SECRET}'\nqueue_max_size = '256MiB'\n\
         [http_api]\ninsecure = true\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\nforce_recovery = true\n\
         history_size = 1000\nhistory_ttl = '1h'"
    );
    Daemon::launch(&config, Launch { listen: address, ..Launch::default() })
}

/// A publication; its number is to be its offset.
fn numbered(number: u64) -> Value {
    json!({ "n": number, "pad": "x".repeat(PAD_BYTES) })
}

/// Comes, with what it knows of the daemon before: that must be told to be worth nothing any more.
fn come(daemon: &Daemon, known: Option<&Positions>) -> (Client, Positions) {
    let peer = Peer::connect_with_receive_buffer(8192, daemon).upgraded("/connection/websocket");
    let mut client = Client::over(peer, "user");
    let subscribe = |channel| {
        let mut request = json!({ "channel": channel });
        let known = known.map(|known| &known[channel]);
        if let Some(Position { epoch, offset }) = known {
            request = json!({ "channel": channel, "recover": true, "epoch": epoch, "offset": offset });
        }
        let answer = client.command("subscribe", &request);
        let epoch = answer["epoch"].as_str().expect("there is a history").to_owned();
        if let Some(known) = known {
            assert_eq!(answer["was_recovering"], true, "{answer}");
            assert_ne!(answer["recovered"], true, "{answer}");
            assert_eq!(answer.get("publications"), None, "{answer}");
            assert_ne!(epoch, known.epoch);
        }
        (channel, Position { epoch, offset: answer["offset"].as_u64().unwrap_or(0) })
    };
    let positions = CHANNELS.into_iter().map(subscribe).collect();
    (client, positions)
}

/// Takes what comes next, which must be the next one in its channel.
fn follow(push: &Value, positions: &mut Positions) {
    let channel = push["channel"].as_str().expect("it is a publication");
    let position = positions.get_mut(channel).expect("one of ours");
    position.offset += 1;
    assert_eq!(push["pub"]["offset"], position.offset, "{channel}: a gap, or twice");
    assert_eq!(push["pub"]["data"], numbered(position.offset), "{channel}");
}

/// Publishes until the daemon is gone. Returns the last number that was acknowledged.
fn publish_on(control: SocketAddr, channel: &str, acknowledged: &AtomicU64) -> u64 {
    let mut publisher = Publisher::connect(control);
    let mut number = 0;
    while let Some(answer) = publisher.publish(channel, &numbered(number + 1)) {
        number += 1;
        assert_eq!(answer["result"]["offset"], number, "{answer}");
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    number
}

/// Clients come with what they know and are told what it is worth; the daemon is killed under load. Answers with what
/// the clients know then.
fn live_and_be_killed(daemon: Daemon, known: &[Positions]) -> Vec<Positions> {
    let mut clients: Vec<_> = (0..CLIENTS).map(|at| come(&daemon, known.get(at))).collect();
    // They read when all is over: what the daemon has not given to the kernel by then, they lack.
    let late = clients.split_off(CLIENTS / 2);
    let (control, acknowledged, heard) = (daemon.control(), AtomicU64::new(0), AtomicU64::new(0));
    let read_on = |(mut client, mut positions): (Client, Positions)| {
        while let Ok(message) = client.next_or_end() {
            follow(&message["push"], &mut positions);
            heard.fetch_add(1, Ordering::Relaxed);
        }
        positions
    };
    let (published, known) = thread::scope(|scope| {
        let readers: Vec<_> = clients.into_iter().map(|client| scope.spawn(|| read_on(client))).collect();
        let publishers = CHANNELS.map(|channel| {
            let acknowledged = &acknowledged;
            scope.spawn(move || publish_on(control, channel, acknowledged))
        });
        eventually("both sides are in the middle of it", || {
            acknowledged.load(Ordering::Relaxed) >= ACKNOWLEDGED
                && heard.load(Ordering::Relaxed) >= ACKNOWLEDGED
        });
        daemon.signal(Signal::KILL);
        assert_eq!(daemon.wait().code(), None, "it ends by the signal");
        let published = publishers.map(|publisher| publisher.join().expect("it was right up to the end"));
        let readers = readers.into_iter().map(|reader| reader.join().expect("all came right"));
        (published, readers.chain(late.into_iter().map(read_on)).collect::<Vec<_>>())
    });
    let lack = known.iter().filter(|positions| {
        CHANNELS
            .iter()
            .zip(&published)
            .any(|(channel, acknowledged)| positions[channel].offset < *acknowledged)
    });
    let lack = lack.count();
    println!(
        "{lack} of {CLIENTS} clients lack some of {} that were acknowledged",
        published.iter().sum::<u64>()
    );
    assert!(lack > 0, "the late ones cannot have all of it");
    known
}

/// Clients come with what they know, and hear what is published.
fn be_served(daemon: &Daemon, known: &[Positions]) {
    let mut clients: Vec<_> = (0..CLIENTS).map(|at| come(daemon, known.get(at))).collect();
    let from = clients[0].1.clone();
    thread::scope(|scope| {
        for (channel, Position { offset, .. }) in &from {
            let mut publisher = Publisher::connect(daemon.control());
            let numbers = offset + 1..=offset + PUBLISHED_LAST;
            scope.spawn(move || publisher.publish_all(channel, numbers.map(numbered)));
        }
        for (client, positions) in &mut clients {
            let from = &from;
            let is_behind = move |(channel, position): (&&'static str, &Position)| {
                position.offset < from[channel].offset + PUBLISHED_LAST
            };
            scope.spawn(move || {
                while positions.iter().any(is_behind) {
                    follow(&client.push(), positions);
                }
            });
        }
    });
}

#[test]
fn who_comes_back_after_a_kill_is_told_that_its_position_is_lost_and_misses_nothing_from_there() {
    let mut daemon = start(None);
    let address = daemon.address();
    let mut known = Vec::new();
    for _ in 0..KILLS {
        known = live_and_be_killed(daemon, &known);
        // No waiting for the ends of old connections.
        daemon = start(Some(address));
        assert_eq!(daemon.address(), address);
    }
    be_served(&daemon, &known);
    let base = Base::of(&daemon);
    be_served(&daemon, &[]);
    base.expect_back(&daemon);
    daemon.stop();
}
