//! Connect: identifies a client.
//!
//! In:  its first command; the claims of its token, or the backend's answer.
//! Out: the reply, once its server-side subscriptions are made; or a disconnect.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use holdfast_protocol::{
    client::{
        DisconnectCode, ErrorCode, Map, Payload, ReplyResult, StreamPosition,
        command::ConnectRequest,
        reply::{ConnectResult, SubscribeResult},
    },
    http::list_separator,
};

use super::{Stage, command::Handled, event::ProxyParams, id_text, subscribed::result};
use crate::{
    backend::{Connected, Header},
    channel::{ChannelError, SubscriptionFlags},
    conn::pace::{PingStretch, announced_interval_s},
    hub::{
        message::{ClientKey, Recover, Subscribed},
        publication::Data,
    },
    ids::CommandId,
    memory::Budget,
    refusals::Why,
    session::{
        Io, SessionCx,
        client::{
            command::Outcome,
            connecting::{Connecting, EarlierSubscription, ServerSide, expiry},
            deferred::Question,
            subscription::{SubscribeParams, Subscription},
        },
    },
    token::{SubscribeOptions, TokenUse},
};

/// The source of a client's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Token,
    Backend,
    /// None: anybody may connect.
    Nobody,
}

/// What allows a client without a token to connect.
const WITHOUT_TOKEN: &str = "a token in the connect command; or client.allow_anonymous_connect_without_token, or client.proxy.connect.enabled";

impl<I: Io> SessionCx<'_, I> {
    /// Later commands wait until the connect is answered.
    pub(super) fn begin_connecting(&mut self, key: ClientKey, command: CommandId) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        client.stage = Stage::Connecting;
        match &mut client.connecting {
            Some(connecting) => connecting.command = command,
            None => client.connecting = Some(Box::new(Connecting::new(command))),
        }
        self.account(key);
    }

    pub(super) fn connect(
        &mut self,
        key: ClientKey,
        command: CommandId,
        request: &ConnectRequest<'_>,
    ) -> Handled<'static> {
        self.keep_emulated_headers(key, request)?;
        if !request.token.is_empty() {
            let claims = self.sessions.tokens.connect.verify_connect(&request.token, self.cx.wall_s());
            let claims = match claims {
                Ok(claims) => claims,
                Err(error) => return self.token_refused(key, &error, TokenUse::Connect),
            };
            if claims.user.is_empty() && self.sessions.policy.refuses_anonymous_tokens {
                let allow = "a user in the claim sub, or client.disallow_anonymous_connection_tokens = false";
                self.cx.why = Some(Why::new("token_without_user", allow));
                return Err(DisconnectCode::PERMISSION_DENIED.into());
            }
            let who = Connected {
                user: claims.user,
                expires_at: claims.expires_at,
                info: claims.info,
                data: None,
                meta: claims.meta,
                subs: claims.subs,
            };
            let earlier: Vec<_> = EarlierSubscription::all(request).collect();
            return self.authenticate(key, command, &earlier, who, Source::Token);
        }
        if !self.sessions.policy.is_connect_proxied {
            let earlier: Vec<_> = EarlierSubscription::all(request).collect();
            return self.connect_nobody(key, command, &earlier);
        }
        let about = ProxyParams {
            name: &request.name,
            version: &request.version,
            channels: request.subs.0.iter().map(|(channel, _)| channel.as_ref().into()).collect(),
            data: Bytes::copy_from_slice(request.data.bytes()),
            ..ProxyParams::default()
        };
        let earlier = EarlierSubscription::all(request).map(EarlierSubscription::into_owned).collect();
        let handled = self.ask_backend(key, Question::Connect { id: command, earlier }, about)?;
        self.begin_connecting(key, command);
        Ok(handled)
    }

    /// The backend has identified the client. An empty answer counts as if it had not been asked.
    pub(super) fn on_connect_result(
        &mut self,
        key: ClientKey,
        command: CommandId,
        earlier: &[EarlierSubscription<'_>],
        said: Option<Connected>,
    ) -> Handled<'static> {
        match said {
            Some(who) => self.authenticate(key, command, earlier, who, Source::Backend),
            None => self.connect_nobody(key, command, earlier),
        }
    }

    /// A connect is answered with an error: the client returns to its earlier stage, and the commands after it are
    /// handled in that stage.
    pub(super) fn connect_refused(&mut self, key: ClientKey) {
        if let Some(client) = self.sessions.clients.get(key) {
            client.stage = Stage::Fresh;
            client.connecting = None;
            self.account(key);
        }
    }

    fn connect_nobody(
        &mut self,
        key: ClientKey,
        command: CommandId,
        earlier: &[EarlierSubscription<'_>],
    ) -> Handled<'static> {
        if !self.sessions.policy.allows_anonymous {
            self.cx.why = Some(Why::new("no_token", WITHOUT_TOKEN));
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        let nobody = Connected {
            user: String::new(),
            expires_at: None,
            info: None,
            data: None,
            meta: None,
            subs: Vec::new(),
        };
        self.authenticate(key, command, earlier, nobody, Source::Nobody)
    }

    /// The client's identity and its server-side subscriptions are known.
    fn authenticate(
        &mut self,
        key: ClientKey,
        command: CommandId,
        earlier: &[EarlierSubscription<'_>],
        who: Connected,
        source: Source,
    ) -> Handled<'static> {
        let mut who = who;
        let personal = self.sessions.policy.personal_channel(&who.user);
        if let Some(channel) = &personal {
            who.subs.push((channel.clone(), SubscribeOptions::default()));
        }
        if who.subs.len() > self.sessions.policy.client_channels_max {
            return Err(DisconnectCode::CHANNEL_LIMIT.into());
        }
        if who.expires_at.is_some_and(|at| at.get() < self.cx.wall_s()) {
            return Err(ErrorCode::EXPIRED.into());
        }
        let mut subs = Vec::with_capacity(who.subs.len());
        for (channel, options) in who.subs {
            let is_cache = match self.sessions.policy.channels.resolve_trusted(&channel) {
                Ok(resolved) => self.sessions.policy.recovers_newest(&resolved),
                Err(error) => {
                    self.cx.why = Some(Why::of_channel(&channel, &error));
                    return Err(error.code().into());
                }
            };
            if subs.iter().any(|sub: &ServerSide| sub.channel == channel) {
                continue;
            }
            // The last one counts where a channel is repeated.
            let before = earlier.iter().rev().find(|sub| sub.channel == channel);
            let position = before.and_then(|sub| sub.position.as_ref());
            let recover = position.map(|position| self.recover_from(position, is_cache));
            let is_by_token = source == Source::Token && personal.as_ref() != Some(&channel);
            subs.push(ServerSide { channel, options, recover, is_by_token });
        }
        // The backend has seen the requested subscriptions, and its answer is complete.
        if source != Source::Backend {
            self.add_wished(&who.user, earlier, &mut subs)?;
        }
        if !(subs.is_empty() || self.cx.ledger.has_room(Budget::Sessions)) {
            return Err(ErrorCode::TOO_MANY_REQUESTS.into());
        }
        let user = self.sessions.users.add(&who.user, key);
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Outcome::NoReply) };
        client.user = Arc::clone(&user);
        client.conn_info = who.info.map(|info| Box::new(Data::checked(info)));
        client.expires_at = who.expires_at;
        if who.meta.is_some() {
            client.extra().meta = who.meta;
        }
        client.connecting = Some(Box::new(Connecting { subs, data: who.data, ..Connecting::new(command) }));
        self.begin_connecting(key, command);
        if !self.ask_for_lease(key, &user) {
            self.admit(key);
        }
        Ok(Outcome::Deferred)
    }

    /// Adds the client's earlier server-side subscriptions from its connect command, if the client could make them
    /// itself without a token. Ignores the others silently.
    fn add_wished(
        &self,
        user: &str,
        earlier: &[EarlierSubscription<'_>],
        subs: &mut Vec<ServerSide>,
    ) -> Result<(), DisconnectCode> {
        for EarlierSubscription { channel, position } in earlier {
            let resolved = match self.sessions.policy.channels.resolve(channel) {
                Ok(resolved) => resolved,
                Err(ChannelError::NamespaceUnknown) => return Err(DisconnectCode::BAD_REQUEST),
                Err(_) => continue,
            };
            let is_open = !resolved.is_subscribe_proxied() && resolved.may_subscribe(user, false).is_ok();
            if !is_open || subs.iter().any(|sub| sub.channel == *channel) {
                continue;
            }
            let is_cache = self.sessions.policy.recovers_newest(&resolved);
            if subs.len() >= self.sessions.policy.client_channels_max {
                return Err(DisconnectCode::CHANNEL_LIMIT);
            }
            subs.push(ServerSide {
                channel: channel.clone().into_owned(),
                options: SubscribeOptions::default(),
                recover: position.as_ref().map(|position| self.recover_from(position, is_cache)),
                is_by_token: false,
            });
        }
        Ok(())
    }

    fn recover_from(&self, position: &StreamPosition<'_>, cache: bool) -> Recover {
        Recover {
            offset: position.offset,
            epoch: position.epoch.as_ref().into(),
            limit: self.sessions.policy.recovery_publications_max,
            cache,
            filter: None,
            rejects_loss: false,
            bytes: self.answer_bytes_alone(),
        }
    }

    /// The client may stay: requests its server-side subscriptions.
    pub(super) fn admit(&mut self, key: ClientKey) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        let Some(connecting) = &mut client.connecting else { return };
        let subs = std::mem::take(&mut connecting.subs);
        let command = connecting.command;
        // Counted before the first request, so that no answer completes the connect early.
        connecting.waiting = subs.len();
        for sub in subs {
            self.subscribe_server_side(key, command, sub);
        }
        self.connect_if_complete(key);
    }

    /// A server-side subscription of a connecting client is made. Returned if the client is not connecting.
    pub(super) fn connecting_subscribed(
        &mut self,
        key: ClientKey,
        subscribed: Subscribed,
    ) -> Option<Subscribed> {
        let reply_bytes_max = self.sessions.policy.reply_bytes_max;
        let Some(client) = self.sessions.clients.get(key) else { return Some(subscribed) };
        match &mut client.connecting {
            Some(connecting) if client.stage == Stage::Connecting => {
                connecting.waiting = connecting.waiting.saturating_sub(1);
                connecting.add(subscribed, reply_bytes_max);
                self.connect_if_complete(key);
                None
            }
            _ => Some(subscribed),
        }
    }

    fn connect_if_complete(&mut self, key: ClientKey) {
        let now_s = self.cx.wall_s();
        let node = Arc::clone(&self.sessions.node);
        let stretch = self.io.pings();
        let ping_s = announced_interval_s(self.sessions.policy.ping_interval_ms, stretch);
        let is_refresh_proxied = self.sessions.policy.is_refresh_proxied;
        let Some(client) = self.sessions.clients.get(key) else { return };
        let Some(connecting) = client.connecting.take_if(|connecting| connecting.waiting == 0) else {
            return;
        };
        client.stage = Stage::Connected;
        let id = id_text(client.id);
        let told_expiry = client.expires_at.filter(|_| !is_refresh_proxied);
        let (expires, ttl) = expiry(told_expiry, now_s);
        let is_pinged = client.link.is_pinged();
        let session = client.link.session().and_then(|place| self.sessions.registry.id(place));
        let session = session.map(|session| session.to_string());
        let sub_of = |subscribed: &Subscribed| {
            let local = self.hub.subscriptions.find(&subscribed.channel)?;
            client.subs.iter().find(|sub| sub.channel == local)
        };
        let subs: Vec<(Cow<'_, str>, SubscribeResult<'_>)> = connecting
            .subscribed
            .iter()
            .filter_map(|subscribed| {
                let sub: &Subscription = sub_of(subscribed)?;
                Some((Cow::Borrowed(&*subscribed.channel), result(subscribed, sub, now_s, &[])))
            })
            .collect();
        let result = ConnectResult {
            client: Cow::Borrowed(&id),
            version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
            expires,
            ttl,
            data: Payload::new(connecting.data.as_deref().unwrap_or_default()),
            subs: Map(subs),
            ping: if is_pinged { ping_s } else { 0 },
            pong: is_pinged,
            node: Cow::Borrowed(if session.is_some() { &node } else { "" }),
            session: Cow::Borrowed(session.as_deref().unwrap_or_default()),
            time: 0,
        };
        self.reply(key, connecting.command, Ok(ReplyResult::Connect(result)));
        self.begin_pings(key, if is_pinged { stretch } else { PingStretch::NOTHING });
        self.account(key);
        self.go_on(key);
    }

    fn subscribe_server_side(&mut self, key: ClientKey, command: CommandId, sub: ServerSide) {
        let ServerSide { channel, options, recover, is_by_token } = sub;
        let user = self.sessions.clients.get(key).map(|client| Arc::clone(&client.user)).unwrap_or_default();
        let Ok(resolved) = self.sessions.policy.channels.resolve_trusted(&channel) else { return };
        let requested = SubscriptionFlags { recoverable: recover.is_some(), ..SubscriptionFlags::default() };
        let extras = resolved.grant_with(&user, requested, &options.overrides);
        let params = SubscribeParams {
            command: Some(command),
            recover: recover.filter(|_| extras.recoverable),
            extras,
            overrides: options.overrides,
            chan_info: options.info,
            data: options.data,
            is_server_side: true,
            is_by_token,
            ..SubscribeParams::default()
        };
        self.ask_to_subscribe(key, &channel, params);
    }

    /// Keeps the header fields of a connect command for backends, up to the size limit of a request's head.
    fn keep_emulated_headers(
        &mut self,
        key: ClientKey,
        request: &ConnectRequest<'_>,
    ) -> Result<(), ErrorCode> {
        let allowed = &self.sessions.policy.emulated_headers;
        let mut fields: Vec<Header> = Vec::new();
        let mut bytes = 0;
        for (name, value) in &request.headers.0 {
            let name = name.to_ascii_lowercase().into_boxed_str();
            let value = value.as_bytes();
            if allowed.contains(&name) {
                bytes += name.len() + value.len();
                if bytes > self.sessions.policy.head_bytes_max {
                    return Err(ErrorCode::LIMIT_EXCEEDED);
                }
            }
            match fields.iter_mut().find(|(before, _)| *before == name) {
                Some((_, before)) => *before = [before, list_separator(&name), value].concat().into(),
                None if allowed.contains(&name) => fields.push((name, value.into())),
                None => {}
            }
        }
        if !fields.is_empty()
            && let Some(client) = self.sessions.clients.get(key)
        {
            client.extra().emulated_headers = fields.into();
            self.account(key);
        }
        Ok(())
    }
}
