//! Links by slot against real clusters: slots that move, primaries that fail.

use std::{collections::HashSet, sync::Arc};

use holdfast_redis::{
    layout::{Layout, Mode, Partitions},
    receive::{event::Event, link::Command},
};
use holdfast_testkit::{
    eventually,
    redis::{Cluster, Server, slot},
};

use crate::support::Owner;

fn layout() -> Layout {
    Layout::new("p", Mode::Partitioned(Partitions::spread(16).unwrap())).unwrap()
}

/// Names in all partitions.
fn names(layout: &Layout, count: usize) -> Vec<Arc<str>> {
    (0..count).map(|n| layout.channel(&format!("channel:{n}")).into()).collect()
}

fn services(layout: &Layout) -> Vec<Arc<str>> {
    layout.probes("me").into_iter().map(Arc::from).collect()
}

/// Waits until each of these was confirmed since the call.
async fn confirmed(owner: &mut Owner, names: &[Arc<str>]) {
    let mut missing: HashSet<Arc<str>> = names.iter().cloned().collect();
    while !missing.is_empty() {
        match owner.next().await {
            Event::Confirmed(names) => missing.retain(|name| !names.contains(name)),
            Event::Refused(refused) => panic!("{refused:?}"),
            _ => {}
        }
    }
}

/// Publishes to each of these at its owner, and expects to hear it once.
async fn all_are_heard(cluster: &Cluster, owner: &mut Owner, names: &[Arc<str>], payload: &str) {
    for name in names {
        let node = cluster.owner(slot(name));
        cluster.ask(node, &["SPUBLISH", name, payload]);
    }
    let mut heard = Vec::new();
    for _ in names {
        let (name, bytes) = owner.message().await;
        assert_eq!(bytes, payload.as_bytes());
        heard.push(name);
    }
    heard.sort_unstable();
    let mut expected: Vec<String> = names.iter().map(ToString::to_string).collect();
    expected.sort_unstable();
    assert_eq!(heard, expected);
}

/// Links of ours at a server.
fn links_at(server: &Server) -> usize {
    server.client().ask(&[b"CLIENT", b"LIST", b"TYPE", b"pubsub"]).matches("id=").count()
}

#[tokio::test]
async fn each_channel_is_heard_from_the_server_that_owns_its_slot() {
    let Some(cluster) = Cluster::start(3, 0) else { return };
    let (layout, seeds) = (layout(), [&cluster.nodes[1]]);
    let mut owner = Owner::of_slots(&seeds, services(&layout));
    let names = names(&layout, 100);
    owner.send(Command::Want(names.clone())).await;
    confirmed(&mut owner, &names).await;
    all_are_heard(&cluster, &mut owner, &names, "x").await;
    let health = owner.handle.health();
    assert!(health.is_up && health.is_settled, "{health:?}");
    assert_eq!((health.wanted, health.messages), (100 + 3, 100), "{health:?}");
    assert!(cluster.nodes.iter().all(|node| links_at(node) == 1));
    owner.send(Command::Unwant(names[..50].to_vec())).await;
    owner.send(Command::Stop).await;
    assert!(owner.ended().await);
    eventually("no connection stays behind", || cluster.nodes.iter().all(|node| links_at(node) == 0));
}

#[tokio::test]
async fn slots_that_move_are_followed_and_a_server_without_any_loses_its_link() {
    let Some(cluster) = Cluster::start(2, 0) else { return };
    let layout = layout();
    let mut owner = Owner::of_slots(&[&cluster.nodes[0]], services(&layout));
    let names = names(&layout, 100);
    owner.send(Command::Want(names.clone())).await;
    confirmed(&mut owner, &names).await;
    let partitions: HashSet<u16> = names.iter().map(|name| slot(name)).collect();
    let mut moving: Vec<u16> = partitions.into_iter().filter(|&slot| cluster.owner(slot) == 1).collect();
    assert!(moving.len() > 4);
    // The lowest one first, by which the link is probed.
    moving.sort_unstable();
    for (n, &slot_that_moves) in moving.iter().enumerate() {
        let its: Vec<Arc<str>> = names.iter().filter(|name| slot(name) == slot_that_moves).cloned().collect();
        cluster.migrate(slot_that_moves, 0);
        confirmed(&mut owner, &its).await;
        let left = &moving[n + 1..];
        let probes = services(&layout).into_iter().filter(|probe| left.contains(&slot(probe)));
        let probes: Vec<Arc<str>> = probes.collect();
        eventually("a link is probed in a slot that its server owns", || {
            let count = |probe: &Arc<str>| {
                let answer = cluster.ask(1, &["PUBSUB", "SHARDNUMSUB", probe]);
                answer.rsplit(' ').next().and_then(|count| count.parse::<usize>().ok()).unwrap_or(0)
            };
            probes.iter().map(count).sum::<usize>() == usize::from(!left.is_empty())
        });
    }
    all_are_heard(&cluster, &mut owner, &names, "moved").await;
    eventually("a server without slots of ours has no link", || links_at(&cluster.nodes[1]) == 0);
    // There and back again.
    let back = slot(&names[0]);
    let its: Vec<Arc<str>> = names.iter().filter(|name| slot(name) == back).cloned().collect();
    cluster.migrate(back, 1);
    confirmed(&mut owner, &its).await;
    all_are_heard(&cluster, &mut owner, &names, "back").await;
    assert_eq!(links_at(&cluster.nodes[1]), 1);
    let health = owner.handle.health();
    assert!(health.is_up && health.messages >= 200, "what ended links did counts: {health:?}");
}

#[tokio::test]
async fn a_promoted_replica_is_listened_to_and_others_are_not_disturbed() {
    let Some(mut cluster) = Cluster::start(3, 1) else { return };
    let layout = layout();
    let mut owner = Owner::of_slots(&[&cluster.nodes[0], &cluster.nodes[1]], services(&layout));
    let names = names(&layout, 60);
    owner.send(Command::Want(names.clone())).await;
    confirmed(&mut owner, &names).await;
    let its: Vec<Arc<str>> = names.iter().filter(|name| cluster.owner(slot(name)) == 0).cloned().collect();
    let others: Vec<Arc<str>> = names.iter().filter(|name| !its.contains(name)).cloned().collect();
    cluster.nodes[0].end();
    all_are_heard(&cluster, &mut owner, &others, "meanwhile").await;
    assert!(owner.handle.away(&others[0]).is_none());
    confirmed(&mut owner, &its).await;
    cluster.until_well();
    all_are_heard(&cluster, &mut owner, &names, "after").await;
    assert!(owner.handle.health().is_up && owner.handle.away(&its[0]).is_none());
    // The old primary comes back as a replica, and then becomes the primary again while the other one lives on: as a
    // replica that one delivers to whom is subscribed there, and nothing is heard twice.
    cluster.nodes[0].restart();
    cluster.make_primary(0);
    // Nothing else tells of it: whoever was subscribed there goes on hearing.
    owner.send(Command::Rebuild(None)).await;
    confirmed(&mut owner, &its).await;
    all_are_heard(&cluster, &mut owner, &names, "again").await;
}

#[tokio::test]
async fn a_cluster_that_begins_later_is_found() {
    let Some(mut cluster) = Cluster::start(1, 0) else { return };
    cluster.nodes[0].end();
    let layout = layout();
    let mut owner = Owner::of_slots(&[&cluster.nodes[0]], services(&layout));
    let names = names(&layout, 20);
    owner.send(Command::Want(names.clone())).await;
    eventually("it is said that nothing is heard", || {
        let health = owner.handle.health();
        !health.is_up && health.last_cause.is_some() && owner.handle.away(&names[0]).is_some()
    });
    cluster.nodes[0].restart();
    confirmed(&mut owner, &names).await;
    all_are_heard(&cluster, &mut owner, &names, "x").await;
}

#[tokio::test]
async fn a_panic_ends_no_link_for_ever() {
    let Some(cluster) = Cluster::start(1, 0) else { return };
    let layout = layout();
    let mut owner = Owner::of_slots_that_panics(&[&cluster.nodes[0]], services(&layout), 2);
    let names = names(&layout, 20);
    owner.send(Command::Want(names.clone())).await;
    confirmed(&mut owner, &names).await;
    all_are_heard(&cluster, &mut owner, &names, "x").await;
    assert_eq!(links_at(&cluster.nodes[0]), 1);
}
