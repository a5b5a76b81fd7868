//! Place: keeps a link at the right server.
//!
//! In:  the server that commands are sent to; the addresses of a cluster; whether the link is up.
//! Out: a link that moves there when it is another one.
//!
//! Behind Sentinel, commands know the primary first: sentinels are asked every second. In a cluster with classic pub/sub
//! every node hears everything, so a link that does not come up goes to the next one. Links by slot find their servers by
//! themselves; what commands notice of the cluster makes them look.

use std::{sync::Arc, time::Duration};

use holdfast_redis::{
    command::{Commands, Servers},
    receive::{
        connection::Address,
        event::Consumer,
        link::{Command, Link, LinkHandle},
    },
};
use tokio::time::sleep;

/// How often the place is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A node of a cluster has so long to come up.
const NEXT_AFTER: Duration = Duration::from_secs(3);

/// Runs a link for ever, at the right server.
pub(super) async fn run<C: Consumer>(redis: Commands, handle: LinkHandle, mut link: Link<C>) {
    match redis.servers() {
        Servers::One(_) => link.run().await,
        Servers::Sentinel { .. } => {
            let first = loop {
                match redis.server() {
                    Some(primary) => break primary,
                    None => sleep(LOOK_EVERY).await,
                }
            };
            link.at(first.clone());
            tokio::join!(link.run(), follow(redis, handle, first));
        }
        Servers::Cluster(nodes) => {
            let nodes: Arc<[Address]> = nodes.as_slice().into();
            tokio::join!(link.run(), wander(nodes, handle));
        }
    }
}

/// Follows the primary.
async fn follow(redis: Commands, handle: LinkHandle, mut at: Address) {
    loop {
        sleep(LOOK_EVERY).await;
        if let Some(primary) = redis.server().filter(|primary| *primary != at) {
            tracing::info!(from = %at, to = %primary, "another Redis is the primary: what is published is read from there");
            at = primary.clone();
            if handle.send(Command::Rebuild(Some(primary))).await.is_err() {
                return;
            }
        }
    }
}

/// Goes on to the next node while there is no connection.
async fn wander(nodes: Arc<[Address]>, handle: LinkHandle) {
    for node in nodes.iter().cycle().skip(1) {
        loop {
            sleep(LOOK_EVERY).await;
            let health = handle.health();
            if !health.is_up && health.since >= NEXT_AFTER {
                break;
            }
        }
        if handle.send(Command::Rebuild(Some(node.clone()))).await.is_err() {
            return;
        }
        sleep(NEXT_AFTER).await;
    }
}

/// Has the links of a cluster look at it whenever commands come through no more, or again.
pub(super) async fn watch(redis: Commands, handle: LinkHandle) {
    let mut was_down = redis.down();
    loop {
        sleep(LOOK_EVERY).await;
        let is_down = redis.down();
        if is_down != was_down && handle.send(Command::Rebuild(None)).await.is_err() {
            return;
        }
        was_down = is_down;
    }
}
