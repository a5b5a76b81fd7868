//! Links: how one deployment of Redis is listened to.
//!
//! In:  a deployment; whoever takes what is heard.
//! Out: its links, and the work behind them; how they are.
//!
//! One link hears everything, but where publications are sharded: then each server of the cluster sends those of its own
//! slots, by links of their own, and one more link hears what nodes say to each other.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bytes::Bytes;
use holdfast_redis::{
    command::{Commands, Servers},
    receive::{
        health::Health,
        link::{Command, LinkHandle, LinkOptions, ProbeRequest, Publisher, link},
        options::{Kind, WantedOptions},
        slots::{Parts, SlotOptions, slot_links},
    },
};
use tokio::sync::mpsc;

use super::{
    counts::Counts,
    inbound::{Heard, Inbound, Names},
    outlets::Outlets,
    place,
};
use crate::{
    hub::{broker::FromBroker, message::FromOwner},
    mesh::Message,
};

/// How often a cluster is looked at without a sign that it has changed.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The links to one deployment.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    /// Hears what nodes say to each other; publications, too, unless `slots` does.
    control: LinkHandle,
    slots: Option<LinkHandle>,
}

/// What runs behind links.
pub(super) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Links {
    /// All of them together.
    pub(crate) fn health(&self) -> Health {
        let control = self.control.health();
        match &self.slots {
            Some(slots) => slots.health().and(control),
            None => control,
        }
    }

    /// That by which other nodes are heard.
    pub(crate) fn control_health(&self) -> Health {
        self.control.health()
    }

    /// That by which publications are heard.
    pub(super) fn publications(&self) -> &LinkHandle {
        self.slots.as_ref().unwrap_or(&self.control)
    }
}

/// The ways of what is heard.
pub(super) struct Ears<M> {
    pub(super) outlets: Arc<Outlets<M>>,
    pub(super) names: Names,
    pub(super) control: mpsc::Sender<Bytes>,
    pub(super) redis: Commands,
    pub(super) counts: Arc<Counts>,
}

impl<M: Message + From<FromBroker> + From<FromOwner> + Send + 'static> Ears<M> {
    fn inbound(&self) -> Inbound<M> {
        Inbound::new(
            Arc::clone(&self.outlets),
            self.names.clone(),
            self.control.clone(),
            Arc::clone(&self.counts),
        )
    }

    /// The links of this deployment, which listens to messages between nodes from the start.
    pub(super) fn listen(self, options: LinkOptions, node: &str) -> (Links, Work) {
        let redis = self.redis.clone();
        let layout = redis.layout();
        let control_options = LinkOptions {
            service_channel: Some(layout.probe(node).into()),
            wanted: WantedOptions { kind: Kind::Classic, ..options.wanted.clone() },
            ..options.clone()
        };
        let (control, link) = link(control_options, self.inbound(), Some(publisher(redis.clone(), false)));
        let between_nodes: Vec<Arc<str>> = vec![layout.control().into(), layout.node(node).into()];
        for name in &between_nodes {
            self.names.insert(Arc::clone(name), Heard::Control);
        }
        // A new link's queue has room.
        let _ = control.try_send(Command::Want(between_nodes));
        let run = place::run(redis.clone(), control.clone(), link);
        let Servers::Cluster(servers) = redis.servers() else {
            return (Links { control, slots: None }, Box::pin(run));
        };
        if !layout.is_sharded() {
            return (Links { control, slots: None }, Box::pin(run));
        }
        let slot_options = SlotOptions {
            link: options,
            seeds: servers.clone(),
            service_channels: layout.probes(node).into_iter().map(Into::into).collect(),
            look_every: LOOK_EVERY,
        };
        let (slots, links) = slot_links(slot_options, self);
        let watch = place::watch(redis, slots.clone());
        let work = async move {
            tokio::join!(run, links.run(), watch);
        };
        (Links { control, slots: Some(slots) }, Box::pin(work))
    }
}

impl<M: Message + From<FromBroker> + From<FromOwner> + Send + 'static> Parts for Ears<M> {
    type Consumer = Inbound<M>;

    fn consumer(&mut self) -> Inbound<M> {
        self.inbound()
    }

    fn publisher(&mut self) -> Option<Publisher> {
        Some(publisher(self.redis.clone(), true))
    }
}

/// Publishes the probes of a link by another connection than its own.
fn publisher(redis: Commands, is_sharded: bool) -> Publisher {
    Box::new(move |ProbeRequest { channel, published }: ProbeRequest| {
        let redis = redis.clone();
        tokio::spawn(async move {
            let (channel, probe) = (channel.to_string(), Bytes::from_static(b"probe"));
            let sent = if is_sharded {
                redis.send_sharded(channel, probe).await
            } else {
                redis.send(channel, probe).await
            };
            if sent.is_ok() {
                // Whoever asked may have a new connection by now.
                let _ = published.send(true);
            }
        });
    })
}
