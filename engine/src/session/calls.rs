//! Calls: what the control plane asks of the clients of a shard.
//!
//! In:  calls of the server API that are not for one channel.
//! Out: the same, in the form that mailboxes carry; long ones in parts.

use std::{net::IpAddr, ops::Range, sync::Arc, vec};

use bytes::Bytes;
use holdfast_protocol::client::ErrorCode;
use tokio::sync::oneshot;

use crate::{channel::Overrides, hub::message::ClientKey, limits::Penalty};

use crate::time::UnixSeconds;

/// Table slots scanned for one page: some tenths of a millisecond.
const PAGE_PLACES: usize = 4_096;

/// A call, and where its answer goes. The caller may be gone.
#[derive(Debug)]
pub(crate) enum ApiCall {
    /// Applies a command to some clients. The error is the first client's that refused.
    Clients {
        whom: Arc<ClientSelector>,
        wish: Arc<ClientCommand>,
        done: oneshot::Sender<Result<(), ErrorCode>>,
    },
    /// The same for the clients left over from earlier turns.
    Rest(Box<Rest>),
    /// Channels with subscribers on this shard, and their numbers of subscribers.
    Channels { from: usize, answer: oneshot::Sender<ApiPage<(Arc<str>, usize)>> },
    /// Users of this shard's clients; a user once per client.
    Users { from: usize, answer: oneshot::Sender<ApiPage<Arc<str>>> },
    /// Addresses with penalty points that this shard owns.
    Penalties(oneshot::Sender<Vec<Penalty>>),
    /// Clears penalty points: of one address, or of all.
    ClearPenalties { address: Option<IpAddr>, done: oneshot::Sender<()> },
    /// This shard's figures.
    Info(oneshot::Sender<ShardInfo>),
}

/// A page of a list that is too long for one turn. Entries that change between two pages may be missing.
#[derive(Debug)]
pub(crate) struct ApiPage<T> {
    pub(crate) items: Vec<T>,
    /// Start of the next page; `None` for the last one.
    pub(crate) next: Option<usize>,
}

impl<T> ApiPage<T> {
    /// The entries in [`PAGE_PLACES`] of `places` slots, starting at `from`.
    pub(crate) fn of<I: Iterator<Item = T>>(
        places: usize,
        from: usize,
        at: impl FnOnce(Range<usize>) -> I,
    ) -> Self {
        let until = from.saturating_add(PAGE_PLACES).min(places);
        Self { items: at(from.min(until)..until).collect(), next: (until < places).then_some(until) }
    }
}

/// Clients for which a command is still outstanding.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(super) clients: vec::IntoIter<ClientKey>,
    /// Where the scan for clients without a user continues: no index has them.
    pub(super) anonymous_from: Option<usize>,
    pub(super) wish: Arc<ClientCommand>,
    /// The first refusal so far.
    pub(super) outcome: Result<(), ErrorCode>,
    pub(super) done: oneshot::Sender<Result<(), ErrorCode>>,
}

impl Rest {
    /// Initial memory of the list.
    pub(crate) fn cost_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(self.clients.as_slice())
    }
}

/// Selects the clients that match everything named here. A user, or one connection, is named.
#[derive(Debug, Default)]
pub(crate) struct ClientSelector {
    /// `None`: any user. Empty: the anonymous user.
    pub(crate) user: Option<Box<str>>,
    pub(crate) client: Option<uuid::Uuid>,
}

/// The command for the selected clients.
#[derive(Debug)]
pub(crate) enum ClientCommand {
    Subscribe(SubscribeCommand),
    Unsubscribe {
        /// `None` for all of its channels.
        channel: Option<Box<str>>,
    },
    Disconnect {
        code: u16,
        reason: Box<str>,
        /// Clients to keep.
        except: Vec<uuid::Uuid>,
    },
    /// A new expiry.
    Refresh {
        /// `None` for never.
        expires_at: Option<UnixSeconds>,
        /// A new connection info, if it changes.
        info: Option<Bytes>,
    },
    /// Expires now.
    Expire,
}

/// A subscription that the server makes.
#[derive(Debug)]
pub(crate) struct SubscribeCommand {
    /// Resolved, like all names that reach an owner.
    pub(crate) channel: Box<str>,
    /// The client's info in this channel.
    pub(crate) chan_info: Option<Bytes>,
    /// Data for the client along with the subscription.
    pub(crate) data: Option<Bytes>,
    /// `None` for never.
    pub(crate) expires_at: Option<UnixSeconds>,
    /// Offset and epoch for recovery.
    pub(crate) since: Option<(u64, Box<str>)>,
    pub(crate) overrides: Overrides,
}

/// The figures of one shard.
#[derive(Debug, Default)]
pub(crate) struct ShardInfo {
    pub(crate) clients: usize,
    pub(crate) subscriptions: usize,
    /// Channels with subscribers that this shard owns.
    pub(crate) channels: usize,
    /// Users with clients on this shard.
    pub(crate) users: usize,
}
