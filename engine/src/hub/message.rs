//! Messages between a channel's home core and the cores of its subscribers.
//!
//! In:  nothing.
//! Out: nothing; these are the words.
//!
//! A core's messages to another one arrive in the order in which they were sent. Two things rest on that: a subscriber
//! is told its position before it gets the first publication after it, and a home never believes that a core has
//! subscribers after the last one has left.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::client::{ErrorCode, filter::Filter};
use tokio::sync::oneshot;

use super::{
    history::{Page, Position},
    presence::Members,
    publication::{Data, EncodedPush, Info, StoredPublication, Tags},
};

pub(crate) use crate::ids::ClientKey;

/// To whom an answer goes.
#[derive(Debug)]
pub(crate) enum AnswerTo {
    /// A client's command.
    Client {
        core: usize,
        client: ClientKey,
        /// The command's number.
        command: u32,
        /// True exactly when it counts among the client's reads.
        is_read: bool,
    },
    /// A request of the server API.
    Api(oneshot::Sender<QueryResult>),
}

/// What came of a question or a publication.
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

/// How long an answer may be, about, in bytes of what a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerBytes {
    /// Beside others: a longer one is not given now, and the question comes back.
    pub(crate) now_max: usize,
    /// In any case.
    pub(crate) max: usize,
}

impl AnswerBytes {
    /// No limit.
    pub(crate) const ANY: Self = Self { now_max: usize::MAX, max: usize::MAX };
}

/// To the home of a channel.
#[derive(Debug)]
pub(crate) enum ToOwner {
    Subscribe(Box<Subscribe>),
    Unsubscribe {
        channel: Arc<str>,
        core: usize,
        /// The client that left, where its presence is kept or its leave is told.
        info: Option<Arc<Info>>,
        shows: PresenceFlags,
        /// True exactly when the core has no subscriber of this channel left.
        was_last: bool,
    },
    /// Others are to see a subscriber otherwise, where its presence is kept.
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
    /// The channel that it is for.
    pub(crate) fn channel(&self) -> &str {
        self.channel_name()
    }

    /// The same, as its own memory holds it.
    pub(crate) fn channel_name(&self) -> &Arc<str> {
        match self {
            Self::Subscribe(subscribe) => &subscribe.channel,
            Self::Publish(publish) => &publish.channel,
            Self::Unsubscribe { channel, .. } | Self::Renew { channel, .. } | Self::Ask { channel, .. } => {
                channel
            }
        }
    }

    /// Nothing else is under way for who asks: the answer may be as long as any.
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

/// What can be asked of a channel.
#[derive(Debug)]
pub(crate) enum ChannelQuery {
    Presence(AnswerBytes),
    PresenceStats,
    History(Page),
    RemoveHistory,
}

/// Where others see a subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PresenceFlags {
    /// True exactly when it is in the channel's presence.
    pub(crate) presence: bool,
    /// True exactly when its coming and going is told.
    pub(crate) join_leave: bool,
}

impl PresenceFlags {
    pub(crate) fn is_seen(self) -> bool {
        self.presence || self.join_leave
    }
}

/// A client wants to hear a channel.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) channel: Arc<str>,
    pub(crate) core: usize,
    pub(crate) client: ClientKey,
    /// Tells this subscription from others of the client.
    pub(crate) ticket: u32,
    /// The command's number; 0 for a subscription that the server makes.
    pub(crate) command: u32,
    /// True exactly when it counts among the client's reads.
    pub(crate) is_read: bool,
    /// From where it wants to recover.
    pub(crate) recover: Option<Recover>,
    /// True exactly when it wants to know where it stands.
    pub(crate) wants_position: bool,
    /// How others see it, where its presence is kept or its join is told.
    pub(crate) info: Option<Arc<Info>>,
    pub(crate) shows: PresenceFlags,
    /// What it gets along with the subscription; comes back in the answer.
    pub(crate) data: Option<Bytes>,
}

/// What a client knows of a channel.
#[derive(Debug)]
pub(crate) struct Recover {
    pub(crate) offset: u64,
    pub(crate) epoch: Box<str>,
    /// Publications at most; where more were missed, nothing is recovered.
    pub(crate) limit: usize,
    /// True exactly when only the newest publication matters (`force_recovery_mode: cache`).
    pub(crate) cache: bool,
    /// Of which publications the newest one matters.
    pub(crate) filter: Option<Arc<Filter>>,
    /// True exactly when there is to be no subscription where something that was missed cannot be told.
    pub(crate) rejects_loss: bool,
    /// How long the answer may be; where it would be longer, nothing is recovered.
    pub(crate) bytes: AnswerBytes,
}

/// Which state of the application a publication is about. Older ones than the newest that came are not published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    /// 0 for none.
    pub(crate) number: u64,
    /// Numbers of another epoch are not compared; empty: of any.
    pub(crate) epoch: Box<str>,
}

impl Version {
    /// True exactly when this one says nothing that `newest` did not.
    pub(crate) fn is_covered_by(&self, newest: &Self) -> bool {
        let is_same_epoch = self.epoch.is_empty() || self.epoch == newest.epoch;
        self.number > 0 && is_same_epoch && self.number <= newest.number
    }
}

/// Something is to be published.
#[derive(Debug)]
pub(crate) struct Publish {
    pub(crate) channel: Arc<str>,
    pub(crate) data: Data,
    pub(crate) info: Option<Arc<Info>>,
    pub(crate) tags: Tags,
    /// True exactly when it is not to be kept.
    pub(crate) skip_history: bool,
    /// True exactly when a patch may be sent in its place.
    pub(crate) delta: bool,
    /// A publication with a key that was seen lately is not published again.
    pub(crate) idempotency_key: Box<str>,
    pub(crate) version: Version,
    pub(crate) answer_to: Option<AnswerTo>,
}

/// From a home to the core of subscribers.
#[derive(Debug)]
pub(crate) enum FromOwner {
    Deliver(Arc<Delivery>),
    Subscribed(Box<Subscribed>),
    Answered {
        client: ClientKey,
        command: u32,
        is_read: bool,
        outcome: QueryResult,
    },
    /// A question whose answer is too long to be given beside others: it may be asked once more when it is alone.
    TooLongNow {
        client: ClientKey,
        question: Box<ToOwner>,
    },
}

/// Something for all subscribers of a channel.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) channel: Arc<str>,
    /// The publication; `None` for a join or a leave.
    pub(crate) publication: Option<Arc<StoredPublication>>,
    pub(crate) frames: EncodedPush,
    /// For subscribers who take patches.
    pub(crate) for_delta: Option<DeltaFrames>,
}

/// The same publication for those who have agreed to deltas.
#[derive(Debug)]
pub(crate) struct DeltaFrames {
    pub(crate) whole: EncodedPush,
    /// In place of it, where that is smaller.
    pub(crate) patch: Option<Patch>,
}

/// A publication as what is different from an earlier one.
#[derive(Debug)]
pub(crate) struct Patch {
    /// [`StoredPublication::sequence`] of that one: of use to those alone who have had it last.
    pub(crate) base: u64,
    pub(crate) frames: EncodedPush,
}

/// The answer to [`Subscribe`].
#[derive(Debug)]
pub(crate) struct Subscribed {
    pub(crate) channel: Arc<str>,
    pub(crate) client: ClientKey,
    /// That of [`Subscribe`], as are the next two.
    pub(crate) ticket: u32,
    pub(crate) command: u32,
    pub(crate) is_read: bool,
    /// Why there is no subscription: the home has no room for it.
    pub(crate) refused: Option<ErrorCode>,
    /// Where the channel stands.
    pub(crate) position: Option<Position>,
    /// True exactly when the client asked to recover.
    pub(crate) was_recovering: bool,
    /// What it had missed; `None` where that can no longer be told.
    pub(crate) recovered: Option<Vec<Arc<StoredPublication>>>,
    /// The offset at which that begins, exclusively.
    pub(crate) recovered_from: u64,
    /// That of [`Subscribe`].
    pub(crate) data: Option<Bytes>,
}

impl Subscribed {
    /// Where the client stands, as it is told: where it did before what was recovered, which takes it further. It may end
    /// before it has had all of that, and comes back from where it got to.
    pub(crate) fn told_position(&self) -> Option<(u64, &str)> {
        let position = self.position.as_ref()?;
        let offset = if self.recovered.is_some() { self.recovered_from } else { position.offset };
        Some((offset, &position.epoch))
    }
}
