//! Refresh: tokens that expire, for connections and for subscriptions.
//!
//! In:  refresh and sub_refresh commands; the time.
//! Out: a new expiry; the end of what has not been refreshed in its grace.

use std::borrow::Cow;

use holdfast_protocol::client::{
    DisconnectCode, ErrorCode, Push, PushBody, ReplyResult, UnsubscribeCode,
    push::RefreshPush,
    reply::{RefreshResult, SubRefreshResult},
};
use holdfast_ring::Kernel;

use super::{
    command::{Handled, token_refused},
    connect::expiry,
    id_text,
};
use crate::{hub::message::ClientKey, shard::Shard, token::TokenUse};

impl<K: Kernel> Shard<K> {
    pub(super) fn refresh(&mut self, key: ClientKey, token: &str) -> Handled<'static> {
        if token.is_empty() {
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        let now_s = self.wall_s();
        let claims = self
            .rules
            .connect_tokens
            .verify_connect(token, now_s)
            .map_err(|error| token_refused(&error, TokenUse::Refresh))?;
        let Some(client) = self.clients.get(key) else { return Ok(None) };
        claims.check(&client.user).map_err(|error| token_refused(&error, TokenUse::Refresh))?;
        client.expires_at_s = claims.expire_at_s.unwrap_or(0);
        let (expires, ttl) = expiry(client.expires_at_s, now_s);
        let result = RefreshResult {
            client: Cow::Owned(id_text(client.id).into()),
            version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
            expires,
            ttl,
        };
        Ok(Some(ReplyResult::Refresh(result)))
    }

    pub(super) fn sub_refresh(&mut self, key: ClientKey, channel: &str, token: &str) -> Handled<'static> {
        if token.is_empty() || channel.is_empty() {
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        let now_s = self.wall_s();
        let claims = self
            .rules
            .subscribe_tokens
            .verify_subscribe(token, now_s)
            .map_err(|error| token_refused(&error, TokenUse::SubRefresh))?;
        let Some(local) = self.locals.find(channel) else { return Err(ErrorCode::PERMISSION_DENIED.into()) };
        let Some(client) = self.clients.get(key) else { return Ok(None) };
        claims
            .check(channel, &client.user, &id_text(client.id))
            .map_err(|error| token_refused(&error, TokenUse::SubRefresh))?;
        let Some(sub) = client.sub(local) else { return Err(ErrorCode::PERMISSION_DENIED.into()) };
        sub.expires_at_s = claims.expire_at_s.unwrap_or(0);
        let (expires, ttl) = expiry(sub.expires_at_s, now_s);
        Ok(Some(ReplyResult::SubRefresh(SubRefreshResult { expires, ttl })))
    }

    /// The application has a new expiry for a connection, in seconds since 1970; 0 for never.
    pub(crate) fn refresh_from_server(&mut self, key: ClientKey, expires_at_s: u64) {
        let now_s = self.wall_s();
        if expires_at_s > 0 && expires_at_s <= now_s {
            return self.disconnect(key, DisconnectCode::EXPIRED);
        }
        let Some(client) = self.clients.get(key) else { return };
        client.expires_at_s = expires_at_s;
        let (link, format) = (client.link, client.format);
        let (expires, ttl) = expiry(expires_at_s, now_s);
        let body = PushBody::Refresh(RefreshPush { expires, ttl });
        self.send_push(link, format, &Push { id: 0, channel: Cow::Borrowed(""), body });
    }

    /// Ends what has expired, with its grace. False where that was the whole session.
    pub(crate) fn check_expiry(&mut self, key: ClientKey) -> bool {
        let now_s = self.wall_s();
        let (grace_s, sub_grace_s) = (self.rules.expired_close_delay_s, self.rules.expired_sub_close_delay_s);
        let is_over = |expires_at_s: u64, grace_s: u64| expires_at_s > 0 && expires_at_s + grace_s < now_s;
        let Some(client) = self.clients.get(key) else { return false };
        if is_over(client.expires_at_s, grace_s) {
            self.disconnect(key, DisconnectCode::EXPIRED);
            return false;
        }
        let expired = client.subs.iter().filter(|sub| is_over(sub.expires_at_s, sub_grace_s));
        // The client cannot make such a subscription anew; with a new session the server can.
        if expired.clone().any(|sub| sub.is_server_side) {
            self.disconnect(key, DisconnectCode::SUBSCRIPTION_EXPIRED);
            return false;
        }
        let expired: Vec<_> = expired.map(|sub| sub.channel).collect();
        for channel in expired {
            let name = self.locals.name(channel);
            self.end_subscription_with(key, &name, UnsubscribeCode::EXPIRED);
        }
        true
    }
}
