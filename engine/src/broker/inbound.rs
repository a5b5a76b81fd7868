//! Inbound: what one link hears, for the shards.
//!
//! In:  events of a link to Redis.
//! Out: each channel's part to its owner; messages between nodes to the control task.
//!
//! Nothing here waits: a reader that stands still is cut off by Redis (client-output-buffer-limit).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use holdfast_redis::receive::event::{Consumer, Event};
use tokio::sync::mpsc;

use super::{
    counts::{Counts, now_ms},
    outlets::Outlets,
};
use crate::{
    hub::{
        broker::{FromBroker, Received},
        message::FromOwner,
    },
    ids::ShardId,
    mesh::Message,
};

/// Whose a pub/sub channel is.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    /// A channel of clients, and its owner.
    Channel(Arc<str>, ShardId),
    /// Messages between nodes.
    Control,
}

/// The pub/sub channels that are listened to, by their names in Redis.
#[derive(Clone, Debug, Default)]
pub(super) struct Names(Arc<Mutex<HashMap<Arc<str>, Heard>>>);

impl Names {
    pub(super) fn insert(&self, name: Arc<str>, heard: Heard) {
        self.lock().insert(name, heard);
    }

    pub(super) fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the events of a link.
pub(super) struct Inbound<M> {
    outlets: Arc<Outlets<M>>,
    names: Names,
    control: mpsc::Sender<Bytes>,
    counts: Arc<Counts>,
    /// Kept between events for its room.
    by_shard: Vec<Vec<Received>>,
}

impl<M: Message + From<FromBroker> + From<FromOwner>> Inbound<M> {
    pub(super) fn new(
        outlets: Arc<Outlets<M>>,
        names: Names,
        control: mpsc::Sender<Bytes>,
        counts: Arc<Counts>,
    ) -> Self {
        let by_shard = (0..outlets.len()).map(|_| Vec::new()).collect();
        Self { outlets, names, control, counts, by_shard }
    }

    /// Tells each owner of its channels among these.
    fn tell(&self, names: impl Iterator<Item = Arc<str>>, what: fn(Vec<Arc<str>>) -> FromBroker) {
        let mut by_shard: HashMap<ShardId, Vec<Arc<str>>> = HashMap::new();
        {
            let known = self.names.lock();
            for name in names {
                if let Some(Heard::Channel(channel, shard)) = known.get(&name) {
                    by_shard.entry(*shard).or_default().push(Arc::clone(channel));
                }
            }
        }
        for (shard, channels) in by_shard {
            self.outlets.send(shard, what(channels));
        }
    }
}

impl<M: Message + From<FromBroker> + From<FromOwner> + Send + 'static> Consumer for Inbound<M> {
    fn offer(&mut self, event: Event) -> Result<(), Event> {
        match event {
            Event::Messages(messages) => {
                let mut is_first = true;
                {
                    let known = self.names.lock();
                    for message in messages.iter() {
                        let name = std::str::from_utf8(message.channel).ok();
                        match name.and_then(|name| known.get(name)) {
                            Some(Heard::Channel(channel, shard)) => {
                                // The oldest of a read has been on its way for the longest time.
                                if std::mem::take(&mut is_first) {
                                    self.counts.read(message.payload, now_ms());
                                }
                                let (channel, frame) = (Arc::clone(channel), messages.share(message.payload));
                                self.by_shard[shard.index()].push(Received { channel, frame });
                            }
                            // At most once: a message that finds no room is repeated by nobody, as one that is lost.
                            Some(Heard::Control) => {
                                let taken = self.control.try_send(messages.share(message.payload));
                                taken.unwrap_or_else(|_| self.counts.control_dropped());
                            }
                            // It is not wanted any more.
                            None => {}
                        }
                    }
                }
                for (messages, shard) in self.by_shard.iter_mut().zip(ShardId::all(self.outlets.len())) {
                    if !messages.is_empty() {
                        self.outlets.publish(shard, std::mem::take(messages));
                    }
                }
            }
            Event::Confirmed(names) => self.tell(names.into_iter(), FromBroker::Confirmed),
            Event::Refused(refused) => {
                if let Some((name, refusal)) = refused.first() {
                    tracing::warn!(
                        channel = &**name,
                        channels = refused.len(),
                        "Redis refused subscriptions, and is asked again: {refusal}"
                    );
                }
                self.tell(refused.into_iter().map(|(name, _)| name), FromBroker::Refused);
            }
            Event::Lagging { channels, .. } => self.tell(channels.into_iter(), FromBroker::Lagging),
            // What is lost is confirmed again, and then read.
            Event::Up { .. } | Event::Down(_) | Event::Lost(_) => {}
        }
        Ok(())
    }
}
