//! Deliver: publications for subscribers with wishes of their own.
//!
//! In:  what a channel has in a turn, and one subscriber.
//! Out: the frames that this one takes: a patch where it can build on it, nothing where its filter says no.

use std::sync::Arc;

use holdfast_ring::Kernel;

use super::{Delta, Wishes};
use crate::{
    hub::{
        local::LocalKey,
        message::{ClientKey, Delivery},
        publication::Stored,
    },
    shard::Shard,
    slow::Policy,
};

impl<K: Kernel> Shard<K> {
    /// Sends one subscriber what it takes of these. Answers with how many bytes then wait for it.
    pub(crate) fn deliver_special(
        &mut self,
        key: ClientKey,
        channel: LocalKey,
        policy: Policy,
        deliveries: &[Arc<Delivery>],
    ) {
        for delivery in deliveries {
            let Some(client) = self.clients.get(key) else { return };
            let (link, format) = (client.link, client.format);
            let Some(sub) = client.sub(channel) else { return };
            let frames = match (&delivery.publication, &mut sub.wishes) {
                (Some(publication), Some(wishes)) => {
                    if !wishes.take(publication) {
                        // The next patch would build on a publication that it has not had.
                        if wishes.delta == Delta::TakesPatches {
                            wishes.delta = Delta::WantsWhole;
                        }
                        continue;
                    }
                    match (wishes.delta, &delivery.for_delta) {
                        (Delta::None, _) | (_, None) => &delivery.frames,
                        (Delta::TakesPatches, Some(for_delta)) => {
                            for_delta.patch.as_ref().unwrap_or(&for_delta.whole)
                        }
                        (Delta::WantsWhole, Some(for_delta)) => {
                            wishes.delta = Delta::TakesPatches;
                            &for_delta.whole
                        }
                    }
                }
                (None, wishes) if wishes.as_ref().is_none_or(|wishes| !wishes.join_leave) => continue,
                _ => &delivery.frames,
            };
            if policy.may_leave_out()
                && let Some((_, socket)) = link.connection(format)
                && self.is_slow(socket)
            {
                self.hold(key, socket, policy, std::slice::from_ref(delivery));
                continue;
            }
            self.send_frames(link, format, frames);
        }
    }
}

impl Wishes {
    /// Whether the subscriber wants a publication.
    pub(super) fn take(&self, publication: &Stored) -> bool {
        let value =
            |tag: &str| publication.tags.iter().find(|(key, _)| **key == *tag).map(|(_, value)| &**value);
        self.filter.as_ref().is_none_or(|filter| filter.matches(value))
    }
}
