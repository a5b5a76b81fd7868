//! Subscriptions: the subscribers of this shard, by channel.
//!
//! In:  subscribers that join and leave; deliveries of the owners.
//! Out: for each channel, this turn's deliveries and their receivers.
//!
//! Memory: 8 bytes and its path a subscriber; about 150 bytes and the name a channel.

use std::{collections::HashMap, ops::Range, sync::Arc};

use super::{
    message::{ClientKey, Delivery},
    receivers::ReceiverList,
};
use crate::{
    hub::conflation::Policy,
    ids::slab::{Slab, key_by_place},
    memory::{arc_str_bytes, map_bytes, shrink},
};

/// A channel's slot on this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LocalChannelKey(u32);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscriber<P> {
    pub(crate) client: ClientKey,
    pub(crate) path: P,
}

#[derive(Debug)]
struct LocalChannel<P> {
    name: Arc<str>,
    policy: Policy,
    subscribers: ReceiverList<Subscriber<P>>,
    /// Clients waiting for the owner's answer.
    waiting: u32,
    turn: Vec<Arc<Delivery>>,
}

/// All channels with subscribers on this shard.
#[derive(Debug)]
pub(crate) struct Subscriptions<P> {
    names: HashMap<Arc<str>, LocalChannelKey>,
    channels: Slab<LocalChannelKey, LocalChannel<P>>,
    /// Channels with deliveries in this turn.
    touched: Vec<LocalChannelKey>,
    subscribers: usize,
    /// Memory of all names.
    names_bytes: usize,
}

/// One channel's deliveries of this turn, taken out for the fan-out.
#[derive(Debug)]
pub(crate) struct PendingDelivery<P> {
    pub(crate) key: LocalChannelKey,
    /// For slow readers.
    pub(crate) policy: Policy,
    pub(crate) subscribers: ReceiverList<Subscriber<P>>,
    pub(crate) deliveries: Vec<Arc<Delivery>>,
}

impl<P> Default for Subscriptions<P> {
    fn default() -> Self {
        Self {
            names: HashMap::new(),
            channels: Slab::default(),
            touched: Vec::new(),
            subscribers: 0,
            names_bytes: 0,
        }
    }
}

impl<P: Copy> Subscriptions<P> {
    /// The channels in a range of slots, with their numbers of subscribers.
    pub(crate) fn channels_at(&self, places: Range<usize>) -> impl Iterator<Item = (&Arc<str>, usize)> {
        let channels = self.channels.in_places(places);
        channels.map(|(_, channel)| (&channel.name, channel.subscribers.len()))
    }

    /// The number of slots, taken or free.
    pub(crate) fn places(&self) -> usize {
        self.channels.places()
    }

    /// Memory of all channels, except their lists of subscribers.
    pub(crate) fn table_bytes(&self) -> usize {
        self.channels.table_bytes() + map_bytes(&self.names) + self.names_bytes
    }

    /// Frees what a burst of channels has left, about once a second. Keys stay valid.
    pub(crate) fn tend(&mut self) {
        if self.channels.trim() {
            shrink(&mut self.names);
        }
    }

    pub(crate) fn subscribers(&self) -> usize {
        self.subscribers
    }

    /// A client asks a channel's owner. From now on the channel has a slot.
    pub(crate) fn wait(&mut self, name: &Arc<str>, policy: Policy) -> LocalChannelKey {
        let key = match self.names.get(name) {
            Some(&key) => key,
            None => {
                let channel = LocalChannel {
                    name: Arc::clone(name),
                    policy,
                    subscribers: ReceiverList::default(),
                    waiting: 0,
                    turn: Vec::new(),
                };
                let key = self.channels.insert(channel);
                self.names_bytes += arc_str_bytes(name);
                self.names.insert(Arc::clone(name), key);
                key
            }
        };
        self.channel(key).waiting += 1;
        key
    }

    /// The channel's name, from its own memory.
    pub(crate) fn name(&mut self, key: LocalChannelKey) -> Arc<str> {
        Arc::clone(&self.channel(key).name)
    }

    pub(crate) fn find(&self, name: &str) -> Option<LocalChannelKey> {
        self.names.get(name).copied()
    }

    /// The owner has answered: the client receives the channel. Returns its index among the subscribers.
    pub(crate) fn join(&mut self, key: LocalChannelKey, subscriber: Subscriber<P>) -> u32 {
        self.subscribers += 1;
        let channel = self.channel(key);
        channel.waiting -= 1;
        channel.subscribers.join(subscriber)
    }

    /// A client stops waiting. True exactly when the channel's slot was freed with it.
    pub(crate) fn give_up(&mut self, key: LocalChannelKey) -> bool {
        self.channel(key).waiting -= 1;
        self.drop_if_empty(key)
    }

    /// Removes a subscriber. Returns the client that moved to its index, if any; and whether the channel's slot was
    /// freed with it.
    pub(crate) fn leave(&mut self, key: LocalChannelKey, place: u32) -> (Option<ClientKey>, bool) {
        self.subscribers -= 1;
        let moved = self.channel(key).subscribers.leave(place).map(|subscriber| subscriber.client);
        (moved, self.drop_if_empty(key))
    }

    /// The subscriber with the largest index below `below`, and its index.
    pub(crate) fn last_below(&mut self, key: LocalChannelKey, below: usize) -> Option<(usize, ClientKey)> {
        let subscribers = &self.channel(key).subscribers;
        let index = subscribers.len().min(below).checked_sub(1)?;
        subscribers.get(index).map(|subscriber| (index, subscriber.client))
    }

    /// Queues a delivery for a channel's subscribers until the next fan-out. Returns their number.
    pub(crate) fn deliver(&mut self, delivery: Arc<Delivery>) -> usize {
        let Some(key) = self.find(&delivery.channel) else { return 0 };
        let channel = self.channel(key);
        let subscribers = channel.subscribers.len();
        if subscribers > 0 {
            channel.turn.push(delivery);
            if channel.turn.len() == 1 {
                self.touched.push(key);
            }
        }
        subscribers
    }

    /// The channels with deliveries in this turn.
    pub(crate) fn take_touched(&mut self) -> Vec<LocalChannelKey> {
        std::mem::take(&mut self.touched)
    }

    /// Takes a channel's deliveries of this turn, with its subscribers; [`Subscriptions::put_back`] returns those.
    pub(crate) fn take_turn(&mut self, key: LocalChannelKey) -> Option<PendingDelivery<P>> {
        let channel = self.channels.get_mut(key)?;
        if channel.turn.is_empty() {
            return None;
        }
        let deliveries = std::mem::take(&mut channel.turn);
        Some(PendingDelivery {
            key,
            policy: channel.policy,
            subscribers: std::mem::take(&mut channel.subscribers),
            deliveries,
        })
    }

    pub(crate) fn put_back(&mut self, turn: PendingDelivery<P>) {
        self.channel(turn.key).subscribers = turn.subscribers;
    }

    fn channel(&mut self, key: LocalChannelKey) -> &mut LocalChannel<P> {
        self.channels.get_mut(key).expect("a key is held only while its channel is here")
    }

    fn drop_if_empty(&mut self, key: LocalChannelKey) -> bool {
        let channel = self.channel(key);
        let is_empty = channel.subscribers.len() == 0 && channel.waiting == 0;
        if is_empty {
            let name = Arc::clone(&channel.name);
            self.names.remove(&name);
            self.names_bytes -= arc_str_bytes(&name);
            self.channels.remove(key);
        } else {
            channel.subscribers.trim();
        }
        is_empty
    }
}

key_by_place!(LocalChannelKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_burst_of_channels_leaves_is_given_back_and_keys_stay() {
        let mut subscriptions = Subscriptions::<()>::default();
        let name = |at: u32| Arc::<str>::from(format!("channel-{at}"));
        let stays = subscriptions.wait(&name(0), Policy::Disconnect);
        let burst: Vec<_> = (1..20_000).map(|at| subscriptions.wait(&name(at), Policy::Disconnect)).collect();
        let most = subscriptions.table_bytes();
        for key in burst {
            assert!(subscriptions.give_up(key));
        }
        subscriptions.tend();
        assert!(subscriptions.table_bytes() < most / 20, "{} of {most} bytes", subscriptions.table_bytes());
        assert_eq!(subscriptions.find("channel-0"), Some(stays));
        let next = subscriptions.wait(&name(1), Policy::Disconnect);
        assert_eq!(
            (next, subscriptions.places()),
            (LocalChannelKey(1), 2),
            "the first free place comes first"
        );
        assert!(subscriptions.give_up(next) && subscriptions.give_up(stays));
        assert_eq!(subscriptions.names_bytes, 0);
    }
}
