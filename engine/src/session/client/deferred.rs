//! Deferred: what a client waits for, and what waits for it.
//!
//! In:  commands that need an answer of the control thread; frames behind them.
//! Out: the same, in order, when the answer has arrived (`pending`, `keys`, `waiting`).
//!
//! Worst case per client: [`PENDING_MAX`] commands with [`PENDING_BYTES_MAX`] bytes in total, or a single longer one; frames as
//! `waiting` states it.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::{connecting::EarlierSubscription, parked::ParkedFrames, subscription::SubscribeTerms};
use crate::{
    backend::{Event, Header},
    hub::message::ToOwner,
    ids::{ClientKey, CommandId, Ticket},
    refusals::{CommandHead, Method},
    value::HttpUrl,
};

/// Answers that one client may wait for.
pub(super) const PENDING_MAX: usize = 128;

/// Memory of the commands that wait for them, and of what backends receive with them.
pub(super) const PENDING_BYTES_MAX: usize = 512 * 1024;

/// State that few clients have; allocated only if something in it is set.
#[derive(Debug, Default)]
pub(crate) struct ConnectionMeta {
    /// Metadata of the connection that only backends see.
    pub(super) meta: Option<Bytes>,
    /// Header fields of the handshake for backends.
    pub(super) headers: Arc<[Header]>,
    /// The same of the connect command.
    pub(super) emulated_headers: Arc<[Header]>,
    pub(super) pending: Vec<Pending>,
    /// Memory of these.
    pub(super) pending_bytes: usize,
    /// Received and not handled yet.
    pub(super) waiting: Option<Box<Waiting>>,
    /// The bytes charged to the ledger for its commands, here and in `waiting`.
    pub(super) counted_commands: usize,
}

/// A waiting entry.
#[derive(Debug)]
pub(crate) struct Pending {
    /// An answer with another ticket belongs to something else.
    pub(super) ticket: Ticket,
    pub(super) awaited: Awaited,
    /// Memory of what the backend receives.
    pub(super) told_bytes: usize,
}

/// What an entry waits for, with all that is needed when it arrives.
#[derive(Debug)]
pub(crate) enum Awaited {
    /// Keys. The command is then handled again.
    Keys(Box<TokenCommand>),
    /// The answer of the application's backend.
    Backend(Question),
}

/// A command with a token whose key we have not fetched yet.
#[derive(Debug)]
pub(crate) struct TokenCommand {
    pub(super) id: CommandId,
    /// True exactly when the token is a subscription token.
    pub(super) is_about_subscription: bool,
    /// The channel, if the command subscribes to one.
    pub(super) channel: Option<Box<str>>,
    /// The command as received.
    pub(super) bytes: Box<[u8]>,
}

/// A question to the backend: what its answer decides.
#[derive(Debug)]
pub(crate) enum Question {
    /// Who the client is.
    Connect { id: CommandId, earlier: Box<[EarlierSubscription<'static>]> },
    /// Whether the client may subscribe.
    Subscribe { id: CommandId, terms: Box<SubscribeTerms<'static>> },
    /// Whether the client may publish, and what.
    Publish { id: CommandId, channel: Box<str>, data: Bytes },
    /// The reply itself.
    Rpc { id: CommandId },
    /// Whether the session continues.
    ConnectionExpiry,
    /// Whether a subscription continues.
    SubscriptionExpiry { channel: Box<str> },
}

impl ConnectionMeta {
    /// Memory of the entries.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }
}

impl Pending {
    /// Memory in use. Up to as many entries again may be free.
    pub(super) fn cost_bytes(&self) -> usize {
        let kept = match &self.awaited {
            Awaited::Keys(command) => {
                size_of::<TokenCommand>()
                    + command.bytes.len()
                    + command.channel.as_ref().map_or(0, |channel| channel.len())
            }
            Awaited::Backend(question) => question.heap_bytes(),
        };
        2 * size_of::<Self>() + kept + self.told_bytes
    }

    /// True exactly when this awaits the backend's word on the expiry of the session or, with a channel, of that
    /// subscription.
    pub(super) fn is_expiry_of(&self, expiring: Expiring<'_>) -> bool {
        match (&self.awaited, expiring) {
            (Awaited::Backend(Question::ConnectionExpiry), Expiring::Connection) => true,
            (Awaited::Backend(Question::SubscriptionExpiry { channel }), Expiring::Subscription(asked)) => {
                **channel == *asked
            }
            _ => false,
        }
    }

    /// The number of the command that wants to subscribe to this channel.
    pub(super) fn subscribes_to(&self, channel: &str) -> Option<CommandId> {
        match &self.awaited {
            Awaited::Keys(command) => (command.channel.as_deref() == Some(channel)).then_some(command.id),
            Awaited::Backend(Question::Subscribe { id, terms }) => (terms.channel == channel).then_some(*id),
            Awaited::Backend(_) => None,
        }
    }
}

/// What may expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiring<'c> {
    /// The session.
    Connection,
    /// The subscription to a channel.
    Subscription(&'c str),
}

impl Question {
    /// The backend's event.
    pub(super) const fn event(&self) -> Event {
        match self {
            Self::Connect { .. } => Event::Connect,
            Self::Subscribe { .. } => Event::Subscribe,
            Self::Publish { .. } => Event::Publish,
            Self::Rpc { .. } => Event::Rpc,
            Self::ConnectionExpiry => Event::Refresh,
            Self::SubscriptionExpiry { .. } => Event::SubRefresh,
        }
    }

    /// The command that asked; none for an expiry.
    pub(super) fn command(&self) -> Option<CommandHead<'_>> {
        Some(match self {
            Self::Connect { id, .. } => CommandHead::without_channel(id.get(), Method::Connect),
            Self::Subscribe { id, terms } => CommandHead {
                has_filter: terms.filter.is_some(),
                ..CommandHead::about(id.get(), Method::Subscribe, &terms.channel)
            },
            Self::Publish { id, channel, .. } => CommandHead::about(id.get(), Method::Publish, channel),
            Self::Rpc { id } => CommandHead::without_channel(id.get(), Method::Rpc),
            Self::ConnectionExpiry | Self::SubscriptionExpiry { .. } => return None,
        })
    }

    /// Memory beside its own. A publication's data is shared with the call to the backend.
    fn heap_bytes(&self) -> usize {
        match self {
            Self::Connect { earlier, .. } => {
                earlier.iter().map(|sub| size_of_val(sub) + sub.text_bytes()).sum()
            }
            Self::Subscribe { terms, .. } => size_of_val(&**terms) + terms.heap_bytes(),
            Self::Publish { channel, .. } | Self::SubscriptionExpiry { channel } => channel.len(),
            Self::Rpc { .. } | Self::ConnectionExpiry => 0,
        }
    }
}

/// A client's waiting frames.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(super) frames: ParkedFrames,
    /// True exactly when later input is ignored: a waiting frame ends the session.
    pub(super) is_over: bool,
    /// True exactly when its connection is not read for this reason.
    pub(super) is_unread: bool,
    /// True exactly when the frames are scheduled for the client's next share of a turn.
    pub(super) is_scheduled: bool,
    /// Reads whose answers are too long to be given beside others, each with its memory.
    pub(super) deferred: VecDeque<ToOwner>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.deferred.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        let deferred: usize = self.deferred.iter().map(ToOwner::cost_bytes).sum();
        let places = self.deferred.capacity() * size_of::<ToOwner>();
        size_of::<Self>() + self.frames.capacity() + places + deferred
    }
}

/// Clients waiting for keys on this shard.
#[derive(Debug, Default)]
pub(crate) struct KeyWaits {
    /// Endpoints with a request under way, each with the number of the last token reported.
    pub(super) requests: Vec<(HttpUrl, u64)>,
    pub(super) waiting: Vec<KeyWait>,
    /// Tokens that have waited so far.
    pub(super) count: u64,
}

/// A waiting command.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyWait {
    pub(super) client: ClientKey,
    pub(super) ticket: Ticket,
    pub(super) number: u64,
}

/// What is known now for a command that waited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeysCame {
    pub(super) ticket: Ticket,
    pub(super) known: Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The endpoint's keys, requested after the token arrived.
    Answer,
    /// Its keys, requested before that.
    Older,
    /// Nothing new.
    Nothing,
}
