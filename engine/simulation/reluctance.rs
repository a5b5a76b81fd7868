//! Reluctance: a cluster as unkind as chance has it.
//!
//! In:  chance.
//! Out: a cluster with little room of every kind; mailboxes that take only a part of what a shard has for them.
//!
//! What one shard has for another waits, by chance, though it might go: it then comes after what others have said since,
//! but never out of the order in which it was said.

use std::{sync::Arc, time::Duration};

use holdfast_ring::{
    SocketsConfig,
    simulated::{Network, SimulatedConfig},
};
use rand::{Rng, rngs::SmallRng};

use super::{
    cluster::{ACCEPT_RESERVE, Builder, Cluster},
    config::SimConfig,
};
use crate::{ids::ShardId, limits::LimitPolicy, memory::BudgetLimits, mesh::MailboxLimits};

/// Each budget has as much.
const BUDGET_BYTES: u64 = 128 << 20;

/// How long a message may wait though it might go, in turns of its sender: what makes it wait longer is a full mailbox.
const RELUCTANT_TURNS_MAX: u32 = 3;

/// Mailboxes that do not take all at once.
pub(super) struct Reluctance {
    /// How often a mailbox takes only a part of what a shard has for it.
    probability: f64,
    /// For each shard and each mailbox: turns in a row in which that was so.
    turns: Vec<Vec<u32>>,
}

/// Shards with these terms, and anything else by chance.
pub(super) fn any(terms: &SimConfig, network: &Network, random: &mut SmallRng) -> (Cluster, Reluctance) {
    let count = terms.shards;
    let buffers = random.random_range(2..24);
    let buffer_bytes = random.random_range(16..2048);
    let kernel = SimulatedConfig {
        lanes: random.random_range(1..=2),
        slots_per_lane: random.random_range(10..40),
        buffers,
        buffer_bytes,
    };
    let sockets = SocketsConfig {
        joined_bytes_max: random.random_range(64..8192),
        turn_writes_max: random.random_range(1..40),
        turn_bytes_max: 1 << random.random_range(6..20),
        accept_reserve: ACCEPT_RESERVE,
        peer_addresses: LimitPolicy::new(&terms.config).is_some_and(|policy| policy.needs_addresses()),
    };
    let mailbox_messages_max = random.random_range(1..64);
    // With little for each, connections are interrupted often.
    let quantum_ns = 1 << random.random_range(8..19);
    let mailbox_bytes_max = 1 << random.random_range(8..24);
    let cluster = Builder {
        network: network.clone(),
        kernel,
        sockets,
        mailboxes: MailboxLimits { messages_max: mailbox_messages_max, bytes_max: mailbox_bytes_max },
        budgets: BudgetLimits::all(BUDGET_BYTES),
        config: terms.config.clone(),
        quantum_ns: Some(quantum_ns),
        tls: terms.secrets.as_ref().map(|secrets| Arc::clone(&secrets.server)),
        channel_secret: random.random(),
        seeds: (0..count).map(|_| random.random()).collect(),
        // What mailboxes hold, and what one turn's receive buffers hold, at forty bytes a command, with the answers to
        // both.
        outbox_messages_max: 200
            + 2 * count * mailbox_messages_max
            + 2 * buffers as usize * buffer_bytes / 40,
        ..Cluster::of(count)
    };
    let probability = if random.random_bool(0.5) { random.random_range(0.0..0.8) } else { 0.0 };
    (cluster.start(), Reluctance { probability, turns: vec![vec![0; count]; count] })
}

impl Reluctance {
    /// All take what others have for them at once.
    pub(super) fn end(&mut self) {
        self.probability = 0.0;
    }

    /// One turn of a shard. Now and then work takes long, and is interrupted by that.
    pub(super) fn turn(&mut self, cluster: &mut Cluster, shard: usize, random: &mut SmallRng) {
        self.narrow_mailboxes(cluster, shard, random);
        if !cluster.is_gone(shard) {
            cluster.look = Duration::from_micros(if random.random_bool(0.1) { 300 } else { 7 });
            cluster.turn(shard);
        }
    }

    /// Decides how much each mailbox takes of what shard `from` has for it in its next turn.
    fn narrow_mailboxes(&mut self, cluster: &Cluster, from: usize, random: &mut SmallRng) {
        for (mailboxes, turns) in cluster.shared.all_mailboxes().iter().zip(&mut self.turns[from]) {
            let is_reluctant = *turns < RELUCTANT_TURNS_MAX && random.random_bool(self.probability);
            *turns = if is_reluctant { *turns + 1 } else { 0 };
            mailboxes.inlet(ShardId::new(from)).narrow(if is_reluctant {
                random.random_range(0..3)
            } else {
                usize::MAX
            });
        }
    }
}
