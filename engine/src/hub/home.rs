//! Home: the channels whose name hashes to this core.
//!
//! In:  [`ToHome`], from this core and the others.
//! Out: [`FromHome`], each for one core.
//!
//! One core gives out a channel's offsets, so they have no gap and no repeat. A channel is here while it has
//! subscribers, a history, a position that somebody may come back with, or an idempotency key to remember.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use holdfast_protocol::client::{ErrorCode, Payload, delta};

use super::{
    history::{Epoch, History, Part, Position},
    message::{
        Answer, AnswerTo, Delivery, ForDelta, FromHome, Outcome, Publish, Question, Recover, Shows,
        Subscribe, Subscribed, ToHome, Version,
    },
    presence::{Members, Presence},
    publication::{Frames, Info, Stored},
};
use crate::clock::Tick;

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

/// The channels of this core.
#[derive(Debug)]
pub(crate) struct Homes {
    channels: HashMap<Arc<str>, Home>,
    /// All kept publications, oldest first, by channel and offset.
    kept: VecDeque<(Arc<str>, u64)>,
    kept_bytes: usize,
    kept_bytes_max: usize,
    idempotency_ms: u64,
    expiring: BinaryHeap<Reverse<(Tick, Arc<str>)>>,
    epochs: u64,
    unseen: Unseen,
}

/// Clients whose subscription has come back to them unanswered, by channel and id: nobody was told that they came, so
/// nobody is told that they go. As many as a client's reads that wait (`session/client/reads`).
#[derive(Debug, Default)]
struct Unseen(HashSet<(Arc<str>, Box<str>)>);

impl Unseen {
    fn insert(&mut self, key: (Arc<str>, Box<str>)) {
        self.0.insert(key);
    }

    /// True exactly when it was one of them.
    fn forget(&mut self, channel: &Arc<str>, info: &Info) -> bool {
        !self.0.is_empty() && self.0.remove(&(Arc::clone(channel), info.client.clone()))
    }
}

#[derive(Debug)]
struct Home {
    history: Option<History>,
    /// When the history's publications go, and when its position goes.
    history_until: Tick,
    position_until: Tick,
    /// The newest publication, where patches to it may be asked for and no history has it.
    previous: Option<Arc<Stored>>,
    /// The newest version that was published and kept.
    version: Version,
    /// The cores that have subscribers.
    cores: Vec<usize>,
    presence: Presence,
    /// Idempotency keys with what came of them, oldest first.
    results: VecDeque<(Tick, Box<str>, Option<Position>)>,
    /// When [`Homes::expire`] looks at it, if it does. Entries of `expiring` for other times mean nothing any more.
    looked_at: Option<Tick>,
}

impl Home {
    fn new() -> Self {
        Self {
            history: None,
            history_until: Tick(0),
            position_until: Tick(0),
            previous: None,
            version: Version::default(),
            cores: Vec::new(),
            presence: Presence::default(),
            results: VecDeque::new(),
            looked_at: None,
        }
    }

    fn is_needed(&self) -> bool {
        !self.cores.is_empty()
            || self.history.is_some()
            || !self.presence.is_empty()
            || !self.results.is_empty()
    }

    fn deliver(&self, posts: &mut Posts, delivery: Delivery) {
        let Some((last, others)) = self.cores.split_last() else { return };
        let delivery = Arc::new(delivery);
        posts.extend(others.iter().map(|&core| (core, FromHome::Deliver(Arc::clone(&delivery)))));
        posts.push((*last, FromHome::Deliver(delivery)));
    }
}

impl Homes {
    /// `seed` makes this daemon's epochs unlike any other's.
    pub(crate) fn new(kept_bytes_max: usize, idempotency_ms: u64, seed: u64) -> Self {
        Self {
            channels: HashMap::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            kept_bytes_max,
            idempotency_ms,
            expiring: BinaryHeap::new(),
            epochs: seed,
            unseen: Unseen::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.channels.len()
    }

    /// Memory of all kept publications.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// How many channels have subscribers.
    pub(crate) fn active(&self) -> usize {
        self.channels.values().filter(|home| !home.cores.is_empty()).count()
    }

    /// Handles one message.
    pub(crate) fn handle(&mut self, message: ToHome, rules: Rules, now: Tick, posts: &mut Posts) {
        match message {
            ToHome::Subscribe(subscribe) => self.subscribe(*subscribe, rules, now, posts),
            ToHome::Unsubscribe { channel, core, info, shows, was_last } => {
                self.unsubscribe(&channel, core, info.as_deref(), shows, was_last, posts);
            }
            ToHome::Publish(publish) => self.publish(*publish, rules, now, posts),
            ToHome::Ask { channel, question, answer_to } => {
                match (self.answer(&channel, &question, rules, now), answer_to) {
                    (Given::Now(outcome), to) => answer(to, outcome, posts),
                    (Given::TooLongNow, AnswerTo::Client { core, client, command, is_read }) => {
                        let answer_to = AnswerTo::Client { core, client, command, is_read };
                        let question = Box::new(ToHome::Ask { channel, question, answer_to });
                        posts.push((core, FromHome::TooLongNow { client, question }));
                    }
                    // Its calls ask for answers of any length.
                    (Given::TooLongNow, AnswerTo::Api(_)) => {}
                }
            }
        }
    }

    /// Forgets what has expired by `now`.
    pub(crate) fn expire(&mut self, now: Tick) {
        while let Some(Reverse((due, _))) = self.expiring.peek()
            && *due <= now
        {
            let Some(Reverse((due, channel))) = self.expiring.pop() else { return };
            let Some(home) = self.channels.get_mut(&channel) else { continue };
            if home.looked_at != Some(due) {
                continue;
            }
            home.looked_at = None;
            while home.results.front().is_some_and(|&(until, ..)| until <= now) {
                home.results.pop_front();
            }
            if home.history_until <= now
                && let Some(history) = &mut home.history
            {
                self.kept_bytes -= history.bytes();
                history.clear();
            }
            if home.position_until <= now {
                home.history = None;
            }
            self.watch(&channel, now);
            self.drop_if_idle(&channel);
        }
        // Entries of publications that their channels no longer have.
        while let Some((channel, offset)) = self.kept.front()
            && !self.channels.get(channel).is_some_and(|home| home.keeps(*offset))
        {
            self.kept.pop_front();
        }
    }

    fn subscribe(&mut self, subscribe: Subscribe, rules: Rules, now: Tick, posts: &mut Posts) {
        let Subscribe {
            channel,
            core,
            client,
            ticket,
            command,
            is_read,
            recover,
            wants_position,
            info,
            shows,
            data,
        } = subscribe;
        self.open(&channel);
        let wants_history = rules.keeps_history() && (wants_position || recover.is_some());
        if wants_history {
            self.history(&channel, rules, now);
        }
        let home = self.channels.get_mut(&channel).expect("it was opened");
        if !home.cores.contains(&core) {
            home.cores.push(core);
        }
        let history = home.history.as_ref().filter(|_| wants_history);
        let recovered = recover.as_ref().map(|recover| Recovered::from(history, recover));
        if let Some(Recovered::TooLongNow) = recovered {
            // It comes again, and is not seen before.
            if let Some(info) = info.as_ref().filter(|_| shows.is_seen()) {
                self.unseen.insert((Arc::clone(&channel), info.client.clone()));
            }
            let question = Box::new(Subscribe {
                channel,
                core,
                client,
                ticket,
                command,
                is_read,
                recover,
                wants_position,
                info,
                shows,
                data,
            });
            let question = Box::new(ToHome::Subscribe(question));
            posts.push((core, FromHome::TooLongNow { client, question }));
            return;
        }
        let subscribed = Subscribed {
            channel: Arc::clone(&channel),
            client,
            ticket,
            command,
            is_read,
            position: history.map(History::position),
            was_recovering: recover.is_some(),
            recovered: recovered.and_then(Recovered::publications),
            data,
        };
        posts.push((core, FromHome::Subscribed(Box::new(subscribed))));
        let Some(info) = info else { return };
        self.unseen.forget(&channel, &info);
        if shows.join_leave {
            let frames = Frames::of_join(&channel, &info);
            home.deliver(posts, Delivery { channel, publication: None, frames, for_delta: None });
        }
        if shows.presence {
            home.presence.add(info);
        }
    }

    fn unsubscribe(
        &mut self,
        channel: &Arc<str>,
        core: usize,
        info: Option<&Info>,
        shows: Shows,
        was_last: bool,
        posts: &mut Posts,
    ) {
        let Some(home) = self.channels.get_mut(channel) else { return };
        if was_last {
            home.cores.retain(|&other| other != core);
        }
        if let Some(info) = info.filter(|info| !self.unseen.forget(channel, info)) {
            home.presence.remove(&info.client);
            if shows.join_leave {
                let frames = Frames::of_leave(channel, info);
                let channel = Arc::clone(channel);
                home.deliver(posts, Delivery { channel, publication: None, frames, for_delta: None });
            }
        }
        self.drop_if_idle(channel);
    }

    fn publish(&mut self, publish: Publish, rules: Rules, now: Tick, posts: &mut Posts) {
        let Publish { channel, data, info, tags, skip_history, delta, idempotency_key, version, answer_to } =
            publish;
        if let Some(position) = self.seen(&channel, &idempotency_key, now) {
            if let Some(to) = answer_to {
                answer(to, Ok(Answer::Published(position)), posts);
            }
            return;
        }
        let keeps = rules.keeps_history() && !skip_history;
        if keeps || !idempotency_key.is_empty() {
            self.open(&channel);
        }
        if keeps && let Some(position) = self.covers(&channel, &version) {
            if let Some(to) = answer_to {
                answer(to, Ok(Answer::Published(Some(position))), posts);
            }
            return;
        }
        let offset = if keeps { self.history(&channel, rules, now).next_offset() } else { 0 };
        let stored = Arc::new(Stored { data, info, tags, offset });
        let mut position = None;
        if let Some(home) = self.channels.get_mut(&channel) {
            let previous =
                home.history.as_ref().and_then(History::newest).or(home.previous.as_ref()).cloned();
            if keeps && let Some(history) = &mut home.history {
                home.history_until = now.after_ms(rules.history_ttl_ms);
                let before = history.bytes();
                history.push(Arc::clone(&stored), rules.history_size);
                self.kept_bytes = self.kept_bytes - before + history.bytes();
                position = Some(history.position());
                if version.number > 0 {
                    home.version = version;
                }
                self.kept.push_back((Arc::clone(&channel), offset));
            } else if rules.delta {
                home.previous = Some(Arc::clone(&stored));
            }
            if !idempotency_key.is_empty() {
                let until = now.after_ms(self.idempotency_ms);
                home.results.push_back((until, idempotency_key, position.clone()));
            }
            if !home.cores.is_empty() {
                let frames = Frames::of_publication(&channel, stored.publication());
                let patches = (delta || rules.delta_publish).then_some(previous).flatten();
                let for_delta = rules.delta.then(|| for_delta(&channel, &stored, patches.as_deref()));
                let channel = Arc::clone(&channel);
                home.deliver(posts, Delivery { channel, publication: Some(stored), frames, for_delta });
            }
            self.watch(&channel, now);
        }
        self.keep_to_budget();
        if let Some(to) = answer_to {
            answer(to, Ok(Answer::Published(position)), posts);
        }
    }

    /// Where the channel stands, if what is to be published there is not newer than what was.
    fn covers(&self, channel: &Arc<str>, version: &Version) -> Option<Position> {
        let home = self.channels.get(channel)?;
        let history = home.history.as_ref()?;
        version.is_covered_by(&home.version).then(|| history.position())
    }

    fn answer(&mut self, channel: &Arc<str>, question: &Question, rules: Rules, now: Tick) -> Given {
        Given::Now(match question {
            Question::Presence(_) | Question::PresenceStats if !rules.presence => {
                Err(ErrorCode::NOT_AVAILABLE)
            }
            Question::Presence(bytes) => {
                let Some(home) = self.channels.get(channel) else {
                    return Given::Now(Ok(Answer::Presence(Members::default())));
                };
                match home.presence.answer_bytes() {
                    len if len > bytes.max => Err(ErrorCode::LIMIT_EXCEEDED),
                    len if len > bytes.now_max => return Given::TooLongNow,
                    _ => Ok(Answer::Presence(home.presence.all())),
                }
            }
            Question::PresenceStats => {
                let (clients, users) =
                    self.channels.get(channel).map(|home| home.presence.counts()).unwrap_or_default();
                Ok(Answer::PresenceStats { clients, users })
            }
            Question::History(_) | Question::RemoveHistory if !rules.keeps_history() => {
                Err(ErrorCode::NOT_AVAILABLE)
            }
            Question::History(page) => {
                self.open(channel);
                let history = self.history(channel, rules, now);
                match history.page(page) {
                    Some(part) if part.bytes > page.bytes.now_max => return Given::TooLongNow,
                    Some(Part { publications, .. }) => {
                        Ok(Answer::History { publications, position: history.position() })
                    }
                    None => Err(ErrorCode::UNRECOVERABLE_POSITION),
                }
            }
            Question::RemoveHistory => {
                if let Some(history) = self.channels.get_mut(channel).and_then(|home| home.history.as_mut()) {
                    self.kept_bytes -= history.bytes();
                    history.clear();
                }
                Ok(Answer::Done)
            }
        })
    }

    fn open(&mut self, channel: &Arc<str>) {
        self.channels.entry(Arc::clone(channel)).or_insert_with(Home::new);
    }

    /// The history of an open channel; a new life of it where there is none. Who asks for a position prolongs its life;
    /// only a publication prolongs that of the publications.
    fn history(&mut self, channel: &Arc<str>, rules: Rules, now: Tick) -> &mut History {
        let home = self.channels.get_mut(channel).expect("the channel is open");
        home.position_until = now.after_ms(rules.history_meta_ttl_ms.max(rules.history_ttl_ms));
        if home.history.is_none() {
            self.epochs = self.epochs.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            home.history = Some(History::new(epoch(self.epochs)));
        }
        self.watch(channel, now);
        let home = self.channels.get_mut(channel).expect("the channel is open");
        home.history.as_mut().expect("it was made")
    }

    /// Has [`Homes::expire`] look at a channel when something of it expires.
    fn watch(&mut self, channel: &Arc<str>, now: Tick) {
        let Some(home) = self.channels.get_mut(channel) else { return };
        let history = home.history.as_ref().map(|history| {
            if history.is_empty() || home.history_until <= now {
                home.position_until
            } else {
                home.history_until
            }
        });
        let result = home.results.front().map(|&(until, ..)| until);
        if let Some(due) = history.into_iter().chain(result).min()
            && home.looked_at.is_none_or(|earlier| due < earlier)
        {
            home.looked_at = Some(due);
            self.expiring.push(Reverse((due, Arc::clone(channel))));
        }
    }

    /// What came of an earlier publication with the same key.
    #[expect(clippy::option_option, reason = "seen or not, with a position or without")]
    fn seen(&self, channel: &Arc<str>, key: &str, now: Tick) -> Option<Option<Position>> {
        if key.is_empty() {
            return None;
        }
        let home = self.channels.get(channel)?;
        let mut results = home.results.iter().filter(|&&(until, ..)| until > now);
        results.find(|(_, seen, _)| **seen == *key).map(|(.., position)| position.clone())
    }

    /// Drops the oldest publications of all until the rest is within the budget.
    fn keep_to_budget(&mut self) {
        while self.kept_bytes > self.kept_bytes_max
            && let Some((channel, offset)) = self.kept.pop_front()
        {
            if let Some(history) = self.channels.get_mut(&channel).and_then(|home| home.history.as_mut()) {
                let before = history.bytes();
                history.drop_up_to(offset);
                self.kept_bytes = self.kept_bytes - before + history.bytes();
            }
        }
    }

    fn drop_if_idle(&mut self, channel: &Arc<str>) {
        if self.channels.get(channel).is_some_and(|home| !home.is_needed()) {
            self.channels.remove(channel);
        }
    }
}

impl Home {
    fn keeps(&self, offset: u64) -> bool {
        self.history
            .as_ref()
            .is_some_and(|history| history.oldest_offset().is_some_and(|oldest| oldest <= offset))
    }
}

/// What comes of a question.
enum Given {
    Now(Outcome),
    /// Its answer is too long to be given beside others.
    TooLongNow,
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
    fn from(history: Option<&History>, recover: &Recover) -> Self {
        let Some(history) = history else { return Self::Lost };
        let part = if recover.cache {
            let position = history.position();
            let is_current = *recover.epoch == *position.epoch && recover.offset == position.offset;
            Some(Part::of(history.newest().filter(|_| !is_current).into_iter(), recover.bytes.max))
        } else {
            history.recover(recover.offset, &recover.epoch, recover.limit, recover.bytes.max)
        };
        match part {
            None => Self::Lost,
            Some(part) if part.bytes > recover.bytes.now_max => Self::TooLongNow,
            Some(part) => Self::These(part.publications),
        }
    }

    fn publications(self) -> Option<Vec<Arc<Stored>>> {
        match self {
            Self::These(publications) => Some(publications),
            Self::Lost | Self::TooLongNow => None,
        }
    }
}

/// The forms of a publication for subscribers who take patches: in JSON all data is a string then.
fn for_delta(channel: &str, stored: &Stored, previous: Option<&Stored>) -> ForDelta {
    let quoted = |data: &Payload<'_>| Frames::of_publication(channel, stored.with_data(*data, false));
    let text = stored.data.payload().json_text();
    let json = quoted(&Payload::quoted(&text));
    let whole = Frames::of_publication(channel, stored.publication()).with_json_of(&json);
    let patch = previous.and_then(|previous| {
        let before = previous.data.payload().json_text();
        let json_patch = delta::create(before.as_bytes(), text.as_bytes());
        let bytes_patch = delta::create(&previous.data.bytes, &stored.data.bytes);
        let json_patch = std::str::from_utf8(&json_patch).ok().map(Cow::Borrowed)?;
        if json_patch.len() >= text.len() || bytes_patch.len() >= stored.data.bytes.len() {
            return None;
        }
        let protobuf = Frames::of_publication(channel, stored.with_data(Payload::new(&bytes_patch), true));
        let json = Frames::of_publication(channel, stored.with_data(Payload::quoted(&json_patch), true));
        Some(protobuf.with_json_of(&json))
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

/// Six letters out of a number that was never used before, as Centrifugo's epochs are short too.
fn epoch(number: u64) -> Epoch {
    let mut rest = number >> 20;
    let letters: String = std::iter::repeat_with(|| {
        let letter = char::from(b'a' + u8::try_from(rest % 26).expect("below 26"));
        rest /= 26;
        letter
    })
    .take(6)
    .collect();
    letters.into()
}

#[cfg(test)]
mod tests;
