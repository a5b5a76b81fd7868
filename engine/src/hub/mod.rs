//! Hub: channels.
//!
//! In:  subscriptions, publications and queries, from this shard's clients, other shards and the server API.
//! Out: publications to this shard's subscribers; answers.
//!
//! Every channel has an owner shard, chosen by a hash of its name: [`owner`] orders its publications, keeps its history
//! and its presence, and knows which shards have subscribers. [`subscriptions`] knows the subscribers of this shard. The
//! messages between the two are in [`message`], even if both are on one shard. `/broadcast`, which has no owner, is in
//! [`broadcast`].
//!
//! Receivers are known by types of the layer above ([`receivers`]): nothing here knows of sockets, transports or threads.
//!
//! No I/O, no clock.

pub(crate) mod audience;
pub(crate) mod broadcast;
pub(crate) mod broker;
pub(crate) mod conflation;
mod cost;
mod gathered;
pub(crate) mod history;
pub(crate) mod message;
pub(crate) mod owned;
pub(crate) mod owner;
mod patches;
pub(crate) mod presence;
pub(crate) mod publication;
pub(crate) mod receivers;
mod recover;
pub(crate) mod rooms;
pub(crate) mod subscriptions;
pub(crate) mod wire;

use self::{
    broadcast::Broadcast, conflation::Conflation, message::Outgoing, owned::Owned, owner::OwnedChannels,
    receivers::Receivers, rooms::Rooms, subscriptions::Subscriptions,
};
use crate::{
    config::{Config, EngineType},
    metrics::{Counters, Metric},
};

pub(crate) use self::gathered::Gathered;

/// The policy for the channels of a shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HubPolicy {
    /// How long Redis keeps the presence of a client that nobody refreshes; `None` on a node alone.
    pub(crate) cluster_presence_ms: Option<u64>,
    /// How long an idempotency key is remembered.
    pub(crate) idempotency_ms: u64,
    /// The most bytes that are gathered for a subscriber in a turn.
    pub(crate) gathered_bytes_max: usize,
}

impl HubPolicy {
    /// The channels of a shard; `secret` is its own.
    pub(crate) fn owned(&self, secret: u64) -> Owned {
        match self.cluster_presence_ms {
            None => Owned::Alone(OwnedChannels::new(self.idempotency_ms, secret)),
            Some(presence_ms) => Owned::Rooms(Box::new(Rooms::new(presence_ms, secret))),
        }
    }
}

impl From<&Config> for HubPolicy {
    fn from(config: &Config) -> Self {
        Self {
            cluster_presence_ms: (config.engine.engine_type == EngineType::Redis)
                .then_some(config.engine.redis.presence_ttl_ms),
            idempotency_ms: config.channel.idempotency_ttl_ms,
            gathered_bytes_max: config.client.queue_max_size_bytes as usize,
        }
    }
}

/// The channels of a shard, for receivers of the kind `R`.
pub(crate) struct Hub<R: Receivers> {
    /// The members of `/broadcast`.
    pub(crate) broadcast: Broadcast<R::Member>,
    /// Channels that this shard owns.
    pub(crate) owned: Owned,
    /// Channels with subscribers on this shard.
    pub(crate) subscriptions: Subscriptions<R::Path>,
    /// Publications before their fan-out.
    pub(crate) gathered: Gathered,
    /// Publications for slow readers in channels with conflation.
    pub(crate) slow: Conflation<R::Connection>,
    pub(crate) outgoing: Outgoing,
}

impl<R: Receivers> Hub<R> {
    /// `has_others`: there are other shards.
    pub(crate) fn new(owned: Owned, gathered: Gathered, has_others: bool) -> Self {
        Self {
            broadcast: Broadcast::new(has_others),
            owned,
            subscriptions: Subscriptions::default(),
            gathered,
            slow: Conflation::default(),
            outgoing: Vec::new(),
        }
    }

    fn gathered_bytes(&self) -> usize {
        self.gathered.channel_bytes + self.broadcast.local_bytes()
    }

    /// True exactly when the gathered publications must go out before more is published.
    pub(crate) fn has_gathered_enough(&self) -> bool {
        self.gathered.is_enough(self.gathered_bytes(), || self.broadcast.receivers())
    }

    /// True exactly when gathered publications wait for the writes of the last fan-out.
    pub(crate) fn is_gathering(&self) -> bool {
        self.gathered_bytes() > 0
    }

    /// Adds the figures of channels and subscribers to the counters.
    pub(crate) fn report(&self, counters: &mut Counters) {
        counters.set(Metric::BroadcastMembers, self.broadcast.members().len() as u64);
        counters.set(Metric::Subscriptions, self.subscriptions.subscribers() as u64);
        self.owned.report(counters);
    }
}
