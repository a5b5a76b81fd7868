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
use crate::{
    ids::{ShardId, Ticket},
    metrics::{Counters, Metric},
};

pub(crate) use self::{
    handle::{ShardHandle, wait_until_uncongested},
    mailboxes::{Inlet, MailboxLimits, Message, Parcel, StopOrder},
    peers::Peers,
    shared::Shared,
};

/// One shard's way to all shards.
pub(crate) struct Mesh<M: Message> {
    pub(crate) shard: ShardId,
    pub(crate) peers: Peers<M>,
    /// Messages of this shard to itself.
    pub(crate) inbox: Inbox<M>,
    /// The ticket given last.
    last_ticket: Ticket,
}

impl<M: Message> Mesh<M> {
    pub(crate) fn new(peers: Peers<M>) -> Self {
        let inbox = Inbox::new(peers.limits());
        Self { shard: peers.own(), peers, inbox, last_ticket: Ticket::default() }
    }

    /// Sends a message to the owner of a channel.
    pub(crate) fn send_to_owner(&mut self, channel: &str, message: impl Into<M>) {
        let owner = self.peers.shard_for(channel);
        self.post(owner, message.into());
    }

    /// Sends a message to a shard, which may be this one.
    pub(crate) fn post(&mut self, shard: ShardId, message: M) {
        if shard == self.shard {
            self.inbox.push(message);
        } else {
            self.peers.post(shard, message);
        }
    }

    /// A number that no other request of this shard has had for a long time.
    pub(crate) fn next_ticket(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.next();
        self.last_ticket
    }

    /// Reports the waiting messages, here and for others.
    pub(crate) fn report(&self, counters: &mut Counters) {
        counters.set(Metric::MailboxMessages, self.peers.mailboxes().len() as u64);
        counters.set(Metric::InboxMessages, self.inbox.len() as u64);
        counters.set(Metric::OutboxMessages, self.peers.outbox_messages() as u64);
        counters.set(Metric::MailboxFull, self.peers.full_turns());
    }
}
