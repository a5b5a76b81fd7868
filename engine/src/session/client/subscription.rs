//! Subscription: what a shard keeps of each subscription of a client, and what was asked for it.
//!
//! In:  subscribe commands, tokens, decisions of the backend.
//! Out: plain data.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use holdfast_protocol::client::{
    ErrorCode, StreamPosition, command::SubscribeRequest, delta::FOSSIL, filter::Filter,
};

use super::connecting::into_owned;
use crate::{
    channel::{Overrides, PresenceFlags, SubscriptionFlags},
    hub::{message::Recover, publication::Info, subscriptions::LocalChannelKey},
    ids::{CommandId, Ticket},
    time::UnixSeconds,
};

/// A client's subscription.
#[derive(Debug)]
pub(crate) struct Subscription {
    pub(crate) channel: LocalChannelKey,
    pub(crate) place: SubState,
    pub(crate) is_server_side: bool,
    /// True exactly when the connection's token requested it.
    pub(crate) is_by_token: bool,
    /// When its token expires; `None` for never.
    pub(crate) expires_at: Option<UnixSeconds>,
    /// True exactly when the backend refreshes it, not the client.
    pub(crate) is_refreshed_by_backend: bool,
    /// Rights granted in addition to the messages.
    pub(crate) extras: SubscriptionFlags,
    /// Where others see it.
    pub(crate) shows: PresenceFlags,
    /// The client's info in this channel, if others see it there.
    pub(crate) info: Option<Arc<Info>>,
    /// Its individual delivery options.
    pub(crate) options: Option<Box<DeliveryOptions>>,
}

/// The place of a subscription among those of its channel on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubState {
    /// The owner has not answered yet; `command` asked, if any. An answer with another ticket belongs to a
    /// subscription that has ended since: publications after its position may have bypassed this shard.
    Pending { ticket: Ticket, command: Option<CommandId> },
    /// Its index.
    Active(u32),
}

/// Options of one subscriber that the shared frames cannot serve.
#[derive(Debug, Default)]
pub(crate) struct DeliveryOptions {
    pub(crate) delta: Delta,
    pub(crate) filter: Option<Arc<Filter>>,
    /// True exactly when it wants joins and leaves.
    pub(crate) join_leave: bool,
}

/// Which patches may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Delta {
    /// It did not ask for any.
    #[default]
    None,
    /// It asked, and has not received a publication yet.
    WantsWhole,
    /// Patches against the last publication it received:
    /// [`StoredPublication::sequence`](crate::hub::publication::StoredPublication::sequence).
    TakesPatchesTo(u64),
}

/// What a subscribe command asks for beside its token and its data.
#[derive(Clone, Debug)]
pub(crate) struct SubscribeTerms<'c> {
    pub(super) channel: Cow<'c, str>,
    /// The position to recover from.
    pub(super) recover: Option<StreamPosition<'c>>,
    /// True exactly when a subscription that cannot be recovered completely is to be refused.
    pub(super) rejects_loss: bool,
    /// True exactly when the client can apply patches.
    pub(super) wants_delta: bool,
    /// The filter, or why it is none: known now, told when the subscription is otherwise allowed.
    pub(super) filter: Option<Result<Arc<Filter>, ErrorCode>>,
}

/// Flag of a subscribe: refuse the subscription if not all missed publications can be recovered.
const REJECT_UNRECOVERED: i64 = 2;

impl<'c> SubscribeTerms<'c> {
    pub(super) fn of(request: &'c SubscribeRequest<'_>) -> Self {
        let filter = |tree| Filter::new(tree).map(Arc::new).map_err(|fault| fault.code());
        Self {
            channel: Cow::Borrowed(&request.channel),
            recover: request
                .recover
                .then(|| StreamPosition { offset: request.offset, epoch: Cow::Borrowed(&request.epoch) }),
            rejects_loss: request.flag & REJECT_UNRECOVERED != 0,
            wants_delta: request.delta == FOSSIL,
            filter: request.tf.as_deref().map(filter),
        }
    }

    /// The same, independent of the command's bytes.
    pub(super) fn into_owned(self) -> SubscribeTerms<'static> {
        SubscribeTerms {
            channel: Cow::Owned(self.channel.into_owned()),
            recover: self.recover.map(into_owned),
            rejects_loss: self.rejects_loss,
            wants_delta: self.wants_delta,
            filter: self.filter,
        }
    }

    /// Memory beside its own.
    pub(super) fn heap_bytes(&self) -> usize {
        let epoch = self.recover.as_ref().map_or(0, |position| position.epoch.len());
        let filter = match &self.filter {
            Some(Ok(filter)) => size_of::<Filter>() + filter.cost_bytes(),
            Some(Err(_)) | None => 0,
        };
        self.channel.len() + epoch + filter
    }
}

/// The parameters of one subscription.
#[derive(Debug, Default)]
pub(crate) struct SubscribeParams {
    /// The command that asked, if any.
    pub(crate) command: Option<CommandId>,
    pub(crate) recover: Option<Recover>,
    pub(crate) extras: SubscriptionFlags,
    /// Overrides of the channel's options.
    pub(crate) overrides: Overrides,
    /// The client's info in this channel.
    pub(crate) chan_info: Option<Bytes>,
    pub(crate) expires_at: Option<UnixSeconds>,
    pub(crate) delta: Delta,
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) is_server_side: bool,
    /// True exactly when the connection's token requested it.
    pub(crate) is_by_token: bool,
    /// Data for the client along with the subscription.
    pub(crate) data: Option<Bytes>,
}
