//! Registry: which other nodes there are.
//!
//! In:  heartbeats and goodbyes, the time.
//! Out: who is new, who is forgotten, when to say hello.
//!
//! Times are Centrifugo's: hello every 3 s, and at once to a node that is new; forgotten after 7 s of silence. No I/O, no
//! clock.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::message::Node;

/// How nodes are kept in mind.
#[derive(Debug, Clone, Copy)]
pub struct RegistryOptions {
    /// How often we say hello. 3 s.
    pub hello_every: Duration,
    /// After so long without a word a node is forgotten. 7 s.
    pub forgotten_after: Duration,
    /// Nodes beside us; more are not listened to. 1,024.
    pub nodes_max: usize,
    /// What a node may say of itself, in bytes. 64 KiB.
    pub node_bytes_max: usize,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            hello_every: Duration::from_secs(3),
            forgotten_after: Duration::from_secs(7),
            nodes_max: 1_024,
            node_bytes_max: 64 << 10,
        }
    }
}

/// What another node last said of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeState {
    /// The node.
    pub uid: String,
    /// How people call it.
    pub name: String,
    /// The version of its program.
    pub version: String,
    /// Connections.
    pub num_clients: u32,
    /// Users.
    pub num_users: u32,
    /// Channels with a subscriber.
    pub num_channels: u32,
    /// Subscriptions.
    pub num_subs: u32,
    /// Seconds since it started.
    pub uptime: u32,
    /// Seconds that `metrics` are of; 0 where it tells none.
    pub metrics_interval: f64,
    /// Numbers of its own choice.
    pub metrics: Vec<(String, f64)>,
    /// Bytes of its own choice.
    pub data: Vec<u8>,
}

impl NodeState {
    fn of(uid: &str, node: &Node<'_>) -> Self {
        let metrics = node.metrics.as_ref();
        Self {
            uid: uid.to_owned(),
            name: node.name.to_string(),
            version: node.version.to_string(),
            num_clients: node.num_clients,
            num_users: node.num_users,
            num_channels: node.num_channels,
            num_subs: node.num_subs,
            uptime: node.uptime,
            metrics_interval: metrics.map_or(0.0, |metrics| metrics.interval),
            metrics: metrics
                .map(|metrics| metrics.items.iter().map(|(name, value)| (name.to_string(), *value)).collect())
                .unwrap_or_default(),
            data: node.data.to_vec(),
        }
    }
}

/// Whose heartbeat it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A node that was not known.
    First,
    /// One that was.
    Again,
    /// There are too many, or it says too much of itself.
    Refused,
}

/// The other nodes.
#[derive(Debug)]
pub struct Registry {
    options: RegistryOptions,
    nodes: HashMap<String, (NodeState, Instant)>,
    hello_at: Instant,
}

impl Registry {
    /// Of nobody; the first hello is due at once.
    pub fn new(options: RegistryOptions, now: Instant) -> Self {
        Self { options, nodes: HashMap::new(), hello_at: now }
    }

    /// Takes a heartbeat in.
    pub fn hear(&mut self, uid: &str, node: &Node<'_>, now: Instant) -> Heard {
        if uid.len() + bytes(node) > self.options.node_bytes_max {
            return Heard::Refused;
        }
        let is_new = !self.nodes.contains_key(uid);
        if is_new && self.nodes.len() >= self.options.nodes_max {
            return Heard::Refused;
        }
        self.nodes.insert(uid.to_owned(), (NodeState::of(uid, node), now));
        if !is_new {
            return Heard::Again;
        }
        // It does not know us either.
        self.greet(now);
        Heard::First
    }

    /// It is time to say hello.
    pub fn greet(&mut self, now: Instant) {
        self.hello_at = self.hello_at.min(now);
    }

    /// Forgets a node that said goodbye. True exactly when it was known.
    pub fn forget(&mut self, uid: &str) -> bool {
        self.nodes.remove(uid).is_some()
    }

    /// Forgets who fell silent, and says who that was.
    pub fn expire(&mut self, now: Instant) -> Vec<String> {
        let is_over =
            |heard_at: Instant| now.saturating_duration_since(heard_at) >= self.options.forgotten_after;
        let gone = self.nodes.extract_if(|_, (_, heard_at)| is_over(*heard_at));
        gone.map(|(uid, _)| uid).collect()
    }

    /// True exactly when it is time to say hello; the next time is then in 3 s.
    pub fn is_hello_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.hello_at;
        if is_due {
            self.hello_at = now + self.options.hello_every;
        }
        is_due
    }

    /// When there is something to do.
    pub fn due(&self) -> Instant {
        let silent = self.nodes.values().map(|(_, heard_at)| *heard_at + self.options.forgotten_after);
        silent.min().map_or(self.hello_at, |silent| silent.min(self.hello_at))
    }

    /// The other nodes, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeState> {
        self.nodes.values().map(|(node, _)| node)
    }

    /// What a node last said of itself.
    pub fn get(&self, uid: &str) -> Option<&NodeState> {
        self.nodes.get(uid).map(|(node, _)| node)
    }

    /// How many others there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// True exactly when we are alone.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// What keeping this costs, more or less.
fn bytes(node: &Node<'_>) -> usize {
    let metrics = node.metrics.iter().flat_map(|metrics| &metrics.items).map(|(name, _)| name.len() + 32);
    node.name.len() + node.version.len() + node.data.len() + metrics.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_nodes_than_there_may_be_and_too_long_words_are_refused() {
        let now = Instant::now();
        let options = RegistryOptions { nodes_max: 2, node_bytes_max: 100, ..RegistryOptions::default() };
        let mut registry = Registry::new(options, now);
        let node = Node::default();
        assert_eq!(registry.hear("a", &node, now), Heard::First);
        assert_eq!(registry.hear("b", &node, now), Heard::First);
        assert_eq!(registry.hear("c", &node, now), Heard::Refused);
        assert_eq!(registry.hear("a", &Node { data: &[0; 101], ..node.clone() }, now), Heard::Refused);
        assert_eq!(registry.hear("a", &Node { num_clients: 5, ..node }, now), Heard::Again);
        assert_eq!(registry.get("a").unwrap().num_clients, 5);
        assert_eq!(registry.len(), 2);
    }

    #[test]
    fn hello_is_said_every_three_seconds_and_at_once_to_who_is_new() {
        let start = Instant::now();
        let mut registry = Registry::new(RegistryOptions::default(), start);
        assert!(registry.is_hello_due(start));
        assert!(!registry.is_hello_due(start + Duration::from_millis(2_999)));
        assert_eq!(registry.due(), start + Duration::from_secs(3));
        registry.hear("a", &Node::default(), start + Duration::from_secs(1));
        assert!(registry.is_hello_due(start + Duration::from_secs(1)));
        registry.hear("a", &Node::default(), start + Duration::from_secs(2));
        assert!(!registry.is_hello_due(start + Duration::from_secs(2)));
        assert!(registry.expire(start + Duration::from_millis(8_999)).is_empty());
        assert_eq!(registry.expire(start + Duration::from_secs(9)), ["a"]);
        assert!(registry.is_empty() && !registry.forget("a"));
    }
}
