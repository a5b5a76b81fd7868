//! Deliver: publications for subscribers with individual options.
//!
//! In:  a channel's turn, and one subscriber.
//! Out: this subscriber's frames: a patch if its base is the last publication it received, nothing if its filter
//!      rejects the publication.

use std::sync::Arc;

use super::Delta;
use crate::{
    encoding::EncodedPush,
    hub::{
        conflation::Policy,
        message::{ClientKey, Delivery},
        publication::StoredPublication,
        subscriptions::LocalChannelKey,
    },
    session::{
        Io, SessionCx,
        client::subscription::{DeliveryOptions, Subscription},
    },
};

impl<I: Io> SessionCx<'_, I> {
    /// Sends one subscriber its part of these. Returns the bytes then queued for it.
    pub(crate) fn deliver_special(
        &mut self,
        key: ClientKey,
        channel: LocalChannelKey,
        policy: Policy,
        deliveries: &[Arc<Delivery>],
    ) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        let (link, format) = (client.link, client.format);
        let socket = link.connection(format).filter(|_| policy.may_leave_out()).map(|(_, socket)| socket);
        for delivery in deliveries {
            let slow = socket.filter(|&socket| self.is_slow(socket));
            let Some(sub) = self.sessions.clients.get(key).and_then(|client| client.sub(channel)) else {
                return;
            };
            if !sub.wants(delivery) {
                continue;
            }
            match slow {
                Some(socket) => self.hold(key, socket, policy, std::slice::from_ref(delivery)),
                None => {
                    let frames = sub.frames_of(delivery);
                    self.send_frames(link, format, frames);
                }
            }
        }
    }
}

impl Subscription {
    fn wants(&self, delivery: &Delivery) -> bool {
        match (&delivery.publication, &self.options) {
            (Some(publication), Some(options)) => options.take(publication),
            (Some(_), None) => true,
            (None, options) => options.as_ref().is_some_and(|options| options.join_leave),
        }
    }

    /// The frames to send to the subscriber now.
    fn frames_of<'d>(&mut self, delivery: &'d Delivery) -> &'d EncodedPush {
        let options = self.options.as_deref_mut().filter(|options| options.delta != Delta::None);
        let (Some(options), Some(publication), Some(for_delta)) =
            (options, &delivery.publication, &delivery.for_delta)
        else {
            return &delivery.frames;
        };
        let has_had = options.delta;
        options.have_had(publication);
        match &for_delta.patch {
            Some(patch) if has_had == Delta::TakesPatchesTo(patch.base) => &patch.frames,
            _ => &for_delta.whole,
        }
    }
}

impl DeliveryOptions {
    /// Whether the subscriber's filter accepts a publication.
    pub(super) fn take(&self, publication: &StoredPublication) -> bool {
        self.filter.as_ref().is_none_or(|filter| publication.passes(filter))
    }

    /// The subscriber gets a publication, whole or as a patch: it becomes the base of the next patch.
    pub(crate) fn have_had(&mut self, publication: &StoredPublication) {
        if self.delta != Delta::None {
            self.delta = Delta::TakesPatchesTo(publication.sequence);
        }
    }
}
