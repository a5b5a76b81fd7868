//! Outlets: the way from the broker to each shard.
//!
//! In:  what the broker has for a shard, without waiting: the reader of Redis must never stand still.
//! Out: the same in the shard's mailbox, in order; of messages that find no room, that their channels lag.
//!
//! While a mailbox is full, messages wait here, up to a limit for each shard. Beyond it, publications are dropped and their
//! channels remembered, so that their rooms read the history before they take anything newer. Answers are never dropped:
//! there are as many as there were questions.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::counts::Counts;
use crate::{
    hub::{
        broker::{FromBroker, Received},
        message::{AnswerTo, FromOwner, QueryResult},
    },
    ids::ShardId,
    mesh::{Message, Shared},
};

/// How long to wait before a full mailbox is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// What waits for one shard.
#[derive(Debug)]
struct Outlet<M> {
    waiting: VecDeque<M>,
    /// Of publications.
    bytes: usize,
    /// Channels of which publications were dropped.
    lagging: HashSet<Arc<str>>,
}

/// The outlets to all shards.
#[derive(Debug)]
pub(super) struct Outlets<M> {
    shared: Arc<Shared<M>>,
    all: Mutex<Vec<Outlet<M>>>,
    bytes_max: usize,
    counts: Arc<Counts>,
}

impl<M: Message + From<FromBroker> + From<FromOwner>> Outlets<M> {
    /// Up to `bytes_max` bytes of publications wait for each shard.
    pub(super) fn new(shared: Arc<Shared<M>>, bytes_max: usize, counts: Arc<Counts>) -> Self {
        let outlet = |_| Outlet { waiting: VecDeque::new(), bytes: 0, lagging: HashSet::new() };
        Self { all: Mutex::new(shared.shard_ids().map(outlet).collect()), shared, bytes_max, counts }
    }

    /// The number of shards.
    pub(super) fn len(&self) -> usize {
        self.shared.shards()
    }

    /// The shard that owns a channel.
    pub(super) fn owner(&self, channel: &str) -> ShardId {
        self.shared.shard_for(channel)
    }

    /// Sends something to the owner of a channel.
    pub(super) fn send(&self, shard: ShardId, message: FromBroker) {
        self.with(shard, |outlet, shared| outlet.push(shared, shard, message.into()));
    }

    /// Sends publications to their owner.
    pub(super) fn publish(&self, shard: ShardId, messages: Vec<Received>) {
        let bytes: usize = messages.iter().map(|message| message.frame.len()).sum();
        self.with(shard, |outlet, shared| {
            outlet.flush(shared, shard);
            if outlet.bytes > 0 && outlet.bytes + bytes > self.bytes_max {
                messages.iter().for_each(|message| self.counts.dropped(&message.frame));
                outlet.lagging.extend(messages.into_iter().map(|message| message.channel));
                return;
            }
            if !outlet.waiting.is_empty() {
                outlet.bytes += bytes;
            }
            outlet.push(shared, shard, FromBroker::Messages(messages).into());
        });
    }

    /// Answers whoever asked.
    pub(super) fn answer(&self, to: AnswerTo, outcome: QueryResult) {
        match to {
            AnswerTo::Client { shard, client, command, is_read } => {
                self.answer_client(shard, FromOwner::Answered { client, command, is_read, outcome });
            }
            AnswerTo::Api(reply) => reply.give(outcome),
        }
    }

    /// Sends an answer to a client's shard.
    pub(super) fn answer_client(&self, shard: ShardId, answer: FromOwner) {
        self.with(shard, |outlet, shared| outlet.push(shared, shard, answer.into()));
    }

    /// Sends what waits, for ever.
    pub(super) async fn run(&self) {
        loop {
            tokio::time::sleep(RETRY_AFTER).await;
            let mut all = self.lock();
            for (outlet, shard) in all.iter_mut().zip(self.shared.shard_ids()) {
                outlet.flush(&self.shared, shard);
                self.counts.waits(shard, outlet.bytes);
            }
        }
    }

    fn with(&self, shard: ShardId, act: impl FnOnce(&mut Outlet<M>, &Shared<M>)) {
        let outlet = &mut self.lock()[shard.index()];
        act(outlet, &self.shared);
        self.counts.waits(shard, outlet.bytes);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Outlet<M>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Message + From<FromBroker>> Outlet<M> {
    fn push(&mut self, shared: &Shared<M>, shard: ShardId, message: M) {
        self.flush(shared, shard);
        if !self.waiting.is_empty() {
            self.waiting.push_back(message);
        } else if let Err(message) = shared.mailboxes(shard).push_control(message) {
            self.waiting.push_back(message);
        }
    }

    /// Sends what waits, as far as there is room; then the names of channels that lag.
    fn flush(&mut self, shared: &Shared<M>, shard: ShardId) {
        while let Some(message) = self.waiting.pop_front() {
            if let Err(message) = shared.mailboxes(shard).push_control(message) {
                self.waiting.push_front(message);
                return;
            }
        }
        self.bytes = 0;
        if !self.lagging.is_empty() {
            let lagging = FromBroker::Lagging(self.lagging.drain().collect());
            if let Err(message) = shared.mailboxes(shard).push_control(lagging.into()) {
                self.waiting.push_back(message);
            }
        }
    }
}
