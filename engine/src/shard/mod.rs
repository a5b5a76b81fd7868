//! Shard: everything of one core, and the loop that runs it.
//!
//! In:  the core's sockets; messages of other threads; the time.
//! Out: turns. In each: events are handled, due timers looked at, what was published goes out.
//!
//! Nothing is shared with other shards but the queues and the published numbers in `Shared`. A loaded loop does not
//! sleep: it hands over all of a turn's operations in one system call. It is generic over the kernel, so that a
//! simulated one can run it unchanged.

mod api;
#[cfg(test)]
mod audit;
mod back_pressure;
mod executor;
mod handover;
mod homes;
pub(crate) mod plan;
pub(crate) mod pulse;
mod stop;

use std::{collections::VecDeque, io, time::Duration};

use bytes::BytesMut;
use holdfast_protocol::{http::HeadLimits, websocket::DecoderConfig};
use holdfast_ring::{Event, Kernel, Socket, Sockets};
use rand::{
    Rng as _, SeedableRng,
    rngs::{SmallRng, StdRng},
};

use self::back_pressure::{HELD_SLEEP_MAX, Held};
pub(crate) use self::plan::Plan;
pub(crate) use self::{
    api::{ApiCall, ApiPage, SubscribeWish, Whom, Wish},
    executor::{Seed, Spawned, spawn},
    stop::{StopOrder, Stopping},
};
use crate::{
    backend::Answer,
    clock::{Tick, tick_at, until},
    conn::{
        Conns,
        deflate::{DeflateRules, Deflating},
        heartbeat::Pings,
        secure::Secure,
    },
    hub::{
        broadcast::Broadcast,
        home::{OwnedChannels, Posts},
        local::Locals,
    },
    limits::Limits,
    memory::{Budget, BudgetLimits, Ledger},
    metrics::{Counters, Metric},
    peers::{Message, Peers},
    rules::Rules,
    seats::Seats,
    session::{
        client::{Clients, KeyWaits},
        named::{Named, SessionPlace},
    },
    slow::SlowReaders,
    users::Users,
    wheel::Wheel,
};

/// The buffer that answers are written into, one after the other; hundreds of small ones share it. An answer that
/// waits for a slow reader keeps at most this much alive.
pub(crate) const OUT_BYTES: usize = 16 * 1024;

/// With less than this left, the next answers get a new buffer.
pub(crate) const OUT_BYTES_LEFT_MIN: usize = 512;

/// The longest sleep, in ticks: how late housekeeping may come on an idle core (250 ms).
const SLEEP_TICKS_MAX: u32 = 5;

/// Published bytes after which a turn ends, so that they go out before more comes.
const TURN_PUBLISHED_BYTES_MAX: usize = 64 * 1024;

/// Ticks between two calls of [`Sockets::tick`] (1 s).
const SOCKET_TICK_TICKS: u32 = 20;

/// What a shard needs of the configuration.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) handshake_ms: u64,
    pub(crate) ping_interval_ms: u64,
    pub(crate) pong_ms: u64,
    pub(crate) close_ms: u64,
    /// Connections of the whole daemon.
    pub(crate) connections_max: u64,
    /// Above this the receive of a connection that is only answered is paused.
    pub(crate) paused_queue_bytes: usize,
    /// Above this a connection that others send to is closed.
    pub(crate) queue_bytes_max: usize,
    /// The same for the number of pieces.
    pub(crate) queue_pieces_max: usize,
    /// How much memory the whole daemon may keep, by kind.
    pub(crate) budgets: BudgetLimits,
    /// How long an idempotency key is remembered.
    pub(crate) idempotency_ms: u64,
    pub(crate) head: HeadLimits,
    pub(crate) decoder: DecoderConfig,
    /// `None` where messages are never compressed.
    pub(crate) deflate: Option<DeflateRules>,
}

/// One core's part of the daemon.
pub(crate) struct Shard<K: Kernel> {
    pub(crate) index: usize,
    pub(crate) settings: Settings,
    pub(crate) sockets: Sockets<K>,
    pub(crate) conns: Conns,
    /// `None` where clients connect without TLS.
    pub(crate) secure: Option<Secure>,
    pub(crate) wheel: Wheel<Socket>,
    pub(crate) hub: Broadcast,
    /// Channels whose home this core is.
    pub(crate) homes: OwnedChannels,
    /// Channels that have subscribers on this core.
    pub(crate) locals: Locals,
    pub(crate) clients: Clients,
    /// Sessions of this core that requests name.
    pub(crate) named: Named,
    /// When sessions of polls are due.
    pub(crate) poll_wheel: Wheel<SessionPlace>,
    /// Sessions of polls that have something new in this turn.
    pub(crate) touched_polls: Vec<SessionPlace>,
    pub(crate) users: Users,
    /// Users whose connections are counted on this core.
    pub(crate) seats: Seats,
    pub(crate) key_waits: KeyWaits,
    /// Who is limited; `None` where nobody is.
    pub(crate) limits: Option<Box<Limits>>,
    pub(crate) rules: Rules,
    pub(crate) peers: Peers,
    pub(crate) counters: Counters,
    pub(crate) random: SmallRng,
    /// Where clients' ids and secrets come from: nobody can guess the next one.
    pub(crate) ids: StdRng,
    /// The tick in which this turn began.
    pub(crate) now: Tick,
    /// Connections that count against the limit: all but those that have been refused.
    pub(crate) places_taken: u64,
    /// Connections whose handshake is done.
    pub(crate) sessions: u64,
    /// Bytes that are being written for one connection.
    pub(crate) out: BytesMut,
    /// Replies to the commands of one frame.
    pub(crate) replies: BytesMut,
    pub(crate) pings: Pings,
    pub(crate) deflating: Deflating,
    /// True exactly while the subscribers of a channel are walked.
    pub(crate) is_fanning_out: bool,
    /// Who had a long queue meanwhile.
    pub(crate) long_queues: Vec<(Socket, usize)>,
    /// What waits for those who do not keep up, where not all of it has to.
    pub(crate) slow: SlowReaders,
    /// What this shard keeps, by kind.
    pub(crate) ledger: Ledger,
    /// Bytes that channels have for their subscribers in this turn.
    pub(crate) delivered_bytes: usize,
    /// How many asks were given a number.
    tickets: u32,
    /// Messages of this core to itself.
    inbox: VecDeque<Message>,
    posts: Posts,
    /// When the clock began, since 1970.
    began_wall: Duration,
    /// Who waits because another core does not keep up.
    held: Held,
    pub(crate) stopping: Option<Stopping>,
    events: VecDeque<Event<K::Buffer>>,
    arrived: Vec<Event<K::Buffer>>,
    due: Vec<Socket>,
    next_socket_tick: Tick,
}

/// What a turn leaves to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another turn.
    Turn,
    /// Nothing: the shard has stopped.
    Gone,
}

impl<K: Kernel> Shard<K> {
    /// `began_wall` is when the clock began, since 1970. All that is random in the shard comes from `seed`.
    pub(crate) fn new(
        index: usize,
        settings: Settings,
        rules: Rules,
        sockets: Sockets<K>,
        peers: Peers,
        began_wall: Duration,
        seed: [u8; 32],
    ) -> Self {
        let mut ids = StdRng::from_seed(seed);
        let deflating = Deflating::new(settings.deflate);
        let ledger = Ledger::new(settings.budgets, peers.count());
        let homes = OwnedChannels::new(settings.idempotency_ms, ids.random());
        Self {
            index,
            settings,
            conns: Conns::new(sockets.lanes(), sockets.lane_slots()),
            sockets,
            secure: None,
            wheel: Wheel::new(),
            hub: Broadcast::new(peers.count() > 1),
            homes,
            locals: Locals::default(),
            clients: Clients::default(),
            named: Named::new(index),
            poll_wheel: Wheel::new(),
            touched_polls: Vec::new(),
            users: Users::default(),
            seats: Seats::default(),
            key_waits: KeyWaits::default(),
            tickets: 0,
            limits: rules.limits.clone().map(|rules| Box::new(Limits::new(rules, index))),
            rules,
            peers,
            counters: Counters::new(),
            random: SmallRng::from_rng(&mut ids),
            ids,
            now: Tick(0),
            places_taken: 0,
            sessions: 0,
            out: BytesMut::with_capacity(OUT_BYTES),
            replies: BytesMut::new(),
            pings: Pings::new(),
            deflating,
            is_fanning_out: false,
            long_queues: Vec::new(),
            slow: SlowReaders::default(),
            ledger,
            delivered_bytes: 0,
            inbox: VecDeque::new(),
            posts: Vec::new(),
            began_wall,
            held: Held::default(),
            stopping: None,
            events: VecDeque::new(),
            arrived: Vec::new(),
            due: Vec::new(),
            next_socket_tick: Tick(0),
        }
    }

    /// One turn. `elapsed` reads the time since the shard began.
    ///
    /// # Errors
    /// Where the ring is broken: the shard cannot go on.
    pub(crate) fn turn(&mut self, mut elapsed: impl FnMut() -> Duration) -> io::Result<Next> {
        let wait = self.sleep_for(elapsed());
        self.take_turn(wait)?;
        let began = elapsed();
        self.now = self.now.max(tick_at(began));
        let peers = &self.peers;
        self.ledger.begin_turn(peers.is_memory_short(), |budget| peers.memory_elsewhere(budget));
        self.release_held();
        self.handle_events();
        self.take_messages();
        self.look_at_due();
        self.advance_stop();
        self.fan_out();
        self.hold_to_budget();
        self.hold_partial_to_budget();
        let busy = elapsed().saturating_sub(began);
        self.count(busy);
        Ok(if self.has_stopped() { Next::Gone } else { Next::Turn })
    }

    /// How long there will be nothing to do unless something comes.
    fn sleep_for(&self, elapsed: Duration) -> Duration {
        if !self.events.is_empty()
            || !self.inbox.is_empty()
            || self.peers.is_congested()
            || self.is_stop_under_way()
            || self.homes.is_due(self.now)
        {
            return Duration::ZERO;
        }
        let ticks_max = if self.stopping.is_some() { 1 } else { SLEEP_TICKS_MAX };
        let latest = Tick(self.now.0 + ticks_max);
        let sockets = self.wheel.next_due(ticks_max).unwrap_or(latest);
        let polls = self.poll_wheel.next_due(ticks_max).unwrap_or(latest);
        let wait = until(sockets.min(polls), elapsed);
        if self.held.is_empty() { wait } else { wait.min(HELD_SLEEP_MAX) }
    }

    fn take_turn(&mut self, wait: Duration) -> io::Result<()> {
        let mailbox = self.peers.mailbox(self.index);
        let wait = if wait.is_zero() {
            wait
        } else {
            mailbox.bell().about_to_sleep();
            if mailbox.is_empty() { wait } else { Duration::ZERO }
        };
        let turned = self.sockets.turn(wait, &mut self.arrived);
        mailbox.bell().awake();
        self.events.extend(self.arrived.drain(..));
        turned
    }

    /// Handles what has happened, up to the point where so much was published that it had better go out first.
    fn handle_events(&mut self) {
        while self.has_room_to_publish()
            && !self.peers.is_full()
            && let Some(event) = self.events.pop_front()
        {
            match event {
                Event::Accepted(socket) => self.accepted(socket),
                Event::AcceptFailed(error) => self.accept_failed(error),
                Event::Received(socket, mut bytes) => self.bytes_came(socket, &mut bytes),
                Event::Drained(socket) => self.drained(socket),
                Event::Ended(socket, how) => self.ended(socket, how),
                Event::Closed(socket) => self.closed(socket),
                Event::Connected(_) => unreachable!("a shard connects to nobody"),
                // The mailbox is looked at in every turn.
                Event::Woken => {}
            }
        }
    }

    fn has_room_to_publish(&self) -> bool {
        self.hub.local_bytes() + self.delivered_bytes < TURN_PUBLISHED_BYTES_MAX
    }

    fn take_messages(&mut self) {
        while self.has_room_to_publish()
            && let Some(message) = self.inbox.pop_front().or_else(|| self.peers.mailbox(self.index).pop())
        {
            match message {
                Message::Broadcast(frames) => self.hub.relay(&frames),
                Message::ToHome(message) => self.at_home(message),
                Message::FromHome(message) => self.for_clients(message),
                Message::ToSession(asked) => self.at_session(*asked),
                Message::Answer { socket, answer } => self.answer_request(socket, answer),
                Message::Limits(notice) => self.noticed(notice),
                Message::Api(call) => self.api_call(call),
                Message::Certificates(config) => {
                    if let Some(secure) = &mut self.secure {
                        secure.renew(config);
                    }
                }
                Message::Stop(order) => self.begin_stop(order),
                Message::Backend(Answer::Said(back, said)) => self.backend_said(back, *said),
                Message::Backend(Answer::Keys(fetched)) => self.keys_fetched(&fetched),
                Message::ToSeats(message) => self.at_seats(message),
                Message::FromSeats(message) => self.seats_said(message),
            }
        }
    }

    fn look_at_due(&mut self) {
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(self.now, &mut due);
        for socket in due.drain(..) {
            self.due(socket);
        }
        self.due = due;
        self.look_at_due_polls();
        self.homes.tend(self.now, &mut self.ledger);
        if self.now >= self.next_socket_tick {
            self.next_socket_tick = Tick(self.now.0 + SOCKET_TICK_TICKS);
            self.sockets.tick();
            self.tend_limits();
        }
    }

    fn count(&mut self, busy: Duration) {
        self.counters.turn(u64::try_from(busy.as_micros()).unwrap_or(u64::MAX));
        let sockets = self.sockets.statistics();
        let deflated = self.deflating.statistics();
        for (metric, value) in [
            (Metric::Connections, self.sockets.open_sockets() as u64),
            (Metric::PlacesTaken, self.places_taken),
            (Metric::Sessions, self.sessions),
            (Metric::PartialBytes, self.ledger.bytes(Budget::Receive)),
            (Metric::SlowReaders, self.slow_readers().0),
            (Metric::SlowReaderBytes, self.slow_readers().1),
            (Metric::Draining, u64::from(self.stopping.is_some())),
            (Metric::ClientsLeft, self.clients_left()),
            (Metric::BroadcastMembers, self.hub.members() as u64),
            (Metric::Clients, self.clients.len() as u64),
            (Metric::PollSessions, self.named.polls() as u64),
            (Metric::Users, self.users.len() as u64),
            (Metric::Subscriptions, self.locals.subscribers() as u64),
            (Metric::Channels, self.homes.len() as u64),
            (Metric::HistoryBytes, self.ledger.bytes(Budget::History)),
            (Metric::BytesIn, sockets.received_bytes),
            (Metric::BytesOut, sockets.written_bytes),
            (Metric::MailboxMessages, self.peers.mailbox(self.index).len() as u64),
            (Metric::OutboxMessages, self.peers.outbox_messages() as u64),
            (Metric::MailboxFull, self.peers.full_turns()),
            (Metric::BuffersExhausted, sockets.buffers_exhausted),
            (Metric::Writes, sockets.writes),
            (Metric::ShortWrites, sockets.short_writes),
            (Metric::RingEnters, sockets.kernel.enters),
            (Metric::RingSubmissions, sockets.kernel.submitted),
            (Metric::RingCompletions, sockets.kernel.completed),
            (Metric::RingOverflows, sockets.kernel.overflows),
            (Metric::RingHeld, sockets.kernel.held),
            (Metric::DeflatePlainBytes, deflated.plain_bytes),
            (Metric::DeflateBytes, deflated.deflated_bytes),
        ] {
            self.counters.set(metric, value);
        }
        for (budget, _) in Budget::ALL {
            self.counters.set(Metric::Memory(budget), self.ledger.bytes(budget));
        }
        self.counters.publish(self.peers.published(self.index));
    }
}
