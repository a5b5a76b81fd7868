//! Hub: channels.
//!
//! In:  subscriptions, publications and queries, from this shard's clients, other shards and the server API.
//! Out: publications to this shard's subscribers; answers.
//!
//! Every channel has an owner shard, chosen by a hash of its name: [`owner`] orders its publications, keeps its history
//! and its presence, and knows which shards have subscribers. [`local`] knows the subscribers of this shard. The
//! messages between the two are in [`message`], even if both are on one shard. `/broadcast`, which has no owner, is in
//! [`broadcast`].
//!
//! No I/O, no clock.

pub(crate) mod broadcast;
pub(crate) mod conflation;
mod cost;
mod gathered;
pub(crate) mod history;
pub(crate) mod local;
pub(crate) mod message;
pub(crate) mod owner;
pub(crate) mod presence;
pub(crate) mod publication;

pub(crate) use self::gathered::Gathered;
use self::{
    broadcast::Broadcast,
    local::Subscriptions,
    owner::{Outgoing, OwnedChannels},
};
use crate::hub::conflation::Conflation;
use crate::metrics::{Counters, Metric};

/// The channels of a shard.
pub(crate) struct Hub {
    /// The members of `/broadcast`.
    pub(crate) broadcast: Broadcast,
    /// Channels that this shard owns.
    pub(crate) homes: OwnedChannels,
    /// Channels with subscribers on this shard.
    pub(crate) locals: Subscriptions,
    /// Publications before their fan-out.
    pub(crate) gathered: Gathered,
    /// Publications for slow readers in channels with conflation.
    pub(crate) slow: Conflation,
    pub(crate) posts: Outgoing,
}

impl Hub {
    /// `has_others`: there are other shards.
    pub(crate) fn new(homes: OwnedChannels, gathered: Gathered, has_others: bool) -> Self {
        Self {
            broadcast: Broadcast::new(has_others),
            homes,
            locals: Subscriptions::default(),
            gathered,
            slow: Conflation::default(),
            posts: Vec::new(),
        }
    }

    /// Adds the figures of channels and subscribers to the counters.
    pub(crate) fn report(&self, counters: &mut Counters) {
        counters.set(Metric::BroadcastMembers, self.broadcast.members() as u64);
        counters.set(Metric::Subscriptions, self.locals.subscribers() as u64);
        counters.set(Metric::Channels, self.homes.len() as u64);
    }
}
