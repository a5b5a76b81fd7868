//! Memory: of a client's record, of its subscriptions, and of what waits for it.
//!
//! In:  records as they are.
//! Out: bytes, an upper bound: names that many clients share (of a channel, of a user) count for each client.

use std::sync::Arc;

use super::{
    deferred::ConnectionMeta,
    record::Client,
    subscription::{DeliveryOptions, Subscription},
};
use crate::{
    hub::{publication::Info, subscriptions::LocalChannelKey},
    session::receivers::SUBSCRIBER_BYTES,
};

/// Bytes of a client beside its record: table entries and allocation overhead.
const CLIENT_BYTES: usize = 128;

/// The same for a user, beside its name.
const USER_BYTES: usize = 96;

/// The same for each shared or boxed part.
const PART_BYTES: usize = 32;

/// Saturates at 4 GiB.
pub(super) fn as_counted(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Subscription {
    /// Memory beside the record.
    pub(super) fn cost_bytes(&self) -> usize {
        let info = self.info.as_ref().map_or(0, |info| PART_BYTES + size_of::<Info>() + info.text_bytes());
        let options = self.options.as_ref().map_or(0, |options| PART_BYTES + options.cost_bytes());
        2 * SUBSCRIBER_BYTES + info + options
    }
}

impl DeliveryOptions {
    pub(super) fn cost_bytes(&self) -> usize {
        size_of::<Self>() + self.filter.as_ref().map_or(0, |filter| filter.cost_bytes())
    }
}

impl ConnectionMeta {
    pub(super) fn session_bytes(&self) -> usize {
        let headers = self.headers.iter().chain(&*self.emulated_headers);
        let headers: usize = headers.map(|(name, value)| 2 * PART_BYTES + name.len() + value.len()).sum();
        size_of::<Self>() + headers + self.meta.as_ref().map_or(0, |meta| PART_BYTES + meta.len())
    }
}

impl Client {
    /// Adds a subscription.
    pub(super) fn add_sub(&mut self, sub: Subscription) {
        self.counted.subs = self.counted.subs.saturating_add(as_counted(sub.cost_bytes()));
        self.subs.push(sub);
    }

    /// Changes the info that others see of the client, wherever it is shown. Returns the infos of the channels that
    /// keep presence.
    pub(super) fn change_infos(
        &mut self,
        is_meant: impl Fn(&Subscription) -> bool,
        change: impl Fn(&mut Info),
    ) -> Vec<(LocalChannelKey, Arc<Info>)> {
        let mut present = Vec::new();
        for sub in self.subs.iter_mut().filter(|sub| is_meant(sub)) {
            let before = as_counted(sub.cost_bytes());
            let Some(info) = &mut sub.info else { continue };
            change(Arc::make_mut(info));
            if sub.shows.presence {
                present.push((sub.channel, Arc::clone(info)));
            }
            let after = as_counted(sub.cost_bytes());
            self.counted.subs = self.counted.subs.saturating_sub(before).saturating_add(after);
        }
        present
    }

    /// Removes one.
    pub(super) fn remove_sub(&mut self, at: usize) -> Subscription {
        let sub = self.subs.swap_remove(at);
        self.counted.subs = self.counted.subs.saturating_sub(as_counted(sub.cost_bytes()));
        if self.subs.capacity() > 4 * self.subs.len().max(4) {
            self.subs.shrink_to(2 * self.subs.len());
        }
        sub
    }

    /// Memory of the waiting commands.
    pub(super) fn command_bytes(&self) -> usize {
        let Some(kept) = &self.extra else { return 0 };
        kept.waiting.as_ref().map_or(0, |waiting| waiting.bytes()) + kept.pending_bytes()
    }

    /// The bytes charged to the ledger for them.
    pub(super) fn counted_commands(&self) -> usize {
        self.extra.as_ref().map_or(0, |kept| kept.counted_commands)
    }

    /// Memory of the record.
    pub(super) fn session_bytes(&self) -> usize {
        let user = if self.user.is_empty() { 0 } else { USER_BYTES + self.user.len() };
        let info = self.conn_info.as_ref().map_or(0, |info| PART_BYTES + info.bytes.len());
        let connecting = self.connecting.as_ref().map_or(0, |connecting| connecting.bytes());
        let kept = self.extra.as_ref().map_or(0, |kept| kept.session_bytes());
        let subs = self.subs.capacity() * size_of::<Subscription>() + self.counted.subs as usize;
        size_of::<Self>() + CLIENT_BYTES + user + info + connecting + kept + subs
    }
}
