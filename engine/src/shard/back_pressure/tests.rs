//! Three shards on simulated kernels, one of which gets no turn: messages of the others for it stay within a bound, and
//! arrive when it runs again.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use holdfast_protocol::websocket::{MessageKind, encoder};
use holdfast_ring::{
    Kernel as _, Sockets, SocketsConfig,
    simulated::{Faults, Network, Peer, Simulated, SimulatedConfig, listener},
};

use super::super::{Shard, ShardPolicy};
use crate::{
    backend::queue,
    config::Config,
    ids::ShardId,
    memory::BudgetLimits,
    mesh::MailboxLimits,
    session::message::{Peers, Shared},
};

const BUFFERS: u32 = 16;
const MAILBOX_MESSAGES_MAX: usize = 8;
const MAILBOX_BYTES_MAX: u64 = 1 << 20;

/// The capacity of one receive buffer, one mailbox and one outbox, in commands of forty bytes to each of two other shards.
const OUTBOX_MESSAGES_MAX: usize = 2 * (BUFFER_BYTES / 40 + 3 * MAILBOX_MESSAGES_MAX);

const BUFFER_BYTES: usize = 512;
const SLOTS: u32 = 48;

/// The shard that clients publish on.
const NEAR: usize = 0;
/// The owner of the channel.
const HOME: usize = 1;
/// The shard that does not keep up.
const SLOW: usize = 2;

struct Cluster {
    network: Network,
    shared: Arc<Shared>,
    shards: Vec<Shard<Simulated>>,
}

impl Cluster {
    fn new() -> Self {
        let network = Network::new(1, Faults::default(), 2048);
        let sizes =
            SimulatedConfig { lanes: 1, slots_per_lane: SLOTS, buffers: BUFFERS, buffer_bytes: BUFFER_BYTES };
        let kernels: Vec<_> = (0..3).map(|_| Simulated::new(&network, &sizes)).collect();
        let bells = kernels.iter().map(Simulated::doorbell).collect();
        let tables = crate::limits::Tables::new(3, 0);
        let limits = MailboxLimits { messages_max: MAILBOX_MESSAGES_MAX, bytes_max: MAILBOX_BYTES_MAX };
        let budgets = BudgetLimits::all(1 << 30);
        let shared = Arc::new(Shared::new(bells, limits, 7, tables, budgets));
        let mut config = Config::default();
        config.client.allow_anonymous_connect_without_token = true;
        config.http_stream.enabled = true;
        let channels = &mut config.channel.without_namespace;
        channels.allow_subscribe_for_client = true;
        channels.allow_subscribe_for_anonymous = true;
        channels.allow_publish_for_client = true;
        channels.allow_publish_for_anonymous = true;
        let shards = kernels.into_iter().enumerate().map(|(index, kernel)| {
            let reserve = SocketsConfig { accept_reserve: 16, ..SocketsConfig::default() };
            let mut sockets = Sockets::new(kernel, reserve);
            sockets.listen(listener());
            let policy = ShardPolicy::new(&config, BudgetLimits::of(&config), BUFFERS);
            let peers = Peers::new(Arc::clone(&shared), ShardId::new(index));
            Shard::new("node".into(), policy, sockets, peers, queue(1).0, None, [7; 32])
        });
        Self { shards: shards.collect(), network, shared }
    }

    fn turn(&mut self, cores: &[usize]) {
        for &core in cores {
            self.network.trace().pass(Duration::from_micros(50));
            let trace = self.network.trace();
            self.shards[core].turn(|| trace.now(), || trace.now()).expect("a simulated ring does not break");
            let waiting = self.shards[core].outbox_messages();
            assert!(waiting <= OUTBOX_MESSAGES_MAX, "{waiting} messages wait on core {core}");
            let throttled = &self.shards[core].throttled;
            assert!(throttled.requests.len() <= 2 * SLOTS as usize, "dead requests are forgotten");
        }
    }

    /// A channel of this owner.
    fn channel_of(&self, home: usize) -> String {
        let mut names = (0..).map(|number| format!("c{number}"));
        names.find(|name| self.shared.shard_for(name).index() == home).expect("names do not run out")
    }

    /// A connected client of the shard.
    fn client(&mut self, core: usize) -> Client {
        let mut client = Client::new(self.network.connect(core).expect("it listens"));
        client.outgoing.extend_from_slice(
            b"GET /connection/websocket HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        client.say(r#"{"id":1,"connect":{}}"#);
        self.until(&mut client, r#""connect":{"client""#);
        client
    }

    fn until(&mut self, client: &mut Client, text: &str) {
        for _ in 0..200 {
            client.step();
            self.turn(&[NEAR, HOME, SLOW]);
            if client.count(text) > 0 {
                return;
            }
        }
        panic!("{text} does not come: {}", String::from_utf8_lossy(&client.heard));
    }
}

/// A client that counts words in what it receives.
pub(in super::super) struct Client {
    pub(in super::super) peer: Peer,
    pub(in super::super) outgoing: BytesMut,
    pub(in super::super) heard: Vec<u8>,
}

impl Client {
    pub(in super::super) fn new(peer: Peer) -> Self {
        Self { peer, outgoing: BytesMut::new(), heard: Vec::new() }
    }

    pub(in super::super) fn say(&mut self, command: &str) {
        encoder::encode_message(
            &mut self.outgoing,
            MessageKind::Text,
            Some([1, 2, 3, 4]),
            command.as_bytes(),
        );
    }

    pub(in super::super) fn step(&mut self) {
        let written = self.peer.write(&self.outgoing);
        let _ = self.outgoing.split_to(written);
        self.peer.read(usize::MAX, &mut self.heard);
    }

    pub(in super::super) fn count(&self, text: &str) -> usize {
        self.heard.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
    }
}

#[test]
fn clients_of_one_core_wait_where_a_second_one_passes_on_what_they_publish_to_a_slow_third() {
    let mut house = Cluster::new();
    let channel = house.channel_of(HOME);
    let mut listener = house.client(SLOW);
    listener.say(&format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#));
    house.until(&mut listener, r#""subscribe":{"#);
    let mut publishers: Vec<_> = (0..10).map(|_| house.client(NEAR)).collect();

    let mut said = 0;
    for _ in 0..2_000 {
        for publisher in &mut publishers {
            if publisher.outgoing.len() < 4096 {
                said += 1;
                let publish = format!(r#""publish":{{"channel":"{channel}","data":"m{said:06}"}}"#);
                publisher.say(&format!(r#"{{"id":{},{publish}}}"#, said + 2));
            }
            publisher.step();
        }
        house.turn(&[NEAR, HOME]);
    }
    let acknowledged = |publishers: &[Client]| -> usize {
        publishers.iter().map(|publisher| publisher.count(r#""publish":{}"#)).sum()
    };
    let before = acknowledged(&publishers);
    assert!(publishers.iter().all(|publisher| publisher.outgoing.len() > 1_000), "all of them wait");

    for _ in 0..4_000 {
        publishers.iter_mut().for_each(Client::step);
        listener.step();
        house.turn(&[NEAR, HOME, SLOW]);
    }
    assert!(before < said && acknowledged(&publishers) == said, "who waited goes on");
    for number in 1..=said {
        assert_eq!(listener.count(&format!("\"m{number:06}\"")), 1, "message {number} is heard once");
    }
}

#[test]
fn requests_for_a_core_that_does_not_keep_up_wait_before_anything_is_done_about_them() {
    let mut house = Cluster::new();
    let session = format!("2.0.{}", "0".repeat(32));
    let body = format!(r#"{{"session":"{session}","node":"node","data":"{{}}"}}"#);
    let request =
        format!("POST /emulation HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let ask = |house: &Cluster| {
        let mut client = Client::new(house.network.connect(NEAR).expect("it listens"));
        client.outgoing.extend_from_slice(request.as_bytes());
        client
    };
    for _ in 0..1_000 {
        let mut client = ask(&house);
        for _ in 0..4 {
            client.step();
            house.turn(&[NEAR, HOME]);
        }
        assert_eq!(client.heard, b"");
        client.peer.reset();
    }
    let mut client = ask(&house);
    for _ in 0..20 {
        client.step();
        house.turn(&[NEAR, HOME]);
    }
    assert_eq!(client.heard, b"", "it is neither answered nor refused");
    let mut neighbor = Client::new(house.network.connect(NEAR).expect("it listens"));
    neighbor.outgoing.extend_from_slice(b"GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n");
    for _ in 0..20 {
        neighbor.step();
        house.turn(&[NEAR, HOME]);
    }
    assert!(neighbor.heard.starts_with(b"HTTP/1.1 404"), "who needs no other core does not wait");
    house.until(&mut client, "HTTP/1.1 404");
}

#[test]
fn a_shard_that_is_gone_keeps_nobody_waiting() {
    let mut house = Cluster::new();
    let session = format!("2.0.{}", "0".repeat(32));
    let body = format!(r#"{{"session":"{session}","node":"node","data":"{{}}"}}"#);
    let request =
        format!("POST /emulation HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let mut clients = Vec::new();
    while !house.shared.is_congested() {
        let peer = house.network.connect(NEAR).expect("it listens");
        peer.write(request.as_bytes());
        clients.push(peer);
        (0..3).for_each(|_| house.turn(&[NEAR, HOME]));
    }
    drop(house.shards.remove(NEAR));
    assert!(!house.shared.is_congested());
}

#[test]
fn a_request_that_is_coming_is_not_taken_up_in_the_place_of_an_earlier_one_that_was_held() {
    let mut house = Cluster::new();
    let mut client = Client::new(house.network.connect(NEAR).expect("it listens"));
    let (first_half, second_half) = (r#"{"id":1,"#, r#""connect":{}}"#);
    let length = first_half.len() + second_half.len();
    let head = format!(
        "POST /connection/http_stream HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    client.outgoing.extend_from_slice(head.as_bytes());
    client.outgoing.extend_from_slice(first_half.as_bytes());
    for _ in 0..20 {
        client.step();
        house.turn(&[NEAR, HOME, SLOW]);
    }
    // The list still holds a request that was resumed when earlier answers were flushed.
    let socket = house.shards[NEAR].conns.table.sockets().next().expect("it is connected");
    house.shards[NEAR].throttled.requests.push_back(socket);
    for _ in 0..20 {
        house.turn(&[NEAR, HOME, SLOW]);
        client.step();
    }
    assert_eq!(String::from_utf8_lossy(&client.heard), "");
    client.outgoing.extend_from_slice(second_half.as_bytes());
    house.until(&mut client, r#""connect":{"client""#);
}
