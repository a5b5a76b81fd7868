//! Heap: a min-heap of channels by key, at most one entry per channel.
//!
//! In:  a channel's new or changed key; channels that leave.
//! Out: the channel with the smallest key.
//!
//! A key may be too small, never too large: the caller checks the smallest one and reinserts the channel if the key is
//! out of date. So frequent changes of a channel need not touch the heap. Worst case: 8 or 16 bytes per channel for the
//! entry and 4 for its index.

/// A channel's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ChannelId(u32);

impl ChannelId {
    /// Of no channel.
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn of(index: usize) -> Self {
        Self(u32::try_from(index).expect("fewer channels than 2^32"))
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

const ABSENT: u32 = u32::MAX;

/// Below this many entries the heap is not shrunk.
const SHRUNK_MIN: usize = 64;

#[derive(Debug)]
pub(super) struct IndexedHeap<K> {
    entries: Vec<(K, ChannelId)>,
    /// The index of each channel's entry, by its number.
    places: Vec<u32>,
}

impl<K: Copy + Ord> IndexedHeap<K> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), places: Vec::new() }
    }

    pub(super) fn first(&self) -> Option<(K, ChannelId)> {
        self.entries.first().copied()
    }

    pub(super) fn key(&self, id: ChannelId) -> Option<K> {
        self.place(id).map(|place| self.entries[place].0)
    }

    pub(super) fn contains(&self, id: ChannelId) -> bool {
        self.place(id).is_some()
    }

    /// Inserts a channel, or changes its key.
    pub(super) fn set(&mut self, id: ChannelId, key: K) {
        let place = match self.place(id) {
            Some(place) => {
                self.entries[place].0 = key;
                place
            }
            None => {
                if self.places.len() <= id.index() {
                    self.places.resize(id.index() + 1, ABSENT);
                }
                self.entries.push((key, id));
                self.entries.len() - 1
            }
        };
        let place = self.rise(place);
        self.sink(place);
    }

    pub(super) fn remove(&mut self, id: ChannelId) {
        let Some(place) = self.place(id) else { return };
        self.places[id.index()] = ABSENT;
        self.entries.swap_remove(place);
        if place < self.entries.len() {
            let place = self.rise(place);
            self.sink(place);
        }
        let (len, capacity) = (self.entries.len(), self.entries.capacity());
        if capacity > SHRUNK_MIN && len < capacity / 4 {
            self.entries.shrink_to(2 * len);
        }
    }

    /// Renumbers the channels; keys stay. Frees spare memory.
    pub(super) fn renumber(&mut self, number: impl Fn(ChannelId) -> ChannelId) {
        self.entries.shrink_to_fit();
        for (_, id) in &mut self.entries {
            *id = number(*id);
        }
        let places = self.entries.iter().map(|(_, id)| id.index() + 1).max().unwrap_or(0);
        self.places = vec![ABSENT; places];
        for place in 0..self.entries.len() {
            self.note(place);
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(K, ChannelId)>() + self.places.capacity() * size_of::<u32>()
    }

    fn place(&self, id: ChannelId) -> Option<usize> {
        self.places.get(id.index()).filter(|&&place| place != ABSENT).map(|&place| place as usize)
    }

    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 {
            let parent = (place - 1) / 2;
            if self.entries[parent].0 <= self.entries[place].0 {
                break;
            }
            self.entries.swap(parent, place);
            self.note(place);
            place = parent;
        }
        self.note(place);
        place
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let children = 2 * place + 1..(2 * place + 3).min(self.entries.len());
            let Some(child) = children.min_by_key(|&child| self.entries[child].0) else { break };
            if self.entries[place].0 <= self.entries[child].0 {
                break;
            }
            self.entries.swap(place, child);
            self.note(place);
            place = child;
        }
        self.note(place);
    }

    fn note(&mut self, place: usize) {
        if let Some((_, id)) = self.entries.get(place) {
            self.places[id.index()] = u32::try_from(place).expect("fewer channels than 2^32");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

    use super::*;

    #[test]
    fn whatever_comes_and_goes_the_smallest_key_is_first() {
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = SmallRng::seed_from_u64(seed);
        let mut heap = IndexedHeap::new();
        let mut model = BTreeMap::new();
        for _ in 0..20_000 {
            let id = random.random_range(0..200_u32);
            if random.random_bool(0.7) {
                let key = random.random_range(0..1000_u64);
                heap.set(ChannelId::of(id as usize), key);
                model.insert(id, key);
            } else {
                heap.remove(ChannelId::of(id as usize));
                model.remove(&id);
            }
            assert_eq!(heap.first().map(|(key, _)| key), model.values().min().copied());
            assert_eq!(heap.key(ChannelId::of(id as usize)), model.get(&id).copied());
        }
        heap.renumber(|id| ChannelId::of(id.index() + 7));
        for (id, key) in &model {
            assert_eq!(heap.key(ChannelId::of(*id as usize + 7)), Some(*key));
        }
        let mut last = 0;
        while let Some((key, id)) = heap.first() {
            assert!(key >= last);
            last = key;
            heap.remove(id);
        }
    }
}
