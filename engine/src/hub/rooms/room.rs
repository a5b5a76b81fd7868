//! Room: what this node knows of one channel that all nodes share.
//!
//! In:  subscribers that come and go; what is heard of the channel; what Redis answers.
//! Out: deliveries and answers; wishes to the broker; when it next has something to do.
//!
//! A position advances by one publication at a time, heard or read. A publication with a later offset is held until those
//! before it have been read from the history. One with an earlier offset has been delivered already, unless it was heard
//! twice: then Redis gives out offsets again, because a failover lost publications that it had acknowledged. Such a history
//! gets a new epoch, and positioned subscribers are told.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::client::ErrorCode;
use holdfast_redis::{
    frame::Frame,
    publication::{decode_client_info, decode_publication},
};

use super::held::{Held, Waiting};
use crate::{
    channel::PresenceFlags,
    encoding::EncodedPush,
    hub::{
        audience::{Audience, Outgoing},
        broker::{Read, ReadResult, RoomKey, ToBroker},
        history::{History, Position},
        message::{Delivery, FromOwner, Publish, Recover, Subscribe, Subscribed, ToOwner},
        owner::ChannelPolicy,
        presence::Presence,
        publication::{Info, StoredPublication},
        recover::Resumed,
        wire,
    },
    ids::ShardId,
    memory::{Budget, Ledger, arc_str_bytes},
    time::Tick,
};

/// Subscribers wait so long for Redis to confirm their channel; then they get a temporary error.
const JOIN_MS: u64 = 5_000;

/// A room that heard nothing for so long asks Redis for the position, up to a quarter later.
const QUIET_MS: u64 = 25_000;

/// A read that failed is repeated after so long, up to twice that.
const RETRY_MS: u64 = 1_000;

/// Presence is refreshed so many times before it ends, with a little to spare.
const REFRESHES_TENTHS: u64 = 24;

/// What a room acts on.
pub(super) struct RoomCx<'a> {
    pub(super) now: Tick,
    pub(super) posts: &'a mut Outgoing,
    pub(super) to_broker: &'a mut Vec<ToBroker>,
    pub(super) sequence: &'a mut u64,
    pub(super) presence_ttl_ms: u64,
}

/// A subscription that waits.
#[derive(Debug)]
struct Arrival {
    subscribe: Subscribe,
    /// True exactly when the history was read for it.
    was_read: bool,
}

/// Whether the history is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    No,
    /// A read is under way. What was known when it was asked for; the first offset to read next, if more was missed
    /// since.
    UnderWay {
        known: u64,
        next: Option<u64>,
    },
    /// The last one failed.
    Failed {
        retry_at: Tick,
    },
    /// The history has gone back: a new epoch is under way.
    Repairing,
}

#[derive(Debug)]
pub(super) struct Room {
    pub(super) key: RoomKey,
    pub(super) policy: ChannelPolicy,
    audience: Audience,
    /// True exactly when Redis has once confirmed that the channel is heard.
    is_confirmed: bool,
    /// The position, and the newest publications. `None` until it was read, and without a history.
    history: Option<Box<History>>,
    /// All publications from this offset on that Redis keeps are here, too.
    complete_from: u64,
    /// The last publication, if patches may be based on it.
    last: Option<Arc<StoredPublication>>,
    reading: Reading,
    held: Held,
    /// The latest offsets heard and read since the channel was last confirmed.
    heard: u64,
    read_up_to: u64,
    arrivals: Vec<Arrival>,
    /// Clients whose subscribe came back unanswered: their leave is not announced, as their join was not.
    unseen: Vec<Box<str>>,
    /// Clients on this node.
    presence: Option<Box<Presence>>,
    began: Tick,
    /// When the position was last known to be right.
    checked: Tick,
    /// When presence is refreshed next.
    refresh_at: Tick,
    /// When the kept publications expire.
    history_until: Tick,
    /// The key of its entry in the order of what is due.
    pub(super) in_due: Option<Tick>,
    pub(super) is_in_ages: bool,
    /// The bytes charged to the ledger for it.
    charged_history: usize,
    charged_channels: usize,
}

impl Room {
    pub(super) fn new(key: RoomKey, policy: ChannelPolicy, now: Tick) -> Self {
        Self {
            key,
            policy,
            audience: Audience::default(),
            is_confirmed: false,
            history: None,
            complete_from: u64::MAX,
            last: None,
            reading: Reading::No,
            held: Held::default(),
            heard: 0,
            read_up_to: 0,
            arrivals: Vec::new(),
            unseen: Vec::new(),
            presence: None,
            began: now,
            checked: now,
            refresh_at: now,
            history_until: Tick(0),
            in_due: None,
            is_in_ages: false,
            charged_history: 0,
            charged_channels: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.audience.is_empty()
    }

    fn is_live(&self) -> bool {
        self.is_confirmed && (self.history.is_some() || !self.policy.keeps_history())
    }

    // Subscribers

    pub(super) fn subscribe(&mut self, subscribe: Subscribe, cx: &mut RoomCx<'_>) {
        // From now on the shard counts: its message that the last one has left may come before the answer.
        self.audience.join(subscribe.shard);
        if !self.is_confirmed && self.arrivals.is_empty() {
            self.began = cx.now;
        }
        let arrival = Arrival { subscribe, was_read: false };
        if self.is_live() {
            self.admit(arrival, cx);
        } else {
            self.arrivals.push(arrival);
        }
    }

    pub(super) fn unsubscribe(
        &mut self,
        shard: ShardId,
        info: Option<Arc<Info>>,
        shows: PresenceFlags,
        was_last: bool,
        cx: &mut RoomCx<'_>,
    ) {
        // One that waits was announced to nobody.
        let waiting = info.as_ref().and_then(|info| {
            let is_it = |arrival: &Arrival| {
                arrival.subscribe.info.as_ref().is_some_and(|waiting| waiting.client == info.client)
            };
            self.arrivals.iter().position(is_it)
        });
        if let Some(at) = waiting {
            self.arrivals.swap_remove(at);
        } else if let Some(info) = info
            && !self.forget_unseen(&info)
        {
            self.unsee(info, shows, cx);
        }
        if was_last {
            self.audience.leave(shard);
            self.arrivals.retain(|arrival| arrival.subscribe.shard != shard);
        }
    }

    /// True exactly when the client was one whose subscribe came back.
    fn forget_unseen(&mut self, info: &Info) -> bool {
        let at = self.unseen.iter().position(|client| *client == info.client);
        at.map(|at| self.unseen.swap_remove(at)).is_some()
    }

    fn unsee(&mut self, info: Arc<Info>, shows: PresenceFlags, cx: &mut RoomCx<'_>) {
        let channel = &self.key.channel;
        if let Some(presence) = &mut self.presence
            && presence.has(&info.client)
        {
            presence.remove(&info.client);
            if presence.is_empty() {
                self.presence = None;
            }
            cx.to_broker.push(ToBroker::Absent { channel: Arc::clone(channel), info: Arc::clone(&info) });
        }
        if shows.join_leave {
            cx.to_broker.push(ToBroker::Announce { channel: Arc::clone(channel), info, is_join: false });
        }
    }

    /// A client's info has changed.
    pub(super) fn renew(&mut self, info: Arc<Info>, cx: &mut RoomCx<'_>) {
        if let Some(presence) = self.presence.as_mut().filter(|presence| presence.has(&info.client)) {
            presence.add(Arc::clone(&info));
            cx.to_broker.push(ToBroker::Present { channel: Arc::clone(&self.key.channel), info });
        }
    }

    /// Answers a subscription, or lets it wait for a read.
    fn admit(&mut self, mut arrival: Arrival, cx: &mut RoomCx<'_>) {
        let subscribe = &arrival.subscribe;
        let mut subscribed = Subscribed::of(subscribe);
        if let Some(history) = &self.history
            && (subscribe.wants_position || subscribe.recover.is_some())
        {
            let missing = subscribe.recover.as_ref().filter(|_| !arrival.was_read);
            if let Some(from) = missing.and_then(|recover| self.first_to_read(history, recover)) {
                arrival.was_read = true;
                self.read(from, true, cx);
                self.arrivals.push(arrival);
                return;
            }
            match subscribed.resume(subscribe, history) {
                Resumed::Yes => {}
                Resumed::Lost => {
                    let shard = subscribe.shard;
                    return subscribed.refuse(shard, ErrorCode::UNRECOVERABLE_POSITION, cx.posts);
                }
                Resumed::TooLongNow => {
                    let Subscribe { shard, client, ref info, shows, .. } = *subscribe;
                    // It will be repeated; the client is not visible before that.
                    self.unseen
                        .extend(info.iter().filter(|_| shows.is_seen()).map(|info| info.client.clone()));
                    let question = Box::new(ToOwner::Subscribe(Box::new(arrival.subscribe)));
                    cx.posts.push((shard, FromOwner::TooLongNow { client, question }));
                    return;
                }
            }
        }
        let Subscribe { shard, info, data, shows, .. } = arrival.subscribe;
        subscribed.data = data;
        cx.posts.push((shard, FromOwner::Subscribed(Box::new(subscribed))));
        let Some(info) = info.filter(|_| shows.is_seen()) else { return };
        self.forget_unseen(&info);
        let channel = &self.key.channel;
        if shows.presence {
            if self.presence.is_none() {
                self.refresh_at = self.refresh_after(cx);
            }
            self.presence.get_or_insert_default().add(Arc::clone(&info));
            cx.to_broker.push(ToBroker::Present { channel: Arc::clone(channel), info: Arc::clone(&info) });
        }
        if shows.join_leave {
            cx.to_broker.push(ToBroker::Announce { channel: Arc::clone(channel), info, is_join: true });
        }
    }

    /// The offset from which the history has to be read before a client can be told what it missed, unless all that
    /// Redis has of it is here.
    fn first_to_read(&self, history: &History, recover: &Recover) -> Option<u64> {
        let position = history.position();
        let is_of_epoch = recover.epoch.is_empty() || *recover.epoch == *position.epoch;
        if is_of_epoch && recover.offset > position.offset {
            // It has heard on another node what is still on its way to this one. Or it says so: a client's word is no
            // proof that a history has gone back.
            return Some(position.offset + 1);
        }
        if recover.cache {
            let is_up_to_date = recover.offset > 0 && recover.offset == position.offset && is_of_epoch;
            return (!is_up_to_date && history.is_empty() && self.complete_from > 1).then_some(1);
        }
        let from = recover.offset + 1;
        (is_of_epoch && from < self.complete_from).then_some(from)
    }

    fn admit_all(&mut self, cx: &mut RoomCx<'_>) {
        for arrival in std::mem::take(&mut self.arrivals) {
            self.admit(arrival, cx);
        }
    }

    fn refuse_all(&mut self, cx: &mut RoomCx<'_>) {
        for Arrival { subscribe, .. } in self.arrivals.drain(..) {
            Subscribed::of(&subscribe).refuse(subscribe.shard, ErrorCode::INTERNAL, cx.posts);
        }
    }

    // What the broker says

    /// The channel is heard from here on: what was published before may have been missed.
    pub(super) fn confirmed(&mut self, cx: &mut RoomCx<'_>) {
        self.is_confirmed = true;
        (self.heard, self.read_up_to) = (0, 0);
        if !self.policy.keeps_history() {
            return self.admit_all(cx);
        }
        match &self.history {
            // The last one, too: if another one has its offset now, the history has gone back.
            Some(history) => self.read(history.position().offset.max(1), false, cx),
            None => {
                // The first client that recovers says how much is of interest.
                let recovers = self.arrivals.iter().filter_map(|arrival| arrival.subscribe.recover.as_ref());
                let from = recovers.map(|recover| if recover.cache { 1 } else { recover.offset + 1 }).min();
                self.ask(from, true, cx);
            }
        }
    }

    pub(super) fn refused(&mut self, cx: &mut RoomCx<'_>) {
        if !self.is_live() {
            self.refuse_all(cx);
        }
    }

    /// Messages were dropped.
    pub(super) fn lagging(&mut self, cx: &mut RoomCx<'_>) {
        self.last = None;
        if let Some(history) = &self.history {
            self.read(history.next_offset(), false, cx);
        }
    }

    /// A frame was published.
    pub(super) fn hear(&mut self, frame: &[u8], cx: &mut RoomCx<'_>) {
        let heard = match Frame::decode(frame) {
            Ok(Frame::Plain { publication }) => self.hear_plain(publication, cx),
            Ok(Frame::Positioned { position, publication }) => {
                self.hear_positioned(position.offset, position.epoch, publication, false, cx)
            }
            Ok(Frame::Delta { position, publication, .. }) => {
                self.hear_positioned(position.offset, position.epoch, publication, true, cx)
            }
            Ok(Frame::Join { info }) => self.announce(info, true, cx),
            Ok(Frame::Leave { info }) => self.announce(info, false, cx),
            Err(_) => None,
        };
        if heard.is_none() {
            tracing::warn!(
                channel = &*self.key.channel,
                bytes = frame.len(),
                "a message of another node cannot be read, and reaches no client here: does another application publish to this Redis with the same prefix?"
            );
        }
    }

    fn hear_plain(&mut self, publication: &[u8], cx: &mut RoomCx<'_>) -> Option<()> {
        let publication = decode_publication(publication).ok()?;
        if self.is_confirmed {
            let stored = wire::stored(&publication, 0, next(cx));
            self.deliver(Arc::new(stored), publication.delta, cx);
        }
        Some(())
    }

    fn hear_positioned(
        &mut self,
        offset: u64,
        epoch: &str,
        publication: &[u8],
        delta: bool,
        cx: &mut RoomCx<'_>,
    ) -> Option<()> {
        let publication = decode_publication(publication).ok()?;
        if !self.policy.keeps_history() {
            // Another node keeps one: their options differ.
            if self.is_confirmed {
                let stored = wire::stored(&publication, 0, next(cx));
                self.deliver(Arc::new(stored), delta, cx);
            }
            return Some(());
        }
        let is_first_time = offset > self.heard;
        self.heard = self.heard.max(offset);
        let position = self.history.as_ref().map(|history| history.position());
        let Some(position) = position.filter(|position| *position.epoch == *epoch) else {
            self.held.hold(epoch, Waiting { stored: wire::stored(&publication, offset, 0), delta });
            if self.history.is_some() {
                self.heard = offset;
                self.read(1, false, cx);
            }
            return Some(());
        };
        let is_next = offset == position.offset + 1 && self.held.is_empty();
        if is_next && self.reading != Reading::Repairing {
            let stored = wire::stored(&publication, offset, next(cx));
            self.advance(Arc::new(stored), delta, cx);
        } else if offset > position.offset {
            self.held.hold(epoch, Waiting { stored: wire::stored(&publication, offset, 0), delta });
            self.read(position.offset + 1, false, cx);
        } else if !is_first_time || offset > self.read_up_to {
            self.repair(position, cx);
        }
        Some(())
    }

    fn announce(&mut self, info: &[u8], is_join: bool, cx: &mut RoomCx<'_>) -> Option<()> {
        let info = decode_client_info(info).ok()?;
        let channel = Arc::clone(&self.key.channel);
        let frames = if is_join { EncodedPush::of_join } else { EncodedPush::of_leave }(&channel, info);
        self.audience.deliver(cx.posts, Delivery { channel, publication: None, frames, for_delta: None });
        Some(())
    }

    /// A publication that reaches nobody but the subscribers of this node, because Redis is away.
    pub(super) fn deliver_here(&mut self, publish: Publish, cx: &mut RoomCx<'_>) {
        let Publish { data, info, tags, delta, .. } = publish;
        let sequence = next(cx);
        self.deliver(Arc::new(StoredPublication { data, info, tags, offset: 0, sequence }), delta, cx);
    }

    // The history

    /// Reads the history from an offset on; after the read that is under way, if one is.
    fn read(&mut self, from: u64, is_urgent: bool, cx: &mut RoomCx<'_>) {
        match &mut self.reading {
            Reading::UnderWay { next, .. } => *next = Some(next.map_or(from, |next| next.min(from))),
            Reading::Failed { .. } if !is_urgent => {}
            Reading::Repairing => {}
            _ => self.ask(Some(from), is_urgent, cx),
        }
    }

    fn ask(&mut self, from: Option<u64>, is_urgent: bool, cx: &mut RoomCx<'_>) {
        let known = self.history.as_ref().map_or(0, |history| history.position().offset);
        self.reading = Reading::UnderWay { known, next: None };
        let meta_ttl_ms = self.policy.position_ttl_ms();
        cx.to_broker.push(ToBroker::Read(Read { room: self.key.clone(), from, meta_ttl_ms, is_urgent }));
    }

    /// The history ends before `known`, which this node has delivered.
    fn repair(&mut self, known: Position, cx: &mut RoomCx<'_>) {
        if self.reading == Reading::Repairing {
            return;
        }
        tracing::warn!(
            channel = &*self.key.channel,
            offset = known.offset,
            epoch = &*known.epoch,
            "Redis lost publications that it had acknowledged: the channel gets a new epoch, and subscribers with a position are told. Did a replica become the primary? See min-replicas-to-write in docs/operations"
        );
        self.reading = Reading::Repairing;
        let meta_ttl_ms = self.policy.position_ttl_ms();
        cx.to_broker.push(ToBroker::Repair { room: self.key.clone(), known, meta_ttl_ms });
    }

    /// A read or a repair is answered.
    pub(super) fn take_read(&mut self, read: Option<ReadResult>, cx: &mut RoomCx<'_>) {
        let (known, next) = match self.reading {
            Reading::UnderWay { known, next } => (known, next),
            Reading::Repairing => (0, None),
            Reading::No | Reading::Failed { .. } => return,
        };
        let Some(read) = read else {
            self.reading = Reading::Failed { retry_at: self.soon(RETRY_MS, RETRY_MS, cx.now) };
            return self.refuse_all(cx);
        };
        self.reading = Reading::No;
        self.checked = cx.now;
        self.read_up_to = self.read_up_to.max(read.top.offset);
        self.take_history(read, known, cx);
        if let (Some(from), Reading::No) = (next, self.reading) {
            self.ask(Some(from), false, cx);
        }
        self.release_held(cx);
        if self.is_live() {
            self.admit_all(cx);
        }
    }

    fn take_history(&mut self, read: ReadResult, known: u64, cx: &mut RoomCx<'_>) {
        let ReadResult { top, from, entries } = read;
        let Some(position) = self.history.as_ref().map(|history| history.position()) else {
            self.begin(top, from, &entries, cx);
            return;
        };
        if position.epoch != top.epoch {
            self.lose(cx);
            self.begin(top, from, &entries, cx);
        } else if top.offset < known || self.differs(&position, &entries) {
            // Publications that were heard while the read was on its way do not count: it may be older than they are.
            self.repair(position, cx);
        } else {
            self.catch_up(&position, &top, from, &entries, cx);
        }
    }

    /// True exactly when another publication than the one that was delivered has its offset.
    fn differs(&self, position: &Position, entries: &[(u64, Bytes)]) -> bool {
        let newest = self.history.as_ref().and_then(|history| history.newest());
        let now = entries.iter().find(|(offset, _)| *offset == position.offset);
        newest.zip(now).is_some_and(|(newest, (_, payload))| {
            decode_publication(payload).is_ok_and(|now| now.data.bytes() != newest.data.bytes)
        })
    }

    /// Takes a position and the publications up to it, unless something is missing between them.
    fn begin(&mut self, top: Position, from: Option<u64>, entries: &[(u64, Bytes)], cx: &mut RoomCx<'_>) {
        self.complete_from = from.unwrap_or(top.offset + 1);
        let mut history = Box::new(History::at(top));
        self.prepend(&mut history, entries, cx);
        if !history.is_empty() {
            self.history_until = cx.now.after_ms(self.policy.history_ttl_ms);
        }
        self.history = Some(history);
    }

    /// Adds the publications that directly precede those of a history.
    fn prepend(&self, history: &mut History, entries: &[(u64, Bytes)], cx: &mut RoomCx<'_>) {
        for (offset, payload) in entries.iter().rev() {
            if history.len() >= self.policy.history_size {
                break;
            }
            if *offset >= history.first_offset() {
                continue;
            }
            let Ok(publication) = decode_publication(payload) else { break };
            if *offset + 1 != history.first_offset() {
                break;
            }
            history.prepend(Arc::new(wire::stored(&publication, *offset, next(cx))));
        }
    }

    /// Delivers what was missed, and keeps what a client asked for.
    fn catch_up(
        &mut self,
        position: &Position,
        top: &Position,
        from: Option<u64>,
        entries: &[(u64, Bytes)],
        cx: &mut RoomCx<'_>,
    ) {
        if let Some(from) = from.filter(|&from| from < self.complete_from)
            && let Some(mut history) = self.history.take()
        {
            self.prepend(&mut history, entries, cx);
            self.history = Some(history);
            self.complete_from = from;
        }
        let Some(from) = from else {
            if top.offset > position.offset {
                self.ask(Some(position.offset + 1), false, cx);
            }
            return;
        };
        for (offset, payload) in entries.iter().filter(|(offset, _)| *offset > position.offset) {
            let at = self.history.as_ref().map_or(0, |history| history.position().offset);
            if *offset != at + 1 {
                break;
            }
            let Ok(publication) = decode_publication(payload) else { break };
            let stored = wire::stored(&publication, *offset, next(cx));
            self.advance(Arc::new(stored), false, cx);
        }
        let reached = self.history.as_ref().map_or(0, |history| history.position().offset);
        if reached < top.offset {
            // The history is too short, or was removed: what is missing is gone.
            self.lose(cx);
            self.begin(top.clone(), Some(from), entries, cx);
        }
    }

    /// Releases what was held, as far as nothing is missing before it.
    fn release_held(&mut self, cx: &mut RoomCx<'_>) {
        while self.reading == Reading::No
            && let Some(history) = &self.history
        {
            let Position { offset, epoch } = history.position();
            let Some(Waiting { mut stored, delta }) = self.held.next_after(offset, &epoch) else {
                if !self.held.is_empty() {
                    self.ask(Some(offset + 1), false, cx);
                }
                return;
            };
            stored.sequence = next(cx);
            self.advance(Arc::new(stored), delta, cx);
        }
    }

    /// Publications are gone: subscribers with a position are told.
    fn lose(&mut self, cx: &mut RoomCx<'_>) {
        self.last = None;
        let channel = &self.key.channel;
        self.audience.tell(cx.posts, || FromOwner::PositionLost {
            channel: Arc::clone(channel),
            told_from: usize::MAX,
        });
    }

    /// The publication after the position.
    fn advance(&mut self, stored: Arc<StoredPublication>, delta: bool, cx: &mut RoomCx<'_>) {
        self.checked = cx.now;
        self.history_until = cx.now.after_ms(self.policy.history_ttl_ms);
        if let Some(history) = &mut self.history {
            history.push(Arc::clone(&stored), self.policy.history_size);
        }
        self.deliver(stored, delta, cx);
    }

    fn deliver(&mut self, stored: Arc<StoredPublication>, delta: bool, cx: &mut RoomCx<'_>) {
        let base = self.last.as_deref().filter(|_| delta || self.policy.delta_publish);
        let channel = Arc::clone(&self.key.channel);
        let delivery = Delivery::of_publication(channel, &stored, base, self.policy.delta);
        if self.policy.delta {
            self.last = Some(stored);
        }
        self.audience.deliver(cx.posts, delivery);
    }

    /// The history was removed; the position stays.
    pub(super) fn forget_history(&mut self) {
        if let Some(history) = &mut self.history {
            history.clear();
            self.complete_from = 0;
            self.last = None;
        }
    }

    // Time and memory

    /// When it next has something to do.
    pub(super) fn due(&self) -> Option<Tick> {
        let join = (!self.arrivals.is_empty() && !self.is_live()).then(|| self.began.after_ms(JOIN_MS));
        let retry = match self.reading {
            Reading::Failed { retry_at } => Some(retry_at),
            _ => None,
        };
        let check = (self.history.is_some() && self.reading == Reading::No).then(|| self.check_at());
        let expiry = self.history.as_ref().filter(|history| !history.is_empty()).map(|_| self.history_until);
        let refresh = self.presence.as_ref().map(|_| self.refresh_at);
        [join, retry, check, expiry, refresh].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn tend(&mut self, cx: &mut RoomCx<'_>) {
        let now = cx.now;
        if !self.is_live() && self.began.after_ms(JOIN_MS) <= now {
            self.refuse_all(cx);
        }
        if matches!(self.reading, Reading::Failed { retry_at } if retry_at <= now) {
            let from = self.history.as_ref().map(|history| history.next_offset());
            self.ask(from, false, cx);
        }
        if self.history.is_some() && self.reading == Reading::No && self.check_at() <= now {
            self.checked = now;
            self.ask(None, false, cx);
        }
        if self.history_until <= now
            && let Some(history) = &mut self.history
        {
            // Redis has dropped them, too.
            history.clear();
        }
        if self.refresh_at <= now
            && let Some(presence) = &self.presence
        {
            let (channel, members) = (Arc::clone(&self.key.channel), presence.all());
            cx.to_broker.push(ToBroker::StillPresent { channel, members });
            self.refresh_at = self.refresh_after(cx);
        }
    }

    fn refresh_after(&self, cx: &RoomCx<'_>) -> Tick {
        let every_ms = cx.presence_ttl_ms * 10 / REFRESHES_TENTHS;
        self.soon(every_ms - every_ms / 8, every_ms / 8, cx.now)
    }

    fn check_at(&self) -> Tick {
        self.soon(QUIET_MS, QUIET_MS / 4, self.checked)
    }

    /// After `least_ms`, and up to `spread_ms` more: another part of it for each room.
    fn soon(&self, least_ms: u64, spread_ms: u64, since: Tick) -> Tick {
        let part = self.key.number.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        since.after_ms(least_ms + (spread_ms * part >> 32))
    }

    pub(super) fn oldest_sequence(&self) -> Option<u64> {
        self.history.as_ref().and_then(|history| history.oldest_sequence())
    }

    /// Drops the oldest kept publication, which Redis still has.
    pub(super) fn drop_oldest(&mut self) {
        if let Some(history) = &mut self.history {
            history.drop_oldest();
            self.complete_from = self.complete_from.max(history.first_offset());
        }
    }

    /// Charges its current memory to the ledger.
    pub(super) fn settle(&mut self, ledger: &mut Ledger) {
        let (history, channels) = (self.history_bytes(), self.record_bytes());
        ledger.recharge(Budget::History, self.charged_history, history);
        ledger.recharge(Budget::Channels, self.charged_channels, channels);
        (self.charged_history, self.charged_channels) = (history, channels);
    }

    /// The room is dropped: releases its charges.
    pub(super) fn release(&self, ledger: &mut Ledger) {
        ledger.release(Budget::History, self.charged_history);
        ledger.release(Budget::Channels, self.charged_channels);
    }

    fn history_bytes(&self) -> usize {
        let newest = self.history.as_ref().and_then(|history| history.newest());
        let last = self.last.as_ref().filter(|&last| newest.is_none_or(|newest| !Arc::ptr_eq(newest, last)));
        self.history.as_ref().map_or(0, |history| history.bytes()) + last.map_or(0, |last| last.cost_bytes())
    }

    fn record_bytes(&self) -> usize {
        let history = self.history.as_ref().map_or(0, |history| size_of::<History>() + history.epoch_bytes());
        let presence = self.presence.as_ref().map_or(0, |presence| size_of::<Presence>() + presence.bytes());
        let arrivals = self.arrivals.iter().map(|arrival| arrival.subscribe.cost_bytes()).sum::<usize>();
        size_of::<Self>()
            + arc_str_bytes(&self.key.channel)
            + history
            + presence
            + arrivals
            + self.arrivals.capacity() * size_of::<Arrival>()
            + self.audience.bytes()
            + self.held.bytes()
    }
}

/// The number of the next publication.
fn next(cx: &mut RoomCx<'_>) -> u64 {
    *cx.sequence += 1;
    *cx.sequence
}
