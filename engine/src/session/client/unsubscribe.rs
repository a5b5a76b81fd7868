//! Unsubscribe: the end of a subscription, whoever requests it.
//!
//! In:  unsubscribe commands; the server API, the backend and expiries.
//! Out: a channel without this subscriber, and a notice to its owner; a notice to the client with the reason, if it did
//!      not ask.

use std::{borrow::Cow, sync::Arc};

use holdfast_protocol::client::{
    DisconnectCode, ErrorCode, Push, PushBody, ReplyResult, UnsubscribeCode, push::UnsubscribePush,
};

use super::{
    SubState,
    command::{Handled, done},
    deferred::Expiring,
};
use crate::{
    context::cost,
    hub::message::{ClientKey, FromOwner, ToOwner},
    session::{Io, SessionCx, client::subscription::Subscription, message::Message},
};

impl<I: Io> SessionCx<'_, I> {
    pub(super) fn unsubscribe(&mut self, key: ClientKey, channel: &str) -> Handled<'static> {
        if channel.is_empty() {
            return Err(DisconnectCode::BAD_REQUEST.into());
        }
        self.end_subscription(key, channel);
        done(ReplyResult::Unsubscribe)
    }

    /// Ends a subscription. True exactly when there was one.
    pub(crate) fn end_subscription(&mut self, key: ClientKey, channel: &str) -> bool {
        let Some(client) = self.sessions.clients.get(key) else { return false };
        let pending = client.take_pending_if(|pending| pending.subscribes_to(channel).is_some());
        if let Some(id) = pending.and_then(|pending| pending.subscribes_to(channel)) {
            self.account(key);
            self.reply(key, id, Err(ErrorCode::INTERNAL));
            self.go_on(key);
            return true;
        }
        // The backend's pending answer concerns the ending subscription.
        client.take_pending_if(|pending| pending.is_expiry_of(Expiring::Subscription(channel)));
        self.account(key);
        let Some(local) = self.hub.subscriptions.find(channel) else { return false };
        let Some(client) = self.sessions.clients.get(key) else { return false };
        let Some(at) = client.subs.iter().position(|sub| sub.channel == local) else { return false };
        let sub = client.remove_sub(at);
        if let Some((_, socket)) = client.link.connection(client.format) {
            self.hub.slow.forget_channel(socket, channel);
        }
        if let SubState::Pending { command, .. } = sub.place
            && let Some(command) = command
        {
            // Every command gets a reply. This subscribe is obsolete; the client may retry.
            self.reply(key, command, Err(ErrorCode::INTERNAL));
        }
        self.leave_channel(sub);
        self.account(key);
        true
    }

    /// Ends a subscription and tells the client the reason.
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
        let Some(client) = self.sessions.clients.get(key) else { return true };
        let (link, format) = (client.link, client.format);
        let body = UnsubscribePush { code: code.code, reason: Cow::Borrowed(code.reason) };
        let push = Push { id: 0, channel: Cow::Borrowed(channel), body: PushBody::Unsubscribe(body) };
        self.send_push(link, format, &push);
        true
    }

    /// Subscribers of a channel have missed publications that nobody has any more. Those who rely on their position must
    /// subscribe again: a subscription that the client made ends with a code that tells it to, and a client with one that
    /// the server made reconnects.
    pub(crate) fn position_lost(&mut self, channel: Arc<str>, mut told_from: usize) {
        while let Some(local) = self.hub.subscriptions.find(&channel)
            && let Some((at, key)) = self.hub.subscriptions.last_below(local, told_from)
        {
            if self.cx.meter.is_over() {
                let rest = FromOwner::PositionLost { channel, told_from };
                return self.mesh.post(self.mesh.shard, Message::FromOwner(rest));
            }
            self.cx.meter.add(cost::WISH_NS);
            // Who subscribes meanwhile comes behind them, and has a new position.
            told_from = at;
            let Some(sub) = self.sessions.clients.get(key).and_then(|client| client.sub(local)) else {
                continue;
            };
            if !(sub.extras.positioned || sub.extras.recoverable) {
                continue;
            }
            if sub.is_server_side {
                self.disconnect(key, DisconnectCode::INSUFFICIENT_STATE);
            } else {
                self.end_subscription_with(key, &channel, UnsubscribeCode::INSUFFICIENT_STATE);
            }
        }
    }

    /// Removes a subscription from its channel.
    pub(super) fn leave_channel(&mut self, sub: Subscription) {
        let name = self.hub.subscriptions.name(sub.channel);
        let was_last = match sub.place {
            SubState::Pending { .. } => self.hub.subscriptions.give_up(sub.channel),
            SubState::Active(place) => {
                let (moved, was_last) = self.hub.subscriptions.leave(sub.channel, place);
                if let Some(moved) = moved
                    && let Some(moved) =
                        self.sessions.clients.get(moved).and_then(|client| client.sub(sub.channel))
                {
                    moved.place = sub.place;
                }
                was_last
            }
        };
        if was_last || sub.info.is_some() {
            let message = ToOwner::Unsubscribe {
                channel: Arc::clone(&name),
                shard: self.mesh.shard,
                info: sub.info,
                shows: sub.shows,
                was_last,
            };
            self.mesh.send_to_owner(&name, message);
        }
    }
}
