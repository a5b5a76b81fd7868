//! Owners: how a shard reaches a channel's owner, and handles the messages of owners.
//!
//! In:  messages for a channel, by its name.
//! Out: the same to this shard's own channels, or into another shard's mailbox; owners' answers, to the clients.

use crate::{
    hub::{
        broker::{FromBroker, ToBroker},
        message::{FromOwner, Outgoing, ToOwner},
        owned::Owned,
    },
    memory::Ledger,
    session::{
        Io, SessionCx,
        message::{Message, answer_work_ns},
    },
    time::Tick,
};

impl<I: Io> SessionCx<'_, I> {
    /// A message for a channel that this shard owns.
    pub(crate) fn handle_as_owner(&mut self, message: ToOwner) {
        let policy = match self.sessions.policy.channels.resolve_trusted(message.channel()) {
            Ok(resolved) => self.sessions.policy.channel_policy(&resolved),
            Err(_) => unreachable!("a channel is resolved before its home is asked"),
        };
        if policy.delta
            && let ToOwner::Publish(publish) = &message
        {
            self.cx.meter.add_bytes(publish.data.bytes.len(), crate::context::cost::PATCH_KILOBYTE_NS);
        }
        self.post_from_owned(|owned, now, ledger, posts| owned.handle(message, policy, now, ledger, posts));
    }

    /// What the broker says of channels that this shard owns, and of connections of users that it counts.
    pub(crate) fn handle_from_broker(&mut self, message: FromBroker) {
        if let FromBroker::Leased { user, lease, outcome } = message {
            return self.on_leased(&user, lease, outcome);
        }
        self.post_from_owned(|owned, now, ledger, posts| owned.handle_broker(message, now, ledger, posts));
    }

    /// Lets the channels that this shard owns do what is due.
    pub(crate) fn tend_owned(&mut self) {
        self.post_from_owned(Owned::tend);
    }

    /// The broker took none of these: it has too much to do, or has ended.
    pub(crate) fn refuse_for_broker(&mut self, refused: Vec<ToBroker>) {
        self.post_from_owned(|owned, _, _, posts| owned.put_back(refused, posts));
    }

    /// Sends what the channels that this shard owns have for shards with subscribers.
    fn post_from_owned(&mut self, act: impl FnOnce(&mut Owned, Tick, &mut Ledger, &mut Outgoing)) {
        let mut posts = std::mem::take(&mut self.hub.outgoing);
        act(&mut self.hub.owned, self.cx.uptime, &mut self.cx.ledger, &mut posts);
        for (shard, message) in posts.drain(..) {
            // Messages to this shard itself are handled at once: nothing queued precedes them, and no inbox grows.
            if shard == self.mesh.shard {
                self.cx.meter.add(answer_work_ns(&message));
                self.handle_from_owner(message);
            } else {
                self.mesh.peers.post(shard, Message::FromOwner(message));
            }
        }
        self.hub.outgoing = posts;
    }

    /// An owner's message for clients of this shard.
    pub(crate) fn handle_from_owner(&mut self, message: FromOwner) {
        match message {
            FromOwner::Deliver(delivery) => {
                let bytes = delivery.frames.len();
                let subscribers = self.hub.subscriptions.deliver(delivery);
                if subscribers > 0 {
                    self.cx.meter.publish(bytes);
                    self.hub.gathered.add(bytes, subscribers);
                }
            }
            FromOwner::Subscribed(subscribed) => self.subscribed(*subscribed),
            FromOwner::Answered { client, command, is_read, outcome } => {
                self.answered(client, command, is_read, &outcome);
            }
            FromOwner::PositionLost { channel, told_from } => self.position_lost(channel, told_from),
            FromOwner::TooLongNow { client, question } => self.defer_read(client, *question),
        }
    }
}
