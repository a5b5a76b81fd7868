//! Topologies: several Redis, Sentinel, and a cluster, each with its own failure.
//!
//! In:  real servers; two daemons; publications without pause.
//! Out: nodes that act as one before it and after it; nothing that is missing without a word.

use std::collections::BTreeSet;

use holdfast_redis::layout::{Layout, Mode, Partitions, bucket_of};
use holdfast_testkit::{
    Daemon, eventually,
    redis::{Certificate, Cluster, Server},
};
use serde_json::json;

use crate::{
    ledger::{kept_channels, while_publishing},
    nodes::{api, api_until, node_at},
    together::{all_is_heard, two_nodes},
};

#[test]
fn one_of_several_redis_takes_its_share_of_the_channels_only() {
    let servers: Vec<Server> = (0..3).map_while(|_| Server::start(&[])).collect();
    let Ok(mut servers) = <[Server; 3]>::try_from(servers) else { return };
    let all = servers.each_ref().map(|server| format!("\"127.0.0.1:{}\"", server.port)).join(", ");
    let (a, b) = two_nodes(&format!("address = [{all}]"));
    let is_lost = |channel: &String| bucket_of(channel, 3) == 1;
    let (lost, others): (Vec<String>, Vec<String>) = kept_channels(48).into_iter().partition(is_lost);
    assert!(lost.len() > 4 && others.len() > 4);
    let gone = while_publishing(&a, &b, &others, || {
        servers[1].end();
        eventually("its share is refused", || {
            let answer = api(&a, "publish", &json!({"channel": lost[0], "data": 1}));
            answer["error"]["code"] == 100
        });
        for channel in &lost {
            let answer = api(&b, "publish", &json!({"channel": channel, "data": 1}));
            assert_eq!(answer["error"]["code"], 100, "{answer}");
        }
        for channel in &others {
            let answer = api(&b, "history", &json!({"channel": channel, "limit": 1}));
            assert!(answer["error"].is_null(), "{channel}: {answer}");
        }
    });
    assert_eq!(gone, 0, "the others lose nothing");
    servers[1].restart();
    all_is_heard(&a, &b, "after");
    all_is_heard(&b, &a, "back");
}

#[test]
fn a_user_of_an_acl_by_tls_on_several_redis_may_do_all_that_is_needed() {
    let certificate = Certificate::of("127.0.0.1");
    let servers: Vec<Server> = (0..2).map_while(|_| Server::start_tls(&certificate)).collect();
    let Ok(servers) = <[Server; 2]>::try_from(servers) else { return };
    let documented = include_str!("../../../docs/cluster/redis-away.md");
    let rules = documented.lines().find_map(|line| line.strip_prefix("user holdfast ")).expect("it is there");
    for server in &servers {
        let mut operator = server.tls_client(&certificate);
        let words = ["ACL", "SETUSER", "holdfast", "resetchannels"].into_iter().chain(rules.split(' '));
        let words: Vec<&[u8]> = words.map(str::as_bytes).collect();
        assert_eq!(operator.ask(&words), "OK");
        assert_eq!(operator.ask(&[b"ACL", b"SETUSER", b"default", b"off"]), "OK");
    }
    let all =
        servers.each_ref().map(|server| format!("\"rediss://holdfast:PASSWORD@127.0.0.1:{}\"", server.port));
    let options = format!(
        "address = [{}]\n[engine.redis.tls]\nserver_ca_pem = \"{}\"",
        all.join(", "),
        certificate.file().display()
    );
    let (a, b) = two_nodes(&options);
    assert_eq!(while_publishing(&a, &b, &kept_channels(20), || ()), 0);
}

/// A primary, its replica, and three sentinels.
struct Watched {
    primary: Server,
    replica: Server,
    sentinels: Vec<Server>,
}

impl Watched {
    fn start() -> Option<Self> {
        let primary = Server::start(&["--repl-diskless-sync-delay", "0"])?;
        let port = primary.port.to_string();
        let replica = Server::start(&["--replicaof", "127.0.0.1", &port])?;
        eventually("the replica is in step", || {
            replica.client().ask(&[b"INFO", b"replication"]).contains("master_link_status:up")
        });
        let sentinels: Vec<Server> = (0..3).map_while(|_| Server::start_sentinel("main", &primary)).collect();
        for sentinel in &sentinels {
            eventually("sentinels know each other and the replica", || {
                let info = sentinel.client().ask(&[b"INFO", b"sentinel"]);
                info.contains("slaves=1,sentinels=3")
            });
        }
        Some(Self { primary, replica, sentinels })
    }

    fn options(&self) -> String {
        let all: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("sentinel_address = \"{}\"\nsentinel_master_name = \"main\"", all.join(","))
    }

    /// Sentinel cuts off all clients of a server whose role it changes.
    fn has_role(server: &Server, role: &str) -> bool {
        server.client().try_ask(&[b"ROLE"]).is_some_and(|answer| answer.starts_with(role))
    }
}

#[test]
fn a_failover_of_sentinel_while_the_old_primary_lives_on_is_followed() {
    let Some(redis) = Watched::start() else { return };
    let (a, b) = two_nodes(&redis.options());
    let gone = while_publishing(&a, &b, &kept_channels(20), || {
        redis.primary.stand_still();
        eventually("the replica is promoted", || Watched::has_role(&redis.replica, "master"));
        api_until(&a, "publish", &json!({"channel": "kept:0", "data": 0}), |answer| {
            answer["error"].is_null()
        });
        redis.primary.go_on();
        eventually("the old primary is demoted", || Watched::has_role(&redis.primary, "slave"));
    });
    println!("{gone} lost");
    all_is_heard(&a, &b, "after");
    all_is_heard(&b, &a, "back");
}

/// A cluster of three primaries with a replica each.
struct Clustered {
    cluster: Cluster,
    /// Of sharded publications; 0: they are classic.
    partitions: u16,
}

impl Clustered {
    fn start(partitions: u16) -> Option<Self> {
        Some(Self { cluster: Cluster::start(3, 1)?, partitions })
    }

    fn two_nodes(&self) -> (Daemon, Daemon) {
        // Not all of them: others are found.
        let addresses = self.cluster.addresses();
        let some: Vec<&str> = addresses.split(',').skip(1).take(2).collect();
        two_nodes(&format!(
            "cluster_address = \"{}\"\nsharded_pub_sub_partitions = {}",
            some.join(","),
            self.partitions
        ))
    }

    /// The slot of a channel's publications and history.
    fn slot(&self, channel: &str) -> u16 {
        let mode = match self.partitions {
            0 => Mode::Cluster,
            count => Mode::Partitioned(Partitions::spread(count).expect("there is a table")),
        };
        Layout::new("centrifugo", mode).expect("a prefix").slot(channel)
    }

    fn is_replica(&self, node: usize) -> bool {
        let client = &mut self.cluster.nodes[node].client();
        client.try_ask(&[b"ROLE"]).is_some_and(|answer| answer.starts_with("slave"))
    }
}

fn all_is_well(a: &Daemon, b: &Daemon, words: [&str; 2]) {
    all_is_heard(a, b, words[0]);
    all_is_heard(b, a, words[1]);
    for node in [a, b] {
        eventually("all is well", || node.ask("/health/broker").0.starts_with("HTTP/1.1 200"));
    }
}

/// A primary dies and its replica takes its place; then slots move under load, there and back.
fn survives_a_dead_primary_and_slots_that_move(partitions: u16) {
    let Some(mut of) = Clustered::start(partitions) else { return };
    let (a, b) = of.two_nodes();
    let gone = while_publishing(&a, &b, &kept_channels(40), || {
        of.cluster.nodes[0].end();
        of.cluster.until_well();
    });
    println!("{gone} lost by the failover");
    all_is_well(&a, &b, ["after", "back"]);
    of.cluster.nodes[0].restart();
    eventually("the old primary is a replica", || of.is_replica(0));

    // Channels of their own: the history has room for one such course.
    let channels: Vec<String> = (0..30).map(|n| format!("kept:moved-{n}")).collect();
    let moving: BTreeSet<u16> = channels[..5].iter().map(|channel| of.slot(channel)).collect();
    let gone = while_publishing(&a, &b, &channels, || {
        for &slot in moving.iter().chain(&moving) {
            let from = of.cluster.owner(slot);
            let to = [1, 2].into_iter().find(|&to| to != from).expect("there are two");
            of.cluster.migrate(slot, to);
        }
        of.cluster.until_well();
    });
    assert_eq!(gone, 0, "a slot that moves takes its histories along");
    all_is_well(&a, &b, ["moved", "returned"]);
}

/// A primary stands still until its replica has taken its place, and then goes on as if nothing had happened.
fn survives_a_primary_that_comes_back(partitions: u16) {
    let Some(of) = Clustered::start(partitions) else { return };
    let (a, b) = of.two_nodes();
    let channels = kept_channels(40);
    let its = of.slot(&channels[0]);
    let gone = while_publishing(&a, &b, &channels, || {
        let old = of.cluster.owner(its);
        of.cluster.nodes[old].stand_still();
        let other = (old + 1) % 3;
        eventually("a replica is promoted", || {
            let owner = of.cluster.owner_as_seen_by(other, its);
            owner.is_some_and(|owner| owner != old)
        });
        api_until(&a, "publish", &json!({"channel": channels[0], "data": 0}), |answer| {
            answer["error"].is_null()
        });
        of.cluster.nodes[old].go_on();
        eventually("the old primary is a replica", || of.is_replica(old));
        of.cluster.until_well();
    });
    println!("{gone} lost by the failover");
    all_is_well(&a, &b, ["after", "back"]);
}

#[test]
fn a_cluster_with_classic_publications_survives_a_dead_primary_and_slots_that_move() {
    survives_a_dead_primary_and_slots_that_move(0);
}

#[test]
fn a_cluster_with_sharded_publications_survives_a_dead_primary_and_slots_that_move() {
    survives_a_dead_primary_and_slots_that_move(16);
}

#[test]
fn a_cluster_with_classic_publications_survives_a_primary_that_stands_still_and_comes_back() {
    survives_a_primary_that_comes_back(0);
}

#[test]
fn a_cluster_with_sharded_publications_survives_a_primary_that_stands_still_and_comes_back() {
    survives_a_primary_that_comes_back(16);
}

#[test]
fn a_cluster_that_is_away_at_the_start_is_found_later() {
    let Some(mut cluster) = Cluster::start(2, 0) else { return };
    cluster.nodes.iter_mut().for_each(Server::end);
    let options = format!("cluster_address = \"{}\"\nsharded_pub_sub_partitions = 16", cluster.addresses());
    let a = node_at(&options);
    assert!(a.ask("/health/broker").0.starts_with("HTTP/1.1 503"));
    cluster.nodes.iter_mut().for_each(Server::restart);
    cluster.until_well();
    all_is_heard(&a, &a, "later");
    eventually("all is well", || a.ask("/health/broker").0.starts_with("HTTP/1.1 200"));
}
