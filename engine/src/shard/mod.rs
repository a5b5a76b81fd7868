//! Shard: all state of one shard, and the loop that runs it.
//!
//! In:  the shard's sockets; messages of other threads; the time.
//! Out: turns. Each turn handles events, fires due timers, and sends out what was published.
//!
//! Shards share nothing but the queues and the published numbers in `Shared`. A loaded loop does not sleep: it submits all
//! operations of a turn in one system call. The shard is generic over the kernel, so that a simulated kernel can run it
//! unchanged.
//!
//! `schedule` (kinds of work) and `flows` (connections) decide what a turn does first and for how long, from the
//! measurements of `meter`; `events`, `messages` and `timers` do the work.

mod above;
mod api;
#[cfg(test)]
mod audit;
mod back_pressure;
mod backlog;
mod drain;
mod events;
pub(crate) mod executor;
pub(crate) mod executor_watchdog;
#[cfg(test)]
mod fairness;
mod fan_out;
mod flows;
mod handover;
mod messages;
mod notices;
pub(crate) mod plan;
mod queues;
mod schedule;
mod session_io;
#[cfg(test)]
mod stalls;
mod stop;
mod timers;

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use holdfast_ring::{Event, Kernel, Sockets};
use rand::{
    Rng as _, SeedableRng,
    rngs::{SmallRng, StdRng},
};

use self::{
    back_pressure::{THROTTLED_SLEEP_MAX, Throttled},
    backlog::Backlog,
    schedule::{Kind, Schedule, Senders},
};
use crate::{
    backend::ProxyHandle,
    broker::BrokerHandle,
    config::Config,
    conn::{Connections, TlsListener, policy::ConnPolicy},
    context::Context,
    hub::{Gathered, HubPolicy},
    ids::ShardId,
    limits::{LimitPolicy, Limits},
    memory::{Budget, BudgetLimits, Ledger},
    metrics::Metric,
    session::{
        Class, Sessions,
        message::{Mesh, Peers},
        policy::SessionPolicy,
        receivers::Hub,
    },
    time::{Tick, tick_at, until},
    token::TokenPolicy,
};

pub(crate) use self::plan::Plan;
pub(crate) use self::{drain::Drain, flows::QUANTUM_NS};

/// The longest sleep, in ticks: the maximum delay of housekeeping on an idle shard (250 ms).
const SLEEP_TICKS_MAX: u32 = 5;

/// What a shard is made with: a policy for each of its parts, which can be replaced as a whole.
#[derive(Debug)]
pub(crate) struct ShardPolicy {
    pub(crate) conn: ConnPolicy,
    pub(crate) session: SessionPolicy,
    pub(crate) tokens: TokenPolicy,
    pub(crate) hub: HubPolicy,
    /// `None` if nothing is limited.
    pub(crate) limits: Option<LimitPolicy>,
    /// The memory budgets of the whole daemon, by kind.
    pub(crate) budgets: BudgetLimits,
    /// The quantum of a connection in a turn.
    pub(crate) quantum_ns: u64,
    /// Receive buffers of each lane.
    pub(crate) lane_buffers: usize,
}

impl ShardPolicy {
    pub(crate) fn new(config: &Config, budgets: BudgetLimits, lane_buffers: u32) -> Self {
        Self {
            conn: config.into(),
            session: config.into(),
            tokens: (&config.client).into(),
            hub: config.into(),
            limits: LimitPolicy::new(config),
            budgets,
            quantum_ns: QUANTUM_NS,
            lane_buffers: lane_buffers as usize,
        }
    }
}

/// A shard: its parts, each of which knows only those below it, and the loop over them.
pub(crate) struct Shard<K: Kernel> {
    pub(crate) cx: Context,
    pub(crate) conns: Connections<K>,
    pub(crate) hub: Hub,
    pub(crate) mesh: Mesh,
    pub(crate) sessions: Sessions,
    /// `None` on a node alone.
    pub(crate) broker: Option<BrokerHandle>,
    /// The quantum of a connection in a turn.
    quantum_ns: u64,
    /// All input of this shard up to this tick has been read and handled.
    read_up_to: Tick,
    schedule: Schedule,
    senders: Senders,
    /// Input of connections that did not fit into a turn.
    backlog: Backlog<K::Buffer>,
    /// The bytes charged to the ledger for the backlog and for waiting messages.
    waiting_bytes: usize,
    /// Connections and requests held because of backpressure.
    throttled: Throttled,
    pub(crate) draining: Option<Drain>,
    events: VecDeque<Event<K::Buffer>>,
    arrived: Vec<Event<K::Buffer>>,
    next_socket_tick: Tick,
}

/// The result of a turn, for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Another turn.
    Turn,
    /// Nothing: the shard has stopped.
    Gone,
}

impl<K: Kernel> Shard<K> {
    /// All randomness of the shard comes from `seed`.
    pub(crate) fn new(
        node: Arc<str>,
        policy: ShardPolicy,
        sockets: Sockets<K>,
        peers: Peers,
        backend: ProxyHandle,
        tls: Option<TlsListener>,
        seed: [u8; 32],
    ) -> Self {
        let own = peers.own();
        let mut ids = StdRng::from_seed(seed);
        let secret = ids.random();
        let ledger = Ledger::new(policy.budgets, peers.count());
        let owned = policy.hub.owned(secret);
        let gathered = Gathered::new(policy.hub.gathered_bytes_max, sockets.write_bytes_max());
        let backlog = Backlog::new(sockets.lanes(), policy.lane_buffers, policy.quantum_ns);
        let limits = policy.limits.map(|policy| Box::new(Limits::new(policy, own)));
        let (limit_tables, shards) = (Arc::clone(peers.limit_tables()), peers.count());
        let random = SmallRng::from_rng(&mut ids);
        Self {
            senders: Senders::new(peers.count()),
            hub: Hub::new(owned, gathered, peers.count() > 1),
            conns: Connections::new(sockets, tls, policy.conn),
            sessions: Sessions::new(own, node, policy.session, policy.tokens, backend, seed, ids),
            mesh: Mesh::new(peers),
            cx: Context::new(ledger, limits, limit_tables, (own, shards), random),
            broker: None,
            quantum_ns: policy.quantum_ns,
            read_up_to: Tick(0),
            schedule: Schedule::default(),
            backlog,
            waiting_bytes: 0,
            throttled: Throttled::default(),
            draining: None,
            events: VecDeque::new(),
            arrived: Vec::new(),
            next_socket_tick: Tick(0),
        }
    }

    /// Runs one turn. `elapsed` reads the time since the daemon started, `wall` the time of day, since 1970.
    ///
    /// # Errors
    /// The ring is broken: the shard cannot continue.
    pub(crate) fn turn(
        &mut self,
        mut elapsed: impl FnMut() -> Duration,
        wall: impl FnOnce() -> Duration,
    ) -> io::Result<Next> {
        let wait = self.sleep_for(elapsed());
        self.take_turn(wait)?;
        let began = elapsed();
        self.take_time(began, wait, wall());
        let peers = &self.mesh.peers;
        self.cx.ledger.begin_turn(peers.is_memory_short(), |budget| peers.memory_elsewhere(budget));
        self.cx.meter.begin_turn(began);
        self.schedule.begin_turn();
        self.take_control();
        self.resume_throttled();
        self.work(&mut elapsed);
        self.keep_house();
        self.advance_stop();
        self.fan_out();
        self.hold_to_budget();
        self.with_connections(|conns, cx, above| conns.hold_partial_to_budget(cx, above));
        self.account_for_waiting();
        self.with_sessions(|sessions| sessions.hold_clients_to_budget());
        self.tell_broker();
        let busy = elapsed().saturating_sub(began);
        self.count(busy);
        Ok(if self.has_stopped() { Next::Gone } else { Next::Turn })
    }

    fn take_time(&mut self, began: Duration, wait: Duration, wall: Duration) {
        let steps = self.cx.lateness.wall_steps();
        self.cx.lateness.turn_began(began, wait, wall);
        self.cx.uptime = self.cx.uptime.max(tick_at(began));
        self.cx.now = self.cx.now.max(self.cx.lateness.served(self.cx.uptime));
        self.cx.weigh_rates(self.cx.lateness.rate_weight());
        if self.cx.lateness.wall_steps() > steps && self.mesh.shard == ShardId::FIRST {
            tracing::warn!(
                now_s = self.cx.wall_s(),
                "the system clock was set: tokens and subscriptions expire by the new time; check the time synchronization of this machine"
            );
        }
    }

    /// Does the pending work, each kind within its part of the turn.
    fn work(&mut self, elapsed: &mut impl FnMut() -> Duration) {
        let mut schedule = std::mem::take(&mut self.schedule);
        while let Some((kind, part_ns)) = schedule.next(|kind| self.has_work(kind)) {
            let began = self.cx.meter.total_ns();
            match kind {
                Kind::Events => self.handle_events(part_ns, elapsed),
                Kind::Messages => self.drain_mailbox(part_ns, elapsed),
                Kind::Arrivals => self.serve_flows(Class::Arrivals, part_ns, elapsed),
                Kind::Timers => self.fire_timers(part_ns, elapsed),
            }
            schedule.used(kind, self.cx.meter.total_ns().saturating_sub(began));
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

    /// Sends to the broker what this turn has for it.
    fn tell_broker(&mut self) {
        let Some(broker) = self.broker.as_ref().filter(|_| self.hub.owned.has_for_broker()) else { return };
        if let Err(refused) = broker.send(self.hub.owned.take_for_broker()) {
            self.with_sessions(|sessions| sessions.refuse_for_broker(refused));
        }
    }

    /// How long the shard may sleep unless something arrives.
    fn sleep_for(&self, elapsed: Duration) -> Duration {
        if !self.backlog.are_all_asleep()
            || !self.mesh.inbox.is_empty()
            || self.has_due()
            || self.hub.is_gathering()
            || self.mesh.peers.is_congested()
            || self.is_stop_under_way()
            || self.hub.owned.is_due(self.cx.uptime)
        {
            return Duration::ZERO;
        }
        let ticks_max = if self.draining.is_some() { 1 } else { SLEEP_TICKS_MAX };
        let latest = self.cx.uptime.after(ticks_max);
        let sockets = self.conns.wheel.next_due(ticks_max).unwrap_or(latest);
        let polls = self.sessions.poll_wheel.next_due(ticks_max).unwrap_or(latest);
        let wait = until(sockets.min(polls), elapsed);
        // What the broker did not take is offered again.
        let is_waiting = !self.throttled.is_empty() || self.hub.owned.has_for_broker();
        if is_waiting { wait.min(THROTTLED_SLEEP_MAX) } else { wait }
    }

    fn take_turn(&mut self, wait: Duration) -> io::Result<()> {
        let mailboxes = self.mesh.peers.mailboxes();
        let wait = if wait.is_zero() {
            wait
        } else {
            mailboxes.bell().about_to_sleep();
            if mailboxes.is_empty() { wait } else { Duration::ZERO }
        };
        let turned = self.conns.sockets.turn(wait, &mut self.arrived);
        mailboxes.bell().awake();
        self.events.extend(self.arrived.drain(..));
        self.hub.gathered.is_all_written = self.conns.sockets.is_all_written();
        turned
    }

    /// Charges the ledger for the waiting bytes.
    fn account_for_waiting(&mut self) {
        let bytes = self.mesh.inbox.bytes() + self.mesh.peers.waiting_bytes() + self.backlog.memory_bytes();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let before = std::mem::replace(&mut self.waiting_bytes, bytes);
        if before != bytes {
            self.cx.ledger.recharge(Budget::Commands, before, bytes);
        }
    }

    fn count(&mut self, busy: Duration) {
        let (readers, bytes) = self.slow_readers();
        let clients_left = self.clients_left();
        let counters = &mut self.cx.counters;
        counters.turn(u64::try_from(busy.as_micros()).unwrap_or(u64::MAX));
        counters.set(Metric::Conflation, readers);
        counters.set(Metric::SlowReaderBytes, bytes);
        counters.set(Metric::Draining, u64::from(self.draining.is_some()));
        counters.set(Metric::ClientsLeft, clients_left);
        counters.set(Metric::DeferredConnections, self.backlog.len() as u64);
        self.conns.report(counters);
        self.sessions.report(counters);
        self.hub.report(counters);
        self.mesh.report(counters);
        self.cx.lateness.report(counters);
        self.cx.ledger.report(counters);
        counters.publish(self.mesh.peers.published(self.mesh.shard));
    }
}
