//! Channel: an owner's state of one channel.
//!
//! In:  subscribers' shards, publications, reads of the position, the time.
//! Out: when it next expires, how old its contents are, their cost.
//!
//! It exists while a shard has subscribers, while a client is present, or while it has a position that a client may
//! return with, that is, after a publication. An offset of 0 is not kept: see [`Epochs`](super::epochs::Epochs).

use std::sync::Arc;

use super::epochs::NameHash;
use crate::{
    hub::{
        audience::Audience,
        history::{Epoch, History, Position},
        message::{Delivery, Outgoing, Publish, Version},
        presence::Presence,
        publication::StoredPublication,
    },
    ids::ShardId,
    memory::{Budget, Ledger, arc_str_bytes},
    time::Tick,
};

/// A channel's configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChannelPolicy {
    /// Publications kept; 0 for no history.
    pub(crate) history_size: usize,
    /// Lifetime of the history after the last publication.
    pub(crate) history_ttl_ms: u64,
    /// Lifetime of the position after that.
    pub(crate) history_meta_ttl_ms: u64,
    /// True exactly when presence queries are allowed.
    pub(crate) presence: bool,
    /// True exactly when subscribers may take patches.
    pub(crate) delta: bool,
    /// True exactly when all publications may be sent as patches.
    pub(crate) delta_publish: bool,
    /// True exactly when publications are delivered on this node while Redis is away; then there is no history. They
    /// reach no other node, now or later. False: publishing fails meanwhile. Without meaning where there is no Redis.
    pub(crate) stays_local: bool,
}

impl ChannelPolicy {
    /// Lifetime of the position after the last publication or read of it.
    pub(crate) fn position_ttl_ms(self) -> u64 {
        self.history_meta_ttl_ms.max(self.history_ttl_ms)
    }

    pub(crate) fn keeps_history(self) -> bool {
        self.history_size > 0 && self.history_ttl_ms > 0
    }
}

/// What a publication needs beside its channel.
pub(super) struct Publishing<'a> {
    pub(super) policy: ChannelPolicy,
    /// True exactly when the history keeps it.
    pub(super) keeps: bool,
    pub(super) now: Tick,
    /// The number of the shard's newest publication.
    pub(super) sequence: &'a mut u64,
}

/// The outcome of a publication.
pub(super) enum Published {
    /// It was published now. Its position, if it was kept.
    Now(Option<Position>),
    /// The channel has its version or a newer one already.
    Before(Position),
}

#[derive(Debug)]
pub(super) struct OwnedChannel {
    pub(super) name: Arc<str>,
    pub(super) hash: NameHash,
    /// The last publication or read of its position.
    pub(super) used: Tick,
    /// When the history's publications expire, and when its position expires unless a client is subscribed.
    history_until: Tick,
    position_until: Tick,
    pub(super) history: Option<Box<History>>,
    /// The last publication, in the history or not, if patches may be based on it.
    pub(super) last: Option<Arc<StoredPublication>>,
    /// The newest version published and kept.
    pub(super) version: Option<Box<Version>>,
    /// The shards with subscribers.
    pub(super) shards: Audience,
    pub(super) presence: Option<Box<Presence>>,
    /// The bytes charged to the ledger for it.
    charged_history: usize,
    charged_channels: usize,
}

impl OwnedChannel {
    pub(super) fn new(name: Arc<str>, hash: NameHash, now: Tick) -> Self {
        Self {
            name,
            hash,
            used: now,
            history_until: Tick(0),
            position_until: Tick(0),
            history: None,
            last: None,
            version: None,
            shards: Audience::default(),
            presence: None,
            charged_history: 0,
            charged_channels: 0,
        }
    }

    pub(super) fn is_needed(&self) -> bool {
        self.is_in_use() || self.has_position()
    }

    /// True exactly when a client is subscribed or present.
    pub(super) fn is_in_use(&self) -> bool {
        !self.shards.is_empty() || self.presence.is_some()
    }

    /// True exactly when its position is worth keeping.
    pub(super) fn has_position(&self) -> bool {
        self.history.as_ref().is_some_and(|history| history.position().offset > 0)
    }

    /// A shard has no subscriber left. True exactly when it was the last one. The position then lives as long as after
    /// a publication.
    pub(super) fn leave(&mut self, shard: ShardId, policy: ChannelPolicy, now: Tick) -> bool {
        let was_last = self.shards.leave(shard);
        if self.shards.is_empty() {
            self.prolong(policy, now);
        }
        was_last
    }

    /// Its history; a new one gets `epoch`. Any request for a position extends the position's life; only a publication
    /// extends that of the publications.
    pub(super) fn history(
        &mut self,
        epoch: impl FnOnce() -> Epoch,
        policy: ChannelPolicy,
        now: Tick,
    ) -> &mut History {
        self.prolong(policy, now);
        self.history.get_or_insert_with(|| Box::new(History::new(epoch())))
    }

    pub(super) fn prolong(&mut self, policy: ChannelPolicy, now: Tick) {
        self.used = now;
        self.position_until = now.after_ms(policy.position_ttl_ms());
    }

    /// Stores a publication, encodes it, and has it delivered. A new history gets `epoch`.
    pub(super) fn publish(
        &mut self,
        publish: Publish,
        publishing: Publishing<'_>,
        epoch: impl FnOnce() -> Epoch,
        posts: &mut Outgoing,
    ) -> Published {
        let Publishing { policy, keeps, now, sequence } = publishing;
        let Publish { channel, data, info, tags, delta, version, .. } = publish;
        let mut offset = 0;
        if keeps {
            if let Some(position) = self.covers(&version) {
                return Published::Before(position);
            }
            offset = self.history(epoch, policy, now).next_offset();
        }
        *sequence += 1;
        let stored = Arc::new(StoredPublication { data, info, tags, offset, sequence: *sequence });
        // The base of a patch is the publication before this one.
        let delivery = (!self.shards.is_empty()).then(|| {
            let base = self.last.as_deref().filter(|_| delta || policy.delta_publish);
            Delivery::of_publication(channel, &stored, base, policy.delta)
        });
        let position = keeps.then(|| self.store(&stored, version, policy, now)).flatten();
        if policy.delta {
            self.last = Some(stored);
        }
        if let Some(delivery) = delivery {
            self.shards.deliver(posts, delivery);
        }
        Published::Now(position)
    }

    /// Appends the next publication to the history. Returns its position.
    fn store(
        &mut self,
        stored: &Arc<StoredPublication>,
        version: Version,
        policy: ChannelPolicy,
        now: Tick,
    ) -> Option<Position> {
        let history = self.history.as_mut()?;
        self.history_until = now.after_ms(policy.history_ttl_ms);
        history.push(Arc::clone(stored), policy.history_size);
        if version.number > 0 {
            self.version = Some(Box::new(version));
        }
        Some(history.position())
    }

    /// Its position, if the version to be published is not newer than the last one.
    fn covers(&self, version: &Version) -> Option<Position> {
        let (history, newest) = (self.history.as_ref()?, self.version.as_ref()?);
        version.is_covered_by(newest).then(|| history.position())
    }

    /// Drops its publications; the position stays.
    pub(super) fn clear(&mut self) {
        if let Some(history) = &mut self.history {
            history.clear();
            self.last = None;
        }
    }

    /// Drops what has expired. Returns the epoch of an expired position.
    pub(super) fn expire(&mut self, now: Tick) -> Option<Epoch> {
        if self.history_until <= now {
            self.clear();
        }
        if self.position_until <= now && self.shards.is_empty() {
            return self
                .history
                .take_if(|history| history.position().offset > 0)
                .map(|gone| gone.position().epoch);
        }
        None
    }

    /// Its next expiry.
    pub(super) fn due(&self) -> Option<Tick> {
        let history = self.history.as_ref()?;
        if !history.is_empty() {
            Some(self.history_until)
        } else if self.shards.is_empty() && self.has_position() {
            Some(self.position_until)
        } else {
            None
        }
    }

    /// The sequence number of its oldest publication.
    pub(super) fn oldest_sequence(&self) -> Option<u64> {
        let last = self.last.as_ref().map(|stored| stored.sequence);
        let history = self.history.as_ref().and_then(|history| history.oldest_sequence());
        last.into_iter().chain(history).min()
    }

    /// Drops the publication of [`OwnedChannel::oldest_sequence`].
    pub(super) fn drop_oldest(&mut self) {
        let oldest = self.oldest_sequence();
        self.last.take_if(|stored| Some(stored.sequence) == oldest);
        if let Some(history) = self.history.as_mut().filter(|history| history.oldest_sequence() == oldest) {
            history.drop_oldest();
        }
    }

    /// Charges its current memory to the ledger.
    pub(super) fn settle(&mut self, ledger: &mut Ledger) {
        let (history, channels) = (self.history_bytes(), self.record_bytes());
        ledger.recharge(Budget::History, self.charged_history, history);
        ledger.recharge(Budget::Channels, self.charged_channels, channels);
        (self.charged_history, self.charged_channels) = (history, channels);
    }

    /// The channel is dropped: releases its charges.
    pub(super) fn release(&self, ledger: &mut Ledger) {
        ledger.release(Budget::History, self.charged_history);
        ledger.release(Budget::Channels, self.charged_channels);
    }

    /// Memory of its publications.
    fn history_bytes(&self) -> usize {
        let history = self.history.as_ref();
        let newest = history.and_then(|history| history.newest());
        let last = self.last.as_ref().filter(|&last| newest.is_none_or(|newest| !Arc::ptr_eq(newest, last)));
        history.map_or(0, |history| history.bytes()) + last.map_or(0, |last| last.cost_bytes())
    }

    /// Memory of everything else.
    fn record_bytes(&self) -> usize {
        let history = self.history.as_ref().map_or(0, |history| size_of::<History>() + history.epoch_bytes());
        let version = self.version.as_ref().map_or(0, |version| size_of::<Version>() + version.epoch.len());
        let presence = self.presence.as_ref().map_or(0, |presence| size_of::<Presence>() + presence.bytes());
        let shards = self.shards.bytes();
        size_of::<Self>() + arc_str_bytes(&self.name) + history + version + presence + shards
    }
}
