//! Subscribers: who is in a room, and who waits to be.
//!
//! In:  subscribers that come, go, and have other info.
//! Out: answers, with what they missed; what others see of them, to the broker.

use std::sync::Arc;

use holdfast_protocol::client::ErrorCode;

use super::{Arrival, Room, RoomCx};
use crate::{
    channel::PresenceFlags,
    hub::{
        broker::ToBroker,
        history::History,
        message::{FromOwner, Recover, Subscribe, Subscribed, ToOwner},
        presence::Presence,
        publication::Info,
        recover::Resumed,
    },
    ids::ShardId,
};

impl Room {
    pub(in crate::hub::rooms) fn subscribe(&mut self, subscribe: Subscribe, cx: &mut RoomCx<'_>) {
        // From now on the shard counts: its message that the last one has left may come before the answer.
        self.audience.join(subscribe.shard);
        if self.arrivals.is_empty() {
            self.began = cx.now;
        }
        let arrival = Arrival { subscribe, read: None };
        if self.is_live() {
            return self.admit(arrival, cx);
        }
        self.arrivals.push(arrival);
        if self.is_confirmed && self.reads.is_idle() {
            // The channel has a history since its options have changed.
            self.read_first(cx);
        }
    }

    pub(in crate::hub::rooms) fn unsubscribe(
        &mut self,
        shard: ShardId,
        info: Option<Arc<Info>>,
        shows: PresenceFlags,
        was_last: bool,
        cx: &mut RoomCx<'_>,
    ) {
        // One that waits was announced to nobody.
        let waiting = info.as_ref().and_then(|info| {
            let is_it = |arrival: &Arrival| {
                arrival.subscribe.info.as_ref().is_some_and(|waiting| waiting.client == info.client)
            };
            self.arrivals.iter().position(is_it)
        });
        if let Some(at) = waiting {
            self.arrivals.swap_remove(at);
        } else if let Some(info) = info {
            self.unsee(info, shows, cx);
        }
        if was_last {
            self.audience.leave(shard);
            self.arrivals.retain(|arrival| arrival.subscribe.shard != shard);
        }
    }

    /// A client joins, as others see it.
    fn see(&mut self, info: Arc<Info>, shows: PresenceFlags, cx: &mut RoomCx<'_>) {
        if shows.presence && self.presence.is_none() {
            self.refresh_at = self.refresh_after(cx);
        }
        let seen = if shows.presence { &mut self.presence } else { &mut self.joined };
        seen.get_or_insert_default().add(Arc::clone(&info));
        let channel = &self.key.channel;
        if shows.presence {
            cx.to_broker.push(ToBroker::Present { channel: Arc::clone(channel), info: Arc::clone(&info) });
        }
        if shows.join_leave {
            cx.to_broker.push(ToBroker::Announce { channel: Arc::clone(channel), info, is_join: true });
        }
    }

    /// A client leaves. Others see that only if they saw it join: it may leave before it hears that it was refused.
    fn unsee(&mut self, info: Arc<Info>, shows: PresenceFlags, cx: &mut RoomCx<'_>) {
        let was_present = forget(&mut self.presence, &info);
        let has_joined = forget(&mut self.joined, &info) || was_present;
        let channel = &self.key.channel;
        if was_present {
            cx.to_broker.push(ToBroker::Absent { channel: Arc::clone(channel), info: Arc::clone(&info) });
        }
        if has_joined && shows.join_leave {
            cx.to_broker.push(ToBroker::Announce { channel: Arc::clone(channel), info, is_join: false });
        }
    }

    /// A client's info has changed.
    pub(in crate::hub::rooms) fn renew(&mut self, info: Arc<Info>, cx: &mut RoomCx<'_>) {
        if let Some(presence) = self.presence.as_mut().filter(|presence| presence.has(&info.client)) {
            presence.add(Arc::clone(&info));
            cx.to_broker.push(ToBroker::Present { channel: Arc::clone(&self.key.channel), info });
        }
    }

    /// Answers a subscription, or lets it wait for a read.
    fn admit(&mut self, mut arrival: Arrival, cx: &mut RoomCx<'_>) {
        let subscribe = &arrival.subscribe;
        let mut subscribed = Subscribed::of(subscribe);
        if let Some(history) = &self.history
            && (subscribe.wants_position || subscribe.recover.is_some())
        {
            if self.reads.is_broken() {
                // What is known here is no part of the history any more.
                arrival.read = None;
                self.ask(true, cx);
                return self.arrivals.push(arrival);
            }
            if arrival.read.is_some_and(|number| !self.reads.has(number)) {
                return self.arrivals.push(arrival);
            }
            let missing = subscribe.recover.as_ref().filter(|_| arrival.read.is_none());
            if let Some(from) = missing.and_then(|recover| self.first_to_read(history, recover)) {
                let is_known = from < history.next_offset();
                let shared = self.reads.under_way_from(from).filter(|_| is_known);
                arrival.read = Some(shared.unwrap_or_else(|| self.read(Some(from), true, cx)));
                return self.arrivals.push(arrival);
            }
            match subscribed.resume(subscribe, history) {
                Resumed::Yes => {}
                Resumed::Lost => {
                    return subscribed.refuse(subscribe.shard, ErrorCode::UNRECOVERABLE_POSITION, cx.posts);
                }
                Resumed::TooLongNow => {
                    // It will be repeated; the client is not visible before that.
                    let Subscribe { shard, client, .. } = *subscribe;
                    let question = Box::new(ToOwner::Subscribe(Box::new(arrival.subscribe)));
                    cx.posts.push((shard, FromOwner::TooLongNow { client, question }));
                    return;
                }
            }
        }
        let Subscribe { shard, info, data, shows, .. } = arrival.subscribe;
        subscribed.data = data;
        cx.posts.push((shard, FromOwner::Subscribed(Box::new(subscribed))));
        if let Some(info) = info.filter(|_| shows.is_seen()) {
            self.see(info, shows, cx);
        }
    }

    /// The offset from which the history has to be read before a client can be told what it missed, unless all that
    /// Redis has of it is here.
    fn first_to_read(&self, history: &History, recover: &Recover) -> Option<u64> {
        let position = history.position();
        let is_of_epoch = recover.epoch.is_empty() || *recover.epoch == *position.epoch;
        if is_of_epoch && recover.offset > position.offset {
            // It has heard on another node what is still on its way to this one. Or it says so: a client's word is no
            // proof that a history has gone back.
            return Some(position.offset + 1);
        }
        if recover.cache {
            let is_up_to_date = recover.offset > 0 && recover.offset == position.offset && is_of_epoch;
            let is_here = history.newest_wanted(recover.limit, |stored| recover.wants(stored)).is_some();
            return (!is_up_to_date && !is_here && self.complete_from > 1).then_some(1);
        }
        let from = recover.offset.saturating_add(1);
        (is_of_epoch && from < self.complete_from).then_some(from)
    }

    pub(in crate::hub::rooms) fn admit_all(&mut self, cx: &mut RoomCx<'_>) {
        for arrival in std::mem::take(&mut self.arrivals) {
            self.admit(arrival, cx);
        }
    }

    pub(in crate::hub::rooms) fn refuse_all(&mut self, cx: &mut RoomCx<'_>) {
        for Arrival { subscribe, .. } in std::mem::take(&mut self.arrivals) {
            Subscribed::of(&subscribe).refuse(subscribe.shard, ErrorCode::INTERNAL, cx.posts);
        }
    }
}

/// True exactly when the client was there.
fn forget(seen: &mut Option<Box<Presence>>, info: &Info) -> bool {
    let Some(clients) = seen.as_mut().filter(|clients| clients.has(&info.client)) else { return false };
    clients.remove(&info.client);
    if clients.is_empty() {
        *seen = None;
    }
    true
}
