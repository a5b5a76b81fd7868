//! Api: operations of the server API on clients.
//!
//! In:  calls, which every shard gets; the clients of this shard.
//! Out: subscriptions, ends and expiries of the selected clients; this shard's channels and users.
//!
//! A client that is still connecting is not selected, except for a disconnect. If neither user nor connection is found,
//! nothing happens: they may be on another shard.
//!
//! No call walks all clients or channels in one turn: lists are paged, counts are maintained, clients are looked up by
//! user or id, and large selections are handled in parts.

use std::{net::IpAddr, ops::Range, sync::Arc, vec};

use bytes::Bytes;
use holdfast_protocol::client::{DisconnectCode, ErrorCode, UnsubscribeCode};
use tokio::sync::oneshot;

use super::{Io, SessionCx};
use crate::{
    channel::SubscriptionFlags,
    context::cost,
    hub::message::{ClientKey, Recover},
    limits::Penalty,
    session::client::{Client, Stage, SubscribeParams, is_past},
    session::message::Message,
    token::Overrides,
};

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
    clients: vec::IntoIter<ClientKey>,
    /// Where the scan for clients without a user continues: no index has them.
    anonymous_from: Option<usize>,
    wish: Arc<ClientCommand>,
    /// The first refusal so far.
    outcome: Result<(), ErrorCode>,
    done: oneshot::Sender<Result<(), ErrorCode>>,
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
    /// A new expiry, in Unix seconds; 0 for never.
    Refresh {
        expires_at_s: u64,
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
    /// In Unix seconds; 0 for never.
    pub(crate) expires_at_s: u64,
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

impl<I: Io> SessionCx<'_, I> {
    /// Applies a call to the selected clients.
    pub(crate) fn tell_meant(&mut self, call: ApiCall) {
        match call {
            ApiCall::Clients { wish, done, .. } if self.comes_too_late(&wish) => {
                let _ = done.send(Err(ErrorCode::EXPIRED));
            }
            ApiCall::Clients { whom, wish, done } => {
                let is_of_nobody = whom.client.is_none() && whom.user.as_deref() == Some("");
                let anonymous_from = is_of_nobody.then_some(0);
                let clients = self.meant(&whom).into_iter();
                self.tell_clients(Box::new(Rest { clients, anonymous_from, wish, outcome: Ok(()), done }));
            }
            ApiCall::Rest(rest) => self.tell_clients(rest),
            _ => unreachable!("it is not for clients"),
        }
    }

    /// True exactly when the requested expiry is already past.
    fn comes_too_late(&self, wish: &ClientCommand) -> bool {
        matches!(wish, ClientCommand::Subscribe(wish) if is_past(wish.expires_at_s, self.cx.wall_s()))
    }

    /// Handles as many clients as this share of a turn allows; the others wait in the inbox, beside other work.
    fn tell_clients(&mut self, mut rest: Box<Rest>) {
        loop {
            if let Some(key) = rest.clients.next() {
                let Some(client) = self.sessions.clients.get(key) else { continue };
                if client.stage == Stage::Connected || matches!(*rest.wish, ClientCommand::Disconnect { .. })
                {
                    rest.outcome = rest.outcome.and(self.fulfill(key, &rest.wish));
                }
                self.cx.meter.add(cost::WISH_NS);
            } else if let Some(from) = rest.anonymous_from {
                let page =
                    ApiPage::of(self.sessions.clients.places(), from, |places| self.anonymous_at(places));
                (rest.clients, rest.anonymous_from) = (page.items.into_iter(), page.next);
                self.cx.meter.add(cost::PAGE_NS);
            } else {
                break;
            }
            let is_done = rest.clients.len() == 0 && rest.anonymous_from.is_none();
            if self.cx.meter.is_over() && !is_done {
                return self.mesh.post(self.mesh.index, Message::Api(ApiCall::Rest(rest)));
            }
        }
        // The caller may be gone.
        let _ = rest.done.send(rest.outcome);
    }

    /// Looks up a connection by its id, and a user's connections by its name: no other client is scanned.
    fn meant(&mut self, whom: &ClientSelector) -> Vec<ClientKey> {
        let is_known = |client: &Client| client.stage != Stage::Fresh;
        if let Some(id) = whom.client {
            let is_meant = |client: &Client| {
                is_known(client) && whom.user.as_deref().is_none_or(|user| *client.user == *user)
            };
            let found = self.sessions.clients.find(id);
            let found =
                found.filter(|&key| self.sessions.clients.get(key).is_some_and(|client| is_meant(client)));
            return found.into_iter().collect();
        }
        whom.user.as_deref().map(|user| self.sessions.users.of(user).to_vec()).unwrap_or_default()
    }

    /// Clients that the backend is identifying may turn out to have a name.
    fn anonymous_at(&self, places: Range<usize>) -> impl Iterator<Item = ClientKey> {
        let is_anonymous = |client: &Client| {
            client.stage != Stage::Fresh && client.user.is_empty() && client.is_identified()
        };
        self.sessions.clients.at(places).filter(move |(_, client)| is_anonymous(client)).map(|(key, _)| key)
    }

    fn fulfill(&mut self, key: ClientKey, wish: &ClientCommand) -> Result<(), ErrorCode> {
        match wish {
            ClientCommand::Subscribe(wish) => return self.subscribe_from_server(key, wish),
            ClientCommand::Unsubscribe { channel: Some(channel) } => {
                self.end_subscription_with(key, channel, UnsubscribeCode::SERVER);
            }
            ClientCommand::Unsubscribe { channel: None } => {
                let Some(client) = self.sessions.clients.get(key) else { return Ok(()) };
                let channels: Vec<_> =
                    client.subs.iter().map(|sub| self.hub.locals.name(sub.channel)).collect();
                for channel in channels {
                    self.cx.meter.add(cost::WISH_NS);
                    self.end_subscription_with(key, &channel, UnsubscribeCode::SERVER);
                }
            }
            ClientCommand::Disconnect { code, reason, except } => {
                if !self.sessions.clients.get(key).is_some_and(|client| except.contains(&client.id)) {
                    self.disconnect_with(key, *code, reason);
                }
            }
            ClientCommand::Refresh { expires_at_s, info } => {
                self.refresh_from_server(key, *expires_at_s, info.clone());
            }
            ClientCommand::Expire => self.disconnect(key, DisconnectCode::EXPIRED),
        }
        Ok(())
    }

    fn subscribe_from_server(&mut self, key: ClientKey, wish: &SubscribeCommand) -> Result<(), ErrorCode> {
        let Some(client) = self.sessions.clients.get(key) else { return Ok(()) };
        // An existing subscription stays as it is.
        if self.hub.locals.find(&wish.channel).is_some_and(|local| client.sub(local).is_some()) {
            return Ok(());
        }
        if client.subs.len() >= self.sessions.policy.client_channels_max {
            return Err(ErrorCode::LIMIT_EXCEEDED);
        }
        let resolved =
            self.sessions.policy.channels.resolve_trusted(&wish.channel).map_err(|error| error.code())?;
        let extras = resolved.grant_with(&client.user, SubscriptionFlags::default(), &wish.overrides);
        let since = wish.since.as_ref().filter(|_| extras.recoverable);
        let recover = since.map(|(offset, epoch)| Recover {
            offset: *offset,
            epoch: epoch.clone(),
            limit: self.sessions.policy.recovery_publications_max,
            cache: self.sessions.policy.recovers_newest(&resolved),
            filter: None,
            rejects_loss: false,
            bytes: self.answer_bytes_alone(),
        });
        let wanted = SubscribeParams {
            recover,
            extras,
            overrides: wish.overrides,
            chan_info: wish.chan_info.clone(),
            data: wish.data.clone(),
            expires_at_s: wish.expires_at_s,
            is_server_side: true,
            ..SubscribeParams::default()
        };
        self.ask_to_subscribe(key, &wish.channel, wanted);
        Ok(())
    }
}
