//! Api: what the server API has happen to clients.
//!
//! In:  calls, as every shard gets them; the clients of this one.
//! Out: subscriptions, ends and expiries of the clients that are meant; what this core knows of channels and users.
//!
//! A client that is still connecting is not there yet, but for a disconnect. Where neither user nor connection is
//! found nothing happens: they may be on another core.
//!
//! No call goes through all clients or channels in one turn: lists are given page by page, numbers are kept, clients are
//! found by their user or id, and many of them are told in parts.

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
    mesh::Message,
    session::client::{Client, Stage, SubscribeParams, is_past},
    token::Overrides,
};

/// Places of a table that are looked at for one page: some tenths of a millisecond.
const PAGE_PLACES: usize = 4_096;

/// A call, and where its answer goes. Who asked may have gone.
#[derive(Debug)]
pub(crate) enum ApiCall {
    /// Something is to happen to some clients. The error is the first client's that refused.
    Clients {
        whom: Arc<ClientSelector>,
        wish: Arc<ClientCommand>,
        done: oneshot::Sender<Result<(), ErrorCode>>,
    },
    /// The same for those that no turn had a part for yet.
    Rest(Box<Rest>),
    /// Which channels have subscribers on this core, and how many.
    Channels { from: usize, answer: oneshot::Sender<ApiPage<(Arc<str>, usize)>> },
    /// Whose clients are on this core; a user once for each of its clients.
    Users { from: usize, answer: oneshot::Sender<ApiPage<Arc<str>>> },
    /// The addresses with points whose home this core is.
    Penalties(oneshot::Sender<Vec<Penalty>>),
    /// Points are to be forgotten: of one address, or of all.
    ClearPenalties { address: Option<IpAddr>, done: oneshot::Sender<()> },
    /// What this core has.
    Info(oneshot::Sender<ShardInfo>),
}

/// A part of a list that is too long for one turn. What comes and goes between two pages may be missing.
#[derive(Debug)]
pub(crate) struct ApiPage<T> {
    pub(crate) items: Vec<T>,
    /// Where the next page begins; `None` where this is the last one.
    pub(crate) next: Option<usize>,
}

impl<T> ApiPage<T> {
    /// What is at [`PAGE_PLACES`] of so many `places`, `from` one of them on.
    pub(crate) fn of<I: Iterator<Item = T>>(
        places: usize,
        from: usize,
        at: impl FnOnce(Range<usize>) -> I,
    ) -> Self {
        let until = from.saturating_add(PAGE_PLACES).min(places);
        Self { items: at(from.min(until)..until).collect(), next: (until < places).then_some(until) }
    }
}

/// Clients to which something is still to happen.
#[derive(Debug)]
pub(crate) struct Rest {
    clients: vec::IntoIter<ClientKey>,
    /// Where the search for clients without a user goes on: no index has them.
    anonymous_from: Option<usize>,
    wish: Arc<ClientCommand>,
    /// The first refusal so far.
    outcome: Result<(), ErrorCode>,
    done: oneshot::Sender<Result<(), ErrorCode>>,
}

impl Rest {
    /// Memory of the list, as it was at first.
    pub(crate) fn cost_bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(self.clients.as_slice())
    }
}

/// The clients that are meant: those that everything named here agrees on. A user, or one connection, is named.
#[derive(Debug, Default)]
pub(crate) struct ClientSelector {
    /// `None`: of any user. Empty: of the anonymous one.
    pub(crate) user: Option<Box<str>>,
    pub(crate) client: Option<uuid::Uuid>,
}

/// What is to happen to them.
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
        /// Clients that stay.
        except: Vec<uuid::Uuid>,
    },
    /// A new expiry, in seconds since 1970; 0 for never.
    Refresh {
        expires_at_s: u64,
        /// What others see of the connection, if it is to be something else.
        info: Option<Bytes>,
    },
    /// The expiry is now.
    Expire,
}

/// A subscription that the server makes.
#[derive(Debug)]
pub(crate) struct SubscribeCommand {
    /// Resolved, as all names that reach a home are.
    pub(crate) channel: Box<str>,
    /// What others see of the client in this channel.
    pub(crate) chan_info: Option<Bytes>,
    /// What the client gets along with the subscription.
    pub(crate) data: Option<Bytes>,
    /// In seconds since 1970; 0 for never.
    pub(crate) expires_at_s: u64,
    /// Offset and epoch from which the client is to recover.
    pub(crate) since: Option<(u64, Box<str>)>,
    pub(crate) overrides: Overrides,
}

/// What one core has.
#[derive(Debug, Default)]
pub(crate) struct ShardInfo {
    pub(crate) clients: usize,
    pub(crate) subscriptions: usize,
    /// Channels with subscribers whose home this is.
    pub(crate) channels: usize,
    /// Users with clients on this core.
    pub(crate) users: usize,
}

impl<I: Io> SessionCx<'_, I> {
    /// Has something happen to some clients.
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

    /// True exactly when what is wished has expired already.
    fn comes_too_late(&self, wish: &ClientCommand) -> bool {
        matches!(wish, ClientCommand::Subscribe(wish) if is_past(wish.expires_at_s, self.cx.wall_s()))
    }

    /// Tells as many clients as this part of a turn has room for; the others wait in the inbox, where everybody else has a
    /// part beside them.
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
        // Who asked may have gone.
        let _ = rest.done.send(rest.outcome);
    }

    /// A connection is found by its id, and a user's connections by its name: nobody else is looked at.
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

    /// Of whom the backend is asked, it may have a name.
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
        // What is so already stays so.
        if self.hub.locals.find(&wish.channel).is_some_and(|local| client.sub(local).is_some()) {
            return Ok(());
        }
        if client.subs.len() >= self.sessions.rules.client_channels_max {
            return Err(ErrorCode::LIMIT_EXCEEDED);
        }
        let resolved =
            self.sessions.rules.channels.resolve_trusted(&wish.channel).map_err(|error| error.code())?;
        let extras = resolved.grant_with(&client.user, SubscriptionFlags::default(), &wish.overrides);
        let since = wish.since.as_ref().filter(|_| extras.recoverable);
        let recover = since.map(|(offset, epoch)| Recover {
            offset: *offset,
            epoch: epoch.clone(),
            limit: self.sessions.rules.recovery_publications_max,
            cache: self.sessions.rules.recovers_newest(&resolved),
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
