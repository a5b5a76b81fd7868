//! Peers: the other shards of this daemon, as one shard sees them.
//!
//! In:  messages for them; their messages for us.
//! Out: lock-free, bounded queues, each with one reader.
//!
//! A full mailbox is no error: what does not fit waits in the outbox, in order, and whoever causes more is made to
//! wait (`shard/back_pressure`). Worst case: `engine.mailbox_messages_max` messages of `engine.mailbox_bytes_max` together a
//! shard; and outboxes as docs/architecture.md, "Back-pressure", reckons them.

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

/// What one thread says to a shard.
#[derive(Debug)]
pub(crate) enum Message {
    /// Messages of `/broadcast`, published on another core.
    Broadcast(JoinedFrames),
    /// For a channel whose home the receiver is.
    ToOwner(ToOwner),
    /// For clients of the receiver.
    FromOwner(FromOwner),
    /// A request for a session of the receiver.
    ToSession(Box<SessionRequest>),
    /// The answer to a request whose connection the receiver has.
    Answer { socket: Socket, answer: Answer },
    /// Certificates for connections that come from now on.
    Certificates(Arc<ServerConfig>),
    /// About an address that misbehaves.
    Limits(Notice),
    /// A call of the server API that is not for one channel.
    Api(ApiCall),
    /// The control thread has an answer.
    Backend(backend::Answer),
    /// About the number of a user's connections, whose home the receiver is.
    ToQuota(ToQuota),
    /// Whether clients of the receiver may stay.
    FromQuota(FromQuota),
}

/// What calls of the server API keep. The control thread and those that work for it write it.
#[derive(Debug, Default)]
pub(crate) struct ApiMemory {
    /// Bytes of bodies and answers.
    pub(crate) bytes: AtomicU64,
    /// Calls for which there was no room.
    pub(crate) refused: AtomicU64,
}

/// What all threads of the daemon share: queues, published numbers, and one flag.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) mailboxes: Vec<Mailboxes>,
    /// Each shard's numbers.
    pub(crate) metrics: Vec<Published>,
    /// What addresses and users have open and do, as each core knows it.
    pub(crate) limit_tables: Arc<Tables>,
    /// Decides which core is the home of a channel; secret, so that nobody can choose names for one core.
    channel_secret: u128,
    /// What each shard and the threads beside them tell of themselves.
    pub(crate) beats: Arc<Beats>,
    /// True exactly when the daemon uses more memory than it may; set by the control plane.
    pub(crate) memory_short: AtomicBool,
    /// The way to the control thread.
    pub(crate) asker: ProxyHandle,
    /// True exactly when the daemon has begun to leave; set by the control plane.
    pub(crate) draining: AtomicBool,
    /// Shards that listen; they leave off one by one, the last one first.
    listening: AtomicUsize,
    /// Shards that have not been emptied by a stop.
    populated: AtomicUsize,
    /// Up to when each shard has read all that came to it, in ticks of the uptime.
    read_up_to: Vec<AtomicU32>,
    /// Shards with messages that another one's mailbox did not take.
    congested: AtomicUsize,
    mailbox_limits: MailboxLimits,
    /// How much memory there may be of each kind.
    pub(crate) budgets: BudgetLimits,
    pub(crate) api_memory: ApiMemory,
}

impl Shared {
    /// `channel_secret` is to be random: see [`Shared::shard_for`].
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

    /// The shard that is a channel's home.
    pub(crate) fn shard_for(&self, channel: &str) -> usize {
        // SipHash that has taken in a secret first.
        let mut hasher = DefaultHasher::new();
        hasher.write_u128(self.channel_secret);
        channel.hash(&mut hasher);
        usize::try_from(hasher.finish() % self.mailboxes.len() as u64).expect("below the number of shards")
    }

    /// True exactly when some shard has messages that another one's mailbox did not take.
    pub(crate) fn is_congested(&self) -> bool {
        self.congested.load(Ordering::Relaxed) > 0
    }

    /// Bytes that count against budgets on all shards, as they last published them.
    pub(crate) fn memory_of_shards(&self) -> u64 {
        let of = |published: &Published| {
            Budget::ALL.iter().map(|&(budget, _)| published.get(Metric::Memory(budget))).sum::<u64>()
        };
        self.metrics.iter().map(of).sum()
    }

    /// Tells all shards to stop. Waits for none of them.
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
    /// For each shard: true exactly when it may not have taken all that it was sent from here.
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

    /// The number of shards, this one among them.
    pub(crate) fn count(&self) -> usize {
        self.outboxes.len()
    }

    /// The shard that is a channel's home.
    pub(crate) fn shard_for(&self, channel: &str) -> usize {
        self.shared.shard_for(channel)
    }

    /// What this shard is sent.
    pub(crate) fn mailboxes(&self) -> &Mailboxes {
        &self.shared.mailboxes[self.own]
    }

    pub(crate) fn published(&self, own: usize) -> &Published {
        &self.shared.metrics[own]
    }

    /// What addresses and users have open and do, as each core knows it.
    pub(crate) fn limit_tables(&self) -> &Arc<Tables> {
        &self.shared.limit_tables
    }

    /// Places of the connection limit that are taken on all shards: the others' as they last published them.
    pub(crate) fn places_taken(&self, own: usize, ours: u64) -> u64 {
        let others = self.shared.metrics.iter().enumerate().filter(|&(shard, _)| shard != own);
        others.map(|(_, published)| published.get(Metric::PlacesTaken)).sum::<u64>() + ours
    }

    /// Bytes of a budget on all other shards, as they last published them, and on the control thread.
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

    /// A shard listens no more. Answers with the bell of the one that is to leave off next.
    pub(crate) fn listener_closed(&self, own: usize) -> Option<Arc<Doorbell>> {
        self.shared.listening.fetch_min(own, Ordering::AcqRel);
        let next = own.checked_sub(1)?;
        Some(Arc::clone(self.shared.mailboxes[next].bell()))
    }

    /// A shard that stops has nobody left. It says so once.
    pub(crate) fn shard_emptied(&self) {
        self.shared.populated.fetch_sub(1, Ordering::AcqRel);
    }

    /// True exactly when some shard has somebody left.
    pub(crate) fn is_anyone_left(&self) -> bool {
        self.shared.populated.load(Ordering::Acquire) > 0
    }

    /// All that had come to shard `own` by then has been read, and is where it belongs.
    pub(crate) fn tell_read_up_to(&self, own: usize, tick: Tick) {
        // What is still in an outbox is not where it belongs.
        if self.outbox_messages == 0 {
            self.shared.read_up_to[own].store(tick.0, Ordering::Release);
        }
    }

    /// The earliest of what all shards have told.
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

    /// Leaves a message for every other shard.
    pub(crate) fn send_to_others(&mut self, own: usize, message: impl Fn() -> Message) {
        for shard in (0..self.count()).filter(|&shard| shard != own) {
            self.post(shard, message());
        }
    }

    /// Leaves a message for one other shard.
    pub(crate) fn post(&mut self, shard: usize, message: Message) {
        let parcel = Parcel::from(message);
        self.outbox_messages += 1;
        self.outbox_bytes += u64::from(parcel.bytes);
        self.outboxes[shard].push_back(parcel);
    }

    /// Moves as much as fits from the outboxes to the mailboxes, and has their owners woken.
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

    /// True exactly when something could not be handed over at the end of the last turn.
    pub(crate) fn is_congested(&self) -> bool {
        self.is_congested
    }

    /// True exactly when that is so on this shard or on another one.
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

    /// Bytes that wait in the outboxes, and in others' mailboxes as far as they are from here.
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

/// A shard that is gone keeps nobody waiting.
impl Drop for Peers {
    fn drop(&mut self) {
        self.set_congested(false);
        self.shared.mailboxes[self.own].abandon();
        self.shared.read_up_to[self.own].store(u32::MAX, Ordering::Release);
    }
}
