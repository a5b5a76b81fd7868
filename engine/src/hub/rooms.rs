//! Rooms: the channels that this shard owns, on one of many nodes.
//!
//! In:  [`ToOwner`], from this shard and the others; [`FromBroker`].
//! Out: [`FromOwner`], each for one shard; [`ToBroker`].
//!
//! ```text
//!            first subscriber here              confirmed, and position read
//!   (none) ───────────────────────> joining ─────────────────────────────────> live
//!      ^                               │ error: subscribers get 100            │  ^
//!      └── last subscriber gone <──────┴───────────────────────────────────────┤  │ read: delivered in order,
//!                                                                              v  │ or subscribers get 2500
//!                                            gap, lag, connection lost and back: reading
//! ```
//!
//! Redis orders the publications of a channel. A room hears them, checks that no offset is missing, and reads what is
//! missing from the history. It keeps the newest publications, so that a subscriber costs Redis nothing once its channel
//! is live. Publishing goes to Redis and comes back from there: all nodes deliver in the same order.
//!
//! All memory is charged to the budgets `history` and `channels`. Over the first, the oldest kept publications are dropped,
//! which Redis still has; over the second, subscriptions to further channels are refused with error 106. No I/O, no clock.

mod figures;
mod held;
mod reads;
mod room;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::{BuildHasher, DefaultHasher, Hasher as _},
    sync::Arc,
};

use holdfast_protocol::client::ErrorCode;

use self::{
    figures::Figures,
    room::{Room, RoomCx},
};
use super::{
    broker::{FromBroker, RoomKey, RoomNumber, ToBroker},
    message::{Answer, AnswerTo, ChannelQuery, FromOwner, Outgoing, Subscribe, Subscribed, ToOwner},
    owner::ChannelPolicy,
    wire,
};
use crate::{
    memory::{Budget, Ledger, map_bytes, shrink},
    metrics::Counters,
    time::Tick,
};

/// Limit of rooms that are tended in one turn.
const TENDED_MAX: usize = 256;

/// Limit of kept publications that are dropped in one turn while the budget is full.
const SHED_MAX: usize = 4_096;

/// The entries of an order, for each room, beyond which those that nobody needs are forgotten.
const ENTRIES_PER_ROOM_MAX: usize = 4;

/// Below this many entries an order is not shrunk while there are rooms.
const SPARE_MIN: usize = 16;

/// The same hash for a name as long as the daemon runs, and one that nobody can guess.
#[derive(Clone, Debug)]
struct Keyed(u64);

impl BuildHasher for Keyed {
    type Hasher = DefaultHasher;

    fn build_hasher(&self) -> DefaultHasher {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher
    }
}

/// Rooms in an order. An entry may be too early, or of a room that has gone; it is corrected when it comes up.
type Order<K> = BinaryHeap<Reverse<(K, RoomNumber, Arc<str>)>>;

/// The rooms of a shard.
#[derive(Debug)]
pub(crate) struct Rooms {
    rooms: HashMap<Arc<str>, Box<Room>, Keyed>,
    /// By when they have something to do.
    due: Order<Tick>,
    /// By the sequence number of the oldest kept publication.
    ages: Order<u64>,
    last_number: u64,
    /// The number of the newest publication.
    sequence: u64,
    /// How long Redis keeps the presence of a client that nobody refreshes.
    presence_ttl_ms: u64,
    to_broker: Vec<ToBroker>,
    figures: Figures,
    /// The bytes charged to the ledger for the tables.
    charged_bytes: usize,
    has_excess: bool,
}

impl Rooms {
    /// `seed` is secret.
    pub(crate) fn new(presence_ttl_ms: u64, seed: u64) -> Self {
        Self {
            rooms: HashMap::with_hasher(Keyed(seed)),
            due: BinaryHeap::new(),
            ages: BinaryHeap::new(),
            last_number: 0,
            sequence: 0,
            presence_ttl_ms,
            to_broker: Vec::new(),
            figures: Figures::default(),
            charged_bytes: 0,
            has_excess: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rooms.len()
    }

    /// Adds the rooms' figures to the counters.
    pub(crate) fn report(&self, counters: &mut Counters) {
        self.figures.report(counters);
    }

    /// Takes what there is for the broker, in order.
    pub(crate) fn take_for_broker(&mut self) -> Vec<ToBroker> {
        std::mem::take(&mut self.to_broker)
    }

    /// Adds something for the broker that is about no room.
    pub(crate) fn ask_broker(&mut self, message: ToBroker) {
        self.to_broker.push(message);
    }

    /// True exactly when there is something for the broker.
    pub(crate) fn has_for_broker(&self) -> bool {
        !self.to_broker.is_empty()
    }

    /// The broker took none of these. Publications and questions are refused; what the rooms themselves want stays, and is
    /// offered again: at most a few for each room.
    pub(crate) fn put_back(&mut self, refused: Vec<ToBroker>, posts: &mut Outgoing) {
        let mut kept = Vec::new();
        for message in refused {
            match message {
                ToBroker::Publish(mut publish) => {
                    if let Some(to) = publish.answer_to.take() {
                        answer(to, Err(ErrorCode::INTERNAL), posts);
                    }
                }
                ToBroker::Ask { answer_to, .. } => answer(answer_to, Err(ErrorCode::INTERNAL), posts),
                ToBroker::Announce { .. } => {}
                message => kept.push(message),
            }
        }
        kept.append(&mut self.to_broker);
        self.to_broker = kept;
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
                let is_empty = self.with(&channel, now, ledger, posts, |room, cx| {
                    room.unsubscribe(shard, info, shows, was_last, cx);
                    room.is_empty()
                });
                if is_empty == Some(true) {
                    self.remove(&channel, ledger);
                }
            }
            ToOwner::Renew { channel, info } => {
                self.with(&channel, now, ledger, posts, |room, cx| room.renew(info, cx));
            }
            ToOwner::Publish(publish) => self.to_broker.push(wire::publish(*publish, policy)),
            ToOwner::Ask { channel, question, answer_to } => {
                let is_available = match question {
                    ChannelQuery::Presence(_) | ChannelQuery::PresenceStats => policy.presence,
                    ChannelQuery::History(_) | ChannelQuery::RemoveHistory => policy.keeps_history(),
                };
                if is_available {
                    let meta_ttl_ms = policy.position_ttl_ms();
                    self.to_broker.push(ToBroker::Ask { channel, question, meta_ttl_ms, answer_to });
                } else {
                    answer(answer_to, Err(ErrorCode::NOT_AVAILABLE), posts);
                }
            }
        }
    }

    /// Handles what the broker says.
    pub(crate) fn handle_broker(
        &mut self,
        message: FromBroker,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Outgoing,
    ) {
        match message {
            FromBroker::Messages(messages) => {
                for message in messages {
                    self.with(&message.channel, now, ledger, posts, |room, cx| room.hear(&message.frame, cx));
                }
            }
            FromBroker::Confirmed(channels) => {
                for channel in channels {
                    self.with(&channel, now, ledger, posts, Room::confirmed);
                }
            }
            FromBroker::Refused(channels) => {
                for channel in channels {
                    self.with(&channel, now, ledger, posts, Room::refused);
                }
            }
            FromBroker::Lagging(channels) => {
                for channel in channels {
                    self.with(&channel, now, ledger, posts, Room::lagging);
                }
            }
            FromBroker::Read(RoomKey { channel, number }, read) => {
                self.with(&channel, now, ledger, posts, |room, cx| {
                    if room.key.number == number {
                        room.take_read(read, cx);
                    }
                });
            }
            FromBroker::Undelivered(mut publish) => {
                let channel = Arc::clone(&publish.channel);
                if let Some(to) = publish.answer_to.take() {
                    answer(to, Ok(Answer::Published(None)), posts);
                }
                self.with(&channel, now, ledger, posts, |room, cx| room.deliver_here(*publish, cx));
            }
            // It is for those who own users' connections.
            FromBroker::Leased { .. } => {}
            FromBroker::HistoryRemoved(channel) => {
                self.with(&channel, now, ledger, posts, |room, _| room.forget_history());
            }
        }
    }

    /// True exactly when a room has something to do, or the budget is full.
    pub(crate) fn is_due(&self, now: Tick) -> bool {
        self.has_excess || self.due.peek().is_some_and(|Reverse((due, ..))| *due <= now)
    }

    /// Lets rooms do what is due, up to the limit of one turn; then enforces the budget.
    pub(crate) fn tend(&mut self, now: Tick, ledger: &mut Ledger, posts: &mut Outgoing) {
        for _ in 0..TENDED_MAX {
            let Some(Reverse((due, number, channel))) = self.due.peek() else { break };
            if *due > now {
                break;
            }
            let (due, number, channel) = (*due, *number, Arc::clone(channel));
            self.due.pop();
            self.with(&channel, now, ledger, posts, |room, cx| {
                // One that was due earlier after all has another entry.
                if room.key.number == number && room.in_due == Some(due) {
                    room.in_due = None;
                    room.tend(cx);
                }
            });
        }
        self.shed(ledger);
        self.sweep(ledger);
    }

    fn subscribe(
        &mut self,
        subscribe: Subscribe,
        policy: ChannelPolicy,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Outgoing,
    ) {
        let channel = Arc::clone(&subscribe.channel);
        if !self.rooms.contains_key(&channel) {
            if !ledger.has_room(Budget::Channels) {
                return Subscribed::of(&subscribe).refuse(subscribe.shard, ErrorCode::LIMIT_EXCEEDED, posts);
            }
            self.last_number += 1;
            let key = RoomKey { channel: Arc::clone(&channel), number: RoomNumber(self.last_number) };
            self.rooms.insert(Arc::clone(&channel), Box::new(Room::new(key, policy, now)));
            self.to_broker.push(ToBroker::Want(Arc::clone(&channel)));
        }
        self.with(&channel, now, ledger, posts, |room, cx| {
            room.policy = policy;
            room.subscribe(subscribe, cx);
        });
    }

    /// Does something with a channel's room, if there is one; then updates its places in the orders and its charges.
    fn with<T>(
        &mut self,
        channel: &Arc<str>,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Outgoing,
        act: impl FnOnce(&mut Room, &mut RoomCx<'_>) -> T,
    ) -> Option<T> {
        let room = self.rooms.get_mut(channel)?;
        let (sequence, to_broker, figures) = (&mut self.sequence, &mut self.to_broker, &mut self.figures);
        let presence_ttl_ms = self.presence_ttl_ms;
        let done = act(room, &mut RoomCx { now, posts, to_broker, sequence, figures, presence_ttl_ms });
        let state = room.state();
        self.figures.moved(room.counted.replace(state), state);
        if let Some(due) = room.due()
            && room.in_due.is_none_or(|earlier| due < earlier)
        {
            room.in_due = Some(due);
            self.due.push(Reverse((due, room.key.number, Arc::clone(&room.key.channel))));
        }
        if !room.is_in_ages
            && let Some(oldest) = room.oldest_sequence()
        {
            room.is_in_ages = true;
            self.ages.push(Reverse((oldest, room.key.number, Arc::clone(&room.key.channel))));
        }
        room.settle(ledger);
        self.has_excess = ledger.excess(Budget::History) > 0;
        Some(done)
    }

    fn remove(&mut self, channel: &Arc<str>, ledger: &mut Ledger) {
        if let Some(room) = self.rooms.remove(channel) {
            self.figures.gone(room.counted);
            room.release(ledger);
            self.to_broker.push(ToBroker::Unwant(Arc::clone(channel)));
        }
        if self.rooms.is_empty() {
            self.sweep(ledger);
        }
    }

    /// Drops the oldest kept publications while the budget is full, up to the limit of a turn.
    fn shed(&mut self, ledger: &mut Ledger) {
        let mut dropped = 0;
        while dropped < SHED_MAX && ledger.excess(Budget::History) > 0 {
            let Some(Reverse((sequence, number, channel))) = self.ages.pop() else { break };
            let Some(room) = self.rooms.get_mut(&channel).filter(|room| room.key.number == number) else {
                continue;
            };
            if room.oldest_sequence() == Some(sequence) {
                room.drop_oldest();
                room.settle(ledger);
                dropped += 1;
            }
            match room.oldest_sequence() {
                Some(next) => self.ages.push(Reverse((next, number, channel))),
                None => room.is_in_ages = false,
            }
        }
        self.has_excess = dropped == SHED_MAX;
    }

    /// Frees what rooms that have gone left behind.
    fn sweep(&mut self, ledger: &mut Ledger) {
        if self.rooms.is_empty() {
            self.rooms.shrink_to_fit();
        }
        shrink(&mut self.rooms);
        let rooms = &self.rooms;
        let room = |channel: &Arc<str>, number| rooms.get(channel).filter(|room| room.key.number == number);
        sweep(&mut self.due, rooms.len(), |due, number, channel| {
            room(channel, number).is_some_and(|room| room.in_due == Some(due))
        });
        sweep(&mut self.ages, rooms.len(), |_, number, channel| {
            room(channel, number).is_some_and(|room| room.is_in_ages)
        });
        let bytes = map_bytes(&self.rooms)
            + self.due.capacity() * size_of::<Reverse<(Tick, RoomNumber, Arc<str>)>>()
            + self.ages.capacity() * size_of::<Reverse<(u64, RoomNumber, Arc<str>)>>();
        ledger.recharge(Budget::Channels, self.charged_bytes, bytes);
        self.charged_bytes = bytes;
    }
}

/// Forgets entries that nobody needs, if they are many.
fn sweep<K: Copy + Ord>(
    order: &mut Order<K>,
    rooms: usize,
    is_needed: impl Fn(K, RoomNumber, &Arc<str>) -> bool,
) {
    if order.len() > ENTRIES_PER_ROOM_MAX * rooms {
        order.retain(|Reverse((key, number, channel))| is_needed(*key, *number, channel));
    }
    if rooms == 0 {
        *order = BinaryHeap::new();
    } else if order.capacity() > 4 * order.len().max(SPARE_MIN) {
        order.shrink_to(2 * order.len());
    }
}

fn answer(to: AnswerTo, outcome: super::message::QueryResult, posts: &mut Outgoing) {
    match to {
        AnswerTo::Client { shard, client, command, is_read } => {
            posts.push((shard, FromOwner::Answered { client, command, is_read, outcome }));
        }
        AnswerTo::Api(reply) => reply.give(outcome),
    }
}
