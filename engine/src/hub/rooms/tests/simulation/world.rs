//! World: what happens in which order, by a seed.
//!
//! In:  a seed.
//! Out: clients that come, go and publish; what they have on its way comes late or never, and anything may fail, between any
//! two of these.

use std::collections::HashMap;

use super::{
    clients::{Client, State, Ways},
    faults::{Faults, Paces},
    node::{Node, SHARDS},
    redis::SimulatedRedis,
    store::Text,
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
    pub(super) paces: Paces,
    pub(super) redis: SimulatedRedis,
    pub(super) nodes: Vec<Node>,
    pub(super) clients: Vec<Client>,
    pub(super) channels: Vec<Channel>,
    pub(super) now: Tick,
    pub(super) is_paused: bool,
    pub(super) budget_bytes: u64,
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

    pub(super) fn happens(&mut self, thousandths: u32) -> bool {
        self.random.random_range(0..1_000) < thousandths
    }

    pub(super) fn node(&mut self) -> usize {
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
}
