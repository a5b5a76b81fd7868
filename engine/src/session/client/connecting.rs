//! Connecting: a connect that is not answered yet.
//!
//! In:  the subscriptions that the server makes; the answers of their owners.
//! Out: what the reply has to say; whether and when the client has to refresh.

use std::borrow::Cow;

use bytes::Bytes;
use holdfast_protocol::client::{StreamPosition, command::ConnectRequest};

use crate::{
    hub::message::{Recover, Subscribed},
    ids::CommandId,
    time::UnixSeconds,
    token::SubscribeOptions,
};

/// A connect that is waiting for its answer.
#[derive(Debug)]
pub(crate) struct Connecting {
    pub(super) command: CommandId,
    pub(super) waiting: usize,
    /// Server-side subscriptions still to be requested.
    pub(super) subs: Vec<ServerSide>,
    pub(super) subscribed: Vec<Subscribed>,
    /// Approximate size of the recovered publications in the reply.
    pub(super) recovered_bytes: usize,
    /// Data for the client in the reply.
    pub(super) data: Option<Bytes>,
}

/// A subscription that the server makes when a client connects.
#[derive(Debug)]
pub(super) struct ServerSide {
    pub(super) channel: String,
    pub(super) options: SubscribeOptions,
    pub(super) recover: Option<Recover>,
    pub(super) is_by_token: bool,
}

/// A server-side subscription that the client had in an earlier session, as its connect command says.
#[derive(Clone, Debug)]
pub(crate) struct EarlierSubscription<'c> {
    pub(super) channel: Cow<'c, str>,
    /// The position to recover from.
    pub(super) position: Option<StreamPosition<'c>>,
}

impl<'c> EarlierSubscription<'c> {
    /// Those of a connect command, in its order.
    pub(super) fn all(request: &'c ConnectRequest<'_>) -> impl Iterator<Item = Self> {
        request.subs.iter().map(|(channel, sub)| Self {
            channel: Cow::Borrowed(channel),
            position: sub
                .recover
                .then(|| StreamPosition { offset: sub.offset, epoch: Cow::Borrowed(&sub.epoch) }),
        })
    }

    /// The same, independent of the command's bytes.
    pub(super) fn into_owned(self) -> EarlierSubscription<'static> {
        EarlierSubscription {
            channel: Cow::Owned(self.channel.into_owned()),
            position: self.position.map(into_owned),
        }
    }

    /// Memory of its texts.
    pub(super) fn text_bytes(&self) -> usize {
        self.channel.len() + self.position.as_ref().map_or(0, |position| position.epoch.len())
    }
}

/// A position, independent of the command's bytes.
pub(super) fn into_owned(position: StreamPosition<'_>) -> StreamPosition<'static> {
    StreamPosition { offset: position.offset, epoch: Cow::Owned(position.epoch.into_owned()) }
}

/// Approximate memory of a server-side subscription beside its record: a channel name, infos and data of typical
/// length.
const SERVER_SIDE_BYTES: usize = 128;

impl Connecting {
    /// A connect that is the client's command with this number.
    pub(super) const fn new(command: CommandId) -> Self {
        Self { command, waiting: 0, subs: Vec::new(), subscribed: Vec::new(), recovered_bytes: 0, data: None }
    }

    /// Adds a subscription. All recovered publications go out in one reply, so they share one limit. Beyond it a
    /// subscription is not recovered, and the reply says so.
    pub(super) fn add(&mut self, mut subscribed: Subscribed, reply_bytes_max: usize) {
        if let Some(missed) = &subscribed.recovered {
            let bytes: usize = missed.iter().map(|publication| publication.answer_bytes()).sum();
            if self.recovered_bytes > 0 && self.recovered_bytes + bytes > reply_bytes_max {
                subscribed.recovered = None;
            } else {
                self.recovered_bytes += bytes;
            }
        }
        self.subscribed.push(subscribed);
    }

    /// Approximate memory; recovered publications belong to histories.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.subs.capacity() * (size_of::<ServerSide>() + SERVER_SIDE_BYTES)
            + self.subscribed.capacity() * size_of::<Subscribed>()
            + self.data.as_ref().map_or(0, Bytes::len)
    }
}

/// Whether a client has to refresh, and within how many seconds.
pub(super) fn expiry(expires_at: Option<UnixSeconds>, now_s: u64) -> (bool, u32) {
    match expires_at {
        None => (false, 0),
        Some(at) => (true, u32::try_from(at.get().saturating_sub(now_s)).unwrap_or(u32::MAX).max(1)),
    }
}

/// True exactly when it has already expired and must not begin.
pub(crate) fn is_past(expires_at: Option<UnixSeconds>, now_s: u64) -> bool {
    expires_at.is_some_and(|at| at.has_come(now_s))
}
