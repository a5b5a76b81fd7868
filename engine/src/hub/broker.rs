//! Broker: messages between the owners on a shard and the thread that talks to Redis.
//!
//! In:  what rooms want of Redis, and those who own a user's connections.
//! Out: what Redis says, in an order on which rooms rely.
//!
//! The messages of one channel, and those of one user, keep their order in both directions. What a reader of publications may have missed is told
//! before anything that came after it: [`FromBroker::Confirmed`] and [`FromBroker::Lagging`] precede the messages that
//! follow them.

use std::{num::NonZeroU64, sync::Arc};

use bytes::{Bytes, BytesMut};
use holdfast_redis::command::LeaseLimit;
use uuid::Uuid;

use super::{
    history::Position,
    message::{AnswerTo, ChannelQuery, Publish, Version},
    presence::Members,
    publication::Info,
};

/// Tells one room of a channel from an earlier one of the same channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RoomNumber(pub(crate) u64);

/// To the broker.
#[derive(Debug)]
pub(crate) enum ToBroker {
    /// Subscribe to a channel. Answered by [`FromBroker::Confirmed`] or [`FromBroker::Refused`], now and after each loss.
    Want(Arc<str>),
    /// Nobody here listens to it any more.
    Unwant(Arc<str>),
    /// Answered by [`FromBroker::Read`].
    Read(Read),
    /// The history ends before a position that was seen: begin a new epoch. Answered by [`FromBroker::Read`].
    Repair { room: RoomKey, known: Position, meta_ttl_ms: u64 },
    /// Answered to the publisher.
    Publish(Box<Outbound>),
    /// Answered to the client or the server API that asks.
    Ask { channel: Arc<str>, question: ChannelQuery, meta_ttl_ms: u64, answer_to: AnswerTo },
    /// A client joins or leaves, as others see it.
    Announce { channel: Arc<str>, info: Arc<Info>, is_join: bool },
    /// A client is present from now on, or has other info.
    Present { channel: Arc<str>, info: Arc<Info> },
    /// It is not any more.
    Absent { channel: Arc<str>, info: Arc<Info> },
    /// These are still present.
    StillPresent { channel: Arc<str>, members: Members },
    /// About the connections of a user.
    Lease { user: Arc<str>, call: LeaseCall },
}

/// What becomes of one connection of a user, which Redis counts over all nodes.
#[derive(Debug)]
pub(crate) enum LeaseCall {
    /// It wants to begin. Answered by [`FromBroker::Leased`].
    Take { lease: NonZeroU64, client: Uuid, limit: LeaseLimit },
    /// It has ended.
    Free { lease: NonZeroU64 },
}

/// Whether a connection may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseOutcome {
    Taken,
    /// The user has as many connections as it may.
    Full,
    /// Redis is away.
    Unknown,
}

/// A room, as answers find it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomKey {
    pub(crate) channel: Arc<str>,
    pub(crate) number: RoomNumber,
}

/// A read of a channel's history.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) room: RoomKey,
    /// The first offset of interest; `None` for the position and the newest publication.
    pub(crate) from: Option<u64>,
    /// The position is forgotten after so long without a read or a publication.
    pub(crate) meta_ttl_ms: u64,
    /// True exactly when a client waits for it. Other reads wait while many are under way.
    pub(crate) is_urgent: bool,
}

/// A publication on its way to all nodes.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) channel: Arc<str>,
    /// The Protobuf message `Publication`, to which the broker adds the time.
    pub(crate) payload: BytesMut,
    /// Whether it is kept, and how.
    pub(crate) keep: Option<Keep>,
    /// Empty for none.
    pub(crate) idempotency_key: Box<str>,
    pub(crate) answer_to: Option<AnswerTo>,
    /// The publication itself, if it is to reach this node's subscribers while Redis is away.
    pub(crate) local: Option<Box<Publish>>,
}

/// How a publication is kept.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) size: usize,
    pub(crate) ttl_ms: u64,
    pub(crate) meta_ttl_ms: u64,
    /// True exactly when other nodes may send it as a patch, which the channel's options do not say.
    pub(crate) is_delta: bool,
    pub(crate) version: Version,
}

/// From the broker.
#[derive(Debug)]
pub(crate) enum FromBroker {
    /// What was published to channels of this shard.
    Messages(Vec<Received>),
    /// Redis says that these are heard from here on.
    Confirmed(Vec<Arc<str>>),
    /// These are not heard. They are asked for again.
    Refused(Vec<Arc<str>>),
    /// Messages of these were dropped, because this node could not keep up.
    Lagging(Vec<Arc<str>>),
    /// `None`: Redis did not answer.
    Read(RoomKey, Option<ReadResult>),
    /// A publication reached no other node: Redis is away.
    Undelivered(Box<Publish>),
    /// The history of a channel was removed, on whatever node.
    HistoryRemoved(Arc<str>),
    /// The answer to [`LeaseCall::Take`].
    Leased { user: Arc<str>, lease: NonZeroU64, outcome: LeaseOutcome },
}

/// A message of pub/sub.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) channel: Arc<str>,
    /// A frame ([`holdfast_redis::frame`]).
    pub(crate) frame: Bytes,
}

/// What a channel's history has.
#[derive(Debug)]
pub(crate) struct ReadResult {
    pub(crate) top: Position,
    /// The first offset that was asked for; `None` for the newest publication alone.
    pub(crate) from: Option<u64>,
    /// Offsets with the Protobuf messages `Publication`, in order.
    pub(crate) entries: Vec<(u64, Bytes)>,
}
