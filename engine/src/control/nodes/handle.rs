//! Handle: the other nodes, as the server API and the health checks see them.
//!
//! In:  commands, questions.
//! Out: the same to the worker, or to other nodes; answers, which say whether they are complete.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use holdfast_redis::{
    command::{Commands, Failure, Numbers, Servers, Shards},
    control::{message::Body, registry::NodeState, survey::Outcome},
    receive::health::Health,
};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

use super::sender::Sender;
use crate::{
    broker::{Broker, BrokerHandle, Counts, LeaseOrder, Links},
    session::forward::ForwardQueue,
};

/// Orders that wait for the worker.
const ORDERS_MAX: usize = 1_024;

/// How long the last word may take.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// What the daemon has for this: the ways to Redis and to the shards.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(super) redis: Arc<Shards>,
    pub(super) links: Arc<[Links]>,
    pub(super) counts: Arc<Counts>,
    /// What other nodes say.
    pub(super) heard: mpsc::Receiver<Bytes>,
    pub(super) lease_orders: mpsc::Receiver<LeaseOrder>,
    pub(super) forwards: ForwardQueue,
    /// While it is held, the thread that talks to Redis does not end.
    pub(super) hold: BrokerHandle,
}

impl Cluster {
    /// Of the running broker. `forwards` is what shards have for other nodes; `hold` keeps the broker running until this
    /// node has said goodbye.
    pub(crate) fn new(broker: &mut Broker, forwards: ForwardQueue, hold: BrokerHandle) -> Self {
        // Nothing else takes them: the empty ones in their places are never read.
        let heard = std::mem::replace(&mut broker.heard, mpsc::channel(1).1);
        let lease_orders = std::mem::replace(&mut broker.lease_orders, mpsc::channel(1).1);
        let (redis, counts) = (Arc::clone(&broker.redis), Arc::clone(&broker.counts));
        Self { redis, links: broker.links.clone().into(), counts, heard, lease_orders, forwards, hold }
    }
}

/// What the worker is to do.
#[derive(Debug)]
pub(super) enum Order {
    /// Ask all other nodes. The answer is dropped where too many surveys are open.
    Survey { op: &'static str, data: Bytes, answer: oneshot::Sender<Outcome> },
    /// Who the other nodes are.
    List(oneshot::Sender<Vec<NodeState>>),
    /// Say goodbye. Answered once Redis has it.
    Leave(oneshot::Sender<()>),
}

/// Whether an answer has all nodes' parts.
#[derive(Debug, Default, Serialize)]
pub(in crate::control) struct Part {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::control) partial: bool,
    /// Nodes that did not answer, as far as they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(in crate::control) missing: Vec<String>,
}

/// How one Redis is.
#[derive(Debug)]
pub(in crate::control) struct RedisState {
    pub(in crate::control) name: String,
    pub(in crate::control) link: Health,
    pub(in crate::control) commands: Numbers,
}

impl RedisState {
    /// True exactly when all is heard, and all can be asked.
    pub(in crate::control) fn is_well(&self) -> bool {
        self.link.is_up && self.link.is_settled && self.commands.down.is_none()
    }
}

/// The other nodes.
#[derive(Clone, Debug)]
pub(in crate::control) struct Nodes {
    pub(super) sender: Sender,
    links: Arc<[Links]>,
    counts: Arc<Counts>,
    orders: mpsc::Sender<Order>,
}

impl Nodes {
    /// The handle, and the worker's end of its orders.
    pub(super) fn new(
        sender: Sender,
        links: Arc<[Links]>,
        counts: Arc<Counts>,
    ) -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        (Self { sender, links, counts, orders }, receiver)
    }

    /// Says something to all other nodes.
    ///
    /// # Errors
    /// Redis did not take it: no other node has heard it, as far as is known.
    pub(in crate::control) async fn tell(&self, body: Body<'_>) -> Result<(), Failure> {
        self.sender.tell(body).await
    }

    /// Asks all other nodes, for a second at most. `None` where too many ask.
    pub(in crate::control) async fn survey(&self, op: &'static str, data: Bytes) -> Option<Outcome> {
        let (answer, receiver) = oneshot::channel();
        self.orders.send(Order::Survey { op, data, answer }).await.ok()?;
        receiver.await.ok()
    }

    /// The other nodes, in order of their names.
    pub(in crate::control) async fn others(&self) -> Vec<NodeState> {
        let (answer, receiver) = oneshot::channel();
        // The worker never ends before those who ask.
        let _ = self.orders.send(Order::List(answer)).await;
        receiver.await.unwrap_or_default()
    }

    /// How many nodes there are, this one among them.
    pub(in crate::control) fn count(&self) -> usize {
        self.sender.known() + 1
    }

    /// True exactly when other nodes may be there of which nothing is heard.
    pub(in crate::control) fn is_cut_off(&self) -> bool {
        self.links.iter().any(|links| !links.control_health().is_up)
    }

    /// What the broker counted.
    pub(in crate::control) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How each Redis is, in the order in which they are configured.
    pub(in crate::control) fn redis(&self) -> Vec<RedisState> {
        let all = self.sender.redis().all().iter().zip(&*self.links);
        let state = |(commands, links): (&Commands, &Links)| RedisState {
            name: name(commands.servers()),
            link: links.health(),
            commands: commands.numbers(),
        };
        all.map(state).collect()
    }

    /// Says goodbye, as far as Redis listens.
    pub(in crate::control) async fn leave(&self) {
        let (answer, receiver) = oneshot::channel();
        if self.orders.send(Order::Leave(answer)).await.is_ok() {
            let _ = tokio::time::timeout(GOODBYE_MAX, receiver).await;
        }
    }
}

/// What operators call a Redis: its address; behind Sentinel the primary's name, and of a cluster the first server's
/// address.
fn name(servers: &Servers) -> String {
    match servers {
        Servers::One(address) => address.to_string(),
        Servers::Sentinel { primary, .. } => primary.clone(),
        Servers::Cluster(servers) => servers.first().map(ToString::to_string).unwrap_or_default(),
    }
}
