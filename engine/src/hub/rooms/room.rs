//! Room: what this node knows of one channel that all nodes share.
//!
//! In:  subscribers that come and go; what is heard of the channel; what Redis answers.
//! Out: deliveries and answers; wishes to the broker; when it next has something to do.
//!
//! A position advances by one publication at a time, heard or read. A publication with a later offset is held until those
//! before it have been read from the history. One with an earlier offset has been delivered already, unless it was heard
//! twice, or is another one: then Redis gives out offsets again, because a failover lost publications that it had
//! acknowledged. Such a history gets a new epoch, and positioned subscribers are told. Every read begins with the last
//! publication known here, so that it shows whether the history still has it.

mod catching_up;
mod subscribers;

use std::sync::Arc;

use holdfast_redis::{
    frame::Frame,
    publication::{decode_client_info, decode_publication},
};

use super::{
    figures::Figures,
    held::{Held, Waiting},
    reads::Reads,
};
use crate::{
    encoding::EncodedPush,
    hub::{
        audience::Audience,
        broker::{RoomKey, ToBroker},
        history::{History, Position},
        message::{Delivery, Outgoing, Publish, Subscribe},
        owner::ChannelPolicy,
        presence::Presence,
        publication::StoredPublication,
        wire,
    },
    memory::{Budget, Ledger, arc_str_bytes},
    metrics::RoomState,
    time::Tick,
};

/// Subscribers wait so long for Redis to confirm their channel; then they get a temporary error.
const JOIN_MS: u64 = 5_000;

/// A room that heard nothing for so long asks Redis for the position, up to a quarter later.
const QUIET_MS: u64 = 25_000;

/// Presence is refreshed so many times before it ends, with a little to spare.
const REFRESHES_TENTHS: u64 = 24;

/// What a room acts on.
pub(super) struct RoomCx<'a> {
    pub(super) now: Tick,
    pub(super) posts: &'a mut Outgoing,
    pub(super) to_broker: &'a mut Vec<ToBroker>,
    pub(super) sequence: &'a mut u64,
    pub(super) figures: &'a mut Figures,
    pub(super) presence_ttl_ms: u64,
}

/// A subscription that waits.
#[derive(Debug)]
struct Arrival {
    subscribe: Subscribe,
    /// The number of the read that has what it missed, if it waits for one.
    read: Option<u64>,
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
    /// The offset of the newest publication, and a hash of its data, where it is not kept any more.
    forgotten: Option<(u64, u64)>,
    /// Where the last epochs before the present one ended, as far as is known here.
    ended: Vec<Position>,
    /// The last publication, if patches may be based on it.
    last: Option<Arc<StoredPublication>>,
    reads: Reads,
    held: Held,
    /// True exactly when the history was read since messages may have been missed, when the channel was last confirmed or
    /// some were dropped: until then, what is heard may follow another history than the one known here.
    is_current: bool,
    arrivals: Vec<Arrival>,
    /// Clients on this node.
    presence: Option<Box<Presence>>,
    /// Clients on this node that are not in `presence`, and whose join was announced.
    joined: Option<Box<Presence>>,
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
    /// The state in which it is counted.
    pub(super) counted: Option<RoomState>,
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
            forgotten: None,
            ended: Vec::new(),
            last: None,
            reads: Reads::default(),
            held: Held::default(),
            is_current: false,
            arrivals: Vec::new(),
            presence: None,
            joined: None,
            began: now,
            checked: now,
            refresh_at: now,
            history_until: Tick(0),
            in_due: None,
            is_in_ages: false,
            counted: None,
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

    /// What it does, for metrics.
    pub(super) fn state(&self) -> RoomState {
        match self.is_live() {
            false => RoomState::Joining,
            true if self.reads.is_idle() => RoomState::Live,
            true => RoomState::Reading,
        }
    }

    // What the broker says

    /// The channel is heard from here on: what was published before may have been missed.
    pub(super) fn confirmed(&mut self, cx: &mut RoomCx<'_>) {
        self.is_confirmed = true;
        self.is_current = false;
        self.held.restart();
        self.reads.confirmed();
        if !self.policy.keeps_history() {
            return self.admit_all(cx);
        }
        match &self.history {
            Some(_) => _ = self.read(None, false, cx),
            None => self.read_first(cx),
        }
    }

    pub(super) fn refused(&mut self, cx: &mut RoomCx<'_>) {
        if !self.is_live() {
            self.refuse_all(cx);
        }
    }

    /// Messages were dropped.
    pub(super) fn lagging(&mut self, cx: &mut RoomCx<'_>) {
        if self.is_confirmed && self.policy.keeps_history() {
            self.is_current = false;
            self.reads.outdate();
            self.read(None, false, cx);
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
            cx.figures.messages_unreadable += 1;
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
        if offset == 0 {
            // They begin at 1.
            return None;
        }
        let is_later = self.held.hear(epoch, offset);
        let waiting = |held: &mut Held| {
            held.hold(Waiting { stored: wire::stored(&publication, offset, 0), delta });
        };
        let Some(position) = self.history.as_ref().map(|history| history.position()) else {
            waiting(&mut self.held);
            return Some(());
        };
        let is_of_epoch = *position.epoch == *epoch;
        if is_of_epoch && !is_later {
            self.repair(&position, cx);
        } else if is_of_epoch && offset <= position.offset {
            // It was read before it was heard. If that was another one, there are two lines of this epoch.
            if self.knows_another(&position, offset, publication.data.bytes()) {
                self.repair(&position, cx);
            } else if offset == position.offset {
                self.recall(offset, publication.data.bytes());
            }
        } else if is_of_epoch
            && offset == position.offset + 1
            && self.held.is_empty()
            && self.is_current
            && !self.reads.is_broken()
        {
            let stored = wire::stored(&publication, offset, next(cx));
            self.advance(Arc::new(stored), delta, cx);
        } else {
            waiting(&mut self.held);
            // While a read is under way, its answer says whether another one is needed.
            if self.reads.is_idle() {
                self.read((!is_of_epoch).then_some(1), false, cx);
            }
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

    // Time and memory

    /// When it next has something to do.
    pub(super) fn due(&self) -> Option<Tick> {
        let join = (!self.arrivals.is_empty() && !self.is_live()).then(|| self.began.after_ms(JOIN_MS));
        let check = (self.history.is_some() && self.reads.is_idle()).then(|| self.check_at());
        let expiry = self.history.as_ref().filter(|history| !history.is_empty()).map(|_| self.history_until);
        let refresh = self.presence.as_ref().map(|_| self.refresh_at);
        [join, self.reads.retry_at(), check, expiry, refresh].into_iter().flatten().min()
    }

    /// Does what is due.
    pub(super) fn tend(&mut self, cx: &mut RoomCx<'_>) {
        let now = cx.now;
        if !self.is_live() && self.began.after_ms(JOIN_MS) <= now {
            self.refuse_all(cx);
        }
        if self.reads.retry_at().is_some_and(|retry_at| retry_at <= now) {
            self.reads.retry();
            self.ask(false, cx);
        }
        if self.history.is_some() && self.reads.is_idle() && self.check_at() <= now {
            self.checked = now;
            self.read(None, false, cx);
        }
        if self.history_until <= now {
            // Redis has dropped them, too.
            self.forget_newest();
            if let Some(history) = &mut self.history {
                history.clear();
            }
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
        since.after_ms(least_ms + ((spread_ms * part) >> 32))
    }

    pub(super) fn oldest_sequence(&self) -> Option<u64> {
        let kept = self.history.as_ref().and_then(|history| history.oldest_sequence());
        kept.or_else(|| self.last.as_ref().map(|last| last.sequence))
    }

    /// Drops the oldest kept publication, which Redis still has; without one, the base of patches.
    pub(super) fn drop_oldest(&mut self) {
        if self.history.as_ref().is_some_and(|history| history.len() == 1) {
            self.forget_newest();
        }
        match self.history.as_mut().filter(|history| !history.is_empty()) {
            Some(history) => {
                history.drop_oldest();
                self.complete_from = self.complete_from.max(history.first_offset());
            }
            None => self.last = None,
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
        let seen = [&self.presence, &self.joined].into_iter().flatten();
        let presence: usize = seen.map(|presence| size_of::<Presence>() + presence.bytes()).sum();
        let ended = self.ended.iter().map(|ended| arc_str_bytes(&ended.epoch)).sum::<usize>()
            + self.ended.capacity() * size_of::<Position>();
        let arrivals = self.arrivals.iter().map(|arrival| arrival.subscribe.cost_bytes()).sum::<usize>();
        size_of::<Self>()
            + arc_str_bytes(&self.key.channel)
            + history
            + presence
            + arrivals
            + self.arrivals.capacity() * size_of::<Arrival>()
            + ended
            + self.audience.bytes()
            + self.held.memory_bytes()
    }
}

/// The number of the next publication.
fn next(cx: &mut RoomCx<'_>) -> u64 {
    *cx.sequence += 1;
    *cx.sequence
}
