//! Account: the memory of a client's record and of its waiting commands.
//!
//! In:  a client that has changed.
//! Out: charges to the ledger: the record to the budget `sessions`, the commands to `commands`.
//!
//! Names that many clients share (of a channel, of a user) count for each client, so the sum is an upper bound.

use super::Client;
use crate::{
    hub::message::ClientKey,
    memory::Budget,
    session::{Io, SessionCx, client::memory::as_counted},
};

impl<I: Io> SessionCx<'_, I> {
    /// A client has changed: updates the ledger.
    pub(crate) fn account(&mut self, key: ClientKey) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        let (commands, session) = (client.command_bytes(), as_counted(client.session_bytes()));
        if let Some(extra) = &mut client.extra {
            let before = std::mem::replace(&mut extra.counted_commands, commands);
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
            + self.sessions.registry.table_bytes()
            + self.hub.subscriptions.table_bytes()
            + self.sessions.quota.table_bytes()
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
                client.subs.iter().map(super::subscription::Subscription::cost_bytes).sum::<usize>(),
                "a client's subscriptions are counted"
            );
            sums.0 += client.counted_commands();
            sums.1 += session;
        }
        sums
    }
}
