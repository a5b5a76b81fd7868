//! World: what happens in which order, by a seed.
//!
//! In:  a seed.
//! Out: clients that come, go and publish; replies and messages that come late or never; a Redis that fails.

use std::collections::HashMap;

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::{
    clients::{Client, State},
    node::{Asked, Asker, Node},
    redis::{Command, Reply, SimulatedRedis},
    *,
};

const SHARDS: usize = 2;

/// How likely each fault is in a step, in thousandths.
#[derive(Debug)]
struct Faults {
    cut: u32,
    link: u32,
    failover: u32,
    restart: u32,
    full: u32,
    pause: u32,
    remove: u32,
    busy: u32,
}

impl Faults {
    fn draw(random: &mut SmallRng) -> Self {
        let mut one = |most: u32| if random.random_bool(0.5) { random.random_range(1..=most) } else { 0 };
        Self {
            cut: one(150),
            link: one(40),
            failover: one(25),
            restart: one(8),
            full: one(40),
            pause: one(20),
            remove: one(15),
            busy: one(50),
        }
    }
}

pub(super) struct World {
    random: SmallRng,
    faults: Faults,
    redis: SimulatedRedis,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    channels: Vec<(Arc<str>, ChannelPolicy)>,
    now: Tick,
    is_paused: bool,
    texts: u32,
    /// Publications with keys that may be repeated.
    keyed: Vec<(Arc<str>, String)>,
    acknowledged: HashMap<String, Vec<(Arc<str>, Position)>>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let policy = |random: &mut SmallRng| ChannelPolicy {
            history_size: [3, 10, 100][random.random_range(0..3)],
            history_ttl_ms: [2_000, 60_000, 600_000][random.random_range(0..3)],
            history_meta_ttl_ms: [90_000, 3_600_000][random.random_range(0..2)],
            presence: true,
            ..POLICY
        };
        let delta = random.random_bool(0.5);
        let channels: Vec<(Arc<str>, ChannelPolicy)> = vec![
            ("history".into(), policy(&mut random)),
            ("delta".into(), ChannelPolicy { delta: true, delta_publish: delta, ..policy(&mut random) }),
            ("plain".into(), ChannelPolicy { history_size: 0, ..policy(&mut random) }),
        ];
        let budget = if random.random_bool(0.2) { 20_000 } else { 1 << 30 };
        let nodes = (0..random.random_range(2..=3)).map(|at| Node::new(at, budget)).collect();
        let client = |at: usize| {
            let channel = &channels[if at < 6 { 0 } else { at % 3 }].0;
            Client::new(channel, at % 4 != 3)
        };
        Self {
            faults: Faults::draw(&mut random),
            random,
            redis: SimulatedRedis::default(),
            nodes,
            clients: (0..10).map(client).collect(),
            channels,
            now: Tick(1_000),
            is_paused: false,
            texts: 0,
            keyed: Vec::new(),
            acknowledged: HashMap::new(),
        }
    }

    pub(super) fn run(mut self, steps: u32) {
        for _ in 0..steps {
            self.step();
        }
        self.rest();
        for client in &self.clients {
            if client.state == State::In && client.wants_position {
                client.assert_is_at_the_top(&self.redis);
            }
            assert_ne!(client.state, State::Waiting, "everybody is answered");
        }
        self.assert_presence();
        self.assert_acknowledged();
        for client in 0..self.clients.len() {
            self.leave(client, true);
        }
        self.rest();
        for node in &self.nodes {
            let left = [Budget::History, Budget::Channels].map(|budget| node.ledger.bytes(budget));
            assert_eq!((node.rooms.len(), left), (0, [0, 0]), "all have left");
            assert!(node.present.is_empty() && node.link.wanted.is_empty());
        }
    }

    fn happens(&mut self, thousandths: u32) -> bool {
        self.random.random_range(0..1_000) < thousandths
    }

    fn node(&mut self) -> usize {
        self.random.random_range(0..self.nodes.len())
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..12 => self.come_or_go(),
            12..30 => self.publish(),
            30..50 => self.go_on_with_a_command(),
            50..60 => {
                let node = self.node();
                if !self.is_paused {
                    self.nodes[node].link.execute();
                }
            }
            60..80 => {
                let node = self.node();
                for _ in 0..self.random.random_range(1..5) {
                    self.nodes[node].receive(self.now);
                    self.settle(node);
                }
            }
            80..90 => {
                let count = self.random.random_range(1..6);
                self.redis.replicate(count);
            }
            90..99 => {
                let ticks = self.random.random_range(1..20);
                self.pass(ticks);
            }
            _ => {
                let ticks = self.random.random_range(100..800);
                self.pass(ticks);
            }
        }
        self.fail();
    }

    fn fail(&mut self) {
        let node = self.node();
        if self.happens(self.faults.link) {
            if self.nodes[node].link.is_up {
                let kept = self.random.random_range(0..=self.nodes[node].link.events.len());
                self.nodes[node].link.lose(kept);
            } else {
                self.nodes[node].link.come_back();
            }
        }
        if self.happens(self.faults.failover) {
            self.redis.fail_over();
            self.nodes.iter_mut().for_each(|node| node.link.is_stale = node.link.is_up);
        }
        if self.happens(self.faults.restart) {
            self.redis.restart_empty();
            self.nodes.iter_mut().for_each(|node| node.link.is_stale = node.link.is_up);
        }
        if self.happens(self.faults.full) {
            let link = &mut self.nodes[node].link;
            link.is_full = !link.is_full;
            if !link.is_full {
                self.nodes[node].tell_lagging(self.now);
                self.settle(node);
            }
        }
        if self.happens(self.faults.pause) {
            self.is_paused = !self.is_paused;
        }
        if self.happens(self.faults.remove) {
            let (asker, channel) = (Asker::Nobody, Arc::clone(&self.channels[0].0));
            let command = Command::RemoveHistory { channel };
            self.nodes[node].asked.push(Asked { asker, command, reply: None });
        }
        if let Some(channel) = self.nodes[node].removed.pop() {
            self.nodes[node].hear(FromBroker::HistoryRemoved(channel), self.now);
            self.settle(node);
        }
    }

    fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now = self.now.after(1);
            for node in 0..self.nodes.len() {
                let Node { rooms, ledger, posts, .. } = &mut self.nodes[node];
                if rooms.is_due(self.now) {
                    rooms.tend(self.now, ledger, posts);
                    self.settle(node);
                }
            }
        }
    }

    fn come_or_go(&mut self) {
        let at = self.random.random_range(0..self.clients.len());
        if self.clients[at].state != State::Away {
            return self.leave(at, true);
        }
        let node = self.node();
        let shard = ShardId::new(self.random.random_range(0..SHARDS));
        let recovers = self.random.random_bool(0.7);
        let client = &mut self.clients[at];
        (client.node, client.shard, client.state) = (node, shard, State::Waiting);
        client.generation += 1;
        client.recovers = client.position.clone().filter(|_| recovers && client.wants_position);
        let recover = client.recovers.as_ref().and_then(|(offset, epoch)| since(epoch, *offset));
        let subscribe = Subscribe {
            channel: Arc::clone(&client.channel),
            shard,
            client: ClientKey { place: u32::try_from(at).expect("few"), generation: client.generation },
            wants_position: client.wants_position,
            recover,
            ..subscribe(u32::try_from(at).expect("few"), None)
        };
        self.handle(node, ToOwner::Subscribe(Box::new(subscribe)));
    }

    /// A client leaves. `is_seen`: others are told, as its subscription was not refused.
    fn leave(&mut self, at: usize, is_seen: bool) {
        let client = &mut self.clients[at];
        if client.state == State::Away {
            return;
        }
        client.state = State::Away;
        let (node, shard, channel) = (client.node, client.shard, Arc::clone(&client.channel));
        let mut others = self.clients.iter().filter(|client| client.state != State::Away);
        let was_last = !others.any(|other| other.is_at(node, shard, &channel));
        let info = is_seen.then(|| info(u32::try_from(at).expect("few")));
        if was_last || info.is_some() {
            self.handle(node, ToOwner::Unsubscribe { channel, shard, info, shows: SHOWS, was_last });
        }
    }

    fn publish(&mut self) {
        let node = self.node();
        let is_repeated = !self.keyed.is_empty() && self.random.random_bool(0.1);
        let (channel, text) = if is_repeated {
            self.keyed[self.random.random_range(0..self.keyed.len())].clone()
        } else {
            self.texts += 1;
            let at = [0, 0, 0, 1, 2][self.random.random_range(0..5)];
            (Arc::clone(&self.channels[at].0), format!("\"{}\"", self.texts))
        };
        let is_keyed = is_repeated || self.random.random_bool(0.2);
        let key = if is_keyed { text.clone() } else { String::new() };
        if is_keyed && !is_repeated {
            self.keyed.push((Arc::clone(&channel), text.clone()));
        }
        // A key that is repeated is of the same publication.
        let skip_history = !is_keyed && self.random.random_bool(0.05);
        let publish = Publish { skip_history, ..publish(&channel, &key, &text) };
        self.handle(node, ToOwner::Publish(Box::new(publish)));
    }

    fn handle(&mut self, node: usize, message: ToOwner) {
        let channel = Arc::clone(message.channel_name());
        let (_, policy) =
            self.channels.iter().find(|(name, _)| *name == channel).expect("it is one of three");
        let Node { rooms, ledger, posts, .. } = &mut self.nodes[node];
        rooms.handle(message, *policy, self.now, ledger, posts);
        self.settle(node);
    }

    /// A command is executed, or its reply comes; or the connection is cut before either.
    fn go_on_with_a_command(&mut self) {
        let node = self.node();
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

    fn advance(&mut self, node: usize, at: usize) {
        if self.nodes[node].asked[at].reply.is_some() {
            let Asked { asker, reply, .. } = self.nodes[node].asked.swap_remove(at);
            return self.reply(node, asker, reply);
        }
        if self.is_paused {
            return;
        }
        let command = self.nodes[node].asked[at].command.clone();
        let reply = self.redis.execute(command.clone(), self.now);
        match (&command, &reply) {
            (Command::Publish { publication, .. }, Reply::Published { frame: Some(frame), .. }) => {
                self.nodes.iter_mut().for_each(|node| node.link.publish(&publication.channel, frame));
            }
            (Command::RemoveHistory { channel }, _) => {
                self.nodes.iter_mut().for_each(|node| node.removed.push(Arc::clone(channel)));
            }
            _ => {}
        }
        self.nodes[node].asked[at].reply = Some(reply);
    }

    fn reply(&mut self, node: usize, asker: Asker, reply: Option<Reply>) {
        match (asker, reply) {
            (Asker::Room(room, from), reply) => {
                let read = reply.map(|reply| match reply {
                    Reply::Read { top, entries } => ReadResult { top, from, entries },
                    other => unreachable!("a read is not answered with {other:?}"),
                });
                self.nodes[node].hear(FromBroker::Read(room, read), self.now);
                self.settle(node);
            }
            (Asker::Publisher { text, channel }, Some(Reply::Published { position: Some(position), .. })) => {
                self.acknowledged.entry(text).or_default().push((channel, position));
            }
            _ => {}
        }
    }

    /// What the rooms of a node have said reaches the broker and the clients.
    fn settle(&mut self, node: usize) {
        loop {
            let is_busy = self.happens(self.faults.busy);
            self.nodes[node].take_wants(is_busy, &mut self.redis, self.now);
            let posts = std::mem::take(&mut self.nodes[node].posts);
            if posts.is_empty() && !self.nodes[node].rooms.has_for_broker() {
                return;
            }
            for (shard, message) in posts {
                self.post(node, shard, message);
            }
        }
    }

    fn post(&mut self, node: usize, shard: ShardId, message: FromOwner) {
        let subscribers = |clients: &[Client], channel: &str| -> Vec<usize> {
            let is_one = |client: &Client| client.state == State::In && client.is_at(node, shard, channel);
            (0..clients.len()).filter(|&at| is_one(&clients[at])).collect()
        };
        match message {
            FromOwner::Deliver(delivery) => {
                let Some(stored) = &delivery.publication else { return };
                for at in subscribers(&self.clients, &delivery.channel) {
                    self.clients[at].take(stored.offset, data(&stored.data), &self.redis);
                }
            }
            FromOwner::Subscribed(subscribed) => {
                let at = subscribed.client.place as usize;
                let client = &mut self.clients[at];
                if client.state != State::Waiting || client.generation != subscribed.client.generation {
                    return;
                }
                if subscribed.refused.is_some() {
                    return self.leave(at, false);
                }
                client.admit(&subscribed, &self.redis);
            }
            FromOwner::PositionLost { channel, .. } => {
                for at in subscribers(&self.clients, &channel) {
                    if self.clients[at].wants_position {
                        self.leave(at, true);
                    }
                }
            }
            FromOwner::Answered { .. } => {}
            FromOwner::TooLongNow { .. } => unreachable!("any length is allowed"),
        }
    }

    /// Nothing fails any more, all is answered, and enough time passes for everything to be noticed.
    fn rest(&mut self) {
        self.faults =
            Faults { cut: 0, link: 0, failover: 0, restart: 0, full: 0, pause: 0, remove: 0, busy: 0 };
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
            for node in 0..self.nodes.len() {
                self.run_dry(node);
            }
        }
    }

    fn run_dry(&mut self, node: usize) {
        loop {
            let Node { link, asked, removed, .. } = &self.nodes[node];
            if link.commands.is_empty() && link.events.is_empty() && asked.is_empty() && removed.is_empty() {
                return;
            }
            if !asked.is_empty() {
                self.advance(node, 0);
            }
            self.nodes[node].link.execute();
            self.nodes[node].receive(self.now);
            self.settle(node);
            if let Some(channel) = self.nodes[node].removed.pop() {
                self.nodes[node].hear(FromBroker::HistoryRemoved(channel), self.now);
            }
        }
    }

    fn assert_presence(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            let is_here = |client: &&Client| client.state == State::In && client.node == at;
            let here = self.clients.iter().filter(is_here).count();
            assert_eq!(node.present.len(), here, "who is in is present, and nobody else");
        }
    }

    /// What was acknowledged was published there.
    fn assert_acknowledged(&self) {
        for (text, positions) in &self.acknowledged {
            for (channel, Position { offset, epoch }) in positions {
                let place = (Arc::clone(channel), epoch.to_string(), *offset);
                let records = self.redis.records.get(&place).map(Vec::as_slice).unwrap_or_default();
                assert!(
                    records.iter().any(|record| record.text == *text),
                    "{text} is acknowledged at {place:?}"
                );
            }
        }
    }
}
