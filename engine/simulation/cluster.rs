//! Cluster: the shards of one simulation, each on a simulated kernel.
//!
//! In:  turns, in any order.
//! Out: the same, with all books checked after each; orders to stop; what is left of a shard that has gone.
//!
//! What one shard has for another waits, by chance, though it might go: it then comes after what others have said since,
//! but never out of the order in which it was said.

use std::{sync::Arc, time::Duration};

use holdfast_ring::{
    Kernel as _, Sockets, SocketsConfig,
    simulated::{Network, Simulated, SimulatedConfig, listener},
};
use rand::{Rng, rngs::SmallRng};
use tokio::sync::oneshot;

use super::{clock, config::SimConfig};
use crate::{
    backend::queue,
    conn::TlsListener,
    hub::message::ToOwner,
    ids::ShardId,
    limits::LimitPolicy,
    memory::BudgetLimits,
    mesh::{MailboxLimits, StopOrder},
    metrics::{CATALOG, Kind, Metric},
    session::{
        calls::{ApiCall, ClientCommand, ClientSelector},
        message::{Message, Peers, Shared},
    },
    shard::{Next, Shard, ShardPolicy},
};

/// A multishot accept is ended with so many places left: as many as may come in the turn before that is noticed and in
/// the one in which it takes effect.
const ACCEPT_RESERVE: u32 = 16;

/// Each budget has as much.
const BUDGET_BYTES: u64 = 128 << 20;

/// How long a message may wait though it might go, in turns of its sender: what makes it wait longer is a full mailbox.
const RELUCTANT_TURNS_MAX: u32 = 3;

pub(super) struct Cluster {
    network: Network,
    /// By how much the time of day is ahead of the simulated one.
    wall_ahead: Duration,
    shared: Arc<Shared>,
    /// `None` when it is gone.
    shards: Vec<Option<Shard<Simulated>>>,
    buffers: u32,
    outbox_messages_max: usize,
    /// How often a mailbox takes only a part of what a shard has for it.
    reluctance: f64,
    /// For each shard and each mailbox: turns in a row in which that was so.
    reluctant_turns: Vec<Vec<u32>>,
}

impl Cluster {
    pub(super) fn new(terms: &SimConfig, network: &Network, random: &mut SmallRng) -> Self {
        let count = terms.shards;
        let buffers = random.random_range(2..24);
        let buffer_bytes = random.random_range(16..2048);
        let kernel = SimulatedConfig {
            lanes: random.random_range(1..=2),
            slots_per_lane: random.random_range(10..40),
            buffers,
            buffer_bytes,
        };
        let sockets_config = SocketsConfig {
            joined_bytes_max: random.random_range(64..8192),
            turn_writes_max: random.random_range(1..40),
            turn_bytes_max: 1 << random.random_range(6..20),
            accept_reserve: ACCEPT_RESERVE,
            peer_addresses: LimitPolicy::new(&terms.config).is_some_and(|policy| policy.needs_addresses()),
        };
        let kernels: Vec<_> = (0..count).map(|_| Simulated::new(network, &kernel)).collect();
        let mailbox_messages_max = random.random_range(1..64);
        // With little for each, connections are interrupted often.
        let quantum_ns = 1 << random.random_range(8..19);
        let mailbox_bytes_max = 1 << random.random_range(8..24);
        let budgets = BudgetLimits::all(BUDGET_BYTES);
        let shared = Arc::new(Shared::new(
            kernels.iter().map(Simulated::doorbell).collect(),
            MailboxLimits { messages_max: mailbox_messages_max, bytes_max: mailbox_bytes_max },
            random.random(),
            crate::limits::Tables::new(count, 0),
            budgets,
        ));
        let shards = kernels.into_iter().enumerate().map(|(index, kernel)| {
            let mut sockets = Sockets::new(kernel, sockets_config.clone());
            sockets.listen(listener());
            let peers = Peers::new(Arc::clone(&shared), ShardId::new(index));
            let policy = ShardPolicy { quantum_ns, ..ShardPolicy::new(&terms.config, budgets, buffers) };
            let tls = terms.secrets.as_ref().map(|secrets| TlsListener::new(Arc::clone(&secrets.server)));
            Some(Shard::new("node".into(), policy, sockets, peers, queue(1).0, tls, random.random()))
        });
        Self {
            shards: shards.collect(),
            network: network.clone(),
            wall_ahead: clock::BEGAN,
            shared,
            buffers,
            // What mailboxes hold, and what one turn's receive buffers hold, at forty bytes a command, with the answers to
            // both.
            outbox_messages_max: 200
                + 2 * count * mailbox_messages_max
                + 2 * buffers as usize * buffer_bytes / 40,
            reluctance: if random.random_bool(0.5) { random.random_range(0.0..0.8) } else { 0.0 },
            reluctant_turns: vec![vec![0; count]; count],
        }
    }

    /// Sends a message as the control thread does, if there is room for it.
    pub(super) fn call(&self, message: ToOwner) {
        let home = self.shared.shard_for(message.channel());
        drop(self.shared.mailboxes(home).push_control(Message::ToOwner(message)));
    }

    /// Has something happen to some clients, as the control thread does. True exactly when all shards will know.
    pub(super) fn wish(&self, whom: ClientSelector, wish: ClientCommand) -> bool {
        let (whom, wish) = (Arc::new(whom), Arc::new(wish));
        let pushed = self.shared.all_mailboxes().iter().map(|mailboxes| {
            let (whom, wish, done) = (Arc::clone(&whom), Arc::clone(&wish), oneshot::channel().0);
            mailboxes.push_control(Message::Api(ApiCall::Clients { whom, wish, done })).is_ok()
        });
        // Whatever one has no room for, the others get theirs.
        pushed.filter(|is_pushed| !is_pushed).count() == 0
    }

    /// Sets the time of day.
    pub(super) fn set_wall(&mut self, wall: Duration) {
        self.wall_ahead = wall.saturating_sub(self.network.trace().now());
    }

    /// By how much the time of day is ahead of the simulated one.
    pub(super) fn wall_ahead(&self) -> Duration {
        self.wall_ahead
    }

    /// The time of day.
    pub(super) fn wall(&self) -> Duration {
        self.network.trace().now() + self.wall_ahead
    }

    /// Shards, those that have gone among them.
    pub(super) fn len(&self) -> usize {
        self.shards.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(Option::is_none)
    }

    /// All take what others have for them at once.
    pub(super) fn be_ready(&mut self) {
        self.reluctance = 0.0;
    }

    /// One turn of a shard, and a look at its books.
    pub(super) fn turn(&mut self, index: usize, random: &mut SmallRng) {
        self.narrow_mailboxes(index, random);
        let Some(shard) = &mut self.shards[index] else { return };
        let trace = self.network.trace();
        // Now and then work takes long, and is interrupted by that.
        let look = Duration::from_micros(if random.random_bool(0.1) { 300 } else { 7 });
        let next = shard.turn(
            || {
                trace.pass(look);
                trace.now()
            },
            || trace.now() + self.wall_ahead,
        );
        let next = next.expect("a simulated ring does not break");
        shard.audit();
        let waiting = u32::try_from(shard.waiting_buffers()).expect("few buffers");
        let free = self.network.buffers_free(index);
        assert!(free + waiting >= self.buffers, "buffers are free or wait: {free}, {waiting}");
        let outbox_messages = shard.outbox_messages();
        assert!(
            outbox_messages <= self.outbox_messages_max,
            "{outbox_messages} messages wait for other shards"
        );
        trace.note("turn", index as u64, u64::from(waiting));
        if next == Next::Gone {
            shard.audit_stopped();
            assert_eq!(self.network.descriptors_held(index), 0, "all descriptors are free");
            assert_eq!(free, self.buffers, "all buffers are free");
            self.shards[index] = None;
        }
    }

    /// Decides how much each mailbox takes of what shard `from` has for it in its next turn.
    fn narrow_mailboxes(&mut self, from: usize, random: &mut SmallRng) {
        for (mailboxes, turns) in self.shared.all_mailboxes().iter().zip(&mut self.reluctant_turns[from]) {
            let is_reluctant = *turns < RELUCTANT_TURNS_MAX && random.random_bool(self.reluctance);
            *turns = if is_reluctant { *turns + 1 } else { 0 };
            mailboxes.inlet(ShardId::new(from)).narrow(if is_reluctant {
                random.random_range(0..3)
            } else {
                usize::MAX
            });
        }
    }

    /// Bytes that the ledgers have, that mailboxes hold or that go out in the next turns, and connections.
    pub(super) fn accounts(&mut self) -> (u64, u64) {
        let inlets = self.shared.all_mailboxes().iter().flat_map(|mailboxes| mailboxes.inlets());
        let mailboxes = inlets.map(|inlet| inlet.bytes()).sum();
        let shards = self.shards.iter_mut().flatten();
        shards.map(Shard::accounts).fold((mailboxes, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1))
    }

    /// True exactly when no message is on its way between shards.
    pub(super) fn is_idle(&self) -> bool {
        let mut shards = self.shards.iter().flatten();
        shards.all(|shard| shard.outbox_messages() == 0)
            && self.shared.all_mailboxes().iter().all(|mailboxes| mailboxes.is_empty())
    }

    /// Nothing is under way: what is counted on one shard for clients of others is right.
    pub(super) fn check_at_rest(&self) {
        let leases = self.shards.iter().flatten().map(Shard::leases);
        let (taken, held) = leases.fold((0, 0), |sum, leases| (sum.0 + leases.0, sum.1 + leases.1));
        assert_eq!(taken, held, "whoever is counted holds a lease");
    }

    /// Sessions of polls.
    pub(super) fn polls(&mut self) -> usize {
        self.shards.iter_mut().flatten().map(Shard::poll_sessions).sum()
    }

    /// Has all shards told to stop.
    pub(super) fn order_stop(&self, order: StopOrder) {
        self.shared.stop(order);
    }

    /// Writes what all shards have counted into the trace, by name: a counter that is new or moves changes nothing.
    pub(super) fn note_counters(&self) {
        let counters = CATALOG.iter().filter(|family| family.kind == Kind::Counter);
        let mut counters: Vec<_> = counters
            .flat_map(|of| of.metrics.iter().map(|&(metric, label)| (of.name, label, metric)))
            .collect();
        counters.sort_unstable_by_key(|&(name, label, _)| (name, label));
        let trace = self.network.trace();
        for (name, label, metric) in counters {
            for (shard, published) in (0..).zip(self.shared.metrics()) {
                let count = published.get(metric);
                if count > 0 {
                    trace.note_bytes(name.as_bytes());
                    trace.note_bytes(label.as_bytes());
                    trace.note("counted", shard, count);
                }
            }
        }
    }

    /// A number of all shards together.
    pub(super) fn count(&self, metric: Metric) -> u64 {
        self.shared.metrics().iter().map(|published| published.get(metric)).sum()
    }
}
