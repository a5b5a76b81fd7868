//! Mesh: how a shard reaches the others, and itself; and how other threads reach it.
//!
//! In:  messages for shards. What they mean is defined above (`session/message`).
//! Out: the same, in another shard's mailbox (`peers`, `mailboxes`, `handle`) or in this one's inbox; figures and flags that
//! all threads share (`shared`).

mod handle;
mod inbox;
mod mailboxes;
mod peers;
mod shared;

use self::inbox::Inbox;
pub(crate) use self::{
    handle::{ShardHandle, wait_until_uncongested},
    mailboxes::{MailboxLimits, Message, Parcel, StopOrder},
    peers::Peers,
    shared::Shared,
};
use crate::metrics::{Counters, Metric};

/// One shard's way to all shards.
pub(crate) struct Mesh<M: Message> {
    pub(crate) index: usize,
    pub(crate) peers: Peers<M>,
    /// Messages of this shard to itself.
    pub(crate) inbox: Inbox<M>,
    /// How many requests have been numbered.
    tickets: u32,
}

impl<M: Message> Mesh<M> {
    pub(crate) fn new(peers: Peers<M>) -> Self {
        let inbox = Inbox::new(peers.limits());
        Self { index: peers.index(), peers, inbox, tickets: 0 }
    }

    /// Sends a message to the owner of a channel.
    pub(crate) fn send_to_owner(&mut self, channel: &str, message: impl Into<M>) {
        let owner = self.peers.shard_for(channel);
        self.post(owner, message.into());
    }

    /// Sends a message to a shard, which may be this one.
    pub(crate) fn post(&mut self, shard: usize, message: M) {
        if shard == self.index {
            self.inbox.push(message);
        } else {
            self.peers.post(shard, message);
        }
    }

    /// A number that no other request of this shard has had for a long time.
    pub(crate) fn next_ticket(&mut self) -> u32 {
        self.tickets = self.tickets.wrapping_add(1);
        self.tickets
    }

    /// Reports the waiting messages, here and for others.
    pub(crate) fn report(&self, counters: &mut Counters) {
        counters.set(Metric::MailboxMessages, self.peers.mailboxes().len() as u64);
        counters.set(Metric::InboxMessages, self.inbox.len() as u64);
        counters.set(Metric::OutboxMessages, self.peers.outbox_messages() as u64);
        counters.set(Metric::MailboxFull, self.peers.full_turns());
    }
}
