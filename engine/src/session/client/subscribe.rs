//! Subscribe: a client's subscriptions to channels.
//!
//! In:  subscribe commands; subscriptions that the server makes for a client.
//! Out: requests to owners, or refusals.
//!
//! The client receives a channel from the moment its owner's answer is handled (`subscribed`): the publications after
//! the answer's position follow it in the same queue.

use std::{ops::RangeInclusive, sync::Arc};

use bytes::Bytes;
use holdfast_protocol::client::{DisconnectCode, ErrorCode, command::SubscribeRequest, delta::FOSSIL};

use super::{Delta, SubState, command::Handled, event::ProxyParams, id_text};
use crate::{
    backend,
    channel::SubscriptionFlags,
    hub::message::{ClientKey, Recover, Subscribe, ToOwner},
    ids::CommandId,
    memory::Budget,
    session::{
        Io, SessionCx,
        client::{
            SubscribeParams,
            command::Outcome,
            connecting::is_past,
            deferred::Question,
            subscription::{DeliveryOptions, SubscribeTerms, Subscription},
        },
    },
    token::TokenUse,
};

/// [`SubscribeRequest::kind`] of maps: of data, of clients, of users. No channel here is one.
const MAPS: RangeInclusive<i32> = 1..=3;

/// The same for a shared poll.
const SHARED_POLL: i32 = 4;

impl<I: Io> SessionCx<'_, I> {
    pub(super) fn subscribe(
        &mut self,
        key: ClientKey,
        command: CommandId,
        request: &SubscribeRequest<'_>,
    ) -> Handled<'static> {
        let now_s = self.cx.wall_s();
        let channel = &*request.channel;
        if channel.is_empty() {
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        if request.kind == SHARED_POLL {
            return Err(ErrorCode::NOT_AVAILABLE.into());
        }
        let is_map = MAPS.contains(&request.kind);
        if !(is_map || request.delta.is_empty() || request.delta == FOSSIL) {
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        self.sessions.policy.channels.resolve(channel)?;
        self.check_room(key, channel)?;
        if is_map {
            return Err(ErrorCode::PERMISSION_DENIED.into());
        }
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        if client.is_pending(|pending| pending.subscribes_to(channel).is_some()) {
            return Err(ErrorCode::ALREADY_SUBSCRIBED.into());
        }
        let resolved = self.sessions.policy.channels.resolve(channel)?;
        let has_token = !request.token.is_empty();
        if !has_token && resolved.is_subscribe_proxied() {
            let data = Bytes::copy_from_slice(request.data.bytes());
            let about = ProxyParams { channel, data, ..ProxyParams::default() };
            let terms = Box::new(SubscribeTerms::of(request).into_owned());
            return self.ask_backend(key, Question::Subscribe { id: command, terms }, about);
        }
        let mut said = backend::Subscribed::default();
        if has_token {
            let tokens = &self.sessions.tokens.subscribe;
            let claims = tokens
                .verify_subscribe(&request.token, now_s)
                .and_then(|claims| claims.check(channel, &client.user, &id_text(client.id)).map(|()| claims));
            let claims = match claims {
                Ok(claims) => claims,
                Err(error) => return self.token_refused(key, &error, TokenUse::Subscribe),
            };
            said.expires_at = claims.expires_at;
            said.options = claims.options;
        }
        resolved.may_subscribe(&client.user, has_token)?;
        let asked = SubscriptionFlags {
            positioned: request.positioned,
            recoverable: request.recoverable,
            join_leave: request.join_leave,
        };
        self.subscribe_as(key, command, &SubscribeTerms::of(request), said, asked)
    }

    /// The backend allows a subscription. As in Centrifugo, it alone decides what the client gets beside the messages.
    pub(super) fn on_subscribe_result(
        &mut self,
        key: ClientKey,
        command: CommandId,
        terms: &SubscribeTerms<'_>,
        said: backend::Subscribed,
    ) -> Handled<'static> {
        // Others may have been added in the meantime.
        self.check_room(key, &terms.channel)?;
        self.subscribe_as(key, command, terms, said, SubscriptionFlags::default())
    }

    fn check_room(&mut self, key: ClientKey, channel: &str) -> Result<(), ErrorCode> {
        let Some(client) = self.sessions.clients.get(key) else { return Ok(()) };
        if self.hub.subscriptions.find(channel).is_some_and(|found| client.sub(found).is_some()) {
            return Err(ErrorCode::ALREADY_SUBSCRIBED);
        }
        if client.subs.len() >= self.sessions.policy.client_channels_max {
            return Err(ErrorCode::LIMIT_EXCEEDED);
        }
        if !self.cx.ledger.has_room(Budget::Sessions) {
            return Err(ErrorCode::TOO_MANY_REQUESTS);
        }
        Ok(())
    }

    /// A client may subscribe, on these terms.
    fn subscribe_as(
        &mut self,
        key: ClientKey,
        command: CommandId,
        terms: &SubscribeTerms<'_>,
        said: backend::Subscribed,
        asked: SubscriptionFlags,
    ) -> Handled<'static> {
        if is_past(said.expires_at, self.cx.wall_s()) {
            return Err(ErrorCode::EXPIRED.into());
        }
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        let channel = &*terms.channel;
        let resolved = self.sessions.policy.channels.resolve(channel)?;
        let overrides = said.options.overrides;
        let mut wanted = SubscribeParams {
            command: Some(command),
            extras: resolved.grant_with(&client.user, asked, &overrides),
            overrides,
            chan_info: said.options.info,
            expires_at: said.expires_at,
            data: said.options.data,
            ..SubscribeParams::default()
        };
        if let Some(filter) = &terms.filter {
            if !resolved.options.allow_tags_filter {
                return Err(ErrorCode::BAD_REQUEST.into());
            }
            wanted.filter = Some(filter.clone()?);
        }
        if terms.wants_delta && self.sessions.policy.channel_policy(&resolved).delta {
            wanted.delta = Delta::WantsWhole;
        }
        if let Some(position) = &terms.recover
            && wanted.extras.recoverable
        {
            wanted.recover = Some(Recover {
                offset: position.offset,
                epoch: position.epoch.as_ref().into(),
                limit: self.sessions.policy.recovery_publications_max,
                cache: self.sessions.policy.recovers_newest(&resolved),
                filter: wanted.filter.clone(),
                rejects_loss: terms.rejects_loss,
                bytes: self.answer_bytes(),
            });
        }
        self.ask_to_subscribe(key, channel, wanted);
        Ok(Outcome::Deferred)
    }

    /// Asks a channel's owner to add a client.
    pub(crate) fn ask_to_subscribe(&mut self, key: ClientKey, channel: &str, wanted: SubscribeParams) {
        let Ok(resolved) = self.sessions.policy.channels.resolve_trusted(channel) else { return };
        let shows = resolved.shows(&wanted.overrides);
        let is_refreshed_by_backend = resolved.options.is_sub_refresh_proxied;
        let policy = self.sessions.policy.slow_reader_policy(&resolved);
        let ticket = self.mesh.next_ticket();
        let Some(client) = self.sessions.clients.get(key) else { return };
        let name = self
            .hub
            .subscriptions
            .find(channel)
            .map_or_else(|| Arc::from(channel), |found| self.hub.subscriptions.name(found));
        let local = self.hub.subscriptions.wait(&name, policy);
        let info = shows.is_seen().then(|| Arc::new(client.info(wanted.chan_info)));
        let options = DeliveryOptions {
            delta: wanted.delta,
            filter: wanted.filter,
            join_leave: wanted.extras.join_leave,
        };
        let is_plain = options.delta == Delta::None && options.filter.is_none() && !options.join_leave;
        client.add_sub(Subscription {
            channel: local,
            place: SubState::Pending { ticket, command: wanted.command },
            is_server_side: wanted.is_server_side,
            is_by_token: wanted.is_by_token,
            expires_at: wanted.expires_at,
            is_refreshed_by_backend,
            shows,
            info: info.clone(),
            options: (!is_plain).then(|| Box::new(options)),
            extras: wanted.extras,
        });
        // The client did not ask for subscriptions that the server makes.
        let is_read = wanted.recover.is_some() && !wanted.is_server_side;
        if is_read {
            client.reads.begin();
        }
        let subscribe = Subscribe {
            channel: Arc::clone(&name),
            shard: self.mesh.shard,
            client: key,
            ticket,
            command: wanted.command,
            is_read,
            recover: wanted.recover,
            wants_position: wanted.extras.positioned || wanted.extras.recoverable,
            info,
            shows,
            data: wanted.data,
        };
        self.account(key);
        self.mesh.send_to_owner(&name, ToOwner::Subscribe(Box::new(subscribe)));
    }

    /// True exactly when a client's subscription to a channel is under way: it will be made or refused.
    pub(super) fn is_being_subscribed(&mut self, key: ClientKey, channel: &str) -> bool {
        let Some(client) = self.sessions.clients.get(key) else { return false };
        if client.is_pending(|pending| pending.subscribes_to(channel).is_some()) {
            return true;
        }
        let sub = self.hub.subscriptions.find(channel).and_then(|local| client.sub(local));
        sub.is_some_and(|sub| matches!(sub.place, SubState::Pending { .. }))
    }
}
