//! Fairness: clients that send as fast as they can, next to one that does not, on a simulated kernel.
//!
//! In:  floods of every kind.
//! Out: how many turns the others waited; how much memory the floods used.
//!
//! Time advances on every read of the clock: the machine is a slow one.

use std::{io::Write as _, sync::Arc, time::Duration};

use bytes::{BufMut as _, BytesMut};
use flate2::{Compression, write::DeflateEncoder};
use tokio::sync::oneshot;

use crate::{
    config::Config,
    ids::ShardId,
    memory::Budget,
    mesh::StopOrder,
    metrics::Metric,
    session::{
        calls::{ApiCall, ClientCommand, ClientSelector},
        message::Message,
    },
    simulation::{
        cluster::Cluster,
        scripted::{ScriptedClient, message},
    },
};

const BUFFERS: u32 = 64;
const BUFFER_BYTES: usize = 16 * 1024;
const SLOTS: u32 = 256;
const PIPE_BYTES: usize = 256 * 1024;
const MAILBOX_MESSAGES_MAX: usize = 512;
const MAILBOX_BYTES_MAX: u64 = 256 * 1024;

/// Time between two reads of the clock.
const LOOK: Duration = Duration::from_micros(200);

/// Turns that a light sender may wait if no message is needed: one to be read, one for its part.
const TURNS_AT_ONCE: u32 = 4;

/// The same if a message waits behind the whole inbox: that takes some milliseconds, of which a turn has one.
const TURNS_WITH_A_MESSAGE: u32 = 40;

/// One shard. The crowd floods it, and reads.
fn cluster_with(change: impl FnOnce(&mut Config)) -> Cluster {
    let mut cluster = Cluster::of(1)
        .config(change)
        .room(SLOTS, BUFFERS, BUFFER_BYTES)
        .pipe_bytes(PIPE_BYTES)
        .mailboxes(MAILBOX_MESSAGES_MAX, MAILBOX_BYTES_MAX)
        .start();
    cluster.look = LOOK;
    cluster.check = check_bounds;
    cluster
}

/// After each turn: what waits is bounded, and counted.
fn check_bounds(cluster: &mut Cluster, shard: usize) {
    let connections = cluster.crowd.len() as u64 + 8;
    let shard = cluster.shard(shard);
    let inbox = &shard.mesh.inbox;
    assert!(inbox.bytes() <= 3 * MAILBOX_BYTES_MAX, "{} bytes in the inbox", inbox.bytes());
    assert!(inbox.len() <= 3 * MAILBOX_MESSAGES_MAX, "{} messages in the inbox", inbox.len());
    let backlog_bytes = shard.backlog.memory_bytes();
    assert!(backlog_bytes <= connections * 256 * 1024, "{backlog_bytes} bytes of connections wait");
    let bytes = shard.cx.ledger.bytes(Budget::Commands);
    assert!(bytes >= inbox.bytes() + backlog_bytes, "the ledger knows what waits");
}

/// From now on there are floods; the backlog that they cause lasts for a while.
fn begin_flood(cluster: &mut Cluster, flooders: Vec<ScriptedClient>, said: &[u8]) {
    cluster.crowd = flooders.into_iter().map(|flooder| flooder.flooding(said)).collect();
    (0..100).for_each(|_| cluster.round_of_all());
    assert!(cluster.count(Metric::Deferrals) > 0, "the test wants a flood");
}

/// How many turns a well-behaved client, the server API and a stop order wait.
fn check_others(cluster: &mut Cluster, mut client: ScriptedClient) {
    for round in 0..8 {
        client.forget();
        client.say(&format!(r#"{{"id":{},"ping":{{}}}}"#, 1000 + round));
        client.say(&format!(r#"{{"id":{},"unsubscribe":{{"channel":"none"}}}}"#, 2000 + round));
        let turns = cluster.run_until_heard(&mut client, &format!(r#""id":{},"#, 2000 + round));
        assert!(turns <= TURNS_AT_ONCE, "a command waits {turns} turns");
        client.say(&format!(r#"{{"id":{},"subscribe":{{"channel":"c{round}"}}}}"#, 3000 + round));
        let turns = cluster.run_until_heard(&mut client, &format!(r#""id":{},"#, 3000 + round));
        assert!(turns <= TURNS_WITH_A_MESSAGE, "a subscription waits {turns} turns");
        let publish = format!(r#""publish":{{"channel":"c{round}","data":"d{round}"}}"#);
        client.say(&format!(r#"{{"id":{},{publish}}}"#, 4000 + round));
        let turns = cluster.run_until_heard(&mut client, &format!(r#""data":"d{round}""#));
        assert!(turns <= TURNS_WITH_A_MESSAGE, "a publication waits {turns} turns");
        // New connections arrive too.
        let turns_before = cluster.rounds;
        drop(cluster.upgraded(0, "/echo", ""));
        let turns = cluster.rounds - turns_before;
        assert!(turns <= 4 * u64::from(TURNS_AT_ONCE), "a handshake waits {turns} turns");

        let (sender, mut answer) = oneshot::channel();
        let mailboxes = cluster.shared.mailboxes(ShardId::FIRST);
        assert!(mailboxes.push_control(Message::Api(ApiCall::Info(sender))).is_ok());
        cluster.round_of_all();
        assert!(answer.try_recv().is_ok(), "a control message is taken in the next turn");
    }
    cluster.shared.stop(StopOrder::at_once(Duration::from_secs(1)));
    cluster.round_of_all();
    assert!(cluster.shard(0).draining.is_some(), "a stop order is taken in the next turn");
}

fn publish(channel: &str, bytes: usize) -> BytesMut {
    let data = "x".repeat(bytes);
    message(&format!(r#"{{"id":7,"publish":{{"channel":"{channel}","data":"{data}"}}}}"#))
}

/// A compressed message.
fn deflated(text: &str) -> BytesMut {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).expect("memory takes it");
    let payload = encoder.finish().expect("memory takes it");
    let mut bytes = BytesMut::new();
    bytes.put_u8(0xc1);
    let len = u16::try_from(payload.len()).expect("it is small");
    match len {
        0..126 => bytes.put_u8(0x80 | u8::try_from(len).expect("it is smaller")),
        _ => {
            bytes.put_u8(0xfe);
            bytes.put_u16(len);
        }
    }
    bytes.put_slice(&[0; 4]);
    bytes.put_slice(&payload);
    bytes
}

#[test]
fn who_floods_broadcast_keeps_nobody_from_anything() {
    for (flooders, bytes) in [(1, 10), (1, 60_000), (30, 10), (30, 1_000)] {
        let mut cluster = cluster_with(|_| {});
        let client = cluster.connected(0, "");
        let flooders = (0..flooders).map(|_| cluster.upgraded(0, "/broadcast", "")).collect();
        begin_flood(&mut cluster, flooders, &message(&"x".repeat(bytes)));
        check_others(&mut cluster, client);
    }
}

#[test]
fn who_publishes_without_waiting_for_replies_fills_no_inbox_and_holds_up_nobody() {
    for (flooders, bytes) in
        [(1, 2), (1, 30_000), (20, 2), (20, 7), (20, 12), (20, 20), (20, 30), (20, 3_000)]
    {
        let mut cluster = cluster_with(|_| {});
        let client = cluster.connected(0, "");
        let mut flooders: Vec<_> = (0..flooders).map(|_| cluster.connected(0, "")).collect();
        flooders.iter_mut().for_each(|flooder| flooder.say(r#"{"id":2,"subscribe":{"channel":"flooded"}}"#));
        begin_flood(&mut cluster, flooders, &publish("flooded", bytes));
        check_others(&mut cluster, client);
    }
}

#[test]
fn a_frame_of_very_many_commands_is_interrupted_and_answered_whole_and_in_order() {
    const COMMANDS: usize = 1_400;
    let mut cluster = cluster_with(|_| {});
    let (mut busy, mut calm) = (cluster.connected(0, ""), cluster.connected(0, ""));
    let commands: Vec<_> = (10..10 + COMMANDS)
        .map(|id| format!(r#"{{"id":{id},"presence_stats":{{"channel":"a"}}}}"#))
        .collect();
    busy.say(&commands.join("\n"));
    busy.say(r#"{"id":9999,"unsubscribe":{"channel":"a"}}"#);
    cluster.run_until(&mut busy, |cluster, _| cluster.shard(0).backlog.len() > 0);
    calm.say(r#"{"id":5,"unsubscribe":{"channel":"a"}}"#);
    let turns = cluster.run_until_heard(&mut calm, r#""id":5,"#);
    assert!(turns <= TURNS_AT_ONCE, "the neighbor waits {turns} turns");
    cluster.run_until_heard(&mut busy, r#""id":9999,"#);
    // Presence is disabled here, which the client's own shard reports: the replies come in the order of the commands.
    let heard = busy.heard().into_owned();
    let ids: Vec<usize> = heard
        .split(r#"{"id":"#)
        .skip(1)
        .filter_map(|reply| reply.split(',').next()?.parse().ok())
        .filter(|id| *id > 1)
        .collect();
    let expected: Vec<usize> = (10..10 + COMMANDS).chain([9999]).collect();
    assert_eq!(ids, expected);
    (0..50).for_each(|_| cluster.round_of_all());
    assert_eq!(cluster.shard(0).backlog.len(), 0, "nothing is left");
}

#[test]
fn what_a_small_frame_is_inflated_to_is_worked_off_part_by_part() {
    let commands = vec![r#"{"id":7,"presence_stats":{"channel":"a"}}"#; 1_500].join("\n");
    let frame = deflated(&commands);
    assert!(frame.len() < 400, "{}", frame.len());
    let mut cluster = cluster_with(|config| config.websocket.compression = true);
    let client = cluster.connected(0, "");
    let flooders = (0..4).map(|_| {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let mut flooder = cluster.upgraded(0, "/connection/websocket", offer);
        flooder.say(r#"{"id":1,"connect":{}}"#);
        // The reply may be compressed.
        let turns = cluster.rounds;
        cluster.run_until(&mut flooder, |cluster, _| cluster.rounds > turns + 20);
        flooder
    });
    let flooders = flooders.collect();
    begin_flood(&mut cluster, flooders, &frame);
    check_others(&mut cluster, client);
}

#[test]
fn who_connects_again_and_again_with_bad_tokens_holds_up_nobody_who_is_connected() {
    let mut cluster = cluster_with(|config| config.client.token.hmac_secret_key = "secret".parse().ok());
    let mut client = cluster.connected(0, "");
    let token = format!("{}.{}.{}", "e30", "e30", "x".repeat(43));
    let mut arriving = Vec::new();
    for round in 0..100 {
        client.forget();
        while arriving.len() < 100 {
            let mut peer = cluster.open(0);
            peer.connect(&token);
            arriving.push(peer);
        }
        arriving.iter_mut().for_each(ScriptedClient::step);
        arriving.retain(|peer| peer.peer.end().is_none() && peer.count("invalid token") == 0);
        client.say(&format!(r#"{{"id":{},"unsubscribe":{{"channel":"none"}}}}"#, 2000 + round));
        let turns = cluster.run_until_heard(&mut client, &format!(r#""id":{},"#, 2000 + round));
        assert!(turns <= TURNS_AT_ONCE, "round {round}: a command waits {turns} turns");
    }
}

#[test]
fn the_end_of_a_stream_comes_after_all_that_was_sent_before_it() {
    let mut cluster = cluster_with(|_| {});
    let mut listener = cluster.connected(0, "");
    listener.say(r#"{"id":2,"subscribe":{"channel":"last"}}"#);
    cluster.run_until_heard(&mut listener, r#""subscribe":{"#);
    let flooders = (0..20).map(|_| cluster.connected(0, "")).collect();
    begin_flood(&mut cluster, flooders, &publish("flooded", 100));
    let mut leaving = cluster.connected(0, "");
    for number in 0..1_000 {
        leaving.send(&message(&format!(
            r#"{{"id":{},"publish":{{"channel":"last","data":"n{number:05}"}}}}"#,
            number + 10
        )));
    }
    while leaving.waiting_bytes() > 0 {
        leaving.step();
        listener.step();
        cluster.round_of_all();
    }
    leaving.peer.finish();
    cluster.run_until_heard(&mut listener, r#""n00999""#);
    let heard = listener.heard().into_owned();
    let numbers: Vec<usize> =
        heard.split(r#""n0"#).skip(1).filter_map(|rest| rest.get(..4)?.parse().ok()).collect();
    assert_eq!(numbers, (0..1_000).collect::<Vec<_>>());
}

#[test]
fn who_does_not_read_its_answers_gets_no_more_and_goes_on_when_it_does() {
    let said = 60_000;
    let commands: BytesMut = (10..10 + said)
        .flat_map(|id| message(&format!(r#"{{"id":{id},"unsubscribe":{{"channel":"a"}}}}"#)))
        .collect();
    // Writes, and does not read.
    let write = |cluster: &mut Cluster, turns: usize| {
        let mut client = cluster.connected(0, "");
        client.send(&commands);
        for _ in 0..turns {
            client.write();
            cluster.round_of_all();
        }
        client
    };
    let mut cluster = cluster_with(|_| {});
    let mut client = write(&mut cluster, 400);
    assert!(client.waiting_bytes() > 0, "TCP holds it");
    let turns = cluster.run_until_heard(&mut client, &format!(r#""id":{},"#, 10 + said - 1));
    assert!(turns > 0);
    assert_eq!(client.count(r#""unsubscribe""#), said, "each is answered once");

    // Another client leaves without having read.
    let client = write(&mut cluster, 100);
    client.peer.reset();
    (0..100).for_each(|_| cluster.round_of_all());
    assert_eq!(cluster.shard(0).backlog.len(), 0, "nothing of it is kept");
    assert_eq!(cluster.shard(0).sessions.clients.len(), 1);
}

#[test]
fn what_the_server_api_has_happen_to_very_many_clients_is_done_in_parts() {
    const CLIENTS: usize = 120;
    const CHANNELS: usize = 8;
    let mut cluster = cluster_with(|_| {});
    let mut calm = cluster.connected(0, "");
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| cluster.connected(0, "")).collect();
    for client in &mut clients {
        let subscribe = |id: usize| format!(r#"{{"id":{},"subscribe":{{"channel":"c{id}"}}}}"#, 10 + id);
        client.say(&(0..CHANNELS).map(subscribe).collect::<Vec<_>>().join("\n"));
        cluster.run_until(client, |_, client| client.count(r#""subscribe":{}"#) == CHANNELS);
    }
    let keys: Vec<_> = cluster.shard(0).sessions.clients.iter().map(|(key, _)| key).skip(1).collect();
    for key in keys {
        let user = cluster.shard(0).sessions.users.add("ann", key);
        cluster.shard(0).sessions.clients.get(key).expect("it is connected").user = user;
        cluster.shard(0).with_sessions(|sessions| sessions.account(key));
    }
    let whom = Arc::new(ClientSelector { user: Some("ann".into()), client: None });
    let wish = Arc::new(ClientCommand::Unsubscribe { channel: None });
    let (done, mut answer) = oneshot::channel();
    assert!(
        cluster
            .shared
            .mailboxes(ShardId::FIRST)
            .push_control(Message::Api(ApiCall::Clients { whom, wish, done }))
            .is_ok()
    );
    cluster.round_of_all();
    assert!(answer.try_recv().is_err(), "one turn has no room for all of them");
    calm.say(r#"{"id":5,"unsubscribe":{"channel":"a"}}"#);
    let turns = cluster.run_until_heard(&mut calm, r#""id":5,"#);
    assert!(turns <= TURNS_AT_ONCE, "a command waits {turns} turns");
    let mut outcome = None;
    cluster.run_until(&mut calm, |_, _| {
        outcome = outcome.or(answer.try_recv().ok());
        outcome.is_some()
    });
    assert_eq!(outcome, Some(Ok(())));
    for client in &mut clients {
        cluster.run_until(client, |_, client| client.count(r#""unsubscribe":{"#) == CHANNELS);
    }
}
