//! Shard: everything of one core, and the loop that runs it.
//!
//! In:  the core's sockets; messages of other threads; the time.
//! Out: turns. In each: events are handled, due timers looked at, what was published goes out.
//!
//! Nothing is shared with other shards but the queues and the published numbers in `Shared`. A loaded loop does not
//! sleep: it hands over all of a turn's operations in one system call. It is generic over the kernel, so that a
//! simulated one can run it unchanged.
//!
//! What a turn does first, and for how long, is decided by `schedule` (kinds of work) and `flows` (connections), by what
//! `meter` has measured; `events`, `messages` and `timers` do it.

mod api;
#[cfg(test)]
mod audit;
mod back_pressure;
mod backlog;
pub(crate) mod cost;
mod events;
mod executor;
#[cfg(test)]
mod fairness;
mod flows;
mod handover;
mod homes;
mod inbox;
mod lateness;
mod messages;
mod meter;
pub(crate) mod plan;
pub(crate) mod pulse;
mod schedule;
#[cfg(test)]
mod stalls;
mod stop;
mod timers;

use std::{collections::VecDeque, io, time::Duration};

use bytes::BytesMut;
use holdfast_protocol::{http::HeadLimits, websocket::DecoderConfig};
use holdfast_ring::{Event, Kernel, Socket, Sockets};
use rand::{
    Rng as _, SeedableRng,
    rngs::{SmallRng, StdRng},
};

pub(crate) use self::plan::Plan;
pub(crate) use self::{
    api::{ApiCall, ApiPage, SubscribeWish, Whom, Wish},
    backlog::Commands,
    events::Left,
    executor::{Seed, Spawned, spawn},
    flows::QUANTUM_NS,
    lateness::Lateness,
    stop::{StopOrder, Stopping},
};
use self::{
    back_pressure::{HELD_SLEEP_MAX, Held},
    backlog::Backlog,
    flows::Class,
    inbox::Inbox,
    messages::Senders,
    meter::Meter,
    schedule::{Kind, Schedule},
};
use crate::{
    clock::{Tick, tick_at, until},
    conn::{
        Conns,
        deflate::{DeflateRules, Deflating},
        heartbeat::Pings,
        lag::Lags,
        pace::Pace,
        secure::Secure,
        write::LongQueue,
    },
    fanout::Gathered,
    hub::{
        broadcast::Broadcast,
        home::{OwnedChannels, Posts},
        local::Locals,
    },
    limits::Limits,
    memory::{Budget, BudgetLimits, Holders, Ledger},
    metrics::{Counters, Metric},
    peers::Peers,
    refusals::{Untold, Why},
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
    /// The longest reply to one command that reads: history, recovery, presence.
    pub(crate) reply_bytes_max: usize,
    /// Of commands of one client that has to wait with them.
    pub(crate) parked_bytes_max: usize,
    /// Receive buffers of each lane.
    pub(crate) lane_buffers: usize,
    /// What one connection may use of a turn at a time.
    pub(crate) quantum_ns: u64,
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
    /// The tick in which this turn began, on the clock that never stands still: for what is kept or done for a time.
    pub(crate) uptime: Tick,
    /// The same on the clock that stands still while nobody reads: for what is awaited of clients.
    pub(crate) now: Tick,
    pub(crate) lateness: Lateness,
    pub(crate) pace: Pace,
    /// Up to when all that came to this shard has been read and handled.
    read_up_to: Tick,
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
    pub(crate) long_queues: Vec<LongQueue>,
    /// What of all that waits for a connection counts, where much does.
    pub(crate) lags: Lags,
    /// What waits for those who do not keep up, where not all of it has to.
    pub(crate) slow: SlowReaders,
    /// What this shard keeps, by kind.
    pub(crate) ledger: Ledger,
    /// Connections of which something has come in part.
    pub(crate) partial: Holders<Socket>,
    /// What this turn has cost.
    pub(crate) meter: Meter,
    /// What is published and has not gone out.
    pub(crate) gathered: Gathered,
    /// What is left of a message in hand whose connection has used up its part.
    pub(crate) cut: Option<Commands>,
    /// How many asks were given a number.
    tickets: u32,
    schedule: Schedule,
    senders: Senders,
    /// Messages of this core to itself.
    inbox: Inbox,
    /// What connections have sent and no turn had a part for.
    backlog: Backlog<K::Buffer>,
    /// What of it, and of messages that wait, the ledger knows.
    waiting_bytes: usize,
    posts: Posts,
    /// Who waits because another core does not keep up.
    held: Held,
    /// Why a command in hand is refused, or a connection ended.
    pub(crate) why: Option<Why>,
    /// Lines about refusals that wait for an address.
    pub(crate) untold: Untold,
    pub(crate) stopping: Option<Stopping>,
    events: VecDeque<Event<K::Buffer>>,
    arrived: Vec<Event<K::Buffer>>,
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
    /// All that is random in the shard comes from `seed`.
    pub(crate) fn new(
        index: usize,
        settings: Settings,
        rules: Rules,
        sockets: Sockets<K>,
        peers: Peers,
        seed: [u8; 32],
    ) -> Self {
        let mut ids = StdRng::from_seed(seed);
        let deflating = Deflating::new(settings.deflate);
        let ledger = Ledger::new(settings.budgets, peers.count());
        let homes = OwnedChannels::new(settings.idempotency_ms, ids.random());
        let gathered = Gathered::new(settings.queue_bytes_max, sockets.write_bytes_max());
        let backlog = Backlog::new(sockets.lanes(), settings.lane_buffers, settings.quantum_ns);
        let (peers_count, mailbox_limits) = (peers.count(), peers.limits());
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
            clients: Clients::new(seed),
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
            uptime: Tick(0),
            now: Tick(0),
            lateness: Lateness::default(),
            pace: Pace::default(),
            read_up_to: Tick(0),
            places_taken: 0,
            sessions: 0,
            out: BytesMut::with_capacity(OUT_BYTES),
            replies: BytesMut::new(),
            pings: Pings::new(),
            deflating,
            is_fanning_out: false,
            long_queues: Vec::new(),
            lags: Lags::default(),
            slow: SlowReaders::default(),
            ledger,
            partial: Holders::default(),
            meter: Meter::new(),
            gathered,
            cut: None,
            schedule: Schedule::default(),
            senders: Senders::new(peers_count),
            inbox: Inbox::new(mailbox_limits),
            backlog,
            waiting_bytes: 0,
            posts: Vec::new(),
            held: Held::default(),
            why: None,
            untold: Untold::default(),
            stopping: None,
            events: VecDeque::new(),
            arrived: Vec::new(),
            next_socket_tick: Tick(0),
        }
    }

    /// One turn. `elapsed` reads the time since the daemon began, `wall` the time of day, since 1970.
    ///
    /// # Errors
    /// Where the ring is broken: the shard cannot go on.
    pub(crate) fn turn(
        &mut self,
        mut elapsed: impl FnMut() -> Duration,
        wall: impl FnOnce() -> Duration,
    ) -> io::Result<Next> {
        let wait = self.sleep_for(elapsed());
        self.take_turn(wait)?;
        let began = elapsed();
        self.take_time(began, wait, wall());
        let peers = &self.peers;
        self.ledger.begin_turn(peers.is_memory_short(), |budget| peers.memory_elsewhere(budget));
        self.meter.begin_turn(began);
        self.schedule.begin_turn();
        self.take_control();
        self.release_held();
        self.work(&mut elapsed);
        self.keep_house();
        self.advance_stop();
        self.fan_out();
        self.hold_to_budget();
        self.hold_partial_to_budget();
        self.account_for_waiting();
        self.hold_clients_to_budget();
        let busy = elapsed().saturating_sub(began);
        self.count(busy);
        Ok(if self.has_stopped() { Next::Gone } else { Next::Turn })
    }

    fn take_time(&mut self, began: Duration, wait: Duration, wall: Duration) {
        let steps = self.lateness.wall_steps();
        self.lateness.turn_began(began, wait, wall);
        self.uptime = self.uptime.max(tick_at(began));
        self.now = self.now.max(self.lateness.served(self.uptime));
        self.weigh_rates(self.lateness.rate_weight());
        if self.lateness.wall_steps() > steps && self.index == 0 {
            tracing::warn!(
                now_s = self.wall_s(),
                "the time of day was set: what expires is measured by it from now on"
            );
        }
    }

    /// The time of day, in seconds since 1970.
    pub(crate) fn wall_s(&self) -> u64 {
        self.lateness.wall_ms() / 1000
    }

    /// Does what there is to do, each kind of work in its part of the turn.
    fn work(&mut self, elapsed: &mut impl FnMut() -> Duration) {
        let mut schedule = std::mem::take(&mut self.schedule);
        while let Some((kind, part_ns)) = schedule.next(|kind| self.has_work(kind)) {
            let began = self.meter.total_ns();
            match kind {
                Kind::Events => self.handle_events(part_ns, elapsed),
                Kind::Messages => self.take_messages(part_ns, elapsed),
                Kind::Arrivals => self.serve_flows(Class::Arrivals, part_ns, elapsed),
                Kind::Timers => self.look_at_due(part_ns, elapsed),
            }
            schedule.used(kind, self.meter.total_ns().saturating_sub(began));
        }
        self.schedule = schedule;
    }

    fn has_work(&self, kind: Kind) -> bool {
        match kind {
            Kind::Events => !self.events.is_empty() || self.has_flows(Class::Sessions),
            Kind::Messages => self.has_messages(),
            Kind::Arrivals => self.has_flows(Class::Arrivals),
            Kind::Timers => self.has_due(),
        }
    }

    /// How long there will be nothing to do unless something comes.
    fn sleep_for(&self, elapsed: Duration) -> Duration {
        if !self.backlog.are_all_asleep()
            || !self.inbox.is_empty()
            || self.has_due()
            || self.is_gathering()
            || self.peers.is_congested()
            || self.is_stop_under_way()
            || self.homes.is_due(self.uptime)
        {
            return Duration::ZERO;
        }
        let ticks_max = if self.stopping.is_some() { 1 } else { SLEEP_TICKS_MAX };
        let latest = self.uptime.after(ticks_max);
        let sockets = self.wheel.next_due(ticks_max).unwrap_or(latest);
        let polls = self.poll_wheel.next_due(ticks_max).unwrap_or(latest);
        let wait = until(sockets.min(polls), elapsed);
        if self.held.is_empty() { wait } else { wait.min(HELD_SLEEP_MAX) }
    }

    fn take_turn(&mut self, wait: Duration) -> io::Result<()> {
        let mailboxes = self.peers.mailboxes();
        let wait = if wait.is_zero() {
            wait
        } else {
            mailboxes.bell().about_to_sleep();
            if mailboxes.is_empty() { wait } else { Duration::ZERO }
        };
        let turned = self.sockets.turn(wait, &mut self.arrived);
        mailboxes.bell().awake();
        self.events.extend(self.arrived.drain(..));
        self.gathered.is_all_written = self.sockets.is_all_written();
        turned
    }

    /// The ledger learns what waits.
    fn account_for_waiting(&mut self) {
        let bytes = self.inbox.bytes() + self.peers.waiting_bytes() + self.backlog.memory_bytes();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let before = std::mem::replace(&mut self.waiting_bytes, bytes);
        if before != bytes {
            self.ledger.recharge(Budget::Commands, before, bytes);
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
            (Metric::BytesIn, sockets.received_bytes),
            (Metric::BytesOut, sockets.written_bytes),
            (Metric::LatenessGrantedMs, self.lateness.granted_ms()),
            (Metric::WallSteps, self.lateness.wall_steps()),
            (Metric::PingStretch, u64::from(self.pace.stretch())),
            (Metric::MailboxMessages, self.peers.mailboxes().len() as u64),
            (Metric::InboxMessages, self.inbox.len() as u64),
            (Metric::DeferredConnections, self.backlog.len() as u64),
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
        self.ledger.report(&mut self.counters);
        self.counters.publish(self.peers.published(self.index));
    }
}
