//! Cluster: a Redis Cluster with replicas, whose slots move and whose primaries fail.
//!
//! In:  how many primaries, and how many replicas each of them has.
//! Out: servers that know each other; slots at another primary, with their keys.

use std::time::{Duration, Instant};

use redis_protocol::redis_keyslot;

use super::{Server, free_port};

/// Slots of a cluster.
const SLOTS: u16 = 16_384;

/// After so long a node that does not answer has failed, in milliseconds.
const NODE_TIMEOUT_MS: &str = "2000";

/// A Redis Cluster.
pub struct Cluster {
    /// The primaries first, as it began.
    pub nodes: Vec<Server>,
}

impl Cluster {
    /// Primaries with the same number of slots each, and replicas in turn. None where there is no redis-server.
    pub fn start(primaries: u16, replicas: u16) -> Option<Self> {
        let node = || {
            let bus = free_port().to_string();
            Server::start(&[
                "--cluster-enabled",
                "yes",
                "--cluster-node-timeout",
                NODE_TIMEOUT_MS,
                "--repl-diskless-sync-delay",
                "0",
                "--cluster-port",
                &bus,
            ])
        };
        let count = usize::from(primaries * (1 + replicas));
        let nodes: Vec<Server> = (0..count).map_while(|_| node()).collect();
        if nodes.len() < count {
            return None;
        }
        let cluster = Self { nodes };
        for at in 0..primaries {
            let from = u32::from(SLOTS) * u32::from(at) / u32::from(primaries);
            let to = u32::from(SLOTS) * u32::from(at + 1) / u32::from(primaries) - 1;
            cluster.ask(usize::from(at), &["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
        }
        for other in &cluster.nodes[1..] {
            let (port, bus) = (other.port.to_string(), other.arguments.last().unwrap());
            assert_eq!(cluster.ask(0, &["CLUSTER", "MEET", "127.0.0.1", &port, bus]), "OK");
        }
        let known = format!("cluster_known_nodes:{count}");
        cluster.until_all("the nodes find each other", |info| {
            info.contains("cluster_state:ok") && info.contains(&known)
        });
        for replica in usize::from(primaries)..count {
            let id = cluster.id(replica % usize::from(primaries));
            let until = Instant::now() + crate::PATIENCE;
            // It may not have heard of its primary yet.
            while cluster.ask(replica, &["CLUSTER", "REPLICATE", &id]) != "OK" {
                assert!(Instant::now() < until, "a replica finds its primary");
                std::thread::sleep(Duration::from_millis(50));
            }
            crate::eventually("a replica is in step", || {
                cluster.ask(replica, &["INFO", "replication"]).contains("master_link_status:up")
            });
        }
        Some(cluster)
    }

    /// What a node answers.
    pub fn ask(&self, node: usize, words: &[&str]) -> String {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.nodes[node].client().ask(&words)
    }

    /// All addresses, with commas between them.
    pub fn addresses(&self) -> String {
        let all: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        all.join(",")
    }

    /// The node that owns a slot, once all living ones agree.
    pub fn owner(&self, slot: u16) -> usize {
        let mut owners = Vec::new();
        crate::eventually("all nodes agree about a slot", || {
            owners = self.living().map(|node| self.owner_as_seen_by(node, slot)).collect();
            owners.windows(2).all(|pair| pair[0] == pair[1])
        });
        owners.into_iter().flatten().next().expect("the slot has an owner")
    }

    /// The node that owns a slot, as that one sees it.
    pub fn owner_as_seen_by(&self, node: usize, slot: u16) -> Option<usize> {
        let answer = self.ask(node, &["CLUSTER", "NODES"]);
        let owns = |line: &str| {
            line.split(' ').skip(8).filter(|word| !word.starts_with('[')).any(|word| {
                let (from, to) = word.split_once('-').unwrap_or((word, word));
                (from.parse().unwrap()..=to.parse().unwrap()).contains(&slot)
            })
        };
        let line = answer.lines().find(|line| owns(line))?;
        self.nodes.iter().position(|node| line.contains(&format!(":{}@", node.port)))
    }

    /// Moves a slot with its keys, as `redis-cli --cluster reshard` does.
    pub fn migrate(&self, slot: u16, to: usize) {
        let from = self.owner(slot);
        let (slot, from_id, to_id) = (slot.to_string(), self.id(from), self.id(to));
        assert_eq!(self.ask(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]), "OK");
        assert_eq!(self.ask(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]), "OK");
        let port = self.nodes[to].port.to_string();
        loop {
            let keys = self.ask(from, &["CLUSTER", "GETKEYSINSLOT", &slot, "100"]);
            if keys.is_empty() {
                break;
            }
            let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
            words.extend(keys.split(' '));
            assert_eq!(self.ask(from, &words), "OK");
        }
        for node in [to, from].into_iter().chain(self.living()) {
            // A replica has it from its primary.
            let answer = self.ask(node, &["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
            assert!(answer == "OK" || answer.contains("only with masters"), "{answer}");
        }
        // Whoever moves the next one before all have heard of this one gives out an epoch twice.
        assert_eq!(self.owner(slot.parse().unwrap()), to);
        crate::eventually("all nodes know the newest epoch", || {
            let of = |node| {
                let info = self.ask(node, &["CLUSTER", "INFO"]);
                info.lines().find(|line| line.starts_with("cluster_current_epoch")).map(str::to_owned)
            };
            let epochs: Vec<_> = self.living().map(of).collect();
            epochs.windows(2).all(|pair| pair[0] == pair[1])
        });
    }

    /// Makes a replica the primary in place of its own, which lives on as its replica.
    pub fn make_primary(&self, node: usize) {
        let is = |words| self.ask(node, &["INFO", "replication"]).contains(words);
        crate::eventually("it is a replica in step", || is("master_link_status:up"));
        let mut asked_at = None::<Instant>;
        crate::eventually("the replica is the primary", || {
            // One that failed, as it may shortly after another failover, is not repeated by itself.
            if asked_at.is_none_or(|at| at.elapsed() > Duration::from_secs(6)) {
                asked_at = Some(Instant::now());
                self.ask(node, &["CLUSTER", "FAILOVER"]);
            }
            is("role:master")
        });
        self.until_well();
    }

    /// Nodes that run.
    pub fn living(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|&node| self.nodes[node].process.is_some())
    }

    /// Waits until all living nodes serve all slots.
    pub fn until_well(&self) {
        self.until_all("the cluster is well", |info| {
            info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
        });
    }

    fn until_all(&self, what: &str, is_so: impl Fn(&str) -> bool) {
        for node in self.living() {
            crate::eventually(what, || is_so(&self.ask(node, &["CLUSTER", "INFO"])));
        }
    }

    fn id(&self, node: usize) -> String {
        self.ask(node, &["CLUSTER", "MYID"])
    }
}

/// The slot of a name.
pub fn slot(name: &str) -> u16 {
    redis_keyslot(name.as_bytes())
}
