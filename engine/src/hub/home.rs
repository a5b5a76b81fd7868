//! Home: the channels whose name hashes to this core.
//!
//! In:  [`ToHome`], from this core and the others.
//! Out: [`FromHome`], each for one core.
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
mod table;

use std::{borrow::Cow, collections::HashSet, sync::Arc};

use holdfast_protocol::client::{ErrorCode, Payload, delta};

pub(crate) use self::idempotency::KEY_BYTES_MAX as IDEMPOTENCY_KEY_BYTES_MAX;
use self::{
    channel::OwnedChannel,
    epochs::Epochs,
    heap::IndexedHeap,
    idempotency::IdempotencyKeys,
    table::{ChannelId, ChannelTable},
};
use super::{
    history::{History, Page, Part, Position},
    message::{
        Answer, AnswerTo, Delivery, ForDelta, FromHome, Outcome, Patch, Publish, Question, Recover, Shows,
        Subscribe, Subscribed, ToHome,
    },
    publication::{Frames, Info, Stored},
};
use crate::{
    clock::Tick,
    memory::{Budget, Ledger},
};

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
pub(crate) type Posts = Vec<(usize, FromHome)>;

/// How many channels and keys expire in one turn.
const EXPIRED_MAX: usize = 256;

/// How many publications, and how many keys and positions, go in one turn where a budget is full: when memory gets short,
/// half of all that is kept is to go.
const SHED_MAX: usize = 4_096;

/// How many go for one message. Mostly one goes for one that comes; more where a table has grown for it.
const SHED_FOR_ONE_MAX: usize = 512;

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
        message: ToHome,
        rules: Rules,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Posts,
    ) {
        match message {
            ToHome::Subscribe(subscribe) => self.subscribe(*subscribe, rules, now, ledger, posts),
            ToHome::Unsubscribe { channel, core, info, shows, was_last } => {
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
            ToHome::Renew { channel, info } => {
                let Some(id) = self.find(&channel) else { return };
                let presence = self.channels.get_mut(id).presence.as_mut();
                if let Some(presence) = presence.filter(|presence| presence.has(&info.client)) {
                    presence.add(info);
                }
                self.settle(id, ledger);
            }
            ToHome::Publish(mut publish) => {
                let answer_to = publish.answer_to.take();
                let published = self.publish(*publish, rules, now, ledger, posts);
                if let Some(to) = answer_to {
                    answer(to, published.map(Answer::Published), posts);
                }
            }
            ToHome::Ask { channel, question, answer_to } => {
                match (self.answer(&channel, &question, rules, now, ledger), answer_to) {
                    (Given::Now(outcome), to) => answer(to, outcome, posts),
                    (Given::TooLongNow, AnswerTo::Client { core, client, command, is_read }) => {
                        let answer_to = AnswerTo::Client { core, client, command, is_read };
                        let question = Box::new(ToHome::Ask { channel, question, answer_to });
                        posts.push((core, FromHome::TooLongNow { client, question }));
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
        posts: &mut Posts,
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
                    let question = Box::new(ToHome::Subscribe(Box::new(subscribe)));
                    posts.push((core, FromHome::TooLongNow { client, question }));
                    self.settle(id, ledger);
                    return;
                }
            }
        }
        self.active += usize::from(owned.join(core));
        let Subscribe { channel, info, data, .. } = subscribe;
        subscribed.data = data;
        posts.push((core, FromHome::Subscribed(Box::new(subscribed))));
        if let Some(info) = info.filter(|_| is_seen) {
            self.unseen.forget(&channel, &info);
            if shows.join_leave {
                let frames = Frames::of_join(&channel, &info);
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
        posts: &mut Posts,
    ) {
        if let Some(info) = &subscribe.info {
            self.unseen.forget(&subscribe.channel, info);
        }
        subscribed.refused = Some(code);
        posts.push((subscribe.core, FromHome::Subscribed(Box::new(subscribed))));
    }

    /// Where it was kept; `None` where it was not.
    fn publish(
        &mut self,
        publish: Publish,
        rules: Rules,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Posts,
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
            let stored = Arc::new(Stored { data, info, tags, offset, sequence: self.sequence });
            let frames = (!owned.cores.is_empty()).then(|| {
                let base = owned.last.as_deref().filter(|_| delta || rules.delta_publish);
                let for_delta = rules.delta.then(|| for_delta(&channel, &stored, base));
                (Frames::of_publication(&channel, stored.publication()), for_delta)
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
        question: &Question,
        rules: Rules,
        now: Tick,
        ledger: &mut Ledger,
    ) -> Given {
        let hash = self.channels.hash(channel);
        let id = self.channels.find(hash, channel);
        let owned = id.map(|id| self.channels.get_mut(id));
        Given::Now(match question {
            Question::Presence(_) | Question::PresenceStats if !rules.presence => {
                Err(ErrorCode::NOT_AVAILABLE)
            }
            Question::Presence(bytes) => match owned.and_then(|owned| owned.presence.as_ref()) {
                Some(presence) if presence.answer_bytes() > bytes.max => Err(ErrorCode::LIMIT_EXCEEDED),
                Some(presence) if presence.answer_bytes() > bytes.now_max => return Given::TooLongNow,
                presence => Ok(Answer::Presence(presence.map(|presence| presence.all()).unwrap_or_default())),
            },
            Question::PresenceStats => {
                let presence = owned.and_then(|owned| owned.presence.as_ref());
                let (clients, users) = presence.map(|presence| presence.counts()).unwrap_or_default();
                Ok(Answer::PresenceStats { clients, users })
            }
            Question::History(_) | Question::RemoveHistory if !rules.keeps_history() => {
                Err(ErrorCode::NOT_AVAILABLE)
            }
            Question::History(page) => match owned.filter(|owned| owned.history.is_some()) {
                Some(owned) => {
                    owned.prolong(rules, now);
                    let history = owned.history.as_deref();
                    return history.map_or(Given::Now(Err(ErrorCode::INTERNAL)), |history| {
                        Given::page_of(history, page)
                    });
                }
                None => return Given::page_of(&History::new(self.epochs.current(hash)), page),
            },
            Question::RemoveHistory => {
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

    /// The channel, which is here from now on. `None` where there is no room for it, or for more of it.
    fn open(&mut self, channel: &Arc<str>, grows: bool, now: Tick, ledger: &mut Ledger) -> Option<ChannelId> {
        let hash = self.channels.hash(channel);
        let found = self.channels.find(hash, channel);
        if found.is_none() || grows {
            for _ in 0..SHED_FOR_ONE_MAX {
                if ledger.has_room(Budget::Channels) || !self.drop_oldest_state(ledger) {
                    break;
                }
            }
            if !ledger.has_room(Budget::Channels) {
                return None;
            }
        }
        // The oldest state may have been that of this channel.
        let found = found.filter(|_| !grows).or_else(|| self.channels.find(hash, channel));
        Some(found.unwrap_or_else(|| {
            let id = self.channels.insert(OwnedChannel::new(Arc::clone(channel), hash, now));
            self.charge_tables(ledger);
            id
        }))
    }

    /// A channel has changed: it has its places in the order of things, and its bytes are charged; or it goes.
    fn settle(&mut self, id: ChannelId, ledger: &mut Ledger) {
        let owned = self.channels.get_mut(id);
        if !owned.is_needed() {
            self.remove(id, ledger);
            return;
        }
        if let Some(due) = owned.due()
            && self.expiry.key(id).is_none_or(|earlier| due < earlier)
        {
            self.expiry.set(id, due);
        }
        if !self.oldest.contains(id)
            && let Some(sequence) = owned.oldest_sequence()
        {
            self.oldest.set(id, sequence);
        }
        match (owned.is_in_use(), self.idle.contains(id)) {
            (true, true) => self.idle.remove(id),
            (false, false) => self.idle.set(id, owned.used),
            _ => {}
        }
        owned.settle(ledger);
    }

    fn remove(&mut self, id: ChannelId, ledger: &mut Ledger) {
        self.expiry.remove(id);
        self.oldest.remove(id);
        self.idle.remove(id);
        let gone = self.channels.remove(id);
        gone.release(ledger);
        if let Some(history) = gone.history.as_ref().filter(|_| gone.has_position()) {
            self.epochs.give_up(gone.hash, &history.position().epoch);
        }
    }

    fn expire(&mut self, id: ChannelId, now: Tick, ledger: &mut Ledger) {
        let owned = self.channels.get_mut(id);
        if let Some(epoch) = owned.expire(now) {
            self.epochs.give_up(owned.hash, &epoch);
        }
        match owned.due() {
            Some(due) => self.expiry.set(id, due),
            None => self.expiry.remove(id),
        }
        self.settle(id, ledger);
    }

    fn hold_to_budgets(&mut self, ledger: &mut Ledger, shed_max: usize) {
        self.charge_tables(ledger);
        let mut shed = |budget, drop_oldest: fn(&mut Self, &mut Ledger) -> bool| {
            let dropped =
                (0..shed_max).take_while(|_| ledger.excess(budget) > 0 && drop_oldest(self, ledger));
            dropped.count() == shed_max
        };
        let has_excess = shed(Budget::History, Self::drop_oldest_publication);
        self.has_excess = shed(Budget::Channels, Self::drop_oldest_state) || has_excess;
    }

    /// Drops the oldest publication of all.
    fn drop_oldest_publication(&mut self, ledger: &mut Ledger) -> bool {
        while let Some((sequence, id)) = self.oldest.first() {
            let owned = self.channels.get_mut(id);
            let oldest = owned.oldest_sequence();
            if oldest == Some(sequence) {
                owned.drop_oldest();
            }
            match owned.oldest_sequence() {
                Some(next) => self.oldest.set(id, next),
                None => self.oldest.remove(id),
            }
            if oldest == Some(sequence) {
                self.settle(id, ledger);
                return true;
            }
        }
        false
    }

    /// Drops the oldest of what nobody holds: a key, or the position of a channel that nobody is subscribed to.
    fn drop_oldest_state(&mut self, ledger: &mut Ledger) -> bool {
        loop {
            let (key, idle) = (self.keys.oldest(), self.idle.first());
            if key.is_some_and(|since| idle.is_none_or(|(used, _)| since <= used)) {
                self.keys.drop_oldest();
                self.charge_tables(ledger);
                return true;
            }
            let Some((used, id)) = idle else { return false };
            let owned = self.channels.get_mut(id);
            if owned.used > used {
                let used = owned.used;
                self.idle.set(id, used);
            } else {
                self.remove(id, ledger);
                return true;
            }
        }
    }

    fn charge_tables(&mut self, ledger: &mut Ledger) {
        let bytes = self.channels.bytes()
            + self.expiry.bytes()
            + self.oldest.bytes()
            + self.idle.bytes()
            + self.keys.bytes();
        ledger.recharge(Budget::Channels, self.charged_bytes, bytes);
        self.charged_bytes = bytes;
    }
}

/// A client is seen no more.
fn unsee(owned: &mut OwnedChannel, info: &Info, shows: Shows, posts: &mut Posts) {
    if let Some(presence) = &mut owned.presence {
        presence.remove(&info.client);
        if presence.is_empty() {
            owned.presence = None;
        }
    }
    if shows.join_leave {
        let frames = Frames::of_leave(&owned.name, info);
        let channel = Arc::clone(&owned.name);
        owned.deliver(posts, Delivery { channel, publication: None, frames, for_delta: None });
    }
}

/// What comes of a question.
enum Given {
    Now(Outcome),
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

/// What comes of a wish to recover.
enum Recovered {
    /// Nobody can tell what was missed, or it is more than may be told.
    Lost,
    These(Vec<Arc<Stored>>),
    /// It is too long to be told beside others.
    TooLongNow,
}

impl Recovered {
    fn from(history: &History, recover: &Recover) -> Self {
        let Recover { offset, ref epoch, limit, .. } = *recover;
        let part = if recover.cache {
            history.recover_newest(offset, epoch, limit, |publication| recover.wants(publication))
        } else {
            history.recover(offset, epoch, limit, recover.bytes.max)
        };
        match part {
            None => Self::Lost,
            Some(part) if part.bytes > recover.bytes.now_max => Self::TooLongNow,
            Some(part) => Self::These(part.publications),
        }
    }
}

impl Recover {
    fn wants(&self, publication: &Stored) -> bool {
        self.filter.as_ref().is_none_or(|filter| publication.passes(filter))
    }

    /// The offset that the client is told to have been at before what is recovered: its own one, where that is a place in
    /// this history.
    fn begins_at(&self, publications: &[Arc<Stored>], history: &History) -> u64 {
        let position = history.position();
        let is_of_epoch = self.epoch.is_empty() || *self.epoch == *position.epoch;
        match publications.first() {
            Some(first) if !is_of_epoch || self.offset > position.offset => first.offset - 1,
            _ => self.offset,
        }
    }
}

/// The forms of a publication for subscribers who take patches: in JSON all data is a string then.
fn for_delta(channel: &str, stored: &Stored, base: Option<&Stored>) -> ForDelta {
    let text = stored.data.payload().json_text();
    let quoted = stored.with_data(Payload::quoted(&text), false);
    let json = Frames::of_publication(channel, quoted);
    let whole = Frames::of_publication(channel, stored.publication()).with_json_of(&json);
    let patch = base.and_then(|base| {
        let before = base.data.payload().json_text();
        let json_patch = delta::create(before.as_bytes(), text.as_bytes());
        let bytes_patch = delta::create(&base.data.bytes, &stored.data.bytes);
        let json_patch = std::str::from_utf8(&json_patch).ok().map(Cow::Borrowed)?;
        if json_patch.len() >= text.len() || bytes_patch.len() >= stored.data.bytes.len() {
            return None;
        }
        let protobuf = Frames::of_publication(channel, stored.with_data(Payload::new(&bytes_patch), true));
        let json = Frames::of_publication(channel, stored.with_data(Payload::quoted(&json_patch), true));
        Some(Patch { base: base.sequence, frames: protobuf.with_json_of(&json) })
    });
    ForDelta { whole, patch }
}

fn answer(to: AnswerTo, outcome: Outcome, posts: &mut Posts) {
    match to {
        AnswerTo::Client { core, client, command, is_read } => {
            posts.push((core, FromHome::Answered { client, command, is_read, outcome }));
        }
        // Who asked may have gone.
        AnswerTo::Api(sender) => drop(sender.send(outcome)),
    }
}

#[cfg(test)]
mod tests;
