//! Api: calls of the server API that are not for one channel.
//!
//! In:  calls, as every shard gets them; the clients of this one.
//! Out: subscriptions, ends and expiries of the clients that are meant; what this core knows of channels and users.
//!
//! A client that is still connecting is not there yet, but for a disconnect. Where neither user nor connection is
//! found nothing happens: they may be on another core.

use std::{net::IpAddr, ops::Range, sync::Arc};

use bytes::Bytes;
use holdfast_protocol::client::{DisconnectCode, ErrorCode, UnsubscribeCode};
use holdfast_ring::Kernel;
use tokio::sync::oneshot;

use super::Shard;
use crate::{
    channel::Extras,
    hub::message::{ClientKey, Recover},
    limits::Penalty,
    session::client::{Client, Stage, Wanted},
    token::Overrides,
};

/// Places of a table that are looked at for one page: some tenths of a millisecond.
const PAGE_PLACES: usize = 4_096;

/// A call, and where its answer goes. Who asked may have gone.
#[derive(Debug)]
pub(crate) enum ApiCall {
    /// Something is to happen to some clients. The error is the first client's that refused.
    Clients { whom: Arc<Whom>, wish: Arc<Wish>, done: oneshot::Sender<Result<(), ErrorCode>> },
    /// Which channels have subscribers on this core, and how many.
    Channels { from: usize, answer: oneshot::Sender<ApiPage<(Arc<str>, usize)>> },
    /// Whose clients are on this core; a user once for each of its clients.
    Users { from: usize, answer: oneshot::Sender<ApiPage<Arc<str>>> },
    /// The addresses with points whose home this core is.
    Penalties(oneshot::Sender<Vec<Penalty>>),
    /// Points are to be forgotten: of one address, or of all.
    ClearPenalties { address: Option<IpAddr>, done: oneshot::Sender<()> },
    /// What this core has.
    Info(oneshot::Sender<NodePart>),
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
    fn of<I: Iterator<Item = T>>(places: usize, from: usize, at: impl FnOnce(Range<usize>) -> I) -> Self {
        let until = from.saturating_add(PAGE_PLACES).min(places);
        Self { items: at(from.min(until)..until).collect(), next: (until < places).then_some(until) }
    }
}

/// The clients that are meant: those that everything named here agrees on. A user, or one connection, is named.
#[derive(Debug, Default)]
pub(crate) struct Whom {
    /// Empty: of any user.
    pub(crate) user: Box<str>,
    pub(crate) client: Option<uuid::Uuid>,
}

/// What is to happen to them.
#[derive(Debug)]
pub(crate) enum Wish {
    Subscribe(SubscribeWish),
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
    },
    /// The expiry is now.
    Expire,
}

/// A subscription that the server makes.
#[derive(Debug)]
pub(crate) struct SubscribeWish {
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
pub(crate) struct NodePart {
    pub(crate) clients: usize,
    pub(crate) subscriptions: usize,
    /// Channels with subscribers whose home this is.
    pub(crate) channels: usize,
    /// Users with clients on this core.
    pub(crate) users: usize,
}

impl<K: Kernel> Shard<K> {
    pub(super) fn api_call(&mut self, call: ApiCall) {
        match call {
            ApiCall::Clients { whom, wish, done } => {
                let outcome = self.each_meant(&whom, &wish);
                let _ = done.send(outcome);
            }
            ApiCall::Channels { from, answer } => {
                let page = ApiPage::of(self.locals.places(), from, |places| {
                    let subscribed = self.locals.channels_at(places).filter(|(_, count)| *count > 0);
                    subscribed.map(|(name, count)| (Arc::clone(name), count))
                });
                drop(answer.send(page));
            }
            ApiCall::Users { from, answer } => {
                let page = ApiPage::of(self.clients.places(), from, |places| {
                    let users = self.clients.at(places).map(|client| &client.user);
                    users.filter(|user| !user.is_empty()).map(Arc::clone)
                });
                drop(answer.send(page));
            }
            ApiCall::Penalties(answer) => drop(answer.send(self.penalties())),
            ApiCall::ClearPenalties { address, done } => {
                self.clear_penalties(address);
                let _ = done.send(());
            }
            ApiCall::Info(answer) => drop(answer.send(NodePart {
                clients: self.clients.len(),
                subscriptions: self.locals.subscribers(),
                channels: self.homes.active(),
                users: self.users.len(),
            })),
        }
    }

    fn each_meant(&mut self, whom: &Whom, wish: &Wish) -> Result<(), ErrorCode> {
        let mut outcome = Ok(());
        for key in self.meant(whom) {
            let Some(client) = self.clients.get(key) else { continue };
            if client.stage == Stage::Connected || matches!(wish, Wish::Disconnect { .. }) {
                outcome = outcome.and(self.fulfill(key, wish));
            }
        }
        outcome
    }

    fn meant(&mut self, whom: &Whom) -> Vec<ClientKey> {
        let is_meant =
            |client: &Client| client.stage != Stage::Fresh && whom.client.is_none_or(|id| id == client.id);
        if whom.user.is_empty() {
            return self.clients.iter().filter(|(_, client)| is_meant(client)).map(|(key, _)| key).collect();
        }
        let keys = self.users.of(&whom.user).iter().copied();
        keys.filter(|&key| self.clients.get(key).is_some_and(|client| is_meant(client))).collect()
    }

    fn fulfill(&mut self, key: ClientKey, wish: &Wish) -> Result<(), ErrorCode> {
        match wish {
            Wish::Subscribe(wish) => return self.subscribe_from_server(key, wish),
            Wish::Unsubscribe { channel: Some(channel) } => {
                self.end_subscription_with(key, channel, UnsubscribeCode::SERVER);
            }
            Wish::Unsubscribe { channel: None } => {
                let Some(client) = self.clients.get(key) else { return Ok(()) };
                let channels: Vec<_> = client.subs.iter().map(|sub| self.locals.name(sub.channel)).collect();
                for channel in channels {
                    self.end_subscription_with(key, &channel, UnsubscribeCode::SERVER);
                }
            }
            Wish::Disconnect { code, reason, except } => {
                if !self.clients.get(key).is_some_and(|client| except.contains(&client.id)) {
                    self.disconnect_with(key, *code, reason);
                }
            }
            Wish::Refresh { expires_at_s } => self.refresh_from_server(key, *expires_at_s),
            Wish::Expire => self.disconnect(key, DisconnectCode::EXPIRED),
        }
        Ok(())
    }

    fn subscribe_from_server(&mut self, key: ClientKey, wish: &SubscribeWish) -> Result<(), ErrorCode> {
        let Some(client) = self.clients.get(key) else { return Ok(()) };
        // What is so already stays so.
        if self.locals.find(&wish.channel).is_some_and(|local| client.sub(local).is_some()) {
            return Ok(());
        }
        if client.subs.len() >= self.rules.client_channels_max {
            return Err(ErrorCode::LIMIT_EXCEEDED);
        }
        let resolved = self.rules.channels.resolve_trusted(&wish.channel).map_err(|error| error.code())?;
        let extras = resolved.grant_with(&client.user, Extras::default(), &wish.overrides);
        let since = wish.since.as_ref().filter(|_| extras.recoverable);
        let recover = since.map(|(offset, epoch)| Recover {
            offset: *offset,
            epoch: epoch.clone(),
            limit: self.rules.recovery_publications_max,
            cache: self.rules.recovers_newest(&resolved),
            filter: None,
            rejects_loss: false,
            bytes: self.answer_bytes_alone(),
        });
        let wanted = Wanted {
            recover,
            extras,
            overrides: wish.overrides,
            chan_info: wish.chan_info.clone(),
            data: wish.data.clone(),
            expires_at_s: wish.expires_at_s,
            is_server_side: true,
            ..Wanted::default()
        };
        self.ask_to_subscribe(key, &wish.channel, wanted);
        Ok(())
    }
}
