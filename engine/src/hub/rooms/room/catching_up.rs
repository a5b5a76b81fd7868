//! Catching up: a room reads what it missed, and goes on from there.
//!
//! In:  what is to be read; what Redis answers.
//! Out: deliveries in order; that publications are gone; questions to the broker.

use std::{
    hash::{DefaultHasher, Hasher as _},
    sync::Arc,
};

use bytes::Bytes;
use holdfast_redis::publication::decode_publication;

use super::{Room, RoomCx, next};
use crate::{
    hub::{
        broker::{Read, ReadResult, ToBroker},
        history::{History, Position},
        message::{Delivery, FromOwner, Recover},
        publication::StoredPublication,
        rooms::{
            held::Waiting,
            reads::{Question, What},
        },
        wire,
    },
    metrics::Lost,
};

/// So many epochs are known again that had ended.
const ENDED_MAX: usize = 4;

/// A read that failed is repeated after so long, up to twice that.
const RETRY_MS: u64 = 1_000;

impl Room {
    /// Reads the position and what follows the one known here, and perhaps the history from an earlier offset on; after
    /// the read that is under way, if one is. Returns the number of the read.
    pub(super) fn read(&mut self, from: Option<u64>, is_urgent: bool, cx: &mut RoomCx<'_>) -> u64 {
        let number = self.reads.want(from);
        self.ask(is_urgent, cx);
        number
    }

    /// Reads what the first subscribers need: what the one that missed most of them missed, and the position. The last
    /// publication that it got goes along: usually nothing came after it, and then it is the one to go on from.
    pub(super) fn read_first(&mut self, cx: &mut RoomCx<'_>) {
        let recovers = self.arrivals.iter().filter_map(|arrival| arrival.subscribe.recover.as_ref());
        let first = |recover: &Recover| if recover.cache { 1 } else { recover.offset.max(1) };
        let from = recovers.map(first).min();
        self.read(from, true, cx);
    }

    /// Asks what is to be asked next, if nothing is under way.
    pub(super) fn ask(&mut self, is_urgent: bool, cx: &mut RoomCx<'_>) {
        let position = self.history.as_ref().map(|history| history.position());
        let heard = position.as_ref().map_or(0, |known| self.held.heard(&known.epoch));
        let offset = position.as_ref().map(|known| known.offset);
        let Some(what) = self.reads.next(offset, heard, is_urgent) else { return };
        self.held.ask();
        let (room, meta_ttl_ms) = (self.key.clone(), self.policy.position_ttl_ms());
        cx.to_broker.push(match (what, position) {
            (What::NewEpoch, Some(Position { epoch, .. })) => {
                // However far the history has come since: what this node knows of it is no part of it.
                let known = Position { offset: u64::MAX, epoch };
                ToBroker::Repair { room, known, meta_ttl_ms }
            }
            (What::History { from }, _) => {
                let is_urgent = is_urgent || !self.arrivals.is_empty();
                ToBroker::Read(Read { room, from, meta_ttl_ms, is_urgent })
            }
            (What::NewEpoch, None) => unreachable!("what is not known cannot go back"),
        });
    }

    /// The history has gone back: not all that this node has delivered is part of it.
    pub(super) fn repair(&mut self, known: &Position, cx: &mut RoomCx<'_>) {
        if self.reads.is_broken() {
            return;
        }
        tracing::warn!(
            channel = &*self.key.channel,
            offset = known.offset,
            epoch = &*known.epoch,
            "Redis lost publications that it had acknowledged: the channel gets a new epoch, and subscribers with a position are told. Did a replica become the primary? See min-replicas-to-write in docs/operations"
        );
        cx.figures.offsets_gone_back += 1;
        self.reads.want_new_epoch();
        self.ask(false, cx);
    }

    /// A read or a repair is answered.
    pub(in crate::hub::rooms) fn take_read(&mut self, read: Option<ReadResult>, cx: &mut RoomCx<'_>) {
        let Some(question) = self.reads.answered() else { return };
        let Some(mut read) = read else {
            self.reads.failed(question, self.soon(RETRY_MS, RETRY_MS, cx.now));
            return self.refuse_all(cx);
        };
        // Redis may have dropped the position alone: publications beyond it are of an earlier epoch.
        read.entries.retain(|(offset, _)| *offset <= read.top.offset);
        if let What::History { from } = question.what
            && question.is_confirmed_since
        {
            // It may be of another line of the history than all that is heard from now on, and what was heard until then is
            // not known any more. Another one is wanted already; this one can only show that the history has gone back.
            self.reads.want(from);
            if let Some(position) = self.history.as_ref().map(|history| history.position())
                && position.epoch == read.top.epoch
                && self.has_gone_back(&position, &read, question)
            {
                self.repair(&position, cx);
            }
            return self.ask(false, cx);
        }
        self.checked = cx.now;
        self.is_current |= question.is_current;
        self.take_history(read, question, cx);
        if let Some(position) = self.history.as_ref().map(|history| history.position())
            && self.held.has_gone_back(&position.epoch)
        {
            // It did while another epoch was known here.
            self.repair(&position, cx);
        }
        if self.is_live() {
            self.admit_all(cx);
        }
        self.ask(false, cx);
        self.release_held(cx);
    }

    fn take_history(&mut self, read: ReadResult, question: Question, cx: &mut RoomCx<'_>) {
        let Some(position) = self.history.as_ref().map(|history| history.position()) else {
            return self.begin_if_known(read, question, cx);
        };
        if read.top.epoch.is_empty() {
            // Redis has lost the whole channel, and only a read begins a new epoch there.
            self.end_epoch(position, cx);
            self.begin_again(1, cx);
        } else if position.epoch != read.top.epoch || question.what == What::NewEpoch {
            let is_the_same = position.epoch == read.top.epoch;
            self.end_epoch(position, cx);
            if is_the_same {
                // Nobody had to begin a new one: what was taken for a sign was none.
                self.ended.pop();
            }
            self.begin_if_known(read, question, cx);
        } else if self.reads.is_broken() {
            // It does not matter any more.
        } else if self.has_gone_back(&position, &read, question) {
            self.repair(&position, cx);
        } else {
            let ReadResult { top, from, entries } = read;
            self.catch_up(&position, &top, from, &entries, cx);
        }
    }

    /// True exactly when not all that is known here is part of the history.
    fn has_gone_back(&self, position: &Position, read: &ReadResult, question: Question) -> bool {
        // Publications that were heard while the read was on its way do not count: it may be older than they are.
        let is_behind = read.top.offset < question.known;
        let is_known =
            |offset: u64| offset <= position.offset || self.held.get(&position.epoch, offset).is_some();
        is_behind || self.knows_others(position, read.entries.iter().filter(|(offset, _)| is_known(*offset)))
    }

    /// True exactly when another publication than one of these is known here at its offset.
    fn knows_others<'a>(
        &self,
        position: &Position,
        mut entries: impl Iterator<Item = &'a (u64, Bytes)>,
    ) -> bool {
        entries.any(|(offset, payload)| {
            decode_publication(payload)
                .is_ok_and(|publication| self.knows_another(position, *offset, publication.data.bytes()))
        })
    }

    /// True exactly when another publication than this one is known here at an offset of the present epoch.
    pub(super) fn knows_another(&self, position: &Position, offset: u64, data: &[u8]) -> bool {
        if let Some(held) = self.held.get(&position.epoch, offset) {
            return held.data.bytes != data;
        }
        let kept = self.history.as_ref().and_then(|history| history.get(offset));
        match (kept, self.forgotten) {
            (Some(kept), _) => kept.data.bytes != data,
            (None, Some((forgotten, mark))) => forgotten == offset && mark != mark_of(data),
            (None, None) => false,
        }
    }

    /// The newest publication is about to be dropped: what is needed to know it again stays.
    pub(super) fn forget_newest(&mut self) {
        let newest = self.history.as_ref().and_then(|history| history.newest());
        if let Some(newest) = newest {
            self.forgotten = Some((newest.offset, mark_of(&newest.data.bytes)));
        }
    }

    /// An epoch has ended. If it comes back, it is a replica's that does not know of it.
    fn end_epoch(&mut self, mut position: Position, cx: &mut RoomCx<'_>) {
        self.held.forget(&position.epoch);
        if self.reads.is_broken() {
            // Whatever it has then, not all that was delivered is part of it.
            position.offset = u64::MAX;
        }
        self.reads.mended();
        self.ended.retain(|ended| ended.epoch != position.epoch);
        if self.ended.len() == ENDED_MAX {
            self.ended.remove(0);
        }
        self.ended.push(position);
        self.lose(Lost::Epoch, cx);
    }

    /// Takes a position, or reads what is there first: the question was about what comes later, and a position whose
    /// publication is not known could not be told from the same one in another line of the history.
    fn begin_if_known(&mut self, read: ReadResult, question: Question, cx: &mut RoomCx<'_>) {
        let ReadResult { top, entries, .. } = read;
        let (from, is_shown) = match question.what {
            What::History { from } => (from, from.is_none_or(|from| from <= top.offset)),
            What::NewEpoch => (None, false),
        };
        if is_shown || top.offset == 0 {
            return self.begin(top, from, &entries, cx);
        }
        let number = self.begin_again(top.offset, cx);
        // That read has all that there is for those who say that they were further.
        for arrival in &mut self.arrivals {
            let recover = arrival.subscribe.recover.as_ref().filter(|recover| !recover.cache);
            if recover.is_some_and(|recover| recover.offset > top.offset) {
                arrival.read = Some(number);
            }
        }
    }

    /// Nothing is known here any more, until it has been read. Returns the number of the read.
    fn begin_again(&mut self, from: u64, cx: &RoomCx<'_>) -> u64 {
        self.history = None;
        self.began = cx.now;
        self.reads.want(Some(from))
    }

    /// The publication at the position is heard. It may be the only time that it is seen here.
    pub(super) fn recall(&mut self, offset: u64, data: &[u8]) {
        if self.history.as_ref().is_some_and(|history| history.is_empty()) {
            self.forgotten = Some((offset, mark_of(data)));
        }
    }

    /// Takes a position and the publications up to it, unless something is missing between them.
    fn begin(&mut self, top: Position, from: Option<u64>, entries: &[(u64, Bytes)], cx: &mut RoomCx<'_>) {
        let mut history = Box::new(History::at(top));
        self.prepend(&mut history, entries, cx);
        self.complete_from = history.first_offset().min(from.unwrap_or(u64::MAX));
        if !history.is_empty() {
            self.history_until = cx.now.after_ms(self.policy.history_ttl_ms);
        }
        // Where the history was removed since, or has expired, it may have been heard.
        let Position { offset, epoch } = history.position();
        let heard = self.held.get(&epoch, offset).filter(|_| history.is_empty());
        self.forgotten = heard.map(|heard| (offset, mark_of(&heard.data.bytes)));
        self.history = Some(history);
        let was_further = self.ended.iter().any(|ended| ended.epoch == epoch && ended.offset > offset);
        let position = Position { offset, epoch };
        // Other publications may have been heard meanwhile than were read.
        if was_further || self.knows_others(&position, entries.iter()) {
            self.repair(&position, cx);
        }
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
            let before = history.len();
            self.prepend(&mut history, entries, cx);
            if history.len() > before {
                self.history_until = self.history_until.max(cx.now.after_ms(self.policy.history_ttl_ms));
            }
            if history.first_offset() <= top.offset + 1 {
                self.complete_from = from;
            }
            self.history = Some(history);
        }
        let mut healed = 0;
        for (offset, payload) in entries.iter().filter(|(offset, _)| *offset > position.offset) {
            let at = self.history.as_ref().map_or(0, |history| history.position().offset);
            if *offset != at + 1 {
                break;
            }
            let Ok(publication) = decode_publication(payload) else { break };
            let stored = wire::stored(&publication, *offset, next(cx));
            self.advance(Arc::new(stored), false, cx);
            healed += 1;
        }
        cx.figures.heals += u64::from(healed > 0);
        cx.figures.healed_publications += healed;
        let reached = self.history.as_ref().map_or(0, |history| history.position().offset);
        if reached < top.offset {
            // The history is too short, or was removed: what is missing is gone.
            self.lose(Lost::History, cx);
            self.begin(top.clone(), from, entries, cx);
        }
    }

    /// Releases what was held, as far as nothing is missing before it.
    fn release_held(&mut self, cx: &mut RoomCx<'_>) {
        while self.reads.is_idle()
            && let Some(history) = &self.history
        {
            let Position { offset, epoch } = history.position();
            if let Some(Waiting { mut stored, delta }) = self.held.next_after(offset, &epoch) {
                stored.sequence = next(cx);
                self.advance(Arc::new(stored), delta, cx);
            } else if self.held.heard(&epoch) > offset {
                self.read(None, false, cx);
            } else if self.held.is_of_newer_epoch(&epoch) {
                self.read(Some(1), false, cx);
            } else {
                // Whatever is left is of an epoch that has ended.
                return self.held.clear();
            }
        }
    }

    /// Publications are gone: subscribers with a position are told.
    fn lose(&mut self, why: Lost, cx: &mut RoomCx<'_>) {
        cx.figures.lost(why);
        self.last = None;
        let channel = &self.key.channel;
        self.audience.tell(cx.posts, || FromOwner::PositionLost {
            channel: Arc::clone(channel),
            told_from: usize::MAX,
        });
    }

    /// The publication after the position.
    pub(super) fn advance(&mut self, stored: Arc<StoredPublication>, delta: bool, cx: &mut RoomCx<'_>) {
        self.checked = cx.now;
        self.history_until = cx.now.after_ms(self.policy.history_ttl_ms);
        if let Some(history) = &mut self.history {
            history.push(Arc::clone(&stored), self.policy.history_size);
        }
        self.deliver(stored, delta, cx);
    }

    pub(super) fn deliver(&mut self, stored: Arc<StoredPublication>, delta: bool, cx: &mut RoomCx<'_>) {
        let base = self.last.as_deref().filter(|_| delta || self.policy.delta_publish);
        let channel = Arc::clone(&self.key.channel);
        let delivery = Delivery::of_publication(channel, &stored, base, self.policy.delta);
        if self.policy.delta {
            self.last = Some(stored);
        }
        self.audience.deliver(cx.posts, delivery);
    }

    /// The history was removed; the position stays.
    pub(in crate::hub::rooms) fn forget_history(&mut self) {
        self.forget_newest();
        if let Some(history) = &mut self.history {
            history.clear();
            // What was published since it was removed, Redis has.
            self.complete_from = history.next_offset();
            self.last = None;
        }
    }
}

/// Tells publications apart.
fn mark_of(data: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(data);
    hasher.finish()
}
