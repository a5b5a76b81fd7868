//! Keep: which channels exist, and what is dropped first.
//!
//! In:  a channel that is needed, or that has changed; a time; the ledger.
//! Out: the channel's places in the orders of expiry, age and idleness, with its bytes charged; or it is dropped.
//!
//! A channel is in each order at most once, under a key that may be out of date and is corrected when it comes up. So
//! the cost of a publication does not depend on what is kept, and no order outgrows the channels.

use std::sync::Arc;

use super::{OwnedChannels, channel::OwnedChannel, heap::ChannelId};
use crate::{
    memory::{Budget, Ledger},
    time::Tick,
};

/// Limit of publications, and of keys and positions, dropped in one turn while a budget is full: when memory runs
/// short, half of everything kept must go.
pub(super) const SHED_MAX: usize = 4_096;

/// Limit of drops per message. Usually one is dropped for one added; more if a table has grown for it.
const SHED_FOR_ONE_MAX: usize = 512;

impl OwnedChannels {
    /// Finds or creates the channel. `None` if the budget has no room for it, or for its growth.
    pub(super) fn open(
        &mut self,
        channel: &Arc<str>,
        grows: bool,
        now: Tick,
        ledger: &mut Ledger,
    ) -> Option<ChannelId> {
        let hash = self.channels.hash(channel);
        let found = self.channels.find(hash, channel);
        if found.is_none() || grows {
            for _ in 0..SHED_FOR_ONE_MAX {
                if ledger.has_room(Budget::Channels) || !self.drop_oldest_state(ledger) {
                    break;
                }
            }
            if !ledger.has_room(Budget::Channels) {
                return None;
            }
        }
        // The oldest state may have been this channel's.
        let found = found.filter(|_| !grows).or_else(|| self.channels.find(hash, channel));
        Some(found.unwrap_or_else(|| {
            let id = self.channels.insert(OwnedChannel::new(Arc::clone(channel), hash, now));
            self.charge_tables(ledger);
            id
        }))
    }

    /// A channel has changed: updates its places in the orders and charges its bytes, or drops it.
    pub(super) fn settle(&mut self, id: ChannelId, ledger: &mut Ledger) {
        let owned = self.channels.get_mut(id);
        if !owned.is_needed() {
            self.remove(id, ledger);
            return;
        }
        if let Some(due) = owned.due()
            && self.expiry.key(id).is_none_or(|earlier| due < earlier)
        {
            self.expiry.set(id, due);
        }
        if !self.oldest.contains(id)
            && let Some(sequence) = owned.oldest_sequence()
        {
            self.oldest.set(id, sequence);
        }
        match (owned.is_in_use(), self.idle.contains(id)) {
            (true, true) => self.idle.remove(id),
            (false, false) => self.idle.set(id, owned.used),
            _ => {}
        }
        owned.settle(ledger);
    }

    pub(super) fn remove(&mut self, id: ChannelId, ledger: &mut Ledger) {
        self.expiry.remove(id);
        self.oldest.remove(id);
        self.idle.remove(id);
        let gone = self.channels.remove(id);
        gone.release(ledger);
        if let Some(history) = gone.history.as_ref().filter(|_| gone.has_position()) {
            self.epochs.give_up(gone.hash, &history.position().epoch);
        }
    }

    pub(super) fn expire(&mut self, id: ChannelId, now: Tick, ledger: &mut Ledger) {
        let owned = self.channels.get_mut(id);
        if let Some(epoch) = owned.expire(now) {
            self.epochs.give_up(owned.hash, &epoch);
        }
        match owned.due() {
            Some(due) => self.expiry.set(id, due),
            None => self.expiry.remove(id),
        }
        self.settle(id, ledger);
    }

    /// Drops what exceeds a budget, up to the limit of a turn.
    pub(super) fn hold_to_budgets(&mut self, ledger: &mut Ledger) {
        self.shed(ledger, SHED_MAX);
    }

    /// The same, up to the limit of a message.
    pub(super) fn hold_to_budgets_for_one(&mut self, ledger: &mut Ledger) {
        self.shed(ledger, SHED_FOR_ONE_MAX);
    }

    fn shed(&mut self, ledger: &mut Ledger, shed_max: usize) {
        self.charge_tables(ledger);
        let mut shed = |budget, drop_oldest: fn(&mut Self, &mut Ledger) -> bool| {
            let dropped =
                (0..shed_max).take_while(|_| ledger.excess(budget) > 0 && drop_oldest(self, ledger));
            dropped.count() == shed_max
        };
        let has_excess = shed(Budget::History, Self::drop_oldest_publication);
        self.has_excess = shed(Budget::Channels, Self::drop_oldest_state) || has_excess;
    }

    /// Drops the oldest publication of all channels.
    pub(super) fn drop_oldest_publication(&mut self, ledger: &mut Ledger) -> bool {
        while let Some((sequence, id)) = self.oldest.first() {
            let owned = self.channels.get_mut(id);
            let oldest = owned.oldest_sequence();
            if oldest == Some(sequence) {
                owned.drop_oldest();
            }
            match owned.oldest_sequence() {
                Some(next) => self.oldest.set(id, next),
                None => self.oldest.remove(id),
            }
            if oldest == Some(sequence) {
                self.settle(id, ledger);
                return true;
            }
        }
        false
    }

    /// Drops the oldest unused state: a key, or the position of a channel without subscribers.
    pub(super) fn drop_oldest_state(&mut self, ledger: &mut Ledger) -> bool {
        loop {
            let (key, idle) = (self.keys.oldest(), self.idle.first());
            if key.is_some_and(|since| idle.is_none_or(|(used, _)| since <= used)) {
                self.keys.drop_oldest();
                self.charge_tables(ledger);
                return true;
            }
            let Some((used, id)) = idle else { return false };
            let owned = self.channels.get_mut(id);
            if owned.used > used {
                let used = owned.used;
                self.idle.set(id, used);
            } else {
                self.remove(id, ledger);
                return true;
            }
        }
    }

    pub(super) fn charge_tables(&mut self, ledger: &mut Ledger) {
        let bytes = self.channels.bytes()
            + self.expiry.bytes()
            + self.oldest.bytes()
            + self.idle.bytes()
            + self.keys.bytes();
        ledger.recharge(Budget::Channels, self.charged_bytes, bytes);
        self.charged_bytes = bytes;
    }
}
