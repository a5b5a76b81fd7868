//! Crowd: very many clients in one thread.
//!
//! In:  the daemon's address; what is to be published.
//! Out: counts. A client that sees anything but what it should fails the test at once.
//!
//! It stands on the same rings as the daemon: one process holds more connections than RLIMIT_NOFILE allows it files.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use holdfast_protocol::websocket::{
    self, CloseCode, Decoder, DecoderConfig, MessageKind, Role, encoder,
    handshake_client::{ClientRequest, check_response},
};
use holdfast_ring::{
    Buffer, CloseWhen, Event, Socket, Sockets, SocketsConfig, Uring, UringConfig, descriptors_max,
};
use holdfast_testkit::PATIENCE;

const KEY: [u8; 16] = *b"a crowd's member";
const MASK: [u8; 4] = [1, 2, 3, 4];

/// Handshakes that are under way at one time: fewer than the daemon's listeners hold ready for it.
const UNDER_WAY_MAX: usize = 1_000;

/// Source addresses, in turn: each has its own ports, and of so many none needs more than a few.
const SOURCES: u32 = 4_096;

/// Descriptors of this process that are not clients.
const OWN_DESCRIPTORS: u64 = 500;

const DECODER: DecoderConfig =
    DecoderConfig { role: Role::Client, message_bytes_max: 1024, frame_bytes_max: 1024 };

/// One client.
#[derive(Default)]
struct Member {
    /// What has come of the handshake's answer; `None` once it is complete.
    head: Option<BytesMut>,
    decoder: Decoder,
    /// Broadcasts seen: the number that the next one must have.
    seen: usize,
}

/// All clients.
pub(crate) struct Crowd {
    sockets: Sockets<Uring>,
    server: SocketAddr,
    wanted: usize,
    members: HashMap<Socket, Member>,
    /// Connections begun.
    begun: usize,
    /// Handshakes done.
    admitted: usize,
    publisher: Option<Socket>,
    deliveries: usize,
    goodbyes: usize,
}

impl Crowd {
    /// A crowd that will have `wanted` members.
    pub(crate) fn new(server: SocketAddr, wanted: usize) -> Self {
        let lane_slots = usize::try_from(descriptors_max() - OWN_DESCRIPTORS).expect("it fits").min(wanted);
        let uring = UringConfig {
            lanes: wanted.div_ceil(lane_slots),
            slots_per_lane: u32::try_from(lane_slots).expect("it fits"),
            ..UringConfig::default()
        };
        let uring = Uring::new(&uring).expect("io_uring works here");
        Self {
            sockets: Sockets::new(uring, SocketsConfig::default()),
            server,
            wanted,
            members: HashMap::with_capacity(wanted),
            begun: 0,
            admitted: 0,
            publisher: None,
            deliveries: 0,
            goodbyes: 0,
        }
    }

    /// Connections that are open.
    pub(crate) fn size(&self) -> usize {
        self.sockets.open_sockets()
    }

    /// Broadcasts received, over all members.
    pub(crate) fn deliveries(&self) -> usize {
        self.deliveries
    }

    /// Members that were sent away with 1001.
    pub(crate) fn goodbyes(&self) -> usize {
        self.goodbyes
    }

    /// Connects all.
    pub(crate) fn gather(&mut self) {
        while self.begun < self.wanted {
            self.run_until("handshakes get done", |crowd| crowd.begun - crowd.admitted < UNDER_WAY_MAX);
            while self.begun < self.wanted && self.begun - self.admitted < UNDER_WAY_MAX {
                self.connect();
            }
        }
        self.run_until("everybody is in", |crowd| crowd.admitted == crowd.wanted);
    }

    /// Publishes broadcast `number`.
    pub(crate) fn publish(&mut self, number: usize) {
        let publisher = self.publisher.expect("somebody is in");
        let mut out = BytesMut::new();
        encoder::encode_message(&mut out, MessageKind::Text, Some(MASK), words(number).as_bytes());
        self.sockets.send(publisher, out.freeze());
    }

    /// Lets the clients live until `is_done`. Panics when nothing happens any more.
    pub(crate) fn run_until(&mut self, what: &str, mut is_done: impl FnMut(&Self) -> bool) {
        let mut events = Vec::new();
        let mut progressed = Instant::now();
        while !is_done(self) {
            self.sockets.turn(Duration::from_millis(20), &mut events).expect("the ring works");
            if !events.is_empty() {
                progressed = Instant::now();
            }
            assert!(progressed.elapsed() < PATIENCE, "this never came to pass: {what}");
            events.drain(..).for_each(|event| self.handle(event));
        }
    }

    fn connect(&mut self) {
        let number = u32::try_from(self.begun).expect("it fits") % SOURCES;
        let source = Ipv4Addr::from_bits(Ipv4Addr::new(127, 30, 0, 1).to_bits() + number);
        let socket = self.sockets.connect(Some(IpAddr::V4(source)), self.server).expect("there is room");
        self.members.insert(socket, Member { head: Some(BytesMut::new()), ..Member::default() });
        self.begun += 1;
    }

    fn handle(&mut self, event: Event<Buffer>) {
        match event {
            Event::Connected(socket) => {
                let mut out = BytesMut::new();
                request().write(&mut out);
                self.sockets.send(socket, out.freeze());
            }
            Event::Received(socket, mut bytes) => self.received(socket, &mut bytes),
            Event::Ended(socket, how) => {
                assert!(!self.members.contains_key(&socket), "a member was cut off: {how:?}");
                self.sockets.close(socket, CloseWhen::Now);
            }
            Event::Closed(_) | Event::Drained(_) | Event::Woken => {}
            Event::Accepted(..) | Event::AcceptFailed(_) => unreachable!("nobody listens here"),
            Event::Looked(_) | Event::PeerAddress(..) => unreachable!("nobody asks here"),
        }
    }

    fn received(&mut self, socket: Socket, bytes: &mut [u8]) {
        let Some(member) = self.members.get_mut(&socket) else { return };
        let Some(head) = &mut member.head else { return self.frames(socket, bytes) };
        head.extend_from_slice(bytes);
        let answer = check_response(head, &KEY, &[]).expect("everybody is let in");
        if let Some((_, head_bytes)) = answer {
            let mut rest = head.split_off(head_bytes);
            member.head = None;
            self.admitted += 1;
            self.publisher.get_or_insert(socket);
            self.frames(socket, &mut rest);
        }
    }

    fn frames(&mut self, socket: Socket, mut bytes: &mut [u8]) {
        let Some(member) = self.members.get_mut(&socket) else { return };
        while let Some(event) = member.decoder.next(&DECODER, &mut bytes).expect("frames are right") {
            let mut out = BytesMut::new();
            match event {
                websocket::Event::Message(message) => {
                    assert_eq!(*message.payload, *words(member.seen).as_bytes(), "lost, repeated or changed");
                    member.seen += 1;
                    self.deliveries += 1;
                }
                websocket::Event::Ping(payload) => encoder::encode_pong(&mut out, Some(MASK), &payload),
                websocket::Event::Pong(_) => panic!("nobody has pinged"),
                websocket::Event::Close(close) => {
                    assert_eq!(close.map(|close| close.code), Some(CloseCode::Away));
                    encoder::encode_close(&mut out, Some(MASK), Some((CloseCode::Away, "")));
                    self.sockets.send(socket, out.freeze());
                    self.members.remove(&socket);
                    self.goodbyes += 1;
                    return;
                }
            }
            self.sockets.send(socket, out.freeze());
        }
    }
}

fn request() -> ClientRequest<'static> {
    ClientRequest {
        host: "test",
        path_and_query: "/broadcast",
        subprotocols: &[],
        origin: None,
        headers: &[],
        key: KEY,
    }
}

/// What broadcast `number` says.
fn words(number: usize) -> String {
    format!("broadcast {number} to everybody who holds on")
}
