//! Owned: the channels that this shard owns, on a node alone or on one of many.
//!
//! In:  messages for owners; what the broker says.
//! Out: messages for shards with subscribers, and for the broker.

use super::{
    broker::{FromBroker, ToBroker},
    message::{Outgoing, ToOwner},
    owner::{ChannelPolicy, OwnedChannels},
    rooms::Rooms,
};
use crate::{
    memory::Ledger,
    metrics::{Counters, Metric},
    time::Tick,
};

/// The channels of a shard.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "a shard has one, and reaches the usual one without a detour")]
pub(crate) enum Owned {
    /// This node is the only one: it gives out the offsets.
    Alone(OwnedChannels),
    /// Redis gives them out: a room is what this node knows of a channel.
    Rooms(Box<Rooms>),
}

impl Owned {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Alone(owned) => owned.len(),
            Self::Rooms(rooms) => rooms.len(),
        }
    }

    /// Adds the channels' figures to the counters.
    pub(crate) fn report(&self, counters: &mut Counters) {
        counters.set(Metric::Channels, self.len() as u64);
        if let Self::Rooms(rooms) = self {
            rooms.report(counters);
        }
    }

    /// The number of channels with subscribers.
    pub(crate) fn active(&self) -> usize {
        match self {
            Self::Alone(owned) => owned.active(),
            Self::Rooms(rooms) => rooms.len(),
        }
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
        match self {
            Self::Alone(owned) => owned.handle(message, policy, now, ledger, posts),
            Self::Rooms(rooms) => rooms.handle(message, policy, now, ledger, posts),
        }
    }

    /// Handles what the broker says. A node alone has none.
    pub(crate) fn handle_broker(
        &mut self,
        message: FromBroker,
        now: Tick,
        ledger: &mut Ledger,
        posts: &mut Outgoing,
    ) {
        if let Self::Rooms(rooms) = self {
            rooms.handle_broker(message, now, ledger, posts);
        }
    }

    /// True exactly when something is due, or must be dropped because a budget is full.
    pub(crate) fn is_due(&self, now: Tick) -> bool {
        match self {
            Self::Alone(owned) => owned.is_due(now),
            Self::Rooms(rooms) => rooms.is_due(now),
        }
    }

    /// Does what is due, up to the limit of one turn.
    pub(crate) fn tend(&mut self, now: Tick, ledger: &mut Ledger, posts: &mut Outgoing) {
        match self {
            Self::Alone(owned) => owned.tend(now, ledger),
            Self::Rooms(rooms) => rooms.tend(now, ledger, posts),
        }
    }

    /// The broker took none of these.
    pub(crate) fn put_back(&mut self, refused: Vec<ToBroker>, posts: &mut Outgoing) {
        if let Self::Rooms(rooms) = self {
            rooms.put_back(refused, posts);
        }
    }

    /// True exactly when this node is one of many.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Rooms(_))
    }

    /// Adds something for the broker, which a node alone has not.
    pub(crate) fn ask_broker(&mut self, message: ToBroker) {
        if let Self::Rooms(rooms) = self {
            rooms.ask_broker(message);
        }
    }

    /// True exactly when there is something for the broker.
    pub(crate) fn has_for_broker(&self) -> bool {
        matches!(self, Self::Rooms(rooms) if rooms.has_for_broker())
    }

    /// Takes what this turn has for the broker.
    pub(crate) fn take_for_broker(&mut self) -> Vec<ToBroker> {
        match self {
            Self::Alone(_) => Vec::new(),
            Self::Rooms(rooms) => rooms.take_for_broker(),
        }
    }
}
