//! Subscribed: the owner's answers to subscribe requests.
//!
//! In:  the owner's answer.
//! Out: a subscriber, and the reply or push with its position and the missed publications; or a refusal.

use std::borrow::Cow;

use holdfast_protocol::client::{
    DisconnectCode, ErrorCode, Payload, Push, PushBody, ReplyResult, append_push, push::SubscribePush,
    reply::SubscribeResult,
};

use super::{Delta, Stage, SubState};
use crate::{
    channel::SubscriptionFlags,
    conn::lag::Cause,
    context::cost,
    hub::{
        message::{ClientKey, Subscribed},
        subscriptions::Subscriber,
    },
    ids::CommandId,
    session::{
        Io, SessionCx,
        client::{connecting::expiry, subscription::Subscription},
        receivers::DeliveryPath,
    },
};

impl<I: Io> SessionCx<'_, I> {
    /// The owner has added a client.
    pub(crate) fn subscribed(&mut self, subscribed: Subscribed) {
        let (key, is_read) = (subscribed.client, subscribed.is_read);
        self.take_subscription(subscribed);
        if is_read {
            self.end_read(key);
        }
        self.go_on(key);
    }

    fn take_subscription(&mut self, mut subscribed: Subscribed) {
        let key = subscribed.client;
        let now_s = self.cx.wall_s();
        let Some(local) = self.hub.subscriptions.find(&subscribed.channel) else { return };
        // The channel's queued turn precedes the position in the answer.
        self.fan_out_channel(local);
        let Some(client) = self.sessions.clients.get(key) else { return };
        let (stage, format, link) = (client.stage, client.format, client.link);
        let awaited = SubState::Pending { ticket: subscribed.ticket, command: subscribed.command };
        let Some(at) = client.subs.iter().position(|sub| sub.channel == local && sub.place == awaited) else {
            return;
        };
        if let Some(code) = subscribed.refused {
            let sub = client.remove_sub(at);
            self.account(key);
            return self.subscription_refused(key, sub, subscribed.command, code);
        }
        let sub = &mut client.subs[at];
        if let (Some(options), Some(missed)) = (&mut sub.options, &mut subscribed.recovered) {
            missed.retain(|publication| options.take(publication));
            missed.iter().for_each(|publication| options.have_had(publication));
        }
        let path = match sub.options {
            None => DeliveryPath::of(link.connection(format), link.deflate()),
            Some(_) => DeliveryPath::Special,
        };
        sub.place = SubState::Active(self.hub.subscriptions.join(local, Subscriber { client: key, path }));
        let Some(subscribed) = self.connecting_subscribed(key, subscribed) else { return };
        if stage != Stage::Connected {
            return;
        }
        let Some(sub) = self.sessions.clients.get(key).and_then(|client| client.sub(local)) else { return };
        let Some(command) = subscribed.command else {
            let extras = sub.extras;
            self.tell_subscribed(key, extras, &subscribed);
            return;
        };
        let delta = sub.options.as_ref().is_some_and(|options| options.delta != Delta::None);
        let missed = subscribed.recovered.as_deref().unwrap_or_default();
        let texts: Vec<_> =
            missed.iter().filter(|_| delta).map(|stored| stored.data.payload().json_text()).collect();
        let result = result(&subscribed, sub, now_s, &texts);
        self.reply_to_read(key, command, Ok(ReplyResult::Subscribe(result)));
    }

    /// The owner refuses. A client whose server-side subscriptions are incomplete must reconnect later.
    fn subscription_refused(
        &mut self,
        key: ClientKey,
        sub: Subscription,
        command: Option<CommandId>,
        code: ErrorCode,
    ) {
        let is_server_side = sub.is_server_side;
        // Nobody was told of its join.
        self.leave_channel(Subscription { info: None, ..sub });
        match command.filter(|_| !is_server_side) {
            Some(command) => self.reply(key, command, Err(code)),
            None => self.disconnect(key, DisconnectCode::INSUFFICIENT_STATE),
        }
    }

    /// A subscription that the server made for a connected client: the missed publications follow as publications.
    fn tell_subscribed(&mut self, key: ClientKey, extras: SubscriptionFlags, subscribed: &Subscribed) {
        let Some(client) = self.sessions.clients.get(key) else { return };
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
        self.cx.meter.add_bytes(message.len(), cost::REPLY_KILOBYTE_NS);
        self.send_message(link, format, &message, Cause::Push);
    }
}

/// The reply to a subscription. `texts` are the missed publications' data as text, if patches were negotiated.
pub(super) fn result<'a>(
    subscribed: &'a Subscribed,
    sub: &Subscription,
    now_s: u64,
    texts: &'a [Cow<'a, str>],
) -> SubscribeResult<'a> {
    let delta = sub.options.as_ref().is_some_and(|options| options.delta != Delta::None);
    let position = subscribed.told_position().filter(|_| sub.extras.positioned || sub.extras.recoverable);
    let (offset, epoch) = position.unwrap_or_default();
    let told_expiry = sub.expires_at.filter(|_| !sub.is_refreshed_by_backend);
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
