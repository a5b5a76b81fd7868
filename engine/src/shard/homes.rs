//! Homes: how a shard reaches the home of a channel, and what it does with what homes say.
//!
//! In:  messages for a channel, by its name.
//! Out: the same to this core's own homes, or into another core's mailbox; what comes back, to the clients.

use holdfast_ring::Kernel;

use super::{Shard, cost};
use crate::{
    hub::message::{FromHome, ToHome},
    peers::Message,
};

impl<K: Kernel> Shard<K> {
    /// Sends something to the home of a channel.
    pub(crate) fn post_home(&mut self, channel: &str, message: ToHome) {
        let home = self.peers.home_of(channel);
        self.post(home, Message::ToHome(message));
    }

    /// Sends something to a core, which may be this one.
    pub(crate) fn post(&mut self, core: usize, message: Message) {
        if core == self.index {
            self.inbox.push(message);
        } else {
            self.peers.post(core, message);
        }
    }

    /// A message for a channel whose home this is.
    pub(super) fn at_home(&mut self, message: ToHome) {
        let rules = match self.rules.channels.resolve_trusted(message.channel()) {
            Ok(resolved) => self.rules.home_rules(&resolved),
            Err(_) => unreachable!("a channel is resolved before its home is asked"),
        };
        if rules.delta
            && let ToHome::Publish(publish) = &message
        {
            self.meter.add_bytes(publish.data.bytes.len(), cost::PATCH_KILOBYTE_NS);
        }
        let mut posts = std::mem::take(&mut self.posts);
        self.homes.handle(message, rules, self.uptime, &mut self.ledger, &mut posts);
        for (core, message) in posts.drain(..) {
            // What is for this core itself is done at once: nothing that was said before it waits, and it makes nobody's
            // inbox longer.
            if core == self.index {
                self.meter.add(cost::of_answer(&message));
                self.for_clients(message);
            } else {
                self.peers.post(core, Message::FromHome(message));
            }
        }
        self.posts = posts;
    }

    /// A home's message for clients of this core.
    pub(super) fn for_clients(&mut self, message: FromHome) {
        match message {
            FromHome::Deliver(delivery) => {
                let bytes = delivery.frames.len();
                let subscribers = self.locals.deliver(delivery);
                if subscribers > 0 {
                    self.meter.publish(bytes);
                    self.gathered.add(bytes, subscribers);
                }
            }
            FromHome::Subscribed(subscribed) => self.subscribed(*subscribed),
            FromHome::Answered { client, command, is_read, outcome } => {
                self.answered(client, command, is_read, &outcome);
            }
            FromHome::TooLongNow { client, question } => self.defer_read(client, *question),
        }
    }

    /// A number that no other ask of this core has had for a long time.
    pub(crate) fn next_ticket(&mut self) -> u32 {
        self.tickets = self.tickets.wrapping_add(1);
        self.tickets
    }
}
