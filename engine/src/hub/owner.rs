//! Owner: the channels whose names hash to this shard.
//!
//! In:  [`ToOwner`], from this shard and the others.
//! Out: [`FromOwner`], each for one shard.
//!
//! One shard assigns a channel's offsets, so they have no gaps and no repeats. A channel exists while it has
//! subscribers or a position that a client may return with (`owner/channel.rs`). Reading creates nothing: a channel
//! without publications is at offset 0 of an epoch derived from its name (`owner/epochs.rs`).
//!
//! All memory is charged to the budgets `history` and `channels`. Over the first, the oldest publications are dropped;
//! over the second, the oldest unused state: idempotency keys, and positions of channels without subscribers. If that
//! is not enough, requests that need a new channel are refused with error 106.

mod channel;
mod epochs;
mod heap;
mod idempotency;
mod keep;
mod table;

use std::{collections::HashSet, sync::Arc};

use holdfast_protocol::client::ErrorCode;

use self::{
    channel::{OwnedChannel, Published, Publishing},
    epochs::Epochs,
    heap::{ChannelId, IndexedHeap},
    idempotency::IdempotencyKeys,
    table::ChannelTable,
};
use super::{
    history::{History, Page, Part, Position},
    message::{
        Answer, AnswerTo, ChannelQuery, Delivery, FromOwner, Outgoing, Publish, QueryResult, Subscribe,
        Subscribed, ToOwner,
    },
    publication::Info,
    recover::Resumed,
};
use crate::{channel::PresenceFlags, encoding::EncodedPush, memory::Ledger, time::Tick};

pub(crate) use self::channel::ChannelPolicy;
pub(crate) use self::idempotency::KEY_BYTES_MAX as IDEMPOTENCY_KEY_BYTES_MAX;

/// Limit of channels and keys that expire in one turn.
const EXPIRED_MAX: usize = 256;

/// The channels of this shard.
#[derive(Debug)]
pub(crate) struct OwnedChannels {
    channels: ChannelTable,
    epochs: Epochs,
    keys: IdempotencyKeys,
    /// Channels by their next expiry. A key may be too early; it is corrected when it comes up.
    expiry: IndexedHeap<Tick>,
    /// Channels by the sequence number of their oldest publication. A key may be too small.
    oldest: IndexedHeap<u64>,
    /// Channels without subscribers, by their last use. A key may be too early.
    idle: IndexedHeap<Tick>,
    /// The number of the newest publication.
    sequence: u64,
    /// The bytes charged to the ledger for the tables.
    charged_bytes: usize,
    /// Channels with subscribers.
    active: usize,
    /// True exactly when the last pass left more to drop.
    has_excess: bool,
    unseen: Unseen,
}

/// Clients whose subscribe came back unanswered, by channel and id: their join was not announced, so their leave must
/// not be. At most the clients' waiting reads (`session/client/reads`).
#[derive(Debug, Default)]
struct Unseen(HashSet<(Arc<str>, Box<str>)>);

impl Unseen {
    fn insert(&mut self, channel: &Arc<str>, info: &Info) {
        self.0.insert((Arc::clone(channel), info.client.clone()));
    }

    /// True exactly when it was one of them.
    fn forget(&mut self, channel: &Arc<str>, info: &Info) -> bool {
        !self.0.is_empty() && self.0.remove(&(Arc::clone(channel), info.client.clone()))
    }
}

impl OwnedChannels {
    /// `seed` is secret, and makes this daemon's epochs unique.
    pub(crate) fn new(idempotency_ms: u64, seed: u64) -> Self {
        Self {
            channels: ChannelTable::new(seed),
            epochs: Epochs::new(seed),
            keys: IdempotencyKeys::new(idempotency_ms, seed),
            expiry: IndexedHeap::new(),
            oldest: IndexedHeap::new(),
            idle: IndexedHeap::new(),
            sequence: 0,
            charged_bytes: 0,
            active: 0,
            has_excess: false,
            unseen: Unseen::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// The number of channels with subscribers.
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// Handles one message.
    pub(crate) fn handle(
        &mut self,
        message: ToOwner,
        policy: ChannelPolicy,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Outgoing,
    ) {
        match message {
            ToOwner::Subscribe(subscribe) => self.subscribe(*subscribe, policy, now, ledger, posts),
            ToOwner::Unsubscribe { channel, shard, info, shows, was_last } => {
                let Some(id) = self.find(&channel) else { return };
                let owned = self.channels.get_mut(id);
                if was_last {
                    self.active -= usize::from(owned.leave(shard, policy, now));
                }
                if let Some(info) = info.filter(|info| !self.unseen.forget(&channel, info)) {
                    unsee(owned, &info, shows, posts);
                }
                self.settle(id, ledger);
            }
            ToOwner::Renew { channel, info } => {
                let Some(id) = self.find(&channel) else { return };
                let presence = self.channels.get_mut(id).presence.as_mut();
                if let Some(presence) = presence.filter(|presence| presence.has(&info.client)) {
                    presence.add(info);
                }
                self.settle(id, ledger);
            }
            ToOwner::Publish(mut publish) => {
                let answer_to = publish.answer_to.take();
                let published = self.publish(*publish, policy, now, ledger, posts);
                if let Some(to) = answer_to {
                    answer(to, published.map(Answer::Published), posts);
                }
            }
            ToOwner::Ask { channel, question, answer_to } => {
                match (self.answer(&channel, &question, policy, now, ledger), answer_to) {
                    (Given::Now(outcome), to) => answer(to, outcome, posts),
                    (Given::TooLongNow, AnswerTo::Client { shard, client, command, is_read }) => {
                        let answer_to = AnswerTo::Client { shard, client, command, is_read };
                        let question = Box::new(ToOwner::Ask { channel, question, answer_to });
                        posts.push((shard, FromOwner::TooLongNow { client, question }));
                    }
                    // The server API allows answers of any length.
                    (Given::TooLongNow, to @ AnswerTo::Api(_)) => answer(to, Err(ErrorCode::INTERNAL), posts),
                }
            }
        }
    }

    /// True exactly when something has expired, or must be dropped because a budget is full.
    pub(crate) fn is_due(&self, now: Tick) -> bool {
        self.has_excess || self.expiry.first().is_some_and(|(due, _)| due <= now) || self.keys.is_due(now)
    }

    /// Drops what has expired, up to the limit of one turn; then frees spare memory and enforces the budgets.
    pub(crate) fn tend(&mut self, now: Tick, ledger: &mut Ledger) {
        for _ in 0..EXPIRED_MAX {
            let Some((_, id)) = self.expiry.first().filter(|&(due, _)| due <= now) else { break };
            self.expire(id, now, ledger);
        }
        for _ in 0..EXPIRED_MAX {
            if !self.keys.is_due(now) {
                break;
            }
            self.keys.drop_oldest();
        }
        if let Some(numbers) = self.channels.compact() {
            let number = |id: ChannelId| numbers[id.index()];
            self.expiry.renumber(number);
            self.oldest.renumber(number);
            self.idle.renumber(number);
        }
        self.hold_to_budgets(ledger);
    }

    fn subscribe(
        &mut self,
        subscribe: Subscribe,
        policy: ChannelPolicy,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Outgoing,
    ) {
        let mut subscribed = Subscribed::of(&subscribe);
        let Subscribe { ref channel, shard, shows, .. } = subscribe;
        let is_seen = subscribe.info.is_some() && shows.is_seen();
        let Some(id) = self.open(channel, is_seen && shows.presence, now, ledger) else {
            self.refuse(&subscribe, subscribed, ErrorCode::LIMIT_EXCEEDED, posts);
            return;
        };
        let owned = self.channels.get_mut(id);
        if policy.keeps_history() && (subscribe.wants_position || subscribe.recover.is_some()) {
            let epochs = &self.epochs;
            let hash = owned.hash;
            let history = owned.history(|| epochs.current(hash), policy, now);
            match subscribed.resume(&subscribe, history) {
                Resumed::Yes => {}
                Resumed::Lost => {
                    self.settle(id, ledger);
                    self.refuse(&subscribe, subscribed, ErrorCode::UNRECOVERABLE_POSITION, posts);
                    return;
                }
                Resumed::TooLongNow => {
                    self.active += usize::from(owned.shards.join(shard));
                    // It will be repeated; the client is not visible before that.
                    if let Some(info) = subscribe.info.as_ref().filter(|_| is_seen) {
                        self.unseen.insert(channel, info);
                    }
                    let client = subscribe.client;
                    let question = Box::new(ToOwner::Subscribe(Box::new(subscribe)));
                    posts.push((shard, FromOwner::TooLongNow { client, question }));
                    self.settle(id, ledger);
                    return;
                }
            }
        }
        self.active += usize::from(owned.shards.join(shard));
        let Subscribe { channel, info, data, .. } = subscribe;
        subscribed.data = data;
        posts.push((shard, FromOwner::Subscribed(Box::new(subscribed))));
        if let Some(info) = info.filter(|_| is_seen) {
            self.unseen.forget(&channel, &info);
            if shows.join_leave {
                let frames = EncodedPush::of_join(&channel, info.client_info());
                owned.shards.deliver(posts, Delivery { channel, publication: None, frames, for_delta: None });
            }
            if shows.presence {
                owned.presence.get_or_insert_default().add(info);
            }
        }
        self.settle(id, ledger);
    }

    /// Refuses a subscription.
    fn refuse(
        &mut self,
        subscribe: &Subscribe,
        subscribed: Subscribed,
        code: ErrorCode,
        posts: &mut Outgoing,
    ) {
        if let Some(info) = &subscribe.info {
            self.unseen.forget(&subscribe.channel, info);
        }
        subscribed.refuse(subscribe.shard, code, posts);
    }

    /// The publication's position; `None` if it was not kept.
    fn publish(
        &mut self,
        mut publish: Publish,
        policy: ChannelPolicy,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Outgoing,
    ) -> Result<Option<Position>, ErrorCode> {
        if let Some(seen) = self.keys.seen(&publish.channel, &publish.idempotency_key, now) {
            return Ok(seen.position.clone());
        }
        let keeps = policy.keeps_history() && !publish.skip_history;
        let id = if keeps {
            let id = self.open(&publish.channel, false, now, ledger);
            Some(id.ok_or(ErrorCode::LIMIT_EXCEEDED)?)
        } else {
            self.find(&publish.channel)
        };
        let key = std::mem::take(&mut publish.idempotency_key);
        let named = (!key.is_empty()).then(|| (Arc::clone(&publish.channel), key));
        let mut position = None;
        if let Some(id) = id {
            let owned = self.channels.get_mut(id);
            let (epochs, hash) = (&self.epochs, owned.hash);
            let publishing = Publishing { policy, keeps, now, sequence: &mut self.sequence };
            match owned.publish(publish, publishing, || epochs.current(hash), posts) {
                Published::Before(position) => return Ok(Some(position)),
                Published::Now(kept) => position = kept,
            }
            self.settle(id, ledger);
        }
        if let Some((channel, key)) = named {
            self.keys.keep(&channel, key, position.clone(), now);
        }
        self.hold_to_budgets_for_one(ledger);
        Ok(position)
    }

    fn answer(
        &mut self,
        channel: &Arc<str>,
        question: &ChannelQuery,
        policy: ChannelPolicy,
        now: Tick,
        ledger: &mut Ledger,
    ) -> Given {
        let hash = self.channels.hash(channel);
        let id = self.channels.find(hash, channel);
        let owned = id.map(|id| self.channels.get_mut(id));
        Given::Now(match question {
            ChannelQuery::Presence(_) | ChannelQuery::PresenceStats if !policy.presence => {
                Err(ErrorCode::NOT_AVAILABLE)
            }
            ChannelQuery::Presence(bytes) => match owned.and_then(|owned| owned.presence.as_ref()) {
                Some(presence) if presence.answer_bytes() > bytes.max => Err(ErrorCode::LIMIT_EXCEEDED),
                Some(presence) if presence.answer_bytes() > bytes.now_max => return Given::TooLongNow,
                presence => Ok(Answer::Presence(presence.map(|presence| presence.all()).unwrap_or_default())),
            },
            ChannelQuery::PresenceStats => {
                let presence = owned.and_then(|owned| owned.presence.as_ref());
                let (clients, users) = presence.map(|presence| presence.counts()).unwrap_or_default();
                Ok(Answer::PresenceStats { clients, users })
            }
            ChannelQuery::History(_) | ChannelQuery::RemoveHistory if !policy.keeps_history() => {
                Err(ErrorCode::NOT_AVAILABLE)
            }
            ChannelQuery::History(page) => match owned.filter(|owned| owned.history.is_some()) {
                Some(owned) => {
                    owned.prolong(policy, now);
                    let history = owned.history.as_deref();
                    return history.map_or(Given::Now(Err(ErrorCode::INTERNAL)), |history| {
                        Given::page_of(history, page)
                    });
                }
                None => return Given::page_of(&History::new(self.epochs.current(hash)), page),
            },
            ChannelQuery::RemoveHistory => {
                if let Some(id) = id {
                    self.channels.get_mut(id).clear();
                    self.settle(id, ledger);
                }
                Ok(Answer::Done)
            }
        })
    }

    fn find(&self, channel: &str) -> Option<ChannelId> {
        self.channels.find(self.channels.hash(channel), channel)
    }
}

/// Removes a client from others' view.
fn unsee(owned: &mut OwnedChannel, info: &Info, shows: PresenceFlags, posts: &mut Outgoing) {
    if let Some(presence) = &mut owned.presence {
        presence.remove(&info.client);
        if presence.is_empty() {
            owned.presence = None;
        }
    }
    if shows.join_leave {
        let frames = EncodedPush::of_leave(&owned.name, info.client_info());
        let channel = Arc::clone(&owned.name);
        owned.shards.deliver(posts, Delivery { channel, publication: None, frames, for_delta: None });
    }
}

/// The outcome of a query.
enum Given {
    Now(QueryResult),
    /// The answer is too long to be given beside others.
    TooLongNow,
}

impl Given {
    fn page_of(history: &History, page: &Page) -> Self {
        Self::Now(match history.page(page) {
            Some(part) if part.bytes > page.bytes.now_max => return Self::TooLongNow,
            Some(Part { publications, .. }) => {
                Ok(Answer::History { publications, position: history.position() })
            }
            None => Err(ErrorCode::UNRECOVERABLE_POSITION),
        })
    }
}

fn answer(to: AnswerTo, outcome: QueryResult, posts: &mut Outgoing) {
    match to {
        AnswerTo::Client { shard, client, command, is_read } => {
            posts.push((shard, FromOwner::Answered { client, command, is_read, outcome }));
        }
        AnswerTo::Api(reply) => reply.give(outcome),
    }
}

#[cfg(test)]
mod tests;
