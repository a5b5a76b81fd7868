//! Peers: the other shards of this daemon, as one shard sees them.
//!
//! In:  messages for them; their messages for us.
//! Out: the same, in their mailboxes.
//!
//! A full mailbox is no error: what does not fit waits in the outbox, in order, and publishers are throttled
//! (`shard/back_pressure`). Worst case: `engine.mailbox_messages_max` messages of `engine.mailbox_bytes_max` together per
//! shard; and outboxes as computed in docs/architecture.md, "Back-pressure".

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use holdfast_ring::Doorbell;

use super::{
    mailboxes::{MailboxLimits, Mailboxes, Message, Parcel},
    shared::Shared,
};
use crate::{
    ids::ShardId,
    limits::Tables,
    memory::Budget,
    metrics::{Metric, Published},
    time::Tick,
};

/// One shard's view.
#[derive(Debug)]
pub(crate) struct Peers<M: Message> {
    shared: Arc<Shared<M>>,
    own: ShardId,
    outboxes: Vec<VecDeque<Parcel<M>>>,
    outbox_messages: usize,
    outbox_bytes: u64,
    /// For each shard: true exactly when it may not have taken everything sent from here.
    is_under_way: Vec<bool>,
    is_congested: bool,
    full_turns: u64,
}

impl<M: Message> Peers<M> {
    /// The view of shard `own`.
    pub(crate) fn new(shared: Arc<Shared<M>>, own: ShardId) -> Self {
        let outboxes = (0..shared.shards()).map(|_| VecDeque::new()).collect();
        Self {
            is_under_way: vec![false; shared.shards()],
            shared,
            own,
            outboxes,
            outbox_messages: 0,
            outbox_bytes: 0,
            is_congested: false,
            full_turns: 0,
        }
    }

    /// The number of this shard.
    pub(crate) fn own(&self) -> ShardId {
        self.own
    }

    /// The number of shards, including this one.
    pub(crate) fn count(&self) -> usize {
        self.outboxes.len()
    }

    /// The shard that owns a channel.
    pub(crate) fn shard_for(&self, channel: &str) -> ShardId {
        self.shared.shard_for(channel)
    }

    /// The mailboxes of this shard.
    pub(crate) fn mailboxes(&self) -> &Mailboxes<M> {
        self.shared.mailboxes(self.own)
    }

    pub(crate) fn published(&self, own: ShardId) -> &Published {
        &self.shared.metrics()[own.index()]
    }

    /// Open connections and activity of addresses and users, as each shard knows them.
    pub(crate) fn limit_tables(&self) -> &Arc<Tables> {
        self.shared.limit_tables()
    }

    /// Places of the connection limit taken on all shards; those of the others as last published.
    pub(crate) fn places_taken(&self, own: ShardId, ours: u64) -> u64 {
        let others = self.shared.metrics().iter().enumerate().filter(|&(shard, _)| shard != own.index());
        others.map(|(_, published)| published.get(Metric::PlacesTaken)).sum::<u64>() + ours
    }

    /// Bytes of a budget on all other shards, as last published, and on the control thread.
    pub(crate) fn memory_elsewhere(&self, budget: Budget) -> u64 {
        let others = self.shared.metrics().iter().enumerate().filter(|&(shard, _)| shard != self.own.index());
        let of_shards: u64 = others.map(|(_, published)| published.get(Metric::Memory(budget))).sum();
        match budget {
            Budget::Api => of_shards + self.shared.api_memory().bytes.load(Ordering::Relaxed),
            _ => of_shards,
        }
    }

    /// How many shards still listen.
    pub(crate) fn listening(&self) -> usize {
        self.shared.listening()
    }

    /// This shard no longer listens. Returns the doorbell of the next shard to stop listening.
    pub(crate) fn listener_closed(&self, own: ShardId) -> Option<Arc<Doorbell>> {
        self.shared.listener_closed(own)
    }

    /// A stopping shard is empty. Called once.
    pub(crate) fn shard_emptied(&self) {
        self.shared.shard_emptied();
    }

    /// True exactly when some shard is not empty.
    pub(crate) fn is_anyone_left(&self) -> bool {
        self.shared.is_anyone_left()
    }

    /// Everything that had arrived at shard `own` by then has been read and delivered.
    pub(crate) fn tell_read_up_to(&self, own: ShardId, tick: Tick) {
        // A message still in an outbox is not delivered.
        if self.outbox_messages == 0 {
            self.shared.set_read_up_to(own, tick);
        }
    }

    /// The earliest tick reported by all shards.
    pub(crate) fn all_have_read_up_to(&self) -> Tick {
        self.shared.all_have_read_up_to()
    }

    pub(crate) fn is_memory_short(&self) -> bool {
        self.shared.is_memory_short()
    }

    /// Posts a message to every other shard.
    pub(crate) fn send_to_others(&mut self, own: ShardId, message: impl Fn() -> M) {
        for shard in ShardId::all(self.count()).filter(|&shard| shard != own) {
            self.post(shard, message());
        }
    }

    /// Posts a message to one other shard.
    pub(crate) fn post(&mut self, shard: ShardId, message: M) {
        let parcel = Parcel::from(message);
        self.outbox_messages += 1;
        self.outbox_bytes += u64::from(parcel.bytes);
        self.outboxes[shard.index()].push_back(parcel);
    }

    /// Moves as much as fits from the outboxes to the mailboxes, and wakes the receiving shards.
    pub(crate) fn flush(&mut self, mut wake: impl FnMut(&Arc<Doorbell>)) {
        if self.outbox_messages == 0 {
            return self.set_congested(false);
        }
        let targets = self.outboxes.iter_mut().zip(&mut self.is_under_way).zip(self.shared.all_mailboxes());
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
        if std::mem::replace(&mut self.is_congested, is_congested) != is_congested {
            self.shared.count_congested(is_congested);
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
        self.shared.mailbox_limits()
    }

    /// Bytes that wait in the outboxes, and those from here in others' mailboxes.
    pub(crate) fn waiting_bytes(&mut self) -> u64 {
        let mut bytes = self.outbox_bytes;
        for (is_under_way, mailboxes) in self.is_under_way.iter_mut().zip(self.shared.all_mailboxes()) {
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
impl<M: Message> Drop for Peers<M> {
    fn drop(&mut self) {
        self.set_congested(false);
        self.shared.abandon(self.own);
    }
}
