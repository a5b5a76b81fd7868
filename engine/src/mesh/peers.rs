//! Peers: the other shards of this daemon, as one shard sees them.
//!
//! In:  messages for them; their messages for us.
//! Out: lock-free, bounded queues, each with one reader.
//!
//! A full mailbox is no error: what does not fit waits in the outbox, in order, and publishers are throttled
//! (`shard/back_pressure`). Worst case: `engine.mailbox_messages_max` messages of `engine.mailbox_bytes_max` together per
//! shard; and outboxes as computed in docs/architecture.md, "Back-pressure".

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
};

use holdfast_ring::{Doorbell, Socket};
use rustls::ServerConfig;

use super::{MailboxLimits, Mailboxes, Parcel, StopOrder};
use crate::{
    backend::{self, ProxyHandle},
    hub::{
        broadcast::JoinedFrames,
        message::{FromOwner, ToOwner},
    },
    limits::{Notice, Tables},
    memory::{Budget, BudgetLimits},
    metrics::{Metric, Published},
    session::{
        api::ApiCall,
        emulation::{Answer, SessionRequest},
        quota::{FromQuota, ToQuota},
    },
    supervise::Beats,
    time::Tick,
};

/// A message from one thread to a shard.
#[derive(Debug)]
pub(crate) enum Message {
    /// Messages of `/broadcast`, published on another shard.
    Broadcast(JoinedFrames),
    /// For a channel that the receiver owns.
    ToOwner(ToOwner),
    /// For clients of the receiver.
    FromOwner(FromOwner),
    /// A request for a session of the receiver.
    ToSession(Box<SessionRequest>),
    /// The answer to a request whose connection the receiver has.
    Answer { socket: Socket, answer: Answer },
    /// Certificates for new connections.
    Certificates(Arc<ServerConfig>),
    /// About a misbehaving address.
    Limits(Notice),
    /// A call of the server API that is not for one channel.
    Api(ApiCall),
    /// The control thread has an answer.
    Backend(backend::Answer),
    /// About the connection count of a user that the receiver owns.
    ToQuota(ToQuota),
    /// Whether clients of the receiver may stay.
    FromQuota(FromQuota),
}

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
pub(crate) struct Shared {
    pub(crate) mailboxes: Vec<Mailboxes>,
    /// Each shard's numbers.
    pub(crate) metrics: Vec<Published>,
    /// Open connections and activity of addresses and users, as each shard knows them.
    pub(crate) limit_tables: Arc<Tables>,
    /// Determines the owner of a channel; secret, so that nobody can choose names for one shard.
    channel_secret: u128,
    /// What each shard and the other threads report about themselves.
    pub(crate) beats: Arc<Beats>,
    /// True exactly when the daemon is over its memory limit; set by the control plane.
    pub(crate) memory_short: AtomicBool,
    /// The way to the control thread.
    pub(crate) asker: ProxyHandle,
    /// True exactly when the daemon has begun to stop; set by the control plane.
    pub(crate) draining: AtomicBool,
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
    pub(crate) budgets: BudgetLimits,
    pub(crate) api_memory: ApiMemory,
}

impl Shared {
    /// `channel_secret` must be random: see [`Shared::shard_for`].
    pub(crate) fn new(
        bells: Vec<Arc<Doorbell>>,
        mailbox_limits: MailboxLimits,
        channel_secret: u128,
        asker: ProxyHandle,
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
            asker,
            budgets,
            api_memory: ApiMemory::default(),
        }
    }

    /// The shard that owns a channel.
    pub(crate) fn shard_for(&self, channel: &str) -> usize {
        // SipHash over the secret and then the name.
        let mut hasher = DefaultHasher::new();
        hasher.write_u128(self.channel_secret);
        channel.hash(&mut hasher);
        usize::try_from(hasher.finish() % self.mailboxes.len() as u64).expect("below the number of shards")
    }

    /// True exactly when some shard has messages that did not fit into another shard's mailbox.
    pub(crate) fn is_congested(&self) -> bool {
        self.congested.load(Ordering::Relaxed) > 0
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

/// One shard's view.
#[derive(Debug)]
pub(crate) struct Peers {
    shared: Arc<Shared>,
    own: usize,
    outboxes: Vec<VecDeque<Parcel>>,
    outbox_messages: usize,
    outbox_bytes: u64,
    /// For each shard: true exactly when it may not have taken everything sent from here.
    is_under_way: Vec<bool>,
    is_congested: bool,
    full_turns: u64,
}

impl Peers {
    /// The view of shard `own`.
    pub(crate) fn new(shared: Arc<Shared>, own: usize) -> Self {
        let outboxes = shared.mailboxes.iter().map(|_| VecDeque::new()).collect();
        Self {
            is_under_way: vec![false; shared.mailboxes.len()],
            shared,
            own,
            outboxes,
            outbox_messages: 0,
            outbox_bytes: 0,
            is_congested: false,
            full_turns: 0,
        }
    }

    /// The number of shards, including this one.
    pub(crate) fn count(&self) -> usize {
        self.outboxes.len()
    }

    /// The shard that owns a channel.
    pub(crate) fn shard_for(&self, channel: &str) -> usize {
        self.shared.shard_for(channel)
    }

    /// The mailboxes of this shard.
    pub(crate) fn mailboxes(&self) -> &Mailboxes {
        &self.shared.mailboxes[self.own]
    }

    pub(crate) fn published(&self, own: usize) -> &Published {
        &self.shared.metrics[own]
    }

    /// Open connections and activity of addresses and users, as each shard knows them.
    pub(crate) fn limit_tables(&self) -> &Arc<Tables> {
        &self.shared.limit_tables
    }

    /// Places of the connection limit taken on all shards; those of the others as last published.
    pub(crate) fn places_taken(&self, own: usize, ours: u64) -> u64 {
        let others = self.shared.metrics.iter().enumerate().filter(|&(shard, _)| shard != own);
        others.map(|(_, published)| published.get(Metric::PlacesTaken)).sum::<u64>() + ours
    }

    /// Bytes of a budget on all other shards, as last published, and on the control thread.
    pub(crate) fn memory_elsewhere(&self, budget: Budget) -> u64 {
        let others = self.shared.metrics.iter().enumerate().filter(|&(shard, _)| shard != self.own);
        let of_shards: u64 = others.map(|(_, published)| published.get(Metric::Memory(budget))).sum();
        match budget {
            Budget::Api => of_shards + self.shared.api_memory.bytes.load(Ordering::Relaxed),
            _ => of_shards,
        }
    }

    /// How many shards still listen.
    pub(crate) fn listening(&self) -> usize {
        self.shared.listening.load(Ordering::Acquire)
    }

    /// This shard no longer listens. Returns the doorbell of the next shard to stop listening.
    pub(crate) fn listener_closed(&self, own: usize) -> Option<Arc<Doorbell>> {
        self.shared.listening.fetch_min(own, Ordering::AcqRel);
        let next = own.checked_sub(1)?;
        Some(Arc::clone(self.shared.mailboxes[next].bell()))
    }

    /// A stopping shard is empty. Called once.
    pub(crate) fn shard_emptied(&self) {
        self.shared.populated.fetch_sub(1, Ordering::AcqRel);
    }

    /// True exactly when some shard is not empty.
    pub(crate) fn is_anyone_left(&self) -> bool {
        self.shared.populated.load(Ordering::Acquire) > 0
    }

    /// Everything that had arrived at shard `own` by then has been read and delivered.
    pub(crate) fn tell_read_up_to(&self, own: usize, tick: Tick) {
        // A message still in an outbox is not delivered.
        if self.outbox_messages == 0 {
            self.shared.read_up_to[own].store(tick.0, Ordering::Release);
        }
    }

    /// The earliest tick reported by all shards.
    pub(crate) fn all_have_read_up_to(&self) -> Tick {
        let told = self.shared.read_up_to.iter().map(|tick| tick.load(Ordering::Acquire));
        Tick(told.min().unwrap_or(0))
    }

    pub(crate) fn is_memory_short(&self) -> bool {
        self.shared.memory_short.load(Ordering::Relaxed)
    }

    /// The way to the control thread.
    pub(crate) fn asker(&self) -> &ProxyHandle {
        &self.shared.asker
    }

    /// Posts a message to every other shard.
    pub(crate) fn send_to_others(&mut self, own: usize, message: impl Fn() -> Message) {
        for shard in (0..self.count()).filter(|&shard| shard != own) {
            self.post(shard, message());
        }
    }

    /// Posts a message to one other shard.
    pub(crate) fn post(&mut self, shard: usize, message: Message) {
        let parcel = Parcel::from(message);
        self.outbox_messages += 1;
        self.outbox_bytes += u64::from(parcel.bytes);
        self.outboxes[shard].push_back(parcel);
    }

    /// Moves as much as fits from the outboxes to the mailboxes, and wakes the receiving shards.
    pub(crate) fn flush(&mut self, mut wake: impl FnMut(&Arc<Doorbell>)) {
        if self.outbox_messages == 0 {
            return self.set_congested(false);
        }
        let targets = self.outboxes.iter_mut().zip(&mut self.is_under_way).zip(&self.shared.mailboxes);
        for ((outbox, is_under_way), mailboxes) in targets {
            let before = outbox.len();
            while let Some(parcel) = outbox.pop_front() {
                let bytes = u64::from(parcel.bytes);
                if let Err(back) = mailboxes.inlet(self.own).push(parcel) {
                    outbox.push_front(back);
                    break;
                }
                self.outbox_bytes -= bytes;
            }
            self.outbox_messages -= before - outbox.len();
            if before > 0 {
                *is_under_way = true;
                wake(mailboxes.bell());
            }
        }
        self.set_congested(self.outbox_messages > 0);
        self.full_turns += u64::from(self.is_congested);
    }

    fn set_congested(&mut self, is_congested: bool) {
        match (std::mem::replace(&mut self.is_congested, is_congested), is_congested) {
            (false, true) => _ = self.shared.congested.fetch_add(1, Ordering::Relaxed),
            (true, false) => _ = self.shared.congested.fetch_sub(1, Ordering::Relaxed),
            _ => {}
        }
    }

    /// True exactly when something did not fit at the end of the last turn.
    pub(crate) fn is_congested(&self) -> bool {
        self.is_congested
    }

    /// True exactly when that holds for this shard or another one.
    pub(crate) fn is_any_congested(&self) -> bool {
        self.shared.is_congested()
    }

    /// True exactly when as much waits for other shards as a mailbox holds: nobody may cause more.
    pub(crate) fn is_full(&self) -> bool {
        let MailboxLimits { messages_max, bytes_max } = self.limits();
        self.outbox_messages >= messages_max || self.outbox_bytes >= bytes_max
    }

    /// What one shard's mailbox holds.
    pub(crate) fn limits(&self) -> MailboxLimits {
        self.shared.mailbox_limits
    }

    /// Bytes that wait in the outboxes, and those from here in others' mailboxes.
    pub(crate) fn waiting_bytes(&mut self) -> u64 {
        let mut bytes = self.outbox_bytes;
        for (is_under_way, mailboxes) in self.is_under_way.iter_mut().zip(&self.shared.mailboxes) {
            if *is_under_way {
                let waiting = mailboxes.inlet(self.own).bytes();
                *is_under_way = waiting > 0;
                bytes += waiting;
            }
        }
        bytes
    }

    pub(crate) fn outbox_messages(&self) -> usize {
        self.outbox_messages
    }

    pub(crate) fn full_turns(&self) -> u64 {
        self.full_turns
    }
}

/// A shard that is gone makes nobody wait.
impl Drop for Peers {
    fn drop(&mut self) {
        self.set_congested(false);
        self.shared.mailboxes[self.own].abandon();
        self.shared.read_up_to[self.own].store(u32::MAX, Ordering::Release);
    }
}
