//! Messages between a channel's owner and the shards of its subscribers.
//!
//! Messages from one shard to another arrive in order. Two guarantees rest on that: a subscriber gets its position
//! before the first publication after it, and an owner never believes that a shard has subscribers after the last one
//! has left.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use holdfast_protocol::client::{ErrorCode, filter::Filter};

use super::{
    history::{AnswerBytes, Page, Position},
    presence::Members,
    publication::{Data, Info, StoredPublication, Tags},
};
use crate::{
    channel::PresenceFlags,
    encoding::EncodedPush,
    ids::{CommandId, ShardId, Ticket},
};

pub(crate) use crate::ids::ClientKey;

/// Where an answer goes that no client waits for.
pub(crate) struct Reply(Box<dyn FnOnce(QueryResult) + Send>);

impl Reply {
    pub(crate) fn new(give: impl FnOnce(QueryResult) + Send + 'static) -> Self {
        Self(Box::new(give))
    }

    pub(crate) fn give(self, outcome: QueryResult) {
        (self.0)(outcome);
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reply")
    }
}

/// The recipient of an answer.
#[derive(Debug)]
pub(crate) enum AnswerTo {
    /// A client's command.
    Client {
        shard: ShardId,
        client: ClientKey,
        /// The command's number.
        command: CommandId,
        /// True exactly when it counts as one of the client's reads.
        is_read: bool,
    },
    /// A request of the server API.
    Api(Reply),
}

/// The outcome of a query or a publication.
pub(crate) type QueryResult = Result<Answer, ErrorCode>;

/// An answer.
#[derive(Debug)]
pub(crate) enum Answer {
    Published(Option<Position>),
    Presence(Members),
    PresenceStats { clients: usize, users: usize },
    History { publications: Vec<Arc<StoredPublication>>, position: Position },
    Done,
}

/// To the owner of a channel.
#[derive(Debug)]
pub(crate) enum ToOwner {
    Subscribe(Box<Subscribe>),
    Unsubscribe {
        channel: Arc<str>,
        shard: ShardId,
        /// The client that left, if presence or leave messages need it.
        info: Option<Arc<Info>>,
        shows: PresenceFlags,
        /// True exactly when the shard has no subscriber of this channel left.
        was_last: bool,
    },
    /// A subscriber's info has changed, and presence is kept.
    Renew {
        channel: Arc<str>,
        info: Arc<Info>,
    },
    Publish(Box<Publish>),
    Ask {
        channel: Arc<str>,
        question: ChannelQuery,
        answer_to: AnswerTo,
    },
}

impl ToOwner {
    /// The destination channel.
    pub(crate) fn channel(&self) -> &str {
        self.channel_name()
    }

    /// The same, from its own memory.
    pub(crate) fn channel_name(&self) -> &Arc<str> {
        match self {
            Self::Subscribe(subscribe) => &subscribe.channel,
            Self::Publish(publish) => &publish.channel,
            Self::Unsubscribe { channel, .. } | Self::Renew { channel, .. } | Self::Ask { channel, .. } => {
                channel
            }
        }
    }

    /// The asking client has no other read under way: the answer may have any length.
    pub(crate) fn allow_long_answer(&mut self) {
        let bytes = match self {
            Self::Subscribe(subscribe) => subscribe.recover.as_mut().map(|recover| &mut recover.bytes),
            Self::Ask { question: ChannelQuery::Presence(bytes), .. } => Some(bytes),
            Self::Ask { question: ChannelQuery::History(page), .. } => Some(&mut page.bytes),
            _ => None,
        };
        if let Some(bytes) = bytes {
            bytes.now_max = usize::MAX;
        }
    }
}

/// A query about a channel.
#[derive(Debug)]
pub(crate) enum ChannelQuery {
    Presence(AnswerBytes),
    PresenceStats,
    History(Page),
    RemoveHistory,
}

/// A client subscribes to a channel.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) channel: Arc<str>,
    pub(crate) shard: ShardId,
    pub(crate) client: ClientKey,
    /// Distinguishes this subscription from the client's others.
    pub(crate) ticket: Ticket,
    /// The command's number, unless the server makes the subscription.
    pub(crate) command: Option<CommandId>,
    /// True exactly when it counts as one of the client's reads.
    pub(crate) is_read: bool,
    /// The position to recover from.
    pub(crate) recover: Option<Recover>,
    /// True exactly when it asks for its position.
    pub(crate) wants_position: bool,
    /// Its info, if presence or join messages need it.
    pub(crate) info: Option<Arc<Info>>,
    pub(crate) shows: PresenceFlags,
    /// Data for the client along with the subscription; returned in the answer.
    pub(crate) data: Option<Bytes>,
}

/// A client's last position in a channel.
#[derive(Debug)]
pub(crate) struct Recover {
    pub(crate) offset: u64,
    pub(crate) epoch: Box<str>,
    /// Maximum number of publications; if more were missed, nothing is recovered.
    pub(crate) limit: usize,
    /// True exactly when only the newest publication is recovered (`force_recovery_mode: cache`).
    pub(crate) cache: bool,
    /// Selects the publications among which the newest counts.
    pub(crate) filter: Option<Arc<Filter>>,
    /// True exactly when the subscription must be refused if recovery is incomplete.
    pub(crate) rejects_loss: bool,
    /// Limit of the answer; beyond it nothing is recovered.
    pub(crate) bytes: AnswerBytes,
}

/// The version of the application's state in a publication. Versions older than the newest one are not published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    /// 0 for none.
    pub(crate) number: u64,
    /// Versions of different epochs are not compared; empty matches any.
    pub(crate) epoch: Box<str>,
}

impl Version {
    /// True exactly when `newest` already includes this version.
    pub(crate) fn is_covered_by(&self, newest: &Self) -> bool {
        let is_same_epoch = self.epoch.is_empty() || self.epoch == newest.epoch;
        self.number > 0 && is_same_epoch && self.number <= newest.number
    }
}

/// A request to publish.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) channel: Arc<str>,
    pub(crate) data: Data,
    pub(crate) info: Option<Arc<Info>>,
    pub(crate) tags: Tags,
    /// True exactly when it must not be kept in the history.
    pub(crate) skip_history: bool,
    /// True exactly when it may be sent as a patch.
    pub(crate) delta: bool,
    /// A publication with a key seen recently is not published again.
    pub(crate) idempotency_key: Box<str>,
    pub(crate) version: Version,
    pub(crate) answer_to: Option<AnswerTo>,
}

impl Publish {
    /// The same publication, answered to nobody.
    pub(super) fn copy(&self) -> Self {
        let Self { channel, data, info, tags, skip_history, delta, idempotency_key, version, answer_to: _ } =
            self;
        Self {
            channel: Arc::clone(channel),
            data: data.clone(),
            info: info.clone(),
            tags: Arc::clone(tags),
            skip_history: *skip_history,
            delta: *delta,
            idempotency_key: idempotency_key.clone(),
            version: version.clone(),
            answer_to: None,
        }
    }
}

/// From an owner to a shard of subscribers.
#[derive(Debug)]
pub(crate) enum FromOwner {
    Deliver(Arc<Delivery>),
    Subscribed(Box<Subscribed>),
    Answered {
        client: ClientKey,
        command: CommandId,
        is_read: bool,
        outcome: QueryResult,
    },
    /// Publications are gone that subscribers with a position do not know of: they must come back.
    PositionLost {
        channel: Arc<str>,
        /// Subscribers from this index on have been told.
        told_from: usize,
    },
    /// A query whose answer is too long to be given beside others: it may be repeated when it is alone.
    TooLongNow {
        client: ClientKey,
        question: Box<ToOwner>,
    },
}

/// Messages of an owner, each with its shard.
pub(crate) type Outgoing = Vec<(ShardId, FromOwner)>;

/// A delivery for all subscribers of a channel.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) channel: Arc<str>,
    /// The publication; `None` for a join or a leave.
    pub(crate) publication: Option<Arc<StoredPublication>>,
    pub(crate) frames: EncodedPush,
    /// For subscribers that take patches.
    pub(crate) for_delta: Option<DeltaFrames>,
}

/// The same publication for subscribers that negotiated deltas.
#[derive(Debug)]
pub(crate) struct DeltaFrames {
    pub(crate) whole: EncodedPush,
    /// Replaces it where that is smaller.
    pub(crate) patch: Option<Patch>,
}

/// A publication as its difference from an earlier one.
#[derive(Debug)]
pub(crate) struct Patch {
    /// [`StoredPublication::sequence`] of that one: usable only if it was the receiver's last publication.
    pub(crate) base: u64,
    pub(crate) frames: EncodedPush,
}

/// The answer to [`Subscribe`].
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) channel: Arc<str>,
    pub(crate) client: ClientKey,
    /// From the [`Subscribe`], as are the next two.
    pub(crate) ticket: Ticket,
    pub(crate) command: Option<CommandId>,
    pub(crate) is_read: bool,
    /// Why the owner refused: it has no room.
    pub(crate) refused: Option<ErrorCode>,
    /// The channel's position.
    pub(crate) position: Option<Position>,
    /// True exactly when the client asked to recover.
    pub(crate) was_recovering: bool,
    /// The missed publications; `None` if they are no longer available.
    pub(crate) recovered: Option<Vec<Arc<StoredPublication>>>,
    /// The offset before the first of them.
    pub(crate) recovered_from: u64,
    /// From the [`Subscribe`].
    pub(crate) data: Option<Bytes>,
}

impl Subscribed {
    /// The answer to a subscription, without a position.
    pub(super) fn of(subscribe: &Subscribe) -> Self {
        Self {
            channel: Arc::clone(&subscribe.channel),
            client: subscribe.client,
            ticket: subscribe.ticket,
            command: subscribe.command,
            is_read: subscribe.is_read,
            refused: None,
            position: None,
            was_recovering: subscribe.recover.is_some(),
            recovered: None,
            recovered_from: 0,
            data: None,
        }
    }

    /// Refuses the subscription.
    pub(super) fn refuse(mut self, shard: ShardId, code: ErrorCode, posts: &mut Outgoing) {
        self.refused = Some(code);
        posts.push((shard, FromOwner::Subscribed(Box::new(self))));
    }

    /// The position to report to the client: the one before the recovered publications, which advance it. If the client
    /// disconnects before it has all of them, it resumes from where it got to.
    pub(crate) fn told_position(&self) -> Option<(u64, &str)> {
        let position = self.position.as_ref()?;
        let offset = if self.recovered.is_some() { self.recovered_from } else { position.offset };
        Some((offset, &position.epoch))
    }
}
