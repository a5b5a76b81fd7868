//! Shared: the state that all threads of the daemon share.
//!
//! In:  messages and stop orders for shards; the figures that each shard publishes.
//! Out: lock-free, bounded queues, each with one reader; the same figures; and a few flags.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use holdfast_ring::Doorbell;

use super::mailboxes::{MailboxLimits, Mailboxes, Message, StopOrder};
use crate::{
    ids::ShardId,
    limits::Tables,
    memory::{Budget, BudgetLimits},
    metrics::{Metric, Published},
    supervise::Beats,
    time::Tick,
};

/// Memory of server API calls. Written by the control thread and its helpers.
#[derive(Debug, Default)]
pub(crate) struct ApiMemory {
    /// Bytes of bodies and answers.
    pub(crate) bytes: AtomicU64,
    /// Calls rejected for lack of room.
    pub(crate) refused: AtomicU64,
}

/// State that all threads of the daemon share: queues, published numbers, and one flag.
#[derive(Debug)]
pub(crate) struct Shared<M> {
    mailboxes: Vec<Mailboxes<M>>,
    /// Each shard's numbers.
    metrics: Vec<Published>,
    /// Open connections and activity of addresses and users, as each shard knows them.
    limit_tables: Arc<Tables>,
    /// Determines the owner of a channel; secret, so that nobody can choose names for one shard.
    channel_secret: u128,
    /// What each shard and the other threads report about themselves.
    beats: Arc<Beats>,
    /// True exactly when the daemon is over its memory limit; set by the control plane.
    memory_short: AtomicBool,
    /// True exactly when the daemon has begun to stop; set by the control plane.
    draining: AtomicBool,
    /// Shards that listen; they stop listening one by one, the last one first.
    listening: AtomicUsize,
    /// Shards that a stop has not emptied yet.
    populated: AtomicUsize,
    /// The tick up to which each shard has read all its input, in uptime.
    read_up_to: Vec<AtomicU32>,
    /// Shards with messages that did not fit into another shard's mailbox.
    congested: AtomicUsize,
    mailbox_limits: MailboxLimits,
    /// The memory budgets, by kind.
    budgets: BudgetLimits,
    api_memory: ApiMemory,
}

impl<M: Message> Shared<M> {
    /// `channel_secret` must be random: see [`Shared::shard_for`].
    pub(crate) fn new(
        bells: Vec<Arc<Doorbell>>,
        mailbox_limits: MailboxLimits,
        channel_secret: u128,
        limit_tables: Tables,
        budgets: BudgetLimits,
    ) -> Self {
        Self {
            beats: Arc::new(Beats::new(bells.len())),
            listening: AtomicUsize::new(bells.len()),
            populated: AtomicUsize::new(bells.len()),
            draining: AtomicBool::new(false),
            read_up_to: bells.iter().map(|_| AtomicU32::new(0)).collect(),
            congested: AtomicUsize::new(0),
            mailbox_limits,
            metrics: bells.iter().map(|_| Published::new()).collect(),
            mailboxes: {
                let shards = bells.len();
                bells.into_iter().map(|bell| Mailboxes::new(shards, mailbox_limits, bell)).collect()
            },
            limit_tables: Arc::new(limit_tables),
            channel_secret,
            memory_short: AtomicBool::new(false),
            budgets,
            api_memory: ApiMemory::default(),
        }
    }

    /// The shards, in order.
    pub(crate) fn shard_ids(&self) -> impl Iterator<Item = ShardId> + use<M> {
        ShardId::all(self.shards())
    }

    /// The number of shards.
    pub(crate) fn shards(&self) -> usize {
        self.mailboxes.len()
    }

    /// The queues into one shard.
    pub(crate) fn mailboxes(&self, shard: ShardId) -> &Mailboxes<M> {
        &self.mailboxes[shard.index()]
    }

    /// The queues into all shards, in the order of their numbers.
    pub(crate) fn all_mailboxes(&self) -> &[Mailboxes<M>] {
        &self.mailboxes
    }

    /// The figures of all shards, in the order of their numbers.
    pub(crate) fn metrics(&self) -> &[Published] {
        &self.metrics
    }

    /// A figure of all shards together.
    pub(crate) fn sum(&self, metric: Metric) -> u64 {
        self.metrics.iter().map(|published| published.get(metric)).sum()
    }

    /// Open connections and activity of addresses and users, as each shard knows them.
    pub(crate) fn limit_tables(&self) -> &Arc<Tables> {
        &self.limit_tables
    }

    /// What each shard and the other threads report about themselves.
    pub(crate) fn beats(&self) -> &Arc<Beats> {
        &self.beats
    }

    /// The memory budgets, by kind.
    pub(crate) fn budgets(&self) -> &BudgetLimits {
        &self.budgets
    }

    /// Memory of server API calls.
    pub(crate) fn api_memory(&self) -> &ApiMemory {
        &self.api_memory
    }

    /// True exactly when the daemon is over its memory limit.
    pub(crate) fn is_memory_short(&self) -> bool {
        self.memory_short.load(Ordering::Relaxed)
    }

    pub(crate) fn set_memory_short(&self, is_short: bool) {
        self.memory_short.store(is_short, Ordering::Relaxed);
    }

    /// True exactly when the daemon has begun to stop.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The shard that owns a channel.
    pub(crate) fn shard_for(&self, channel: &str) -> ShardId {
        // SipHash over the secret and then the name.
        let mut hasher = DefaultHasher::new();
        hasher.write_u128(self.channel_secret);
        channel.hash(&mut hasher);
        let index = hasher.finish() % self.mailboxes.len() as u64;
        ShardId::new(usize::try_from(index).expect("below the number of shards"))
    }

    /// True exactly when some shard has messages that did not fit into another shard's mailbox.
    pub(crate) fn is_congested(&self) -> bool {
        self.congested.load(Ordering::Relaxed) > 0
    }

    /// A shard's outbox was empty and is not, or the other way round.
    pub(super) fn count_congested(&self, is_congested: bool) {
        if is_congested {
            self.congested.fetch_add(1, Ordering::Relaxed);
        } else {
            self.congested.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How many shards still listen.
    pub(super) fn listening(&self) -> usize {
        self.listening.load(Ordering::Acquire)
    }

    /// Shard `own` no longer listens. Returns the doorbell of the next shard to stop listening.
    pub(super) fn listener_closed(&self, own: ShardId) -> Option<Arc<Doorbell>> {
        self.listening.fetch_min(own.index(), Ordering::AcqRel);
        let next = own.index().checked_sub(1)?;
        Some(Arc::clone(self.mailboxes[next].bell()))
    }

    /// A stopping shard is empty. Called once by each.
    pub(super) fn shard_emptied(&self) {
        self.populated.fetch_sub(1, Ordering::AcqRel);
    }

    /// True exactly when some shard is not empty.
    pub(super) fn is_anyone_left(&self) -> bool {
        self.populated.load(Ordering::Acquire) > 0
    }

    /// Everything that had arrived at shard `own` by then has been read and delivered.
    pub(super) fn set_read_up_to(&self, own: ShardId, tick: Tick) {
        self.read_up_to[own.index()].store(tick.0, Ordering::Release);
    }

    /// The earliest tick reported by all shards.
    pub(super) fn all_have_read_up_to(&self) -> Tick {
        let told = self.read_up_to.iter().map(|tick| tick.load(Ordering::Acquire));
        Tick(told.min().unwrap_or(0))
    }

    /// Shard `own` is gone, and makes nobody wait.
    pub(super) fn abandon(&self, own: ShardId) {
        self.mailboxes[own.index()].abandon();
        self.set_read_up_to(own, Tick(u32::MAX));
    }

    /// The capacity of one shard's mailbox.
    pub(super) fn mailbox_limits(&self) -> MailboxLimits {
        self.mailbox_limits
    }

    /// Bytes that count against budgets on all shards, as last published.
    pub(crate) fn memory_of_shards(&self) -> u64 {
        let of = |published: &Published| {
            Budget::ALL.iter().map(|&(budget, _)| published.get(Metric::Memory(budget))).sum::<u64>()
        };
        self.metrics.iter().map(of).sum()
    }

    /// Sends all shards a stop order. Does not wait.
    pub(crate) fn stop(&self, order: StopOrder) {
        self.mailboxes.iter().for_each(|mailboxes| mailboxes.push_order(order));
    }
}
