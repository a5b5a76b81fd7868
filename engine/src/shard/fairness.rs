//! Fairness: clients that send as fast as they can, next to one that does not, on a simulated kernel.
//!
//! In:  floods of every kind.
//! Out: how many turns the others waited; how much memory the floods used.
//!
//! Time advances on every read of the clock: the machine is a slow one.

use std::{io::Write as _, sync::Arc, time::Duration};

use bytes::{BufMut as _, BytesMut};
use flate2::{Compression, write::DeflateEncoder};
use holdfast_protocol::websocket::{MessageKind, encoder};
use holdfast_ring::{
    Kernel as _, Sockets, SocketsConfig,
    simulated::{Faults, Network, Simulated, SimulatedConfig, listener},
};
use tokio::sync::oneshot;

use super::{Shard, ShardPolicy, back_pressure::tests::Client};
use crate::{
    backend::queue,
    config::Config,
    ids::ShardId,
    memory::{Budget, BudgetLimits},
    mesh::{MailboxLimits, StopOrder},
    metrics::Metric,
    session::{
        calls::{ApiCall, ClientCommand, ClientSelector},
        message::{Message, Peers, Shared},
    },
};

const BUFFERS: u32 = 64;
const BUFFER_BYTES: usize = 16 * 1024;
const SLOTS: u32 = 256;
const MAILBOX: MailboxLimits = MailboxLimits { messages_max: 512, bytes_max: 256 * 1024 };

/// Time between two reads of the clock.
const LOOK: Duration = Duration::from_micros(200);

/// Turns that a light sender may wait if no message is needed: one to be read, one for its part.
const TURNS_AT_ONCE: u32 = 4;

/// The same if a message waits behind the whole inbox: that takes some milliseconds, of which a turn has one.
const TURNS_WITH_A_MESSAGE: u32 = 40;

struct Cluster {
    network: Network,
    shared: Arc<Shared>,
    shard: Shard<Simulated>,
    turns: u64,
    flooders: Vec<Client>,
    /// What the flooders send repeatedly.
    said: Vec<u8>,
}

impl Cluster {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let network = Network::new(1, Faults::default(), 256 * 1024);
        let sizes =
            SimulatedConfig { lanes: 1, slots_per_lane: SLOTS, buffers: BUFFERS, buffer_bytes: BUFFER_BYTES };
        let kernel = Simulated::new(&network, &sizes);
        let tables = crate::limits::Tables::new(1, 0);
        let budgets = BudgetLimits::all(1 << 30);
        let shared = Shared::new(vec![kernel.doorbell()], MAILBOX, 7, tables, budgets);
        let mut config = Config::default();
        config.client.allow_anonymous_connect_without_token = true;
        (config.echo.enabled, config.broadcast.enabled) = (Some(true), Some(true));
        let channels = &mut config.channel.without_namespace;
        channels.allow_subscribe_for_client = true;
        channels.allow_subscribe_for_anonymous = true;
        channels.allow_publish_for_client = true;
        channels.allow_publish_for_anonymous = true;
        change(&mut config);
        config.echo.enabled = Some(true);
        config.broadcast.enabled = Some(true);
        let mut sockets =
            Sockets::new(kernel, SocketsConfig { accept_reserve: 16, ..SocketsConfig::default() });
        sockets.listen(listener());
        let policy = ShardPolicy::new(&config, BudgetLimits::of(&config), BUFFERS);
        let shared = Arc::new(shared);
        let peers = Peers::new(Arc::clone(&shared), ShardId::FIRST);
        let shard = Shard::new("node".into(), policy, sockets, peers, queue(1).0, None, [7; 32]);
        Self { network, shared, shard, turns: 0, flooders: Vec::new(), said: Vec::new() }
    }

    /// Runs a turn; before it the flooders fill all available room, and read.
    fn turn(&mut self) {
        for flooder in &mut self.flooders {
            while flooder.outgoing.len() < 128 * 1024 && !self.said.is_empty() {
                flooder.outgoing.extend_from_slice(&self.said);
            }
            flooder.step();
            flooder.heard.clear();
        }
        self.turns += 1;
        self.network.trace().pass(Duration::from_micros(50));
        let trace = self.network.trace();
        let elapsed = || {
            trace.pass(LOOK);
            trace.now()
        };
        self.shard.turn(elapsed, || Duration::ZERO).expect("a simulated ring does not break");
        self.shard.audit();
        let inbox = &self.shard.mesh.inbox;
        assert!(inbox.bytes() <= 3 * MAILBOX.bytes_max, "{} bytes in the inbox", inbox.bytes());
        assert!(inbox.len() <= 3 * MAILBOX.messages_max, "{} messages in the inbox", inbox.len());
        let backlog_bytes = self.shard.backlog.memory_bytes();
        let bound = (self.flooders.len() + 8) as u64 * 256 * 1024;
        assert!(backlog_bytes <= bound, "{backlog_bytes} bytes of connections wait");
        let bytes = self.shard.cx.ledger.bytes(Budget::Commands);
        assert!(bytes >= inbox.bytes() + backlog_bytes, "the ledger knows what waits");
    }

    /// Turns until the condition holds.
    fn turns_until(&mut self, client: &mut Client, mut is_so: impl FnMut(&mut Self, &Client) -> bool) -> u32 {
        for turns in 0..2_000 {
            client.step();
            if is_so(self, client) {
                return turns;
            }
            self.turn();
        }
        panic!("it does not come: {}", String::from_utf8_lossy(&client.heard));
    }

    /// Turns until the client has received a text.
    fn turns_until_heard(&mut self, client: &mut Client, text: &str) -> u32 {
        self.turns_until(client, |_, client| client.count(text) > 0)
    }

    fn upgraded(&mut self, path: &str, fields: &str) -> Client {
        let mut client = Client::new(self.network.connect(0).expect("it listens"));
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{fields}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.outgoing.extend_from_slice(head.as_bytes());
        self.turns_until_heard(&mut client, "HTTP/1.1 101");
        client
    }

    /// A connected client of the Centrifuge protocol.
    fn client(&mut self) -> Client {
        let mut client = self.upgraded("/connection/websocket", "");
        client.say(r#"{"id":1,"connect":{}}"#);
        self.turns_until_heard(&mut client, r#""connect":{"client""#);
        client
    }

    /// From now on there are floods; the backlog that they cause lasts for a while.
    fn begin_flood(&mut self, flooders: Vec<Client>, said: BytesMut) {
        self.flooders = flooders;
        self.said = said.into();
        (0..100).for_each(|_| self.turn());
        let deferrals = self.shared.metrics()[0].get(Metric::Deferrals);
        assert!(deferrals > 0, "the test wants a flood");
    }

    /// How many turns a well-behaved client, the server API and a stop order wait.
    fn check_others(&mut self, mut client: Client) {
        for round in 0..8 {
            client.heard.clear();
            client.say(&format!(r#"{{"id":{},"ping":{{}}}}"#, 1000 + round));
            client.say(&format!(r#"{{"id":{},"unsubscribe":{{"channel":"none"}}}}"#, 2000 + round));
            let turns = self.turns_until_heard(&mut client, &format!(r#""id":{},"#, 2000 + round));
            assert!(turns <= TURNS_AT_ONCE, "a command waits {turns} turns");
            client.say(&format!(r#"{{"id":{},"subscribe":{{"channel":"c{round}"}}}}"#, 3000 + round));
            let turns = self.turns_until_heard(&mut client, &format!(r#""id":{},"#, 3000 + round));
            assert!(turns <= TURNS_WITH_A_MESSAGE, "a subscription waits {turns} turns");
            let publish = format!(r#""publish":{{"channel":"c{round}","data":"d{round}"}}"#);
            client.say(&format!(r#"{{"id":{},{publish}}}"#, 4000 + round));
            let turns = self.turns_until_heard(&mut client, &format!(r#""data":"d{round}""#));
            assert!(turns <= TURNS_WITH_A_MESSAGE, "a publication waits {turns} turns");
            // New connections arrive too.
            let turns_before = self.turns;
            drop(self.upgraded("/echo", ""));
            let turns = self.turns - turns_before;
            assert!(turns <= 4 * u64::from(TURNS_AT_ONCE), "a handshake waits {turns} turns");

            let (sender, mut answer) = oneshot::channel();
            let mailboxes = self.shared.mailboxes(ShardId::FIRST);
            assert!(mailboxes.push_control(Message::Api(ApiCall::Info(sender))).is_ok());
            self.turn();
            assert!(answer.try_recv().is_ok(), "a control message is taken in the next turn");
        }
        self.shared.stop(StopOrder::at_once(Duration::from_secs(1)));
        self.turn();
        assert!(self.shard.draining.is_some(), "a stop order is taken in the next turn");
    }
}

fn message(text: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    encoder::encode_message(&mut bytes, MessageKind::Text, Some([1, 2, 3, 4]), text.as_bytes());
    bytes
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
        let mut house = Cluster::new(|_| {});
        let client = house.client();
        let flooders = (0..flooders).map(|_| house.upgraded("/broadcast", "")).collect();
        house.begin_flood(flooders, message(&"x".repeat(bytes)));
        house.check_others(client);
    }
}

#[test]
fn who_publishes_without_waiting_for_replies_fills_no_inbox_and_holds_up_nobody() {
    for (flooders, bytes) in
        [(1, 2), (1, 30_000), (20, 2), (20, 7), (20, 12), (20, 20), (20, 30), (20, 3_000)]
    {
        let mut house = Cluster::new(|_| {});
        let client = house.client();
        let mut flooders: Vec<_> = (0..flooders).map(|_| house.client()).collect();
        flooders.iter_mut().for_each(|flooder| flooder.say(r#"{"id":2,"subscribe":{"channel":"flooded"}}"#));
        house.begin_flood(flooders, publish("flooded", bytes));
        house.check_others(client);
    }
}

#[test]
fn a_frame_of_very_many_commands_is_interrupted_and_answered_whole_and_in_order() {
    const COMMANDS: usize = 1_400;
    let mut house = Cluster::new(|_| {});
    let (mut busy, mut calm) = (house.client(), house.client());
    let commands: Vec<_> = (10..10 + COMMANDS)
        .map(|id| format!(r#"{{"id":{id},"presence_stats":{{"channel":"a"}}}}"#))
        .collect();
    busy.say(&commands.join("\n"));
    busy.say(r#"{"id":9999,"unsubscribe":{"channel":"a"}}"#);
    house.turns_until(&mut busy, |house, _| house.shard.backlog.len() > 0);
    calm.say(r#"{"id":5,"unsubscribe":{"channel":"a"}}"#);
    let turns = house.turns_until_heard(&mut calm, r#""id":5,"#);
    assert!(turns <= TURNS_AT_ONCE, "the neighbor waits {turns} turns");
    house.turns_until_heard(&mut busy, r#""id":9999,"#);
    // Presence is disabled here, which the client's own shard reports: the replies come in the order of the commands.
    let heard = String::from_utf8_lossy(&busy.heard).into_owned();
    let ids: Vec<usize> = heard
        .split(r#"{"id":"#)
        .skip(1)
        .filter_map(|reply| reply.split(',').next()?.parse().ok())
        .filter(|id| *id > 1)
        .collect();
    let expected: Vec<usize> = (10..10 + COMMANDS).chain([9999]).collect();
    assert_eq!(ids, expected);
    (0..50).for_each(|_| house.turn());
    assert_eq!(house.shard.backlog.len(), 0, "nothing is left");
}

#[test]
fn what_a_small_frame_is_inflated_to_is_worked_off_part_by_part() {
    let commands = vec![r#"{"id":7,"presence_stats":{"channel":"a"}}"#; 1_500].join("\n");
    let frame = deflated(&commands);
    assert!(frame.len() < 400, "{}", frame.len());
    let mut house = Cluster::new(|config| config.websocket.compression = true);
    let client = house.client();
    let flooders = (0..4).map(|_| {
        let offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        let mut flooder = house.upgraded("/connection/websocket", offer);
        flooder.say(r#"{"id":1,"connect":{}}"#);
        // The reply may be compressed.
        let turns = house.turns;
        house.turns_until(&mut flooder, |house, _| house.turns > turns + 20);
        flooder
    });
    let flooders = flooders.collect();
    house.begin_flood(flooders, frame);
    house.check_others(client);
}

#[test]
fn who_connects_again_and_again_with_bad_tokens_holds_up_nobody_who_is_connected() {
    let mut house = Cluster::new(|config| config.client.token.hmac_secret_key = "secret".parse().ok());
    let mut client = house.client();
    let token = format!("{}.{}.{}", "e30", "e30", "x".repeat(43));
    let mut arriving = Vec::new();
    for round in 0..100 {
        client.heard.clear();
        while arriving.len() < 100 {
            let mut peer = Client::new(house.network.connect(0).expect("it listens"));
            peer.outgoing.extend_from_slice(
                b"GET /connection/websocket HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                  Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            );
            peer.say(&format!(r#"{{"id":1,"connect":{{"token":"{token}"}}}}"#));
            arriving.push(peer);
        }
        arriving.iter_mut().for_each(Client::step);
        arriving.retain(|peer| peer.peer.end().is_none() && peer.count("invalid token") == 0);
        client.say(&format!(r#"{{"id":{},"unsubscribe":{{"channel":"none"}}}}"#, 2000 + round));
        let turns = house.turns_until_heard(&mut client, &format!(r#""id":{},"#, 2000 + round));
        assert!(turns <= TURNS_AT_ONCE, "round {round}: a command waits {turns} turns");
    }
}

#[test]
fn the_end_of_a_stream_comes_after_all_that_was_sent_before_it() {
    let mut house = Cluster::new(|_| {});
    let mut listener = house.client();
    listener.say(r#"{"id":2,"subscribe":{"channel":"last"}}"#);
    house.turns_until_heard(&mut listener, r#""subscribe":{"#);
    let flooders = (0..20).map(|_| house.client()).collect();
    house.begin_flood(flooders, publish("flooded", 100));
    let mut leaving = house.client();
    for number in 0..1_000 {
        leaving.outgoing.extend_from_slice(&message(&format!(
            r#"{{"id":{},"publish":{{"channel":"last","data":"n{number:05}"}}}}"#,
            number + 10
        )));
    }
    while !leaving.outgoing.is_empty() {
        leaving.step();
        listener.step();
        house.turn();
    }
    leaving.peer.finish();
    house.turns_until_heard(&mut listener, r#""n00999""#);
    let heard = String::from_utf8_lossy(&listener.heard).into_owned();
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
    let write = |house: &mut Cluster, turns: usize| {
        let mut client = house.client();
        client.outgoing.extend_from_slice(&commands);
        for _ in 0..turns {
            let written = client.peer.write(&client.outgoing);
            let _ = client.outgoing.split_to(written);
            house.turn();
        }
        client
    };
    let mut house = Cluster::new(|_| {});
    let mut client = write(&mut house, 400);
    assert!(!client.outgoing.is_empty(), "TCP holds it");
    let turns = house.turns_until_heard(&mut client, &format!(r#""id":{},"#, 10 + said - 1));
    assert!(turns > 0);
    assert_eq!(client.count(r#""unsubscribe""#), said, "each is answered once");

    // Another client leaves without having read.
    let client = write(&mut house, 100);
    client.peer.reset();
    (0..100).for_each(|_| house.turn());
    assert_eq!(house.shard.backlog.len(), 0, "nothing of it is kept");
    assert_eq!(house.shard.sessions.clients.len(), 1);
}

#[test]
fn what_the_server_api_has_happen_to_very_many_clients_is_done_in_parts() {
    const CLIENTS: usize = 120;
    const CHANNELS: usize = 8;
    let mut house = Cluster::new(|_| {});
    let mut calm = house.client();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| house.client()).collect();
    for client in &mut clients {
        let subscribe = |id: usize| format!(r#"{{"id":{},"subscribe":{{"channel":"c{id}"}}}}"#, 10 + id);
        client.say(&(0..CHANNELS).map(subscribe).collect::<Vec<_>>().join("\n"));
        house.turns_until(client, |_, client| client.count(r#""subscribe":{}"#) == CHANNELS);
    }
    let keys: Vec<_> = house.shard.sessions.clients.iter().map(|(key, _)| key).skip(1).collect();
    for key in keys {
        let user = house.shard.sessions.users.add("ann", key);
        house.shard.sessions.clients.get(key).expect("it is connected").user = user;
        house.shard.with_sessions(|sessions| sessions.account(key));
    }
    let whom = Arc::new(ClientSelector { user: Some("ann".into()), client: None });
    let wish = Arc::new(ClientCommand::Unsubscribe { channel: None });
    let (done, mut answer) = oneshot::channel();
    assert!(
        house
            .shared
            .mailboxes(ShardId::FIRST)
            .push_control(Message::Api(ApiCall::Clients { whom, wish, done }))
            .is_ok()
    );
    house.turn();
    assert!(answer.try_recv().is_err(), "one turn has no room for all of them");
    calm.say(r#"{"id":5,"unsubscribe":{"channel":"a"}}"#);
    let turns = house.turns_until_heard(&mut calm, r#""id":5,"#);
    assert!(turns <= TURNS_AT_ONCE, "a command waits {turns} turns");
    let mut outcome = None;
    house.turns_until(&mut calm, |_, _| {
        outcome = outcome.or(answer.try_recv().ok());
        outcome.is_some()
    });
    assert_eq!(outcome, Some(Ok(())));
    for client in &mut clients {
        house.turns_until(client, |_, client| client.count(r#""unsubscribe":{"#) == CHANNELS);
    }
}
