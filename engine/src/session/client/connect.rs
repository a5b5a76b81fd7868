//! Connect: who a client is.
//!
//! In:  its first command.
//! Out: the reply to it, when its server-side subscriptions are made; or the end of the session.

use std::{borrow::Cow, sync::Arc};

use holdfast_protocol::client::{
    DisconnectCode, ErrorCode, Map, Payload, ReplyResult,
    command::ConnectRequest,
    reply::{ConnectResult, SubscribeResult},
};
use holdfast_ring::Kernel;

use super::{
    Client, Stage, Sub,
    command::{Handled, Refused, token_refused},
    id_text,
    subscribe::{Wanted, result},
};
use crate::{
    channel::Extras,
    hub::{
        message::{ClientKey, Recover, Subscribed},
        publication::Data,
    },
    shard::Shard,
    token::{ConnectClaims, SubscribeOptions, TokenUse},
};

/// Bytes of commands that may wait for a connect.
const PARKED_BYTES_MAX: usize = 256 * 1024;

/// A connect that waits for its server-side subscriptions, and what has come after it.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    command: u32,
    waiting: usize,
    subscribed: Vec<Subscribed>,
    frames: Vec<Box<[u8]>>,
    bytes: usize,
}

impl Client {
    /// Keeps commands until the client is connected.
    pub(super) fn park(&mut self, frame: &[u8]) -> Result<(), DisconnectCode> {
        let parked = self.parked.get_or_insert_default();
        parked.bytes += frame.len();
        if parked.bytes > PARKED_BYTES_MAX {
            return Err(DisconnectCode::SLOW);
        }
        parked.frames.push(frame.into());
        Ok(())
    }
}

impl<K: Kernel> Shard<K> {
    pub(super) fn connect(
        &mut self,
        key: ClientKey,
        command: u32,
        request: &ConnectRequest<'_>,
    ) -> Handled<'static> {
        let claims = self.identify(&request.token)?;
        let user = claims.as_ref().map_or("", |claims| &claims.user);
        self.admit(user)?;
        let user = self.users.add(user, key);
        let Some(client) = self.clients.get(key) else { return Ok(None) };
        client.user = user;
        let mut subs = Vec::new();
        if let Some(claims) = claims {
            client.conn_info = claims.info.map(|info| Box::new(Data::checked(info)));
            client.expires_at_s = claims.expire_at_s.unwrap_or(0);
            subs = claims.subs;
        }
        client.stage = Stage::Connecting;
        client.parked = Some(Box::new(Parked { command, ..Parked::default() }));
        for (channel, options) in &subs {
            let position = request.subs.get(channel);
            let recover = position.filter(|position| position.recover).map(|position| Recover {
                offset: position.offset,
                epoch: position.epoch.as_ref().into(),
                limit: self.rules.recovery_publications_max,
                cache: false,
            });
            if self.subscribe_server_side(key, channel, options, recover, command).is_ok()
                && let Some(parked) = self.clients.get(key).and_then(|client| client.parked.as_mut())
            {
                parked.waiting += 1;
            }
        }
        self.connect_if_complete(key);
        Ok(None)
    }

    /// A server-side subscription of a connecting client is made. False where the client is not connecting.
    pub(super) fn connecting_subscribed(
        &mut self,
        key: ClientKey,
        subscribed: Subscribed,
    ) -> Option<Subscribed> {
        let Some(client) = self.clients.get(key) else { return Some(subscribed) };
        match &mut client.parked {
            Some(parked) if client.stage == Stage::Connecting => {
                parked.waiting = parked.waiting.saturating_sub(1);
                parked.subscribed.push(subscribed);
                self.connect_if_complete(key);
                None
            }
            _ => Some(subscribed),
        }
    }

    /// What a token says of the client; nothing of an anonymous one.
    fn identify(&self, token: &str) -> Result<Option<ConnectClaims>, Refused> {
        if token.is_empty() {
            return if self.rules.allows_anonymous {
                Ok(None)
            } else {
                Err(DisconnectCode::INVALID_TOKEN.into())
            };
        }
        let claims = self.rules.connect_tokens.verify_connect(token, self.wall_s());
        claims.map(Some).map_err(|error| token_refused(&error, TokenUse::Connect))
    }

    /// Whether one more connection of this user may be.
    fn admit(&self, user: &str) -> Result<(), DisconnectCode> {
        let max = self.rules.user_connections_max;
        if max > 0 && !user.is_empty() && self.users.of(user).len() >= max {
            return Err(DisconnectCode::CONNECTION_LIMIT);
        }
        Ok(())
    }

    fn connect_if_complete(&mut self, key: ClientKey) {
        let now_s = self.wall_s();
        let (ping_s, node) = (self.rules.ping_s, Arc::clone(&self.rules.node));
        let Some(client) = self.clients.get(key) else { return };
        let Some(parked) = client.parked.take_if(|parked| parked.waiting == 0) else { return };
        client.stage = Stage::Connected;
        let id = id_text(client.id);
        let (expires, ttl) = expiry(client.expires_at_s, now_s);
        let is_pinged = client.link.is_pinged();
        let session = client.link.session().and_then(|place| self.named.id(place));
        let session = session.map(|session| session.to_string());
        let sub_of = |subscribed: &Subscribed| {
            let local = self.locals.find(&subscribed.channel)?;
            client.subs.iter().find(|sub| sub.channel == local)
        };
        let subs: Vec<(Cow<'_, str>, SubscribeResult<'_>)> = parked
            .subscribed
            .iter()
            .filter_map(|subscribed| {
                let sub: &Sub = sub_of(subscribed)?;
                Some((Cow::Borrowed(&*subscribed.channel), result(subscribed, sub, now_s, &[])))
            })
            .collect();
        let result = ConnectResult {
            client: Cow::Borrowed(&id),
            version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
            expires,
            ttl,
            data: Payload::default(),
            subs: Map(subs),
            ping: if is_pinged { ping_s } else { 0 },
            pong: is_pinged,
            node: Cow::Borrowed(if session.is_some() { &node } else { "" }),
            session: Cow::Borrowed(session.as_deref().unwrap_or_default()),
            time: 0,
        };
        self.reply(key, parked.command, Ok(ReplyResult::Connect(result)));
        self.begin_pings(key);
        for frame in parked.frames {
            self.commands_came(key, &frame);
        }
    }

    fn subscribe_server_side(
        &mut self,
        key: ClientKey,
        channel: &str,
        options: &SubscribeOptions,
        recover: Option<Recover>,
        command: u32,
    ) -> Result<(), ErrorCode> {
        let user = self.clients.get(key).map(|client| Arc::clone(&client.user)).unwrap_or_default();
        let resolved = self.rules.channels.resolve_trusted(channel).map_err(|error| error.code())?;
        let asked = Extras { recoverable: recover.is_some(), ..Extras::default() };
        let extras = resolved.grant_with(&user, asked, &options.overrides);
        let wanted = Wanted {
            command,
            recover: recover.filter(|_| extras.recoverable),
            extras,
            chan_info: options.info.clone(),
            data: options.data.clone(),
            is_server_side: true,
            ..Wanted::default()
        };
        self.ask_to_subscribe(key, channel, wanted);
        Ok(())
    }
}

/// Whether a client is to refresh, and within how many seconds.
pub(super) fn expiry(expires_at_s: u64, now_s: u64) -> (bool, u32) {
    match expires_at_s {
        0 => (false, 0),
        at => (true, u32::try_from(at.saturating_sub(now_s)).unwrap_or(u32::MAX).max(1)),
    }
}
