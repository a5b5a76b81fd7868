//! Delivery: what is on its way arrives, is executed, or is lost.
//!
//! In:  commands and replies of a node, messages of its rooms and shards, each when the world says so.
//! Out: a Redis that has executed them; rooms that have been told; clients that have heard.

use super::{
    clients::{Client, State},
    node::{Asked, Asker},
    store::{Command, Reply},
    world::World,
    *,
};

impl World {
    pub(super) fn deliver_to_owner(&mut self, node: usize, shard: usize) {
        let Some(message) = self.nodes[node].to_owner[shard].pop_front() else { return };
        trace(|| format!("{node}: {message:?}"));
        let channel = message.channel_name();
        let channel = self.channels.iter().find(|other| other.name == *channel).expect("it is one of these");
        let policy = channel.policy;
        self.nodes[node].handle(message, policy, self.now);
        self.settle(node);
    }

    /// A command is executed, or its reply comes; or the connection is cut before either.
    pub(super) fn go_on_with_a_command(&mut self, node: usize) {
        let count = self.nodes[node].asked.len();
        if count == 0 {
            return;
        }
        let at = self.random.random_range(0..count);
        if self.happens(self.faults.cut) {
            let asked = self.nodes[node].asked.swap_remove(at);
            return self.reply(node, asked.asker, None);
        }
        self.advance(node, at);
    }

    pub(super) fn advance(&mut self, node: usize, at: usize) {
        if self.nodes[node].asked[at].reply.is_some() {
            let Asked { asker, reply, .. } = self.nodes[node].asked.swap_remove(at);
            return self.reply(node, asker, reply);
        }
        if self.is_paused {
            return;
        }
        let reply = self.redis.execute(&self.nodes[node].asked[at].command, self.now);
        let command = &self.nodes[node].asked[at].command;
        trace(|| format!("{node}: {command:?} is executed: {reply:?}"));
        let channel = Arc::clone(command.channel());
        let frame = match (command, &reply) {
            (Command::Publish { .. }, Reply::Published { frame: Some(frame), .. }) => Some(frame.clone()),
            (Command::Announce { frame, .. }, _) => Some(frame.clone()),
            (Command::RemoveHistory { .. }, _) => {
                self.nodes.iter_mut().for_each(|node| node.removed.push(Arc::clone(&channel)));
                None
            }
            _ => None,
        };
        if let Some(frame) = frame {
            self.nodes.iter_mut().for_each(|node| node.link.publish(&channel, &frame));
        }
        self.nodes[node].asked[at].reply = Some(reply);
    }

    fn reply(&mut self, node: usize, asker: Asker, reply: Option<Reply>) {
        trace(|| format!("{node}: {asker:?} gets {reply:?}"));
        match (asker, reply) {
            (Asker::Room(room, from), reply) => {
                self.nodes[node].answer(room, from, reply, self.now);
                self.settle(node);
            }
            (Asker::Publisher { text, channel }, Some(Reply::Published { position: Some(position), .. })) => {
                self.acknowledged.entry(text).or_default().push((channel, position));
            }
            _ => {}
        }
    }

    /// What the rooms of a node have said goes on its way.
    pub(super) fn settle(&mut self, node: usize) {
        loop {
            let is_busy = self.happens(self.faults.busy);
            let Self { nodes, redis, random, now, .. } = self;
            let is_posted = nodes[node].take_posts(redis);
            nodes[node].take_wants(is_busy, redis, random, *now);
            if !is_posted && !nodes[node].rooms.has_for_broker() && nodes[node].posts.is_empty() {
                return;
            }
        }
    }

    /// A shard takes the next message of its mailbox.
    pub(super) fn deliver_to_shard(&mut self, node: usize, shard: usize) {
        let Some(message) = self.nodes[node].from_owner[shard].pop_front() else { return };
        let shard = ShardId::new(shard);
        let subscribers = |clients: &[Client], channel: &str| -> Vec<usize> {
            let is_one = |client: &Client| client.state == State::In && client.is_at(node, shard, channel);
            (0..clients.len()).filter(|&at| is_one(&clients[at])).collect()
        };
        let is_awaited = |client: &Client, key: ClientKey| {
            client.state == State::Waiting && client.node == node && client.generation == key.generation
        };
        match message {
            FromOwner::Deliver(delivery) => {
                for at in subscribers(&self.clients, &delivery.channel) {
                    self.clients[at].hear(&delivery, &self.redis);
                }
            }
            FromOwner::Subscribed(subscribed) => {
                let at = subscribed.client.place as usize;
                if !is_awaited(&self.clients[at], subscribed.client) {
                    return;
                }
                if let Some(code) = subscribed.refused {
                    if code == ErrorCode::UNRECOVERABLE_POSITION {
                        self.clients[at].position = None;
                    }
                    return self.leave(at, false);
                }
                self.clients[at].admit(&subscribed, &self.redis);
            }
            FromOwner::PositionLost { channel, .. } => {
                for at in subscribers(&self.clients, &channel) {
                    if self.clients[at].ways.wants_position {
                        self.leave(at, true);
                    }
                }
            }
            FromOwner::TooLongNow { client, question } => {
                let at = client.place as usize;
                if is_awaited(&self.clients[at], client) {
                    self.clients[at].deferred = Some(question);
                }
            }
            FromOwner::Answered { .. } => unreachable!("nobody waits for an answer"),
        }
    }
}
