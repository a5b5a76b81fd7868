//! Checks: a run, and what must be true at its end.
//!
//! In:  a world in which nothing fails any more.
//! Out: a panic if somebody does not have what they should have, costs Redis more than they should, or leaves something
//! behind.

use std::collections::HashMap;

use super::{
    clients::{Client, State},
    faults::Faults,
    node::{Node, SHARDS},
    world::World,
    *,
};

/// A room reads once when it begins, and once more for those who come while it does.
const READS_MAX: u32 = 2;

impl World {
    pub(super) fn run(mut self, steps: u32) {
        for _ in 0..steps {
            self.step();
        }
        self.rest();
        self.assert_all_is_right();
        self.assert_acknowledged();
        self.move_and_recover();
        for client in 0..self.clients.len() {
            self.leave(client, true);
        }
        self.rest();
        for node in &self.nodes {
            let left = [Budget::History, Budget::Channels].map(|budget| node.ledger.bytes(budget));
            assert_eq!((node.rooms.len(), left), (0, [0, 0]), "all have left");
            assert!(node.present.is_empty() && node.link.wanted.is_empty() && node.joined.is_empty());
        }
    }

    /// Nothing fails any more, all is answered, and enough time passes for everything to be noticed.
    fn rest(&mut self) {
        self.faults = Faults::default();
        self.is_paused = false;
        for node in 0..self.nodes.len() {
            let Node { link, .. } = &mut self.nodes[node];
            if link.is_stale {
                link.lose(0);
            }
            link.is_full = false;
            self.nodes[node].tell_lagging(self.now);
            self.settle(node);
            self.nodes[node].link.come_back();
        }
        // Two checks of the position, and what they lead to.
        for _ in 0..80 {
            self.pass(20);
            self.run_dry();
        }
    }

    fn run_dry(&mut self) {
        while (0..self.nodes.len()).any(|node| !self.nodes[node].is_at_rest() || self.has_deferred(node)) {
            for node in 0..self.nodes.len() {
                self.go_on(node);
            }
        }
    }

    fn has_deferred(&self, node: usize) -> bool {
        self.clients.iter().any(|client| client.node == node && client.deferred.is_some())
    }

    /// One step of everything that is on its way.
    fn go_on(&mut self, node: usize) {
        for shard in 0..SHARDS {
            self.deliver_to_owner(node, shard);
            self.deliver_to_shard(node, shard);
        }
        for at in 0..self.clients.len() {
            if self.clients[at].node == node
                && let Some(question) = self.clients[at].deferred.take()
            {
                self.ask_again(at, *question);
            }
        }
        if !self.nodes[node].asked.is_empty() {
            self.advance(node, 0);
        }
        self.nodes[node].link.execute();
        self.nodes[node].receive(self.now);
        self.settle(node);
        self.tell_removed(node);
    }

    fn assert_all_is_right(&self) {
        for client in &self.clients {
            assert_ne!(client.state, State::Waiting, "everybody is answered");
            if client.state == State::In && client.ways.wants_position {
                client.assert_is_at_the_top(&self.redis);
            }
        }
        for (at, node) in self.nodes.iter().enumerate() {
            for (channel, watch) in &node.watches {
                if node.rooms.rooms.contains_key(channel) {
                    watch.assert_is_right(channel, &self.redis.primary);
                }
            }
            let here = |sees: fn(PresenceFlags) -> bool| {
                let is_seen = |client: &&Client| {
                    client.state == State::In && client.node == at && sees(client.ways.shows)
                };
                self.clients.iter().filter(is_seen).count()
            };
            let present = here(|shows| shows.presence);
            assert_eq!(node.present.len(), present, "who is in is present, and nobody else");
            assert_eq!(node.joined.len(), here(|shows| shows.join_leave), "who is in has joined");
        }
    }

    /// What was acknowledged was published there.
    fn assert_acknowledged(&self) {
        for (text, positions) in &self.acknowledged {
            for (channel, Position { offset, epoch }) in positions {
                let records = self.redis.records_of(text, *offset);
                let is_there =
                    records.iter().any(|record| record.channel == *channel && *record.epoch == **epoch);
                assert!(is_there, "{text} is acknowledged at {offset} of {epoch}");
            }
        }
    }

    /// All clients come at once to other nodes, while much is published: each recovers all that Redis has, and the rooms
    /// read it once for all.
    fn move_and_recover(&mut self) {
        let is_in = |client: &Client| {
            client.state == State::In && client.ways.wants_position && client.position.is_some()
        };
        let moved: Vec<usize> = (0..self.clients.len()).filter(|&at| is_in(&self.clients[at])).collect();
        for &at in &moved {
            self.leave(at, true);
            if self.random.random_bool(0.5) {
                self.publish();
            }
            self.run_dry();
        }
        self.nodes.iter_mut().for_each(|node| node.reads.clear());
        let mut awaited = HashMap::new();
        for &at in &moved {
            let client = &self.clients[at];
            let channel = Arc::clone(&client.ways.channel);
            let (offset, epoch) = client.position.clone().expect("it was in");
            let (top, now) = self.redis.primary.top(&channel).unwrap_or_default();
            let kept = self.redis.primary.kept(&channel, self.now);
            let recovers = if client.ways.cache {
                kept.contains(&top) || *now == epoch && top == offset && offset > 0
            } else {
                *now == epoch && (offset + 1..=top).all(|offset| kept.contains(&offset))
            };
            awaited.insert(at, (recovers, client.generation + 1));
            let node = self.node_of(self.clients[at].ways.app);
            self.come(at, node, true);
        }
        self.run_dry();
        for (at, (recovers, generation)) in awaited {
            let client = &self.clients[at];
            // Where there is no memory for its channel, it is refused.
            if client.state == State::In && client.generation == generation && recovers {
                assert!(client.has_recovered, "{client:?} recovers what is there");
            }
        }
        for (channel, reads) in self.nodes.iter().flat_map(|node| &node.reads) {
            assert!(*reads <= READS_MAX, "{channel} was read {reads} times");
        }
        self.assert_all_is_right();
    }
}
