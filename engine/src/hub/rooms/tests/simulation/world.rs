//! World: what happens in which order, by a seed.
//!
//! In:  a seed.
//! Out: clients that come, go and publish; commands, replies, messages and mail that come late or never; a Redis and nodes
//! that fail, between any two of these.

use std::collections::HashMap;

use super::{
    clients::{Client, State, Ways},
    faults::{Faults, Paces},
    node::{Asked, Asker, Node, SHARDS},
    redis::SimulatedRedis,
    store::{Command, Reply, Text},
    *,
};

/// With it, a patch to a text is shorter than the text.
const COMMON: &str = "a text that is long enough for every patch to it to be smaller than what it makes";

/// A channel of one of the applications.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) name: Arc<str>,
    pub(super) app: usize,
    pub(super) policy: ChannelPolicy,
}

pub(super) struct World {
    pub(super) random: SmallRng,
    pub(super) faults: Faults,
    paces: Paces,
    pub(super) redis: SimulatedRedis,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
    pub(super) channels: Vec<Channel>,
    pub(super) now: Tick,
    pub(super) is_paused: bool,
    budget_bytes: u64,
    texts: u32,
    /// Publications with keys that may be repeated.
    keyed: Vec<(usize, Text)>,
    pub(super) acknowledged: HashMap<Text, Vec<(Arc<str>, Position)>>,
}

fn channels(app: usize, random: &mut SmallRng) -> Vec<Channel> {
    let policy = |random: &mut SmallRng| ChannelPolicy {
        history_size: [3, 10, 100][random.random_range(0..3)],
        history_ttl_ms: [2_000, 60_000, 600_000][random.random_range(0..3)],
        history_meta_ttl_ms: [90_000, 3_600_000][random.random_range(0..2)],
        presence: true,
        ..POLICY
    };
    let delta_publish = random.random_bool(0.5);
    let cached = random.random_range(1..=3);
    let policies = [
        ("history", policy(random)),
        ("delta", ChannelPolicy { delta: true, delta_publish, ..policy(random) }),
        ("plain", ChannelPolicy { history_size: 0, ..policy(random) }),
        ("cache", ChannelPolicy { history_size: cached, ..policy(random) }),
    ];
    policies
        .into_iter()
        .map(|(name, policy)| Channel { name: format!("{app}.{name}").into(), app, policy })
        .collect()
}

fn client(at: usize, app: usize, channels: &[Channel], random: &mut SmallRng) -> Client {
    let own: Vec<&Channel> = channels.iter().filter(|channel| channel.app == app).collect();
    let channel = own[[0, 0, 0, 0, 1, 1, 2, 3, 3, 0][at % 10]];
    Client::new(Ways {
        channel: Arc::clone(&channel.name),
        app,
        wants_position: at % 4 != 3,
        cache: channel.name.ends_with("cache"),
        rejects_loss: random.random_bool(0.1),
        takes_patches: channel.policy.delta,
        now_max: if random.random_bool(0.2) { 100 } else { usize::MAX },
        shows: PresenceFlags { presence: random.random_bool(0.7), join_leave: random.random_bool(0.7) },
    })
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let apps = if random.random_bool(0.3) { 2 } else { 1 };
        let channels: Vec<Channel> = (0..apps).flat_map(|app| channels(app, &mut random)).collect();
        let budget_bytes = [5_000, 20_000, 20_000][random.random_range(0..3)];
        let budget_bytes = if random.random_bool(0.3) { budget_bytes } else { 1 << 30 };
        let mut nodes = Vec::new();
        let mut clients = Vec::new();
        for app in 0..apps {
            let count = if app == 0 { random.random_range(2..=3) } else { 1 };
            for _ in 0..count {
                nodes.push(Node::new(nodes.len(), random.random(), app, budget_bytes));
            }
            let count = if app == 0 { 10 } else { 4 };
            clients.extend((0..count).map(|at| client(at, app, &channels, &mut random)));
        }
        Self {
            faults: Faults::draw(&mut random),
            paces: Paces::draw(&mut random),
            random,
            redis: SimulatedRedis::default(),
            nodes,
            clients,
            channels,
            now: Tick(1_000),
            is_paused: false,
            budget_bytes,
            texts: 0,
            keyed: Vec::new(),
            acknowledged: HashMap::new(),
        }
    }

    fn happens(&mut self, thousandths: u32) -> bool {
        self.random.random_range(0..1_000) < thousandths
    }

    fn node(&mut self) -> usize {
        self.random.random_range(0..self.nodes.len())
    }

    pub(super) fn node_of(&mut self, app: usize) -> usize {
        let nodes = (0..self.nodes.len()).filter(|&node| self.nodes[node].app == app);
        let nodes: Vec<usize> = nodes.collect();
        nodes[self.random.random_range(0..nodes.len())]
    }

    pub(super) fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..8 => self.come_or_go(),
            8..20 => self.publish(),
            20..46 => {
                let node = self.node();
                for _ in 0..self.random.random_range(1..=self.paces.commands) {
                    self.go_on_with_a_command(node);
                }
            }
            46..54 => {
                let node = self.node();
                for _ in 0..self.random.random_range(1..=self.paces.link) {
                    if !self.is_paused {
                        self.nodes[node].link.execute();
                    }
                }
            }
            54..68 => {
                let node = self.node();
                for _ in 0..self.random.random_range(1..=self.paces.events) {
                    self.nodes[node].receive(self.now);
                    self.settle(node);
                }
            }
            68..88 => {
                let node = self.node();
                for _ in 0..self.random.random_range(1..=self.paces.mail) {
                    let shard = self.random.random_range(0..SHARDS);
                    if self.random.random_bool(0.5) {
                        self.deliver_to_owner(node, shard);
                    } else {
                        self.deliver_to_shard(node, shard);
                    }
                }
            }
            88..94 => {
                let count = self.random.random_range(1..=self.paces.replication);
                self.redis.replicate(count);
            }
            _ => {
                let is_long = self.happens(20);
                let ticks = self.random.random_range(if is_long { 100..800 } else { 1..8 });
                self.pass(ticks);
            }
        }
        self.fail();
        self.heal();
    }

    fn fail(&mut self) {
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
    fn heal(&mut self) {
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

    pub(super) fn pass(&mut self, ticks: u32) {
        for _ in 0..ticks {
            self.now = self.now.after(1);
            for node in 0..self.nodes.len() {
                if self.nodes[node].rooms.is_due(self.now) {
                    self.nodes[node].tend(self.now);
                    self.settle(node);
                }
            }
        }
    }

    fn come_or_go(&mut self) {
        let at = self.random.random_range(0..self.clients.len());
        if let Some(question) = self.clients[at].deferred.take() {
            return self.ask_again(at, *question);
        }
        if self.clients[at].state != State::Away {
            if self.happens(self.paces.leaves) {
                self.leave(at, true);
            }
            return;
        }
        let (node, recovers) = (self.node_of(self.clients[at].ways.app), self.random.random_bool(0.7));
        self.come(at, node, recovers);
    }

    /// A subscribe whose answer is too long beside others is repeated alone.
    pub(super) fn ask_again(&mut self, at: usize, mut question: ToOwner) {
        question.allow_long_answer();
        let (node, shard) = (self.clients[at].node, self.clients[at].shard);
        self.nodes[node].to_owner[shard.index()].push_back(question);
    }

    pub(super) fn come(&mut self, at: usize, node: usize, recovers: bool) {
        let client = &self.clients[at];
        let stays = client.node == node && self.random.random_bool(0.5);
        let shard = if stays { client.shard } else { ShardId::new(self.random.random_range(0..SHARDS)) };
        let place = u32::try_from(at).expect("they are few");
        let subscribe = self.clients[at].subscribe(place, node, shard, recovers);
        self.nodes[node].to_owner[shard.index()].push_back(ToOwner::Subscribe(Box::new(subscribe)));
    }

    /// A client leaves. `is_told`: with its info, as its subscription was not refused.
    pub(super) fn leave(&mut self, at: usize, is_told: bool) {
        let client = &mut self.clients[at];
        if client.state == State::Away {
            return;
        }
        (client.state, client.deferred) = (State::Away, None);
        let info = client.info(u32::try_from(at).expect("they are few"));
        let (node, shard, shows) = (client.node, client.shard, client.ways.shows);
        let channel = Arc::clone(&client.ways.channel);
        let mut others = self.clients.iter().filter(|client| client.state != State::Away);
        let was_last = !others.any(|other| other.is_at(node, shard, &channel));
        let info = (is_told && shows.is_seen()).then_some(info);
        if was_last || info.is_some() {
            let message = ToOwner::Unsubscribe { channel, shard, info, shows, was_last };
            self.nodes[node].to_owner[shard.index()].push_back(message);
        }
    }

    pub(super) fn publish(&mut self) {
        let node = self.node();
        let app = self.nodes[node].app;
        let is_of_app = |channel: &Channel| channel.app == app;
        let first = self.channels.iter().position(is_of_app).expect("each application has some");
        let repeated: Vec<(usize, Text)> =
            self.keyed.iter().filter(|(at, _)| self.channels[*at].app == app).cloned().collect();
        let is_repeated = !repeated.is_empty() && self.random.random_bool(0.1);
        let (at, text) = if is_repeated {
            repeated[self.random.random_range(0..repeated.len())].clone()
        } else {
            let at = first + [0, 0, 0, 0, 1, 1, 2, 3][self.random.random_range(0..8)];
            (at, self.next_text(at))
        };
        let is_keyed = is_repeated || self.random.random_bool(0.2);
        let key = if is_keyed { text.to_string() } else { String::new() };
        if is_keyed && !is_repeated {
            self.keyed.push((at, Arc::clone(&text)));
        }
        // A key that is repeated is of the same publication.
        let skip_history = !is_keyed && self.random.random_bool(0.05);
        let number = if self.random.random_bool(0.05) { self.random.random_range(1..20) } else { 0 };
        let publish = Publish {
            skip_history,
            delta: self.random.random_bool(0.5),
            version: Version { number, ..Version::default() },
            answer_to: None,
            ..publish(&self.channels[at].name, &key, &text)
        };
        self.publish_at(node, publish);
    }

    pub(super) fn next_text(&mut self, channel: usize) -> Text {
        self.texts += 1;
        let common = if self.channels[channel].policy.delta { COMMON } else { "" };
        format!("\"{common}{}\"", self.texts).into()
    }

    pub(super) fn publish_at(&mut self, node: usize, publish: Publish) {
        let shard = self.random.random_range(0..SHARDS);
        self.nodes[node].to_owner[shard].push_back(ToOwner::Publish(Box::new(publish)));
    }

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
    fn go_on_with_a_command(&mut self, node: usize) {
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
