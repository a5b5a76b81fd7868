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

use std::ops::Range;

use holdfast_protocol::client::{DisconnectCode, ErrorCode, UnsubscribeCode};

use super::{Io, SessionCx};
use crate::{
    channel::SubscriptionFlags,
    context::cost,
    hub::message::{ClientKey, Recover},
    session::{
        calls::{ApiCall, ApiPage, ClientCommand, ClientSelector, Rest, SubscribeCommand},
        client::{Client, Stage, SubscribeParams, is_past},
        message::Message,
    },
};

impl<I: Io> SessionCx<'_, I> {
    /// Applies a call to the selected clients.
    pub(crate) fn apply_command(&mut self, call: ApiCall) {
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
        matches!(wish, ClientCommand::Subscribe(wish) if is_past(wish.expires_at, self.cx.wall_s()))
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
                return self.mesh.post(self.mesh.shard, Message::Api(ApiCall::Rest(rest)));
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
                    client.subs.iter().map(|sub| self.hub.subscriptions.name(sub.channel)).collect();
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
            ClientCommand::Refresh { expires_at, info } => {
                self.refresh_from_server(key, *expires_at, info.clone());
            }
            ClientCommand::Expire => self.disconnect(key, DisconnectCode::EXPIRED),
        }
        Ok(())
    }

    fn subscribe_from_server(&mut self, key: ClientKey, wish: &SubscribeCommand) -> Result<(), ErrorCode> {
        let Some(client) = self.sessions.clients.get(key) else { return Ok(()) };
        // An existing subscription stays as it is.
        if self.hub.subscriptions.find(&wish.channel).is_some_and(|local| client.sub(local).is_some()) {
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
            expires_at: wish.expires_at,
            is_server_side: true,
            ..SubscribeParams::default()
        };
        self.ask_to_subscribe(key, &wish.channel, wanted);
        Ok(())
    }
}
