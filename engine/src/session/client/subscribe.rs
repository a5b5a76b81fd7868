//! Subscribe: which channels a client hears.
//!
//! In:  subscribe and unsubscribe commands; the homes' answers.
//! Out: questions to homes; replies with a position, and with what was missed.
//!
//! The client hears a channel from the moment at which its home's answer is handled here: the publications after the
//! position in it follow it in the same queue.

use std::{borrow::Cow, ops::RangeInclusive, sync::Arc};

use bytes::Bytes;
use holdfast_protocol::client::{
    DisconnectCode, ErrorCode, Format, Payload, Push, PushBody, ReplyResult, Request, UnsubscribeCode,
    append_push,
    command::SubscribeRequest,
    delta::FOSSIL,
    filter::Filter,
    push::{SubscribePush, UnsubscribePush},
    reply::SubscribeResult,
};
use holdfast_ring::Kernel;

use super::{
    Client, Delta, Link, Place, Stage, Sub, Wishes,
    command::{Handled, done},
    connect::expiry,
    event::{About, decoded},
    id_text,
    refresh::is_past,
};
use crate::{
    backend::{self, Event},
    channel::Extras,
    conn::{deflate::Deflate, lag::Cause},
    hub::{
        local::{Subscriber, Takes},
        message::{ClientKey, Recover, Subscribe, Subscribed, ToHome},
        publication::{Data, Info},
    },
    memory::Budget,
    shard::{Shard, cost},
    token::{Overrides, TokenUse},
};

/// Of the flags of a subscribe: there is to be no subscription where not all that was missed can be told.
const REJECT_UNRECOVERED: i64 = 2;

/// [`SubscribeRequest::kind`] of maps: of data, of clients, of users. No channel here is one.
const MAPS: RangeInclusive<i32> = 1..=3;

/// The same of a shared poll.
const SHARED_POLL: i32 = 4;

/// What one subscription is to be like.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// The command's number; 0 where no command asked.
    pub(crate) command: u32,
    pub(crate) recover: Option<Recover>,
    pub(crate) extras: Extras,
    /// Options of the channel that are otherwise for it.
    pub(crate) overrides: Overrides,
    /// What others see of the client in this channel.
    pub(crate) chan_info: Option<Bytes>,
    pub(crate) expires_at_s: u64,
    pub(crate) delta: Delta,
    pub(crate) filter: Option<Arc<Filter>>,
    pub(crate) is_server_side: bool,
    /// True exactly when the connection's token asks for it.
    pub(crate) is_by_token: bool,
    /// What the client gets along with the subscription.
    pub(crate) data: Option<Bytes>,
}

impl<K: Kernel> Shard<K> {
    pub(super) fn subscribe(
        &mut self,
        key: ClientKey,
        command: u32,
        request: &SubscribeRequest<'_>,
    ) -> Handled<'static> {
        let now_s = self.wall_s();
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
        self.rules.channels.resolve(channel)?;
        self.check_room(key, channel)?;
        if is_map {
            return Err(ErrorCode::PERMISSION_DENIED.into());
        }
        let Some(client) = self.clients.get(key) else { return Ok(None) };
        if client.is_pending(|pending| pending.is_subscribe_to(channel)) {
            return Err(ErrorCode::ALREADY_SUBSCRIBED.into());
        }
        let resolved = self.rules.channels.resolve(channel)?;
        let has_token = !request.token.is_empty();
        if !has_token && resolved.is_subscribe_proxied() {
            let about = About { channel, data: request.data.bytes(), ..About::default() };
            let kept = SubscribeRequest { data: Payload::default(), ..request.clone() };
            return self.ask_backend(key, Event::Subscribe, Some((command, Request::Subscribe(kept))), about);
        }
        let mut said = backend::Subscribed::default();
        if has_token {
            let tokens = &self.rules.subscribe_tokens;
            let claims = tokens
                .verify_subscribe(&request.token, now_s)
                .and_then(|claims| claims.check(channel, &client.user, &id_text(client.id)).map(|()| claims));
            let claims = match claims {
                Ok(claims) => claims,
                Err(error) => return Err(self.token_refused(key, &error, TokenUse::Subscribe)),
            };
            said.expires_at_s = claims.expire_at_s.unwrap_or(0);
            said.options = claims.options;
        }
        resolved.may_subscribe(&client.user, has_token)?;
        let asked = Extras {
            positioned: request.positioned,
            recoverable: request.recoverable,
            join_leave: request.join_leave,
        };
        self.subscribe_as(key, command, request, said, asked)
    }

    /// The backend lets a client subscribe. As with Centrifugo, it alone says what the client gets beside the messages.
    pub(super) fn subscribe_said(
        &mut self,
        key: ClientKey,
        command: u32,
        request: &SubscribeRequest<'_>,
        said: backend::Subscribed,
    ) -> Handled<'static> {
        // Meanwhile others may have subscribed it.
        self.check_room(key, &request.channel)?;
        self.subscribe_as(key, command, request, said, Extras::default())
    }

    fn check_room(&mut self, key: ClientKey, channel: &str) -> Result<(), ErrorCode> {
        let Some(client) = self.clients.get(key) else { return Ok(()) };
        if self.locals.find(channel).is_some_and(|found| client.sub(found).is_some()) {
            return Err(ErrorCode::ALREADY_SUBSCRIBED);
        }
        if client.subs.len() >= self.rules.client_channels_max {
            return Err(ErrorCode::LIMIT_EXCEEDED);
        }
        if !self.ledger.has_room(Budget::Sessions) {
            return Err(ErrorCode::TOO_MANY_REQUESTS);
        }
        Ok(())
    }

    /// A client may subscribe, on these conditions.
    fn subscribe_as(
        &mut self,
        key: ClientKey,
        command: u32,
        request: &SubscribeRequest<'_>,
        said: backend::Subscribed,
        asked: Extras,
    ) -> Handled<'static> {
        if is_past(said.expires_at_s, self.wall_s()) {
            return Err(ErrorCode::EXPIRED.into());
        }
        let Some(client) = self.clients.get(key) else { return Ok(None) };
        let channel = &*request.channel;
        let resolved = self.rules.channels.resolve(channel)?;
        let overrides = said.options.overrides;
        let mut wanted = Wanted {
            command,
            extras: resolved.grant_with(&client.user, asked, &overrides),
            overrides,
            chan_info: said.options.info,
            expires_at_s: said.expires_at_s,
            data: said.options.data,
            ..Wanted::default()
        };
        if let Some(tree) = &request.tf {
            if !resolved.options.allow_tags_filter {
                return Err(ErrorCode::BAD_REQUEST.into());
            }
            wanted.filter = Some(Arc::new(Filter::new(tree).map_err(|fault| fault.code())?));
        }
        if request.delta == FOSSIL && self.rules.home_rules(&resolved).delta {
            wanted.delta = Delta::WantsWhole;
        }
        if request.recover && wanted.extras.recoverable {
            wanted.recover = Some(Recover {
                offset: request.offset,
                epoch: request.epoch.as_ref().into(),
                limit: self.rules.recovery_publications_max,
                cache: self.rules.recovers_newest(&resolved),
                filter: wanted.filter.clone(),
                rejects_loss: request.flag & REJECT_UNRECOVERED != 0,
                bytes: self.answer_bytes(),
            });
        }
        self.ask_to_subscribe(key, channel, wanted);
        Ok(None)
    }

    /// Has a channel's home take a client in.
    pub(crate) fn ask_to_subscribe(&mut self, key: ClientKey, channel: &str, wanted: Wanted) {
        let Ok(resolved) = self.rules.channels.resolve_trusted(channel) else { return };
        let shows = resolved.shows(&wanted.overrides);
        let is_refreshed_by_backend = resolved.options.is_sub_refresh_proxied;
        let policy = self.rules.slow_reader_policy(&resolved);
        let ticket = self.next_ticket();
        let Some(client) = self.clients.get(key) else { return };
        let name =
            self.locals.find(channel).map_or_else(|| Arc::from(channel), |found| self.locals.name(found));
        let local = self.locals.wait(&name, policy);
        let info = shows.is_seen().then(|| Arc::new(client.info(wanted.chan_info)));
        let wishes =
            Wishes { delta: wanted.delta, filter: wanted.filter, join_leave: wanted.extras.join_leave };
        let is_plain = wishes.delta == Delta::None && wishes.filter.is_none() && !wishes.join_leave;
        client.add_sub(Sub {
            channel: local,
            place: Place::Awaited { ticket, command: wanted.command },
            is_server_side: wanted.is_server_side,
            is_by_token: wanted.is_by_token,
            expires_at_s: wanted.expires_at_s,
            is_refreshed_by_backend,
            shows,
            info: info.clone(),
            wishes: (!is_plain).then(|| Box::new(wishes)),
            extras: wanted.extras,
        });
        // What the server subscribes a client to, it did not ask for.
        let is_read = wanted.recover.is_some() && !wanted.is_server_side;
        if is_read {
            client.reads.begin();
        }
        let subscribe = Subscribe {
            channel: Arc::clone(&name),
            core: self.index,
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
        self.post_home(&name, ToHome::Subscribe(Box::new(subscribe)));
    }

    /// The home has taken a client in.
    pub(crate) fn subscribed(&mut self, subscribed: Subscribed) {
        let (key, is_read) = (subscribed.client, subscribed.is_read);
        self.take_subscription(subscribed);
        if is_read {
            self.end_read(key);
        }
        self.go_on(key);
    }

    /// True exactly when a client's subscription to a channel is asked for: it will be made, or be refused.
    pub(super) fn is_being_subscribed(&mut self, key: ClientKey, channel: &str) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        if client.is_pending(|pending| pending.is_subscribe_to(channel)) {
            return true;
        }
        let sub = self.locals.find(channel).and_then(|local| client.sub(local));
        sub.is_some_and(|sub| matches!(sub.place, Place::Awaited { .. }))
    }

    fn take_subscription(&mut self, mut subscribed: Subscribed) {
        let key = subscribed.client;
        let now_s = self.wall_s();
        let Some(local) = self.locals.find(&subscribed.channel) else { return };
        // What the channel has in this turn is from before the position in the answer.
        self.fan_out_channel(local);
        let Some(client) = self.clients.get(key) else { return };
        let (stage, format, link) = (client.stage, client.format, client.link);
        let awaited = Place::Awaited { ticket: subscribed.ticket, command: subscribed.command };
        let Some(at) = client.subs.iter().position(|sub| sub.channel == local && sub.place == awaited) else {
            return;
        };
        if let Some(code) = subscribed.refused {
            let sub = client.remove_sub(at);
            self.account(key);
            return self.subscription_refused(key, sub, subscribed.command, code);
        }
        let sub = &mut client.subs[at];
        if let (Some(wishes), Some(missed)) = (&mut sub.wishes, &mut subscribed.recovered) {
            missed.retain(|publication| wishes.take(publication));
            missed.iter().for_each(|publication| wishes.have_had(publication));
        }
        let takes = match (&sub.wishes, link.connection(format), link.deflate()) {
            (None, Some((wire, socket)), Deflate::Off) => Takes::Shared(wire, socket),
            (None, Some((wire, socket)), Deflate::Shared(bits)) => Takes::Deflated(wire, bits, socket),
            _ => Takes::Special,
        };
        sub.place = Place::Taken(self.locals.join(local, Subscriber { client: key, takes }));
        let Some(subscribed) = self.connecting_subscribed(key, subscribed) else { return };
        if stage != Stage::Connected {
            return;
        }
        let Some(sub) = self.clients.get(key).and_then(|client| client.sub(local)) else { return };
        if subscribed.command == 0 {
            let extras = sub.extras;
            self.tell_subscribed(key, extras, &subscribed);
            return;
        }
        let delta = sub.wishes.as_ref().is_some_and(|wishes| wishes.delta != Delta::None);
        let missed = subscribed.recovered.as_deref().unwrap_or_default();
        let texts: Vec<_> =
            missed.iter().filter(|_| delta).map(|stored| stored.data.payload().json_text()).collect();
        let result = result(&subscribed, sub, now_s, &texts);
        self.reply_to_read(key, subscribed.command, Ok(ReplyResult::Subscribe(result)));
    }

    /// The home takes nobody in. A client whose server-side subscriptions are incomplete comes back later.
    fn subscription_refused(&mut self, key: ClientKey, sub: Sub, command: u32, code: ErrorCode) {
        let is_server_side = sub.is_server_side;
        // Nobody was told that it came.
        self.leave_channel(Sub { info: None, ..sub });
        if is_server_side {
            self.disconnect(key, DisconnectCode::INSUFFICIENT_STATE);
        } else {
            self.reply(key, command, Err(code));
        }
    }

    /// A subscription that the server has made for a connected client: what it missed follows as publications.
    fn tell_subscribed(&mut self, key: ClientKey, extras: Extras, subscribed: &Subscribed) {
        let Some(client) = self.clients.get(key) else { return };
        let (link, format) = (client.link, client.format);
        let position = subscribed.told_position().filter(|_| extras.positioned || extras.recoverable);
        let (offset, epoch) = position.unwrap_or_default();
        let push = Push {
            id: 0,
            channel: Cow::Borrowed(&subscribed.channel),
            body: PushBody::Subscribe(SubscribePush {
                recoverable: extras.recoverable,
                epoch: Cow::Borrowed(epoch),
                offset,
                positioned: extras.positioned,
                data: Payload::new(subscribed.data.as_deref().unwrap_or_default()),
            }),
        };
        let mut message = bytes::BytesMut::new();
        append_push(format, &mut message, &push);
        for missed in subscribed.recovered.iter().flatten() {
            let body = PushBody::Publication(missed.publication());
            let push = Push { id: 0, channel: Cow::Borrowed(&subscribed.channel), body };
            append_push(format, &mut message, &push);
        }
        // One message, as it would be one reply: a long one passes.
        self.meter.add_bytes(message.len(), cost::REPLY_KILOBYTE_NS);
        self.send_message(link, format, &message, Cause::Push);
    }

    pub(super) fn unsubscribe(&mut self, key: ClientKey, channel: &str) -> Handled<'static> {
        if channel.is_empty() {
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        self.end_subscription(key, channel);
        done(ReplyResult::Unsubscribe)
    }

    /// Ends a subscription, if there is one. True exactly when there was.
    pub(crate) fn end_subscription(&mut self, key: ClientKey, channel: &str) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        if let Some(pending) = client.take_pending_if(|pending| pending.is_subscribe_to(channel)) {
            let id = decoded(client.format, &pending.command).id;
            self.account(key);
            self.reply(key, id, Err(ErrorCode::INTERNAL));
            self.go_on(key);
            return true;
        }
        // What the backend is about to say is of the subscription that ends.
        client.take_pending_if(|pending| pending.is_expiry_of(channel));
        self.account(key);
        let Some(local) = self.locals.find(channel) else { return false };
        let Some(client) = self.clients.get(key) else { return false };
        let Some(at) = client.subs.iter().position(|sub| sub.channel == local) else { return false };
        let sub = client.remove_sub(at);
        if let Some((_, socket)) = client.link.connection(client.format) {
            self.slow.forget_channel(socket, channel);
        }
        if let Place::Awaited { command, .. } = sub.place
            && command != 0
        {
            // Every command is answered. This one is no longer wanted: if it is again, the client tries once more.
            self.reply(key, command, Err(ErrorCode::INTERNAL));
        }
        self.leave_channel(sub);
        self.account(key);
        true
    }

    /// Ends a subscription and tells the client why.
    pub(crate) fn end_subscription_with(
        &mut self,
        key: ClientKey,
        channel: &str,
        code: UnsubscribeCode,
    ) -> bool {
        if !self.end_subscription(key, channel) {
            return false;
        }
        self.tell_unsubscribe(key, channel, code);
        let Some(client) = self.clients.get(key) else { return true };
        let (link, format) = (client.link, client.format);
        let body = UnsubscribePush { code: code.code, reason: Cow::Borrowed(code.reason) };
        let push = Push { id: 0, channel: Cow::Borrowed(channel), body: PushBody::Unsubscribe(body) };
        self.send_push(link, format, &push);
        true
    }

    /// Takes a subscription out of its channel.
    pub(super) fn leave_channel(&mut self, sub: Sub) {
        let name = self.locals.name(sub.channel);
        let was_last = match sub.place {
            Place::Awaited { .. } => self.locals.give_up(sub.channel),
            Place::Taken(place) => {
                let (moved, was_last) = self.locals.leave(sub.channel, place);
                if let Some(moved) = moved
                    && let Some(moved) = self.clients.get(moved).and_then(|client| client.sub(sub.channel))
                {
                    moved.place = sub.place;
                }
                was_last
            }
        };
        if was_last || sub.info.is_some() {
            let message = ToHome::Unsubscribe {
                channel: Arc::clone(&name),
                core: self.index,
                info: sub.info,
                shows: sub.shows,
                was_last,
            };
            self.post_home(&name, message);
        }
    }

    pub(super) fn send_push(&mut self, link: Link, format: Format, push: &Push<'_>) {
        let mut message = bytes::BytesMut::new();
        append_push(format, &mut message, push);
        self.send_message(link, format, &message, Cause::Push);
    }
}

impl Client {
    /// How others see it.
    pub(super) fn info(&self, chan_info: Option<Bytes>) -> Info {
        Info {
            user: Arc::clone(&self.user),
            client: id_text(self.id),
            conn_info: self.conn_info.as_deref().cloned().unwrap_or_default(),
            chan_info: chan_info.map(Data::checked).unwrap_or_default(),
        }
    }
}

/// The reply to a subscription. `texts` are the missed publications' data as text, where patches were agreed upon.
pub(super) fn result<'a>(
    subscribed: &'a Subscribed,
    sub: &Sub,
    now_s: u64,
    texts: &'a [Cow<'a, str>],
) -> SubscribeResult<'a> {
    let delta = sub.wishes.as_ref().is_some_and(|wishes| wishes.delta != Delta::None);
    let position = subscribed.told_position().filter(|_| sub.extras.positioned || sub.extras.recoverable);
    let (offset, epoch) = position.unwrap_or_default();
    let told_expiry = if sub.is_refreshed_by_backend { 0 } else { sub.expires_at_s };
    let (expires, ttl) = expiry(told_expiry, now_s);
    let missed = subscribed.recovered.as_deref().unwrap_or_default();
    let publications = if delta {
        let quoted = missed.iter().zip(texts);
        quoted.map(|(stored, text)| stored.with_data(Payload::quoted(text), false)).collect()
    } else {
        missed.iter().map(|stored| stored.publication()).collect()
    };
    SubscribeResult {
        expires,
        ttl,
        recoverable: sub.extras.recoverable,
        epoch: Cow::Borrowed(epoch),
        publications,
        recovered: subscribed.recovered.is_some(),
        offset,
        positioned: sub.extras.positioned,
        data: Payload::new(subscribed.data.as_deref().unwrap_or_default()),
        was_recovering: subscribed.was_recovering,
        delta,
        id: 0,
    }
}
