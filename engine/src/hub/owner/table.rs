//! Table: the channels of this shard, by name and by number.
//!
//! In:  names; channels that are created and dropped.
//! Out: a number for each, valid while the channel exists and the table is not compacted.
//!
//! Memory left by a burst of channels is freed: if three quarters of the numbers are free, the rest is renumbered.
//! Worst case: 9 bytes for each slot of the index, which has at most 16 slots for 7 channels, and 24 for each number.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use hashbrown::HashTable;

use super::{channel::OwnedChannel, epochs::NameHash, heap::ChannelId};

/// Below this size the table is not compacted.
const COMPACTED_SLOTS_MIN: usize = 256;

#[derive(Debug)]
pub(super) struct ChannelTable {
    secret: u64,
    names: HashTable<(NameHash, ChannelId)>,
    channels: Vec<Option<Box<OwnedChannel>>>,
    free: Vec<ChannelId>,
}

impl ChannelTable {
    /// `secret` prevents others from constructing names that collide.
    pub(super) fn new(secret: u64) -> Self {
        Self { secret, names: HashTable::new(), channels: Vec::new(), free: Vec::new() }
    }

    pub(super) fn hash(&self, name: &str) -> NameHash {
        (keyed_hash(self.secret, name) >> 32) as NameHash
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn find(&self, hash: NameHash, name: &str) -> Option<ChannelId> {
        let is_it = |&(known, id): &(NameHash, ChannelId)| known == hash && *self.get(id).name == *name;
        self.names.find(spread(hash), is_it).map(|&(_, id)| id)
    }

    /// Inserts a channel that is not in the table.
    pub(super) fn insert(&mut self, channel: OwnedChannel) -> ChannelId {
        let hash = channel.hash;
        let id = self.free.pop().unwrap_or_else(|| {
            self.channels.push(None);
            ChannelId::of(self.channels.len() - 1)
        });
        self.channels[id.index()] = Some(Box::new(channel));
        self.names.insert_unique(spread(hash), (hash, id), |&(hash, _)| spread(hash));
        id
    }

    pub(super) fn remove(&mut self, id: ChannelId) -> Box<OwnedChannel> {
        let channel =
            self.channels[id.index()].take().expect("a number is used only while its channel is here");
        if let Ok(entry) = self.names.find_entry(spread(channel.hash), |&(_, known)| known == id) {
            entry.remove();
        }
        self.free.push(id);
        channel
    }

    pub(super) fn get(&self, id: ChannelId) -> &OwnedChannel {
        self.channels[id.index()].as_deref().expect("a number is used only while its channel is here")
    }

    pub(super) fn get_mut(&mut self, id: ChannelId) -> &mut OwnedChannel {
        self.channels[id.index()].as_deref_mut().expect("a number is used only while its channel is here")
    }

    /// Renumbers the channels if most numbers are free. Returns the new number for each old one.
    pub(super) fn compact(&mut self) -> Option<Vec<ChannelId>> {
        let slots = self.channels.len();
        let is_small = slots < COMPACTED_SLOTS_MIN && self.len() > 0;
        if slots == 0 || is_small || self.len() > slots / 4 {
            return None;
        }
        let mut numbers = vec![ChannelId::NONE; slots];
        let mut channels = Vec::with_capacity(self.len());
        let mut names = HashTable::with_capacity(self.len());
        for (old, channel) in std::mem::take(&mut self.channels).into_iter().enumerate() {
            let Some(channel) = channel else { continue };
            let id = ChannelId::of(channels.len());
            numbers[old] = id;
            names.insert_unique(spread(channel.hash), (channel.hash, id), |&(hash, _)| spread(hash));
            channels.push(Some(channel));
        }
        self.channels = channels;
        self.names = names;
        self.free = Vec::new();
        Some(numbers)
    }

    /// Memory of the table, without the channels.
    pub(super) fn bytes(&self) -> usize {
        self.names.allocation_size()
            + self.channels.capacity() * size_of::<Option<Box<OwnedChannel>>>()
            + self.free.capacity() * size_of::<ChannelId>()
    }
}

/// SipHash, keyed with a secret.
pub(super) fn keyed_hash(secret: u64, value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(secret);
    value.hash(&mut hasher);
    hasher.finish()
}

/// The table takes its slot from the low bits and its tag from the high ones.
fn spread(hash: NameHash) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
