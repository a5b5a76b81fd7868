//! Hub: channels.
//!
//! In:  subscriptions, publications and questions, from this core's clients, from other cores and from the server API.
//! Out: publications to this core's subscribers; answers.
//!
//! Every channel has a home core, by a hash of its name: [`home`] orders its publications, keeps its history and its
//! presence, and knows which cores have subscribers. [`local`] knows the subscribers of this core. What passes between
//! the two is in [`message`], even where both are on one core. `/broadcast`, which has no home, is in [`broadcast`].
//!
//! No I/O, no clock.

pub(crate) mod broadcast;
pub(crate) mod conflation;
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
    /// Channels whose home this core is.
    pub(crate) homes: OwnedChannels,
    /// Channels that have subscribers on this core.
    pub(crate) locals: Subscriptions,
    /// What is published and has not gone out.
    pub(crate) gathered: Gathered,
    /// What waits for those who do not keep up, where not all of it has to.
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

    /// Tells what there is of channels and their subscribers.
    pub(crate) fn report(&self, counters: &mut Counters) {
        counters.set(Metric::BroadcastMembers, self.broadcast.members() as u64);
        counters.set(Metric::Subscriptions, self.locals.subscribers() as u64);
        counters.set(Metric::Channels, self.homes.len() as u64);
    }
}
