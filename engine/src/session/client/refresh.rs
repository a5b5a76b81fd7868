//! Refresh: expiring tokens of connections and subscriptions.
//!
//! In:  refresh and sub_refresh commands; the time; the backend's answers, if it decides.
//! Out: a new expiry; the end of whatever is not refreshed within its grace period.
//!
//! Expiries are checked with every ping.

use std::{borrow::Cow, collections::HashSet, ops::RangeInclusive, sync::Arc};

use bytes::Bytes;
use holdfast_protocol::client::{
    DisconnectCode, ErrorCode, Push, PushBody, ReplyResult, UnsubscribeCode,
    command::SubRefreshRequest,
    push::RefreshPush,
    reply::{RefreshResult, SubRefreshResult},
};

use super::{command::Handled, event::ProxyParams, id_text};
use crate::{
    backend::{Refreshed, Refusal},
    hub::{
        message::{ClientKey, ToOwner},
        publication::{Data, Info},
        subscriptions::LocalChannelKey,
    },
    session::{
        Io, SessionCx,
        client::{
            command::Outcome,
            connecting::expiry,
            deferred::{Expiring, Question},
            is_past,
            subscription::Subscription,
        },
    },
    time::UnixSeconds,
    token::{SubscribeOptions, TokenUse},
};

/// [`SubRefreshRequest::kind`] of commands about tracked keys.
const TRACKING: RangeInclusive<i32> = 1..=2;

/// Extension of an expired item if the backend does not answer; then it is asked again. As in Centrifugo.
const UNANSWERED_S: u64 = 60;

impl<I: Io> SessionCx<'_, I> {
    pub(super) fn refresh(&mut self, key: ClientKey, token: &str) -> Handled<'static> {
        if token.is_empty() || self.sessions.policy.is_refresh_proxied {
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        let now_s = self.cx.wall_s();
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        let tokens = &self.sessions.tokens.connect;
        let claims = tokens
            .verify_connect(token, now_s)
            .and_then(|claims| claims.check(&client.user).map(|()| claims));
        let claims = match claims {
            Ok(claims) => claims,
            Err(error) => return self.token_refused(key, &error, TokenUse::Refresh),
        };
        // A new session gives the client the subscriptions of the new token.
        if self.has_other_channels(key, &claims.subs) {
            return Err(DisconnectCode::INSUFFICIENT_STATE.into());
        }
        let expires_at = claims.expires_at;
        if is_past(expires_at, now_s) {
            return Err(ErrorCode::EXPIRED.into());
        }
        self.take_conn_info(key, claims.info);
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        client.expires_at = expires_at;
        let id = id_text(client.id);
        self.take_meta(key, claims.meta);
        let (expires, ttl) = expiry(expires_at, now_s);
        let result = RefreshResult {
            client: Cow::Owned(id.into()),
            version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
            expires,
            ttl,
        };
        Ok(Outcome::Reply(ReplyResult::Refresh(result)))
    }

    /// True exactly when the token's channels differ from the session's: a new channel is not subscribed, or a channel
    /// of the previous token is missing.
    fn has_other_channels(&mut self, key: ClientKey, subs: &[(String, SubscribeOptions)]) -> bool {
        let Some(client) = self.sessions.clients.get(key) else { return false };
        let names: HashSet<&str> = subs.iter().map(|(channel, _)| channel.as_str()).collect();
        let is_subscribed = |channel: &str| {
            self.hub.subscriptions.find(channel).is_some_and(|local| client.sub(local).is_some())
        };
        !names.iter().copied().all(is_subscribed)
            || client
                .subs
                .iter()
                .any(|sub| sub.is_by_token && !names.contains(&*self.hub.subscriptions.name(sub.channel)))
    }

    pub(super) fn sub_refresh(
        &mut self,
        key: ClientKey,
        request: &SubRefreshRequest<'_>,
    ) -> Handled<'static> {
        let (channel, token) = (&*request.channel, &*request.token);
        if channel.is_empty() {
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        // Tracking belongs to shared polls; no channel here is one.
        if TRACKING.contains(&request.kind) {
            return Err(ErrorCode::PERMISSION_DENIED.into());
        }
        let Some(local) = self.hub.subscriptions.find(channel) else {
            return Err(ErrorCode::PERMISSION_DENIED.into());
        };
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        match client.sub(local) {
            None => return Err(ErrorCode::PERMISSION_DENIED.into()),
            Some(sub) if sub.is_server_side || sub.is_refreshed_by_backend => {
                return Err(DisconnectCode::BAD_REQUEST.into());
            }
            Some(_) if token.is_empty() => return Err(ErrorCode::BAD_REQUEST.into()),
            Some(_) => {}
        }
        let now_s = self.cx.wall_s();
        let claims = match self.sessions.tokens.subscribe.verify_subscribe(token, now_s) {
            Ok(claims) => claims,
            Err(error) => return self.token_refused(key, &error, TokenUse::SubRefresh),
        };
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        if let Err(error) = claims.check(channel, &client.user, &id_text(client.id)) {
            return self.token_refused(key, &error, TokenUse::SubRefresh);
        }
        let expires_at = claims.expires_at;
        if is_past(expires_at, now_s) {
            return Err(ErrorCode::EXPIRED.into());
        }
        let Some(sub) = client.sub(local) else { return Err(ErrorCode::PERMISSION_DENIED.into()) };
        sub.expires_at = expires_at;
        self.take_chan_info(key, local, claims.options.info.unwrap_or_default());
        let (expires, ttl) = expiry(expires_at, now_s);
        Ok(Outcome::Reply(ReplyResult::SubRefresh(SubRefreshResult { expires, ttl })))
    }

    /// Sets what backends are told of the client, if there is something.
    fn take_meta(&mut self, key: ClientKey, meta: Option<Bytes>) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        if meta.is_some() {
            client.extra().meta = meta;
            self.account(key);
        }
    }

    /// Sets the connection info that others see, if there is one.
    fn take_conn_info(&mut self, key: ClientKey, info: Option<Bytes>) {
        let Some(info) = info.filter(|info| !info.is_empty()) else { return };
        let Some(client) = self.sessions.clients.get(key) else { return };
        if client.conn_info.as_ref().is_some_and(|before| before.bytes == info) {
            return;
        }
        let info = Data::checked(info);
        client.conn_info = Some(Box::new(info.clone()));
        let present = client.change_infos(|_| true, |seen| seen.conn_info = info.clone());
        self.tell_presence(key, present);
    }

    /// The same for the info of a subscription.
    fn take_chan_info(&mut self, key: ClientKey, channel: LocalChannelKey, info: Bytes) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        let taken = Data::checked(info);
        let is_new = |sub: &Subscription| {
            let seen = sub.info.as_ref().filter(|_| sub.channel == channel);
            seen.is_some_and(|seen| seen.chan_info.bytes != taken.bytes)
        };
        let present = client.change_infos(is_new, |seen| seen.chan_info = taken.clone());
        self.tell_presence(key, present);
    }

    fn tell_presence(&mut self, key: ClientKey, present: Vec<(LocalChannelKey, Arc<Info>)>) {
        self.account(key);
        for (channel, info) in present {
            let name = self.hub.subscriptions.name(channel);
            self.mesh.send_to_owner(&name, ToOwner::Renew { channel: Arc::clone(&name), info });
        }
    }

    /// The application sets a new expiry for a connection, `None` for never; and optionally an info.
    pub(crate) fn refresh_from_server(
        &mut self,
        key: ClientKey,
        expires_at: Option<UnixSeconds>,
        info: Option<Bytes>,
    ) {
        let now_s = self.cx.wall_s();
        if is_past(expires_at, now_s) {
            return self.disconnect(key, DisconnectCode::EXPIRED);
        }
        self.take_conn_info(key, info);
        let Some(client) = self.sessions.clients.get(key) else { return };
        client.expires_at = expires_at;
        let (link, format) = (client.link, client.format);
        let (expires, ttl) = expiry(expires_at, now_s);
        let body = PushBody::Refresh(RefreshPush { expires, ttl });
        self.send_push(link, format, &Push { id: 0, channel: Cow::Borrowed(""), body });
    }

    /// Ends what has expired, after its grace period. False if that ended the session.
    pub(crate) fn check_expiry(&mut self, key: ClientKey) -> bool {
        let (grace_s, sub_grace_s) =
            (self.sessions.policy.expired_close_delay_s, self.sessions.policy.expired_sub_close_delay_s);
        let Some(client) = self.sessions.clients.get(key) else { return false };
        if self.sessions.policy.is_refresh_proxied {
            if self.cx.lateness.has_expired(client.expires_at, 0)
                && !client.is_pending(|pending| pending.is_expiry_of(Expiring::Connection))
            {
                self.request_refresh(key, Expiring::Connection);
            }
        } else if self.cx.lateness.has_expired(client.expires_at, grace_s) {
            self.disconnect(key, DisconnectCode::EXPIRED);
            return false;
        }
        let Some(client) = self.sessions.clients.get(key) else { return false };
        let is_expired = |sub: &&Subscription| {
            let grace_s = if sub.is_refreshed_by_backend { 0 } else { sub_grace_s };
            self.cx.lateness.has_expired(sub.expires_at, grace_s)
        };
        let expired = client.subs.iter().filter(is_expired);
        // The client cannot recreate such a subscription; the server can, in a new session.
        if expired.clone().any(|sub| sub.is_server_side && !sub.is_refreshed_by_backend) {
            self.disconnect(key, DisconnectCode::SUBSCRIPTION_EXPIRED);
            return false;
        }
        let expired: Vec<_> = expired.map(|sub| (sub.channel, sub.is_refreshed_by_backend)).collect();
        for (channel, is_refreshed_by_backend) in expired {
            let name = self.hub.subscriptions.name(channel);
            if !is_refreshed_by_backend {
                self.end_subscription_with(key, &name, UnsubscribeCode::EXPIRED);
            } else if self.sessions.clients.get(key).is_some_and(|client| {
                !client.is_pending(|pending| pending.is_expiry_of(Expiring::Subscription(&name)))
            }) {
                self.request_refresh(key, Expiring::Subscription(&name));
            }
        }
        true
    }

    /// Asks the backend whether the session, or the subscription to a channel, continues. It does until the answer
    /// arrives.
    fn request_refresh(&mut self, key: ClientKey, expiring: Expiring<'_>) {
        let (question, channel) = match expiring {
            Expiring::Connection => (Question::ConnectionExpiry, ""),
            Expiring::Subscription(channel) => {
                (Question::SubscriptionExpiry { channel: channel.into() }, channel)
            }
        };
        let about = ProxyParams { channel, ..ProxyParams::default() };
        if self.ask_backend(key, question, about).is_err() {
            self.extend_until(key, expiring, UnixSeconds::new(self.cx.wall_s() + UNANSWERED_S));
        }
    }

    /// The backend has decided whether an expired session continues.
    pub(super) fn on_refresh_result(&mut self, key: ClientKey, said: Result<Option<Refreshed>, Refusal>) {
        let now_s = self.cx.wall_s();
        match said {
            Err(Refusal::Failed) => {
                self.extend_until(key, Expiring::Connection, UnixSeconds::new(now_s + UNANSWERED_S));
            }
            Ok(Some(Refreshed { is_expired: false, expires_at: Some(at), meta, info }))
                if !at.has_come(now_s) =>
            {
                self.extend_until(key, Expiring::Connection, Some(at));
                self.take_meta(key, meta);
                self.take_conn_info(key, info);
            }
            _ => self.disconnect(key, DisconnectCode::EXPIRED),
        }
    }

    /// The backend has decided whether an expired subscription continues.
    pub(super) fn on_sub_refresh_result(
        &mut self,
        key: ClientKey,
        channel: &str,
        said: Result<Option<Refreshed>, Refusal>,
    ) {
        let now_s = self.cx.wall_s();
        match said {
            Err(Refusal::Failed) => {
                self.extend_until(
                    key,
                    Expiring::Subscription(channel),
                    UnixSeconds::new(now_s + UNANSWERED_S),
                );
            }
            Ok(Some(said)) if !said.is_expired && !is_past(said.expires_at, now_s) => {
                self.extend_until(key, Expiring::Subscription(channel), said.expires_at);
                let info = said.info.filter(|info| !info.is_empty());
                if let (Some(info), Some(local)) = (info, self.hub.subscriptions.find(channel)) {
                    self.take_chan_info(key, local, info);
                }
            }
            _ => {
                let Some(local) = self.hub.subscriptions.find(channel) else { return };
                let Some(sub) = self.sessions.clients.get(key).and_then(|client| client.sub(local)) else {
                    return;
                };
                if sub.is_server_side {
                    self.disconnect(key, DisconnectCode::SUBSCRIPTION_EXPIRED);
                } else {
                    self.end_subscription_with(key, channel, UnsubscribeCode::EXPIRED);
                }
            }
        }
    }

    fn extend_until(&mut self, key: ClientKey, expiring: Expiring<'_>, expires_at: Option<UnixSeconds>) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        match expiring {
            Expiring::Connection => client.expires_at = expires_at,
            Expiring::Subscription(channel) => {
                let local = self.hub.subscriptions.find(channel);
                if let Some(sub) = local.and_then(|local| client.sub(local)) {
                    sub.expires_at = expires_at;
                }
            }
        }
    }
}
