//! Thread: the broker from start to stop.
//!
//! In:  the deployments of Redis that are configured; the shards' queue.
//! Out: a thread with a runtime of its own, which ends after the shards.

use std::{io, sync::Arc, thread::JoinHandle};

use holdfast_redis::{
    command::{CommandOptions, Shards, commands},
    layout::Layout,
    receive::link::{LinkOptions, ProbeRequest, link},
};
use tokio::sync::mpsc;

use super::{
    inbound::{Inbound, Names},
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

/// Messages between nodes that wait.
const CONTROL_MESSAGES_MAX: usize = 4_096;

/// One Redis, those behind Sentinel, or one cluster.
#[derive(Debug)]
pub(crate) struct Deployment {
    pub(crate) commands: CommandOptions,
    pub(crate) layout: Layout,
    pub(crate) link: LinkOptions,
}

/// The running broker.
#[derive(Debug)]
pub(crate) struct Thread(JoinHandle<()>);

impl Thread {
    /// Waits for its end, which comes after that of the shards.
    pub(crate) fn join(self) {
        // A panic has been told already.
        let _ = self.0.join();
    }
}

/// Starts the broker.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub(crate) fn start<M>(
    deployments: Vec<Deployment>,
    node: Arc<str>,
    shared: Arc<Shared<M>>,
    queue: Queue,
) -> io::Result<Thread>
where
    M: Message + From<FromBroker> + From<FromOwner> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let run = move || runtime.block_on(serve(deployments, node, shared, queue));
    Ok(Thread(std::thread::Builder::new().name("broker".to_owned()).spawn(run)?))
}

async fn serve<M>(deployments: Vec<Deployment>, node: Arc<str>, shared: Arc<Shared<M>>, queue: Queue)
where
    M: Message + From<FromBroker> + From<FromOwner> + Send + 'static,
{
    let outlets = Arc::new(Outlets::new(shared, OUTLET_BYTES_MAX));
    let (control, _control) = mpsc::channel(CONTROL_MESSAGES_MAX);
    let (mut all, mut listening) = (Vec::new(), Vec::new());
    for Deployment { commands: options, layout, link: mut link_options } in deployments {
        let (redis, driver) = commands(options, layout);
        tokio::spawn(driver.run());
        link_options.service_channel = Some(redis.layout().probe(&node).into());
        let names = Names::default();
        let inbound = Inbound::new(Arc::clone(&outlets), names.clone(), control.clone());
        let prober = redis.clone();
        let publisher = Box::new(move |ProbeRequest { channel, published }: ProbeRequest| {
            let prober = prober.clone();
            tokio::spawn(async move {
                if let Ok(heard) = prober.send(channel.to_string(), bytes::Bytes::from_static(b"probe")).await {
                    // Whoever asked may have a new connection by now.
                    let _ = published.send(heard < u64::MAX);
                }
            });
        });
        let (handle, link) = link(link_options, inbound, Some(publisher));
        tokio::spawn(link.run());
        all.push(redis);
        listening.push(Listening::new(handle, names));
    }
    let Some(redis) = Shards::new(all).map(Arc::new) else { return };
    let presence = Lanes::start(&redis);
    let flushing = Arc::clone(&outlets);
    tokio::spawn(async move { flushing.run().await });
    Worker::new(redis, listening, outlets, presence).run(queue).await;
}
