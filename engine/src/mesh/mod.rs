//! Mesh: how a shard reaches the others, and itself.
//!
//! In:  messages for shards.
//! Out: the same, in another shard's mailbox (`peers`, `mailboxes`) or in this one's inbox; their memory while they wait
//! (`cost`).

mod cost;
mod inbox;
mod mailboxes;
mod order;
mod peers;
pub(crate) mod work;

use self::inbox::Inbox;
pub(crate) use self::{
    mailboxes::{MailboxLimits, Mailboxes, Parcel},
    order::StopOrder,
    peers::{Message, Peers, Shared},
};
use crate::{
    hub::message::ToOwner,
    metrics::{Counters, Metric},
};

/// One shard's way to all shards.
pub(crate) struct Mesh {
    pub(crate) index: usize,
    pub(crate) peers: Peers,
    /// Messages of this shard to itself.
    pub(crate) inbox: Inbox,
    /// How many requests have been numbered.
    tickets: u32,
}

impl Mesh {
    pub(crate) fn new(index: usize, peers: Peers) -> Self {
        let inbox = Inbox::new(peers.limits());
        Self { index, peers, inbox, tickets: 0 }
    }

    /// Sends a message to the owner of a channel.
    pub(crate) fn send_to_owner(&mut self, channel: &str, message: ToOwner) {
        let home = self.peers.shard_for(channel);
        self.post(home, Message::ToOwner(message));
    }

    /// Sends a message to a shard, which may be this one.
    pub(crate) fn post(&mut self, core: usize, message: Message) {
        if core == self.index {
            self.inbox.push(message);
        } else {
            self.peers.post(core, message);
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
