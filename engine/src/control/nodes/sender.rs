//! Sender: says something to other nodes, through Redis.
//!
//! In:  messages.
//! Out: the same, published to this node's one of the Redis, as all nodes listen at all of them; a line in the log where
//!      fewer heard it than there are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use holdfast_redis::{
    command::{Failure, Servers, Shards},
    control::{
        To,
        message::{Body, Message},
    },
};
use tokio::time::sleep;

use crate::supervise::task;

/// What too few nodes heard is said again after so long.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The way to other nodes.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    uid: Arc<str>,
    redis: Arc<Shards>,
    /// Other nodes that are known.
    known: Arc<AtomicUsize>,
}

impl Sender {
    pub(super) fn new(uid: Arc<str>, redis: Arc<Shards>) -> Self {
        Self { uid, redis, known: Arc::default() }
    }

    pub(super) fn uid(&self) -> &Arc<str> {
        &self.uid
    }

    pub(super) fn redis(&self) -> &Arc<Shards> {
        &self.redis
    }

    /// How many other nodes are known.
    pub(super) fn known(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }

    pub(super) fn set_known(&self, nodes: usize) {
        self.known.store(nodes, Ordering::Relaxed);
    }

    /// A message of ours.
    pub(super) fn bytes_of(&self, body: Body<'_>) -> Bytes {
        let mut bytes = BytesMut::new();
        Message { uid: (&*self.uid).into(), body: Some(body) }.encode(&mut bytes);
        bytes.freeze()
    }

    /// Publishes a message, and says how many heard it.
    pub(super) async fn publish(&self, to: &To, bytes: Bytes) -> Result<u64, Failure> {
        let commands = self.redis.open_of(&self.uid);
        commands.send(to.channel(commands.layout()), bytes).await
    }

    /// Publishes a message for which nobody waits.
    pub(super) fn send(&self, to: To, bytes: Bytes) {
        let sender = self.clone();
        task("nodes", async move {
            if let Err(failure) = sender.publish(&to, bytes).await {
                tracing::debug!("a message to other nodes was not sent: {failure}");
            }
        });
    }

    /// Says something to all nodes. Where fewer hear it than are known, it is said once more in the background.
    ///
    /// # Errors
    /// Redis did not take it: no other node has heard it, as far as is known.
    pub(super) async fn tell(&self, body: Body<'_>) -> Result<(), Failure> {
        let bytes = self.bytes_of(body);
        let heard = self.publish(&To::All, bytes.clone()).await?;
        if self.is_too_few(heard) {
            let sender = self.clone();
            task("nodes", async move {
                sleep(AGAIN_AFTER).await;
                let nodes = sender.known() + 1;
                match sender.publish(&To::All, bytes).await {
                    Ok(heard) if !sender.is_too_few(heard) => {}
                    Ok(heard) => tracing::warn!(
                        heard,
                        nodes,
                        "a command of the server API did not reach all nodes, though it was said twice: a node has lost its connection to Redis, or has just ended"
                    ),
                    Err(failure) => tracing::warn!(
                        nodes,
                        "a command of the server API did not reach all nodes, and could not be said again: {failure}"
                    ),
                }
            });
        }
        Ok(())
    }

    /// True exactly when so many are fewer than all nodes, of which this one is one. A cluster counts those only who listen
    /// at the server that was asked.
    fn is_too_few(&self, heard: u64) -> bool {
        let is_counted = self.redis.all().iter().all(|redis| !matches!(redis.servers(), Servers::Cluster(_)));
        is_counted && heard < self.known() as u64 + 1
    }
}
