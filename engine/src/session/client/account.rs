//! Account: the memory of a client's record and of its waiting commands.
//!
//! In:  a client that has changed.
//! Out: charges to the ledger: the record to the budget `sessions`, the commands to `commands`.
//!
//! Names that many clients share (of a channel, of a user) count for each client, so the sum is an upper bound.

use std::sync::Arc;

use super::{Client, ConnectionMeta, DeliveryOptions, Subscription};
use crate::{
    hub::{local::LocalChannelKey, message::ClientKey, publication::Info},
    memory::Budget,
    session::{Io, SessionCx, receivers::SUBSCRIBER_BYTES},
};

/// Bytes of a client beside its record: table entries and allocation overhead.
const CLIENT_BYTES: usize = 128;

/// The same for a user, beside its name.
const USER_BYTES: usize = 96;

/// The same for each shared or boxed part.
const PART_BYTES: usize = 32;

/// What the ledger has charged for a client.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    session: u32,
    /// Memory of its subscriptions beside their records.
    subs: u32,
}

/// Saturates at 4 GiB.
fn as_counted(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

impl Subscription {
    /// Memory beside the record.
    fn cost_bytes(&self) -> usize {
        let info = self.info.as_ref().map_or(0, |info| PART_BYTES + size_of::<Info>() + info.text_bytes());
        let wishes = self.wishes.as_ref().map_or(0, |wishes| PART_BYTES + wishes.cost_bytes());
        2 * SUBSCRIBER_BYTES + info + wishes
    }
}

impl DeliveryOptions {
    fn cost_bytes(&self) -> usize {
        size_of::<Self>() + self.filter.as_ref().map_or(0, |filter| filter.cost_bytes())
    }
}

impl ConnectionMeta {
    fn session_bytes(&self) -> usize {
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
    fn command_bytes(&self) -> usize {
        let Some(kept) = &self.kept else { return 0 };
        kept.waiting.as_ref().map_or(0, |waiting| waiting.bytes()) + kept.pending_bytes()
    }

    /// The bytes charged to the ledger for them.
    pub(super) fn counted_commands(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.counted_commands)
    }

    /// Memory of the record.
    fn session_bytes(&self) -> usize {
        let user = if self.user.is_empty() { 0 } else { USER_BYTES + self.user.len() };
        let info = self.conn_info.as_ref().map_or(0, |info| PART_BYTES + info.bytes.len());
        let connecting = self.connecting.as_ref().map_or(0, |connecting| connecting.bytes());
        let kept = self.kept.as_ref().map_or(0, |kept| kept.session_bytes());
        let subs = self.subs.capacity() * size_of::<Subscription>() + self.counted.subs as usize;
        size_of::<Self>() + CLIENT_BYTES + user + info + connecting + kept + subs
    }
}

impl<I: Io> SessionCx<'_, I> {
    /// A client has changed: updates the ledger.
    pub(crate) fn account(&mut self, key: ClientKey) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        let (commands, session) = (client.command_bytes(), as_counted(client.session_bytes()));
        if let Some(kept) = &mut client.kept {
            let before = std::mem::replace(&mut kept.counted_commands, commands);
            self.cx.ledger.recharge(Budget::Commands, before, commands);
            self.sessions.clients.waiting.changed(key, before, commands);
        }
        let Some(client) = self.sessions.clients.get(key) else { return };
        let before = std::mem::replace(&mut client.counted.session, session);
        self.cx.ledger.recharge(Budget::Sessions, before as usize, session as usize);
    }

    /// A client is gone.
    pub(super) fn close_account(&mut self, key: ClientKey, client: &Client) {
        self.cx.ledger.release(Budget::Commands, client.counted_commands());
        self.sessions.clients.waiting.changed(key, client.counted_commands(), 0);
        self.cx.ledger.release(Budget::Sessions, client.counted.session as usize);
    }

    /// Charges the ledger for the client tables, whose entries are not charged one by one.
    pub(crate) fn measure_sessions(&mut self) {
        let limits = self.cx.limits.as_ref().map_or(0, |limits| limits.table_bytes());
        let tables = self.sessions.clients.table_bytes()
            + self.io.table_bytes()
            + self.sessions.named.table_bytes()
            + self.hub.locals.table_bytes()
            + self.sessions.seats.table_bytes()
            + limits;
        self.cx.ledger.measure(Budget::Sessions, tables as u64);
    }

    /// Everything charged for this shard's clients: commands, records. Each with the memory in use now.
    #[cfg(test)]
    pub(crate) fn audit_accounts(&self) -> (usize, usize) {
        let mut sums = (0, 0);
        let holders = self.sessions.clients.iter().filter(|(_, client)| client.counted_commands() > 0);
        assert_eq!(
            holders.count(),
            self.sessions.clients.waiting.all().count(),
            "who has commands that wait is known"
        );
        for (_, client) in self.sessions.clients.iter() {
            let session = client.counted.session as usize;
            assert_eq!(
                client.counted_commands(),
                client.command_bytes(),
                "what waits of a client is counted"
            );
            assert_eq!(session, client.session_bytes(), "a client's record is counted");
            assert_eq!(
                client.counted.subs as usize,
                client.subs.iter().map(Subscription::cost_bytes).sum::<usize>(),
                "a client's subscriptions are counted"
            );
            sums.0 += client.counted_commands();
            sums.1 += session;
        }
        sums
    }
}
