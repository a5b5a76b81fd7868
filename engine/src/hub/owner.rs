//! Home: the channels whose name hashes to this core.
//!
//! In:  [`ToOwner`], from this core and the others.
//! Out: [`FromOwner`], each for one core.
//!
//! One core gives out a channel's offsets, so they have no gap and no repeat. A channel is here while it has subscribers
//! or a position that somebody may come back with (`home/channel.rs`). Reading makes nothing: a channel that nobody has
//! published to stands at offset 0 of an epoch that its name says (`home/epochs.rs`).
//!
//! All memory is charged to the budgets `history` and `channels`. Over the first the oldest publications go, over the
//! second the oldest of what nobody holds: idempotency keys, and positions of channels without subscribers. Where that is
//! not enough, whoever needs a new channel is refused with error 106.

mod channel;
mod epochs;
mod heap;
mod idempotency;
mod keep;
mod patches;
mod recover;
mod table;

use std::{collections::HashSet, sync::Arc};

use holdfast_protocol::client::ErrorCode;

pub(crate) use self::idempotency::KEY_BYTES_MAX as IDEMPOTENCY_KEY_BYTES_MAX;
use self::{
    channel::OwnedChannel,
    epochs::Epochs,
    heap::IndexedHeap,
    idempotency::IdempotencyKeys,
    keep::{SHED_FOR_ONE_MAX, SHED_MAX},
    patches::for_delta,
    recover::Recovered,
    table::{ChannelId, ChannelTable},
};
use super::{
    history::{History, Page, Part, Position},
    message::{
        Answer, AnswerTo, ChannelQuery, Delivery, FromOwner, PresenceFlags, Publish, QueryResult, Subscribe,
        Subscribed, ToOwner,
    },
    publication::{EncodedPush, Info, StoredPublication},
};
use crate::{memory::Ledger, time::Tick};

/// What the configuration says of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    /// Publications kept; 0 for no history.
    pub(crate) history_size: usize,
    /// How long after the last publication the history is kept.
    pub(crate) history_ttl_ms: u64,
    /// How long after that its position is kept.
    pub(crate) history_meta_ttl_ms: u64,
    /// True exactly when presence may be asked for.
    pub(crate) presence: bool,
    /// True exactly when subscribers may take patches.
    pub(crate) delta: bool,
    /// True exactly when all publications may go as patches.
    pub(crate) delta_publish: bool,
}

impl Rules {
    fn keeps_history(self) -> bool {
        self.history_size > 0 && self.history_ttl_ms > 0
    }
}

/// What goes out, and to which core.
pub(crate) type Outgoing = Vec<(usize, FromOwner)>;

/// How many channels and keys expire in one turn.
const EXPIRED_MAX: usize = 256;

/// The channels of this core.
#[derive(Debug)]
pub(crate) struct OwnedChannels {
    channels: ChannelTable,
    epochs: Epochs,
    keys: IdempotencyKeys,
    /// Channels by when something of them expires. A key may be too early, and is then put right when it comes up.
    expiry: IndexedHeap<Tick>,
    /// Channels by the number of their oldest publication. A key may be too small.
    oldest: IndexedHeap<u64>,
    /// Channels that nobody is subscribed to, by when they were last used. A key may be too early.
    idle: IndexedHeap<Tick>,
    /// The number of the newest publication.
    sequence: u64,
    /// What the ledger has of the tables.
    charged_bytes: usize,
    /// Channels that have subscribers.
    active: usize,
    /// True exactly when more is to go than went at the last time.
    has_excess: bool,
    unseen: Unseen,
}

/// Clients whose subscription has come back to them unanswered, by channel and id: nobody was told that they came, so
/// nobody is told that they go. As many as a client's reads that wait (`session/client/reads`).
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
    /// `seed` is secret, and makes this daemon's epochs unlike any other's.
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

    /// How many channels have subscribers.
    pub(crate) fn active(&self) -> usize {
        self.active
    }

    /// Handles one message.
    pub(crate) fn handle(
        &mut self,
        message: ToOwner,
        rules: Rules,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Outgoing,
    ) {
        match message {
            ToOwner::Subscribe(subscribe) => self.subscribe(*subscribe, rules, now, ledger, posts),
            ToOwner::Unsubscribe { channel, core, info, shows, was_last } => {
                let Some(id) = self.find(&channel) else { return };
                let owned = self.channels.get_mut(id);
                if was_last {
                    self.active -= usize::from(owned.leave(core, rules, now));
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
                let published = self.publish(*publish, rules, now, ledger, posts);
                if let Some(to) = answer_to {
                    answer(to, published.map(Answer::Published), posts);
                }
            }
            ToOwner::Ask { channel, question, answer_to } => {
                match (self.answer(&channel, &question, rules, now, ledger), answer_to) {
                    (Given::Now(outcome), to) => answer(to, outcome, posts),
                    (Given::TooLongNow, AnswerTo::Client { core, client, command, is_read }) => {
                        let answer_to = AnswerTo::Client { core, client, command, is_read };
                        let question = Box::new(ToOwner::Ask { channel, question, answer_to });
                        posts.push((core, FromOwner::TooLongNow { client, question }));
                    }
                    // The server API asks for answers of any length.
                    (Given::TooLongNow, to @ AnswerTo::Api(_)) => answer(to, Err(ErrorCode::INTERNAL), posts),
                }
            }
        }
    }

    /// True exactly when something has expired, or is to go because a budget is full.
    pub(crate) fn is_due(&self, now: Tick) -> bool {
        self.has_excess || self.expiry.first().is_some_and(|(due, _)| due <= now) || self.keys.is_due(now)
    }

    /// Forgets what has expired, as much of it as one turn may; then gives back what is not needed, and holds what is left
    /// to the budgets.
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
        self.hold_to_budgets(ledger, SHED_MAX);
    }

    fn subscribe(
        &mut self,
        subscribe: Subscribe,
        rules: Rules,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Outgoing,
    ) {
        let mut subscribed = Subscribed {
            channel: Arc::clone(&subscribe.channel),
            client: subscribe.client,
            ticket: subscribe.ticket,
            command: subscribe.command,
            is_read: subscribe.is_read,
            refused: None,
            position: None,
            was_recovering: subscribe.recover.is_some(),
            recovered: None,
            recovered_from: 0,
            data: None,
        };
        let Subscribe { ref channel, core, shows, .. } = subscribe;
        let is_seen = subscribe.info.is_some() && shows.is_seen();
        let Some(id) = self.open(channel, is_seen && shows.presence, now, ledger) else {
            self.refuse(&subscribe, subscribed, ErrorCode::LIMIT_EXCEEDED, posts);
            return;
        };
        let owned = self.channels.get_mut(id);
        if rules.keeps_history() && (subscribe.wants_position || subscribe.recover.is_some()) {
            let epochs = &self.epochs;
            let hash = owned.hash;
            let history = owned.history(|| epochs.current(hash), rules, now);
            subscribed.position = Some(history.position());
            match subscribe.recover.as_ref().map(|recover| (recover, Recovered::from(history, recover))) {
                Some((recover, Recovered::These(publications))) => {
                    subscribed.recovered_from = recover.begins_at(&publications, history);
                    subscribed.recovered = Some(publications);
                }
                Some((recover, Recovered::Lost)) if recover.rejects_loss && !recover.cache => {
                    self.settle(id, ledger);
                    self.refuse(&subscribe, subscribed, ErrorCode::UNRECOVERABLE_POSITION, posts);
                    return;
                }
                Some((_, Recovered::Lost)) | None => {}
                Some((_, Recovered::TooLongNow)) => {
                    self.active += usize::from(owned.join(core));
                    // It comes again, and is not seen before.
                    if let Some(info) = subscribe.info.as_ref().filter(|_| is_seen) {
                        self.unseen.insert(channel, info);
                    }
                    let client = subscribe.client;
                    let question = Box::new(ToOwner::Subscribe(Box::new(subscribe)));
                    posts.push((core, FromOwner::TooLongNow { client, question }));
                    self.settle(id, ledger);
                    return;
                }
            }
        }
        self.active += usize::from(owned.join(core));
        let Subscribe { channel, info, data, .. } = subscribe;
        subscribed.data = data;
        posts.push((core, FromOwner::Subscribed(Box::new(subscribed))));
        if let Some(info) = info.filter(|_| is_seen) {
            self.unseen.forget(&channel, &info);
            if shows.join_leave {
                let frames = EncodedPush::of_join(&channel, &info);
                owned.deliver(posts, Delivery { channel, publication: None, frames, for_delta: None });
            }
            if shows.presence {
                owned.presence.get_or_insert_default().add(info);
            }
        }
        self.settle(id, ledger);
    }

    /// There is no subscription.
    fn refuse(
        &mut self,
        subscribe: &Subscribe,
        mut subscribed: Subscribed,
        code: ErrorCode,
        posts: &mut Outgoing,
    ) {
        if let Some(info) = &subscribe.info {
            self.unseen.forget(&subscribe.channel, info);
        }
        subscribed.refused = Some(code);
        posts.push((subscribe.core, FromOwner::Subscribed(Box::new(subscribed))));
    }

    /// Where it was kept; `None` where it was not.
    fn publish(
        &mut self,
        publish: Publish,
        rules: Rules,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Outgoing,
    ) -> Result<Option<Position>, ErrorCode> {
        if let Some(position) = self.keys.seen(&publish.channel, &publish.idempotency_key, now) {
            return Ok(position);
        }
        let keeps = rules.keeps_history() && !publish.skip_history;
        let id = if keeps {
            let id = self.open(&publish.channel, false, now, ledger);
            Some(id.ok_or(ErrorCode::LIMIT_EXCEEDED)?)
        } else {
            self.find(&publish.channel)
        };
        let Publish { channel, data, info, tags, delta, idempotency_key, version, .. } = publish;
        let mut position = None;
        if let Some(id) = id {
            let owned = self.channels.get_mut(id);
            let (epochs, hash) = (&self.epochs, owned.hash);
            let mut offset = 0;
            if keeps {
                if let Some(position) = owned.covers(&version) {
                    return Ok(Some(position));
                }
                offset = owned.history(|| epochs.current(hash), rules, now).next_offset();
            }
            self.sequence += 1;
            let stored = Arc::new(StoredPublication { data, info, tags, offset, sequence: self.sequence });
            let frames = (!owned.cores.is_empty()).then(|| {
                let base = owned.last.as_deref().filter(|_| delta || rules.delta_publish);
                let for_delta = rules.delta.then(|| for_delta(&channel, &stored, base));
                (EncodedPush::of_publication(&channel, stored.publication()), for_delta)
            });
            if keeps {
                owned.keep(&stored, rules, now);
                position = owned.history.as_ref().map(|history| history.position());
                if version.number > 0 {
                    owned.version = Some(Box::new(version));
                }
            }
            if rules.delta {
                owned.last = Some(Arc::clone(&stored));
            }
            if let Some((frames, for_delta)) = frames {
                let channel = Arc::clone(&channel);
                owned.deliver(posts, Delivery { channel, publication: Some(stored), frames, for_delta });
            }
            self.settle(id, ledger);
        }
        if !idempotency_key.is_empty() {
            self.keys.keep(&channel, idempotency_key, position.clone(), now);
        }
        self.hold_to_budgets(ledger, SHED_FOR_ONE_MAX);
        Ok(position)
    }

    fn answer(
        &mut self,
        channel: &Arc<str>,
        question: &ChannelQuery,
        rules: Rules,
        now: Tick,
        ledger: &mut Ledger,
    ) -> Given {
        let hash = self.channels.hash(channel);
        let id = self.channels.find(hash, channel);
        let owned = id.map(|id| self.channels.get_mut(id));
        Given::Now(match question {
            ChannelQuery::Presence(_) | ChannelQuery::PresenceStats if !rules.presence => {
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
            ChannelQuery::History(_) | ChannelQuery::RemoveHistory if !rules.keeps_history() => {
                Err(ErrorCode::NOT_AVAILABLE)
            }
            ChannelQuery::History(page) => match owned.filter(|owned| owned.history.is_some()) {
                Some(owned) => {
                    owned.prolong(rules, now);
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

/// A client is seen no more.
fn unsee(owned: &mut OwnedChannel, info: &Info, shows: PresenceFlags, posts: &mut Outgoing) {
    if let Some(presence) = &mut owned.presence {
        presence.remove(&info.client);
        if presence.is_empty() {
            owned.presence = None;
        }
    }
    if shows.join_leave {
        let frames = EncodedPush::of_leave(&owned.name, info);
        let channel = Arc::clone(&owned.name);
        owned.deliver(posts, Delivery { channel, publication: None, frames, for_delta: None });
    }
}

/// What comes of a question.
enum Given {
    Now(QueryResult),
    /// Its answer is too long to be given beside others.
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
        AnswerTo::Client { core, client, command, is_read } => {
            posts.push((core, FromOwner::Answered { client, command, is_read, outcome }));
        }
        // Who asked may have gone.
        AnswerTo::Api(sender) => drop(sender.send(outcome)),
    }
}

#[cfg(test)]
mod tests;
