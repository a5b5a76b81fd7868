//! Thread: the broker from start to stop.
//!
//! In:  the deployments of Redis that are configured; the shards' queue.
//! Out: a thread with a runtime of its own, which ends after the shards; what the control plane needs to talk to other
//!      nodes.

use std::{
    sync::Arc,
    thread::{JoinHandle, sleep},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use bytes::Bytes;
use holdfast_redis::command::{Driver, Shards, commands};
use tokio::sync::mpsc;

use super::{
    counts::Counts,
    inbound::Names,
    leases::{self, LeaseOrder, Leases},
    links::{Ears, Links, Work},
    options::Deployment,
    outlets::Outlets,
    presence::Lanes,
    queue::Queue,
    worker::{Listening, Worker},
};
use crate::{
    hub::{broker::FromBroker, message::FromOwner},
    mesh::{Message, Shared},
};

/// Publications that wait for a shard, in bytes.
const OUTLET_BYTES_MAX: usize = 32 << 20;

/// How long the start waits for Redis.
const FIRST_MAX: Duration = Duration::from_secs(3);

/// Messages between nodes that wait.
const CONTROL_MESSAGES_MAX: usize = 4_096;

/// The running broker.
#[derive(Debug)]
pub(crate) struct Broker {
    thread: JoinHandle<()>,
    pub(crate) redis: Arc<Shards>,
    /// In the order of `redis`.
    pub(crate) links: Vec<Links>,
    /// For metrics.
    pub(crate) counts: Arc<Counts>,
    /// What other nodes say to all, and to this one.
    pub(crate) heard: mpsc::Receiver<Bytes>,
    /// What is to be done about users' connections on other nodes.
    pub(crate) lease_orders: mpsc::Receiver<LeaseOrder>,
}

impl Broker {
    /// Waits for Redis, up to [`FIRST_MAX`]: a node that says that it is ready should be. Without Redis it goes on.
    pub(crate) fn await_redis(&self) {
        let until = Instant::now() + FIRST_MAX;
        let is_up = || {
            self.redis.all().iter().all(|redis| redis.down().is_none())
                && self.links.iter().all(|links| links.health().is_settled)
        };
        while !is_up() {
            if Instant::now() >= until {
                tracing::warn!(
                    "Redis does not answer: this node starts without it, and tries again and again"
                );
                return;
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end, which comes after that of the shards.
    pub(crate) fn join(self) {
        // A panic has been told already.
        let _ = self.thread.join();
    }
}

/// Starts the broker. `None` without a Redis.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub(crate) fn start<M>(
    deployments: Vec<Deployment>,
    node: &str,
    shared: Arc<Shared<M>>,
    queue: Queue,
) -> anyhow::Result<Option<Broker>>
where
    M: Message + From<FromBroker> + From<FromOwner> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime of the broker")?;
    let entered = runtime.enter();
    let counts = Arc::new(Counts::new(shared.shards(), queue.waiting()));
    let outlets = Arc::new(Outlets::new(shared, OUTLET_BYTES_MAX, Arc::clone(&counts)));
    let (control, heard) = mpsc::channel(CONTROL_MESSAGES_MAX);
    let (lease_orders, lease_orders_heard) = leases::orders();
    let (mut all, mut links, mut parts, mut listening) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for Deployment { commands: options, layout, link } in deployments {
        let (redis, driver) = commands(options, layout);
        let names = Names::default();
        let ears = Ears {
            outlets: Arc::clone(&outlets),
            names: names.clone(),
            control: control.clone(),
            redis: redis.clone(),
            counts: Arc::clone(&counts),
        };
        let (listened, work) = ears.listen(link, node);
        parts.push((driver, work));
        listening.push(Listening::new(listened.publications().clone(), names));
        links.push(listened);
        all.push(redis);
    }
    let Some(redis) = Shards::new(all).map(Arc::new) else { return Ok(None) };
    drop(entered);
    let served = Arc::clone(&redis);
    let node: Arc<str> = node.into();
    let run = move || {
        runtime.block_on(async {
            let leases = Leases::start(&served, &node, &outlets, &lease_orders);
            serve(served, parts, listening, outlets, leases, queue).await;
        });
    };
    let thread = std::thread::Builder::new().name("broker".to_owned()).spawn(run)?;
    Ok(Some(Broker { thread, redis, links, counts, heard, lease_orders: lease_orders_heard }))
}

async fn serve<M>(
    redis: Arc<Shards>,
    parts: Vec<(Driver, Work)>,
    listening: Vec<Listening>,
    outlets: Arc<Outlets<M>>,
    leases: Leases,
    queue: Queue,
) where
    M: Message + From<FromBroker> + From<FromOwner> + Send + 'static,
{
    for (driver, links) in parts {
        tokio::spawn(driver.run());
        tokio::spawn(links);
    }
    let presence = Lanes::start(&redis);
    let flushing = Arc::clone(&outlets);
    tokio::spawn(async move { flushing.run().await });
    Worker::new(redis, listening, outlets, presence, leases).run(queue).await;
}
