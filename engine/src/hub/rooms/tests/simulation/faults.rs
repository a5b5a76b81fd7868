//! Faults: what fails in a step of the world, what of it ends, how likely each is, and how fast all else goes.
//!
//! In:  a seed's random numbers. Some thousandths are 0, because a fault may hide another.
//! Out: a Redis that fails over, restarts or stands still, lost connections, dead nodes, clients that move.

use super::{
    clients::{Client, State},
    node::{Asked, Asker, Node},
    store::Command,
    world::World,
    *,
};

#[derive(Debug, Default)]
pub(super) struct Faults {
    /// A command or its reply is lost.
    pub(super) cut: u32,
    /// A connection of pub/sub is lost.
    pub(super) link: u32,
    /// The replica becomes the primary.
    pub(super) failover: u32,
    /// Redis forgets everything.
    pub(super) restart: u32,
    /// Redis forgets the position of a channel.
    pub(super) evict: u32,
    /// A node cannot take messages.
    pub(super) full: u32,
    /// Redis stands still.
    pub(super) pause: u32,
    /// A history is removed.
    pub(super) remove: u32,
    /// A broker takes nothing.
    pub(super) busy: u32,
    /// A node dies, and another one takes its place.
    pub(super) death: u32,
    /// All clients of a node go to others.
    pub(super) storm: u32,
}

impl Faults {
    pub(super) fn draw(random: &mut SmallRng) -> Self {
        let mut one = |most: u32| if random.random_bool(0.5) { random.random_range(1..=most) } else { 0 };
        Self {
            cut: one(150),
            link: one(60),
            failover: one(30),
            restart: one(8),
            evict: one(8),
            full: one(40),
            pause: one(20),
            remove: one(15),
            busy: one(50),
            death: one(10),
            storm: one(10),
        }
    }
}

/// How many moves at most are made at once.
#[derive(Debug)]
pub(super) struct Paces {
    /// Of commands and their replies.
    pub(super) commands: u32,
    /// Of subscribing.
    pub(super) link: u32,
    /// Of what is heard.
    pub(super) events: u32,
    /// Of mail between rooms and shards.
    pub(super) mail: u32,
    /// Of replication.
    pub(super) replication: usize,
    /// How likely it is, in thousandths, that a client whose turn it is leaves.
    pub(super) leaves: u32,
    /// How likely it is, in thousandths, that a failure ends or is noticed.
    pub(super) heals: u32,
}

impl Paces {
    pub(super) fn draw(random: &mut SmallRng) -> Self {
        Self {
            commands: random.random_range(1..=12),
            link: random.random_range(1..=6),
            events: random.random_range(1..=8),
            mail: random.random_range(4..=40),
            replication: random.random_range(1..=6),
            leaves: random.random_range(50..500),
            heals: random.random_range(20..300),
        }
    }
}

impl World {
    pub(super) fn fail(&mut self) {
        let node = self.node();
        if self.happens(self.faults.link) {
            self.lose_link(node);
        }
        if self.happens(self.faults.failover) {
            trace(|| "failover".to_owned());
            self.redis.fail_over();
            // Where the old primary becomes a replica, a connection to it may go on and miss nothing.
            let goes_on = self.random.random_bool(0.3);
            self.nodes.iter_mut().for_each(|node| node.link.is_stale |= node.link.is_up && !goes_on);
        }
        if self.happens(self.faults.restart) {
            trace(|| "restart".to_owned());
            self.redis.restart_empty();
            self.nodes.iter_mut().for_each(|node| node.link.is_stale = node.link.is_up);
        }
        if self.happens(self.faults.evict) {
            let at = self.random.random_range(0..self.channels.len());
            let channel = Arc::clone(&self.channels[at].name);
            self.redis.execute(&Command::Evict { channel }, self.now);
        }
        if self.happens(self.faults.full) {
            self.nodes[node].link.is_full = true;
        }
        if self.happens(self.faults.pause) {
            self.is_paused = true;
        }
        if self.happens(self.faults.remove) {
            let at = self.random.random_range(0..self.channels.len());
            let (asker, channel) = (Asker::Nobody, Arc::clone(&self.channels[at].name));
            let command = Command::RemoveHistory { channel };
            self.nodes[node].asked.push(Asked { asker, command, reply: None });
        }
        if self.happens(self.faults.death) {
            self.replace(node);
        }
        if self.happens(self.faults.storm) {
            self.move_all_clients_of(node);
        }
        self.tell_removed(node);
        if self.random.random_bool(0.1) {
            self.nodes[node].link.leave_unwanted();
        }
    }

    /// What has failed is noticed, or ends, each at its time.
    pub(super) fn heal(&mut self) {
        for node in 0..self.nodes.len() {
            if !self.happens(self.paces.heals) {
                continue;
            }
            let link = &mut self.nodes[node].link;
            if link.is_stale {
                self.lose_link(node);
            } else if !link.is_up {
                link.come_back();
            } else if link.is_full {
                link.is_full = false;
                self.nodes[node].tell_lagging(self.now);
                self.settle(node);
            }
        }
        if self.is_paused && self.happens(self.paces.heals) {
            self.is_paused = false;
        }
    }

    fn lose_link(&mut self, node: usize) {
        let link = &mut self.nodes[node].link;
        let kept = self.random.random_range(0..=link.events.len());
        link.lose(kept);
        trace(|| format!("{node}: link lost, {kept} kept"));
    }

    pub(super) fn tell_removed(&mut self, node: usize) {
        if let Some(channel) = self.nodes[node].removed.pop() {
            self.nodes[node].hear(FromBroker::HistoryRemoved(channel), self.now);
            self.settle(node);
        }
    }

    /// A node dies with all it knows; of its commands, some are still executed. Another one takes its place.
    fn replace(&mut self, at: usize) {
        let new = Node::new(at, self.random.random(), self.nodes[at].app, self.budget_bytes);
        let old = std::mem::replace(&mut self.nodes[at], new);
        let on_the_way = old.asked.into_iter().filter(|asked| asked.reply.is_none());
        for Asked { command, .. } in on_the_way {
            if self.random.random_bool(0.5) {
                self.nodes[at].asked.push(Asked { asker: Asker::Nobody, command, reply: None });
            }
        }
        for client in self.clients.iter_mut().filter(|client| client.node == at) {
            client.disconnect();
        }
    }

    fn move_all_clients_of(&mut self, node: usize) {
        let is_there = |client: &Client| client.node == node && client.state != State::Away;
        let moved: Vec<usize> = (0..self.clients.len()).filter(|&at| is_there(&self.clients[at])).collect();
        moved.iter().for_each(|&at| self.leave(at, true));
        for at in moved {
            let node = self.node_of(self.clients[at].ways.app);
            self.come(at, node, true);
        }
    }
}
