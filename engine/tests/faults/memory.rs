//! Memory: a control group with a limit that the load would go over.
//!
//! In:  readers for whom much waits, connections in the middle of long messages: each time several times the limit.
//! Out: the kernel kills nobody. The slowest readers go, or new connections are refused; who keeps up loses nothing, and
//! when the load has gone all is as before.

use holdfast_testkit::{
    Daemon, Launch,
    client::{Client, SECRET},
    peer::{BINARY, FIN, Frame, Peer, frame, request},
    skip,
};
use serde_json::{Value, json};

use crate::{api::Publisher, base::Base, group::Group};

const LIMIT_BYTES: u64 = 96 << 20;

/// Starts a daemon in a group; where there can be none, it is said.
fn start(what: &str, config: &str) -> Option<(Daemon, Group)> {
    let group = match Group::make(LIMIT_BYTES) {
        Ok(group) => group,
        Err(why) => {
            skip(what, &why);
            return None;
        }
    };
    let launch = Launch { group: Some(group.processes()), ..Launch::default() };
    Some((Daemon::launch(config, launch), group))
}

/// The daemon has ended in good order and nobody was killed.
fn expect_unharmed(daemon: Daemon, group: &Group) {
    daemon.stop();
    println!("the group used {} bytes of {LIMIT_BYTES} at most", group.peak_bytes());
    assert_eq!(group.killed(), 0);
}

/// Publications whose numbers are those of their channel.
fn numbered(number: u64) -> Value {
    const PAD_BYTES: usize = 8_000;
    json!({ "n": number, "pad": "x".repeat(PAD_BYTES) })
}

#[test]
fn where_more_waits_for_slow_readers_than_the_group_may_have_the_slowest_go_and_the_others_lose_nothing() {
    const SLOW: usize = 8;
    const BATCH: u64 = 32;
    /// Payload for all slow readers together.
    const LOAD_BYTES: u64 = 4 * LIMIT_BYTES;
    let config = format!(
        "[client]\nping_interval = '1h'\ntoken.hmac_secret_key = '{SECRET}'\nqueue_max_size = '64MiB'\n\
         close_timeout = '100ms'\n[http_api]\ninsecure = true\n\
         [channel.without_namespace]\nallow_subscribe_for_client = true\nhistory_size = 100000\nhistory_ttl = '1h'"
    );
    let Some((daemon, group)) = start("a memory limit and slow readers", &config) else { return };
    let channels: Vec<String> = (0..SLOW).map(|at| format!("slow-{at}")).collect();
    // Each has a channel of its own, so that no payload is shared.
    let come = |channel: &str| {
        let peer = Peer::connect_with_receive_buffer(4096, &daemon).upgraded("/connection/websocket");
        let mut client = Client::over(peer, "slow");
        client.subscribe(channel);
        client
    };
    let cut = || daemon.metric("holdfast_slow_reader_disconnects_total", &[("limit", "budget")]);
    let mut publisher = Publisher::connect(daemon.control());
    let mut heard = 0;
    let mut load = || {
        let mut neighbor = Client::connect(&daemon, "neighbor");
        neighbor.subscribe("news");
        let mut slow: Vec<Client> = channels.iter().map(|channel| come(channel)).collect();
        let mut seen = cut();
        for _ in 0..LOAD_BYTES / (BATCH * SLOW as u64 * 8_000) {
            for channel in &channels {
                publisher.publish_all(channel, (1..=BATCH).map(numbered));
            }
            publisher.publish_all("news", (heard + 1..=heard + BATCH).map(numbered));
            for _ in 0..BATCH {
                heard += 1;
                assert_eq!(neighbor.push()["pub"]["data"], numbered(heard));
            }
            // Others come in the place of those that had to go.
            if cut() > seen {
                seen = cut();
                slow = channels.iter().map(|channel| come(channel)).collect();
            }
        }
        drop(slow);
    };
    load();
    assert!(cut() > 0, "the worst had to go");
    let base = Base::of(&daemon);
    load();
    base.expect_back(&daemon);
    expect_unharmed(daemon, &group);
}

#[test]
fn where_more_comes_in_part_than_the_group_may_have_those_who_sent_most_go_and_the_others_are_served() {
    const MESSAGE_BYTES: usize = 900_000;
    /// Several times the limit.
    const CONNECTIONS: usize = 400;
    let config =
        "[client]\nping_interval = '1h'\nqueue_max_size = '4MiB'\n[websocket]\nmessage_size_limit = '1MiB'";
    let Some((daemon, group)) = start("a memory limit and large messages", config) else { return };
    let message: Vec<u8> = (0..=255).cycle().take(MESSAGE_BYTES).collect();
    let mut sent = frame(FIN | BINARY, &message);
    let rest = sent.split_off(MESSAGE_BYTES - 100);
    let fill = || {
        let before = daemon.closes("receive_budget");
        let mut neighbor = Peer::open(&daemon, "/echo");
        let mut peers = Vec::new();
        while peers.len() < CONNECTIONS {
            // Refused while memory is short.
            let mut peer = Peer::connect(&daemon);
            peer.send_if_heard(request("/echo").as_bytes());
            if peer.response().0.starts_with("HTTP/1.1 101 ") {
                peer.send_if_heard(&sent);
                peers.push(peer);
            }
            neighbor.expect_echo("who sends little");
        }
        let mut served = 0;
        for peer in &mut peers {
            peer.send_if_heard(&rest);
            match peer.frame_or_cut() {
                Some(Frame { opcode: BINARY, payload }) => {
                    assert_eq!(payload, message);
                    served += 1;
                }
                Some(close) => assert_eq!(close.close_code(), 1013),
                // The last words are lost where what was sent after them is not read any more.
                None => {}
            }
        }
        println!("{served} of {CONNECTIONS} connections were served");
        assert!(served > 0);
        drop((peers, neighbor));
        daemon.await_empty();
        assert!(daemon.closes("receive_budget") > before);
    };
    fill();
    let base = Base::of(&daemon);
    fill();
    base.expect_back(&daemon);
    expect_unharmed(daemon, &group);
}
