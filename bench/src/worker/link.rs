//! Link: a worker's connections, from TCP's handshake to its end.
//!
//! In:  wishes of the scenario (connect, publish, leave); events of the sockets.
//! Out: calls of the scenario: a connection opened, a message came, a connection was lost, a place is free. And the
//! counts of all that went well or wrong on the way.
//!
//! Pings are answered here. No message costs an allocation: frames are written into one buffer whose pieces are sent.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::websocket::deflate::{Inflater, Offer};
use holdfast_protocol::websocket::handshake_client::ClientRequest;
use holdfast_protocol::websocket::{CloseCode, DecoderConfig, Role, encoder};
use holdfast_ring::{Buffer, CloseWhen, Event, Socket, Sockets, SocketsConfig, Uring};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::Play;
use super::connection::{Connections, Stage};
use super::rings;
use super::secure::Secure;
use crate::clock::Clock;
use crate::dialect::Dialect;
use crate::message::{DecodeFailure, MessageCodec, Stamp};
use crate::plan::{Plan, SIZE_MAX};
use crate::tally::Tally;

/// A connection that has this much to send takes no more: the server does not read.
const QUEUED_BYTES_MAX: usize = 4 << 20;
/// Frames are written into buffers of this size.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;
/// Close frames sent in one turn when all connections end.
const FAREWELLS_A_TURN: usize = 128;

/// What is offered with `--compression`: nobody keeps anything for a connection.
pub(super) const OFFER: Offer = Offer {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
    server_max_window_bits: None,
    client_max_window_bits: None,
};

/// One worker's connections.
pub(super) struct Link<'r> {
    pub(super) plan: &'r Plan,
    /// Which worker this is.
    pub(super) thread: u32,
    /// The time of this turn.
    pub(super) now_ns: u64,
    pub(super) tally: Tally,
    /// Latencies of messages since the worker last took them.
    pub(super) latencies: Box<hdrhistogram::Histogram<u64>>,
    /// How long a handshake, an echo of `churn` or a closing may take.
    pub(super) patience_ns: u64,
    pub(super) sockets: Sockets<Uring>,
    pub(super) connections: Connections,
    /// `None` for a target of `ws://`.
    pub(super) secure: Option<Secure>,
    /// Beginnings of answers to handshakes.
    pub(super) answers: HashMap<Socket, Vec<u8>>,
    /// By when which socket is to have left which stage; in order, since all are given the same time.
    deadlines: VecDeque<(u64, Socket, Stage)>,
    pub(super) dialect: Dialect,
    /// True exactly when the server waits for answers to its pings. As its latest session told: they are all alike.
    pub(super) wants_pongs: bool,
    pub(super) decoding: DecoderConfig,
    /// `None` where permessage-deflate is not offered.
    pub(super) inflater: Option<Inflater>,
    mint: MessageCodec,
    clock: Clock,
    events: Vec<Event<Buffer>>,
    /// Members whose descriptors became free in this turn.
    pub(super) vacated: Vec<u32>,
    pub(super) body: BytesMut,
    frames: BytesMut,
    /// The name of the channel that is being spoken of.
    channel_name: String,
    random: SmallRng,
    /// Makes this run's handshake keys its own.
    salt: u64,
    /// Connections begun.
    begun: u64,
}

impl<'r> Link<'r> {
    /// Sets up this thread's rings.
    pub(super) fn new(plan: &'r Plan, clock: Clock, thread: u32, run: u16) -> Result<Self, String> {
        let rings = rings::for_share(plan, thread)?;
        let secure = plan.tls.clone().zip(plan.target.tls_name.clone());
        let kernel = Uring::new(&rings).map_err(|error| error.to_string())?;
        let mut random = SmallRng::from_os_rng();
        Ok(Self {
            plan,
            thread,
            now_ns: clock.now_ns(),
            tally: Tally::new(),
            latencies: Box::new(crate::latency::histogram()),
            patience_ns: plan.connect_timeout_ns,
            sockets: Sockets::new(kernel, SocketsConfig::default()),
            connections: Connections::default(),
            secure: secure.map(|(config, name)| Secure::new(config, name)),
            answers: HashMap::new(),
            deadlines: VecDeque::new(),
            dialect: plan.dialect,
            wants_pongs: false,
            decoding: DecoderConfig {
                role: Role::Client,
                message_bytes_max: 2 * SIZE_MAX as u64,
                frame_bytes_max: 2 * SIZE_MAX as u64,
            },
            inflater: plan.compression.then(Inflater::default),
            mint: MessageCodec::new(run, plan.size, plan.seed),
            clock,
            events: Vec::new(),
            vacated: Vec::new(),
            body: BytesMut::new(),
            frames: BytesMut::with_capacity(WRITE_BUFFER_BYTES),
            channel_name: String::new(),
            salt: random.random(),
            random,
            begun: 0,
        })
    }

    /// The number that this worker's member has among the members of all workers.
    pub(super) fn id(&self, member: u32) -> u32 {
        member * self.plan.threads + self.thread
    }

    /// Begins a connection for `member`, which counts from `since_ns`. False when it failed at once.
    pub(super) fn connect(&mut self, member: u32, since_ns: u64) -> bool {
        let ordinal = self.begun * u64::from(self.plan.threads) + u64::from(self.thread);
        self.begun += 1;
        let connects = &mut self.tally.connects;
        connects.attempted += 1;
        connects.first_ns.get_or_insert(self.now_ns);
        match self.sockets.connect(self.plan.sources.pick(ordinal), self.plan.target.address) {
            Ok(socket) => {
                self.connections.begin(socket, member, since_ns);
                self.expect_to_leave(socket, Stage::Handshaking);
                true
            }
            Err(error) => {
                self.tally.connects.failed += 1;
                self.tally.reason(format!("cannot connect: {error}"), 1);
                false
            }
        }
    }

    /// Sends `count` messages to a channel in one write. False when the connection takes no more.
    pub(super) fn publish(&mut self, socket: Socket, channel: u32, first: Stamp, count: u32) -> bool {
        if self.sockets.queued_bytes(socket) > QUEUED_BYTES_MAX {
            self.tally.messages.withheld += u64::from(count);
            return false;
        }
        self.name_channel(channel);
        for sequence in first.sequence..first.sequence + count {
            self.body.clear();
            let stamp = Stamp { sequence, ..first };
            self.dialect.publish(&self.mint, stamp, &self.channel_name, &mut self.body);
            self.frame_body();
        }
        let frames = self.take_frames();
        self.transmit(socket, frames);
        self.tally.messages.sent += u64::from(count);
        true
    }

    /// Notes that what was due at `due_ns` is sent now.
    pub(super) fn sent_late(&mut self, due_ns: u64) {
        self.tally.lateness.saturating_record(self.now_ns.saturating_sub(due_ns));
    }

    /// Sets the name of a channel in `channel_name`; nothing to do for a dialect without channels.
    pub(super) fn name_channel(&mut self, channel: u32) -> &str {
        if self.dialect.has_channels() {
            self.channel_name.clear();
            // Writing to a string does not fail.
            let _ = write!(self.channel_name, "{}:{channel}", self.plan.channel_prefix);
        }
        &self.channel_name
    }

    /// Reads a message that came; counts it when it is not one of this run's.
    pub(super) fn read(&mut self, message: &[u8]) -> Option<Stamp> {
        match self.mint.read(message) {
            Ok(stamp) => return Some(stamp),
            Err(DecodeFailure::Corrupt) => self.tally.messages.corrupt += 1,
            Err(DecodeFailure::Foreign) => self.tally.messages.foreign += 1,
        }
        None
    }

    /// Counts a message that came for the first time; returns its latency.
    pub(super) fn arrived(&mut self, stamp: Stamp) -> u64 {
        let latency_ns = self.now_ns.saturating_sub(stamp.intended_ns);
        self.tally.messages.received += 1;
        self.tally.last_message_ns = self.now_ns;
        self.latencies.saturating_record(latency_ns);
        latency_ns
    }

    /// Gives an open connection, of which something is expected, no more than the usual time.
    pub(super) fn watch(&mut self, socket: Socket) {
        self.expect_to_leave(socket, Stage::Open);
    }

    /// Closes a connection as RFC 6455 §7.1.2 has it: a close frame, its answer, then the server ends TCP.
    pub(super) fn leave(&mut self, socket: Socket) {
        self.send_close(socket, Some((CloseCode::Normal, "")));
        self.connections.move_to(socket, Stage::Closing);
        self.expect_to_leave(socket, Stage::Closing);
    }

    /// True exactly when our close frame has gone out.
    pub(super) fn is_leaving(&mut self, socket: Socket) -> bool {
        self.connections.get(socket).is_none_or(|connection| connection.stage != Stage::Open)
    }

    /// Drops all open connections at once, as when a network goes away.
    pub(super) fn drop_all(&mut self) {
        for socket in self.connections.open_sockets() {
            self.abandon(socket, CloseWhen::Now);
        }
    }

    /// Sends all open connections a close frame and ends them without waiting for answers.
    pub(super) fn farewell<P: Play>(&mut self, play: &mut P) -> Result<(), String> {
        let open = self.connections.open_sockets();
        for some in open.chunks(FAREWELLS_A_TURN) {
            for socket in some {
                self.send_close(*socket, Some((CloseCode::Normal, "")));
                self.abandon(*socket, CloseWhen::Flushed);
            }
            self.turn(Duration::ZERO, play)?;
        }
        // What is left in the kernel's hands goes out within a few turns, unless the server does not read.
        for _ in 0..FAREWELLS_A_TURN {
            if self.sockets.open_sockets() == 0 {
                break;
            }
            self.turn(Duration::from_millis(5), play)?;
        }
        Ok(())
    }

    /// One turn: sends, sleeps up to `wait` if nothing is there, and handles what came.
    pub(super) fn turn<P: Play>(&mut self, wait: Duration, play: &mut P) -> Result<(), String> {
        let mut events = std::mem::take(&mut self.events);
        self.sockets.turn(wait, &mut events).map_err(|error| format!("io_uring failed: {error}"))?;
        // Once a turn: the kernel hands received bytes over in the turn, so all of them came by now.
        self.read_clock();
        for event in events.drain(..) {
            self.handle(event, play);
        }
        self.events = events;
        // Only now: a new connection takes any free descriptor, one whose end was still to be handled among them.
        let mut vacated = std::mem::take(&mut self.vacated);
        vacated.drain(..).for_each(|member| play.vacated(self, member));
        self.vacated = vacated;
        self.check_deadlines();
        Ok(())
    }

    pub(super) fn read_clock(&mut self) {
        self.now_ns = self.clock.now_ns();
    }

    /// Sixteen bytes that nobody else sends, made anew whenever they are needed instead of kept.
    pub(super) fn key(&self, socket: Socket) -> [u8; 16] {
        let place =
            (socket.lane() as u64) << 56 | (socket.slot() as u64) << 32 | u64::from(socket.generation());
        let (high, low) = (mixed(self.salt ^ place), mixed(self.salt.rotate_left(32) ^ place));
        (u128::from(high) << 64 | u128::from(low)).to_ne_bytes()
    }

    /// Sends the request for an upgrade.
    pub(super) fn request(&mut self, socket: Socket) {
        let subprotocol = self.dialect.subprotocol();
        let offer = OFFER.to_string();
        let offer = self.inflater.as_ref().map(|_| ("Sec-WebSocket-Extensions", &*offer));
        let request = ClientRequest {
            host: &self.plan.target.authority,
            path_and_query: &self.plan.target.path,
            subprotocols: subprotocol.as_slice(),
            origin: None,
            headers: offer.as_slice(),
            key: self.key(socket),
        };
        request.write(&mut self.frames);
        let bytes = self.take_frames();
        self.transmit(socket, bytes);
    }

    pub(super) fn send_pong(&mut self, socket: Socket, payload: &[u8]) {
        let mask = self.random.random();
        encoder::encode_pong(&mut self.frames, Some(mask), payload);
        let bytes = self.take_frames();
        self.transmit(socket, bytes);
        self.tally.connects.pings += 1;
    }

    pub(super) fn send_close(&mut self, socket: Socket, close: Option<(CloseCode, &str)>) {
        let mask = self.random.random();
        encoder::encode_close(&mut self.frames, Some(mask), close);
        let bytes = self.take_frames();
        self.transmit(socket, bytes);
    }

    /// Ends a connection without further ado.
    pub(super) fn abandon(&mut self, socket: Socket, when: CloseWhen) {
        self.answers.remove(&socket);
        self.connections.move_to(socket, Stage::Gone);
        self.sockets.close(socket, when);
    }

    /// Notes that the socket is to have left `stage` within the usual time.
    pub(super) fn expect_to_leave(&mut self, socket: Socket, stage: Stage) {
        self.deadlines.push_back((self.now_ns.saturating_add(self.patience_ns), socket, stage));
    }

    /// Ends what took too long, and forgets the deadlines that were met.
    fn check_deadlines(&mut self) {
        while let Some(&(due_ns, socket, expected)) = self.deadlines.front() {
            let is_on_the_way = |stage| matches!(stage, Stage::Connecting | Stage::Joining);
            let is_late =
                |stage: &Stage| *stage == expected || expected == Stage::Handshaking && is_on_the_way(*stage);
            let late = self.connections.stage(socket).filter(is_late);
            if late.is_some() && due_ns > self.now_ns {
                return;
            }
            self.deadlines.pop_front();
            if let Some(stage) = late {
                self.expire(socket, stage);
            }
        }
    }

    fn expire(&mut self, socket: Socket, stage: Stage) {
        match stage {
            Stage::Connecting | Stage::Handshaking | Stage::Joining => {
                self.tally.connects.failed += 1;
                let what = match stage {
                    Stage::Connecting => "TCP connection",
                    Stage::Handshaking => "answer to the handshake",
                    _ => "answer to connect and subscribe",
                };
                self.tally.reason(format!("no {what} in time"), 1);
            }
            Stage::Open => {
                self.tally.messages.lost += 1;
                self.tally.reason("no echo in time".to_owned(), 1);
            }
            Stage::Closing => {
                self.tally.connects.unclean += 1;
                self.tally.reason("no answer to our close frame in time".to_owned(), 1);
            }
            // The server should have ended TCP; that we do it now is legal too.
            Stage::Leaving | Stage::Gone => {}
        }
        self.abandon(socket, CloseWhen::Now);
    }

    /// Sends what is in `body` as one message.
    pub(super) fn send_body(&mut self, socket: Socket) {
        self.frame_body();
        let bytes = self.take_frames();
        self.transmit(socket, bytes);
    }

    fn frame_body(&mut self) {
        let mask = self.random.random();
        encoder::encode_message(&mut self.frames, self.dialect.kind(), Some(mask), &self.body);
    }

    fn take_frames(&mut self) -> Bytes {
        let bytes = self.frames.split().freeze();
        if self.frames.capacity() == 0 {
            self.frames.reserve(WRITE_BUFFER_BYTES);
        }
        bytes
    }
}

/// Vigna's splitmix64: every input gives another output, and one says nothing of the next.
fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
