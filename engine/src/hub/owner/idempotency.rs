//! Idempotency: the keys of recent publications, with their outcomes.
//!
//! In:  a channel and a key.
//! Out: the outcome of the first publication with that key in that channel.
//!
//! All keys live equally long, so they expire in order of arrival. Under memory pressure the oldest keys are dropped
//! first: a repeat of such a publication is published again. Worst case: 110 bytes, the key and the channel's name
//! each, within the budget `channels`.

use std::{collections::VecDeque, sync::Arc};

use hashbrown::HashTable;

use super::table::keyed_hash;
use crate::{hub::history::Position, memory::arc_str_bytes, time::Tick};

/// The longest key, in bytes; also the longest epoch of a version.
pub(crate) const KEY_BYTES_MAX: usize = 255;

/// Entries allocated and freed at a time: a single table would be copied to grow, and would not shrink as keys expire.
const CHUNK: usize = 128;

#[derive(Debug)]
pub(super) struct IdempotencyKeys {
    ttl_ms: u64,
    secret: u64,
    /// Oldest first. All chunks except the last are full; expired entries have left the first.
    chunks: VecDeque<VecDeque<Entry>>,
    /// The number of the oldest entry, and the number that would belong to the first slot of the first chunk.
    first: u64,
    base: u64,
    /// The number of the next entry.
    next: u64,
    /// The entries' numbers, by hash.
    index: HashTable<u64>,
    text_bytes: usize,
}

#[derive(Debug)]
struct Entry {
    since: Tick,
    hash: u64,
    channel: Arc<str>,
    key: Box<str>,
    position: Option<Position>,
}

/// The outcome of a publication with a known key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen<'a> {
    /// Where it is in the history; `None` if it was not kept.
    pub(super) position: &'a Option<Position>,
}

impl Entry {
    /// Memory beside the entry itself: texts, including shared ones.
    fn text_bytes(&self) -> usize {
        let epoch = self.position.as_ref().map_or(0, |position| arc_str_bytes(&position.epoch));
        arc_str_bytes(&self.channel) + self.key.len() + epoch
    }
}

impl IdempotencyKeys {
    pub(super) fn new(ttl_ms: u64, secret: u64) -> Self {
        Self {
            ttl_ms,
            secret,
            chunks: VecDeque::new(),
            first: 0,
            base: 0,
            next: 0,
            index: HashTable::new(),
            text_bytes: 0,
        }
    }

    /// The outcome of an earlier publication with the same key.
    pub(super) fn seen(&self, channel: &str, key: &str, now: Tick) -> Option<Seen<'_>> {
        if key.is_empty() {
            return None;
        }
        let is_it = |&number: &u64| {
            let entry = self.entry(number);
            *entry.key == *key && *entry.channel == *channel && entry.since.after_ms(self.ttl_ms) > now
        };
        let number = *self.index.find(self.hash(channel, key), is_it)?;
        Some(Seen { position: &self.entry(number).position })
    }

    /// Stores the outcome of a publication with a new key.
    pub(super) fn keep(&mut self, channel: &Arc<str>, key: Box<str>, position: Option<Position>, now: Tick) {
        let hash = self.hash(channel, &key);
        let entry = Entry { since: now, hash, channel: Arc::clone(channel), key, position };
        self.text_bytes += entry.text_bytes();
        if self.next == self.base + (self.chunks.len() * CHUNK) as u64 {
            self.chunks.push_back(VecDeque::with_capacity(CHUNK));
        }
        self.chunks.back_mut().expect("there is one that is not full").push_back(entry);
        let number = self.next;
        self.next += 1;
        let mut index = std::mem::take(&mut self.index);
        index.insert_unique(hash, number, |&number| self.entry(number).hash);
        self.index = index;
    }

    /// When the oldest arrived.
    pub(super) fn oldest(&self) -> Option<Tick> {
        self.chunks.front().and_then(|chunk| chunk.front()).map(|entry| entry.since)
    }

    /// True exactly when the oldest has expired.
    pub(super) fn is_due(&self, now: Tick) -> bool {
        self.oldest().is_some_and(|since| since.after_ms(self.ttl_ms) <= now)
    }

    pub(super) fn drop_oldest(&mut self) {
        let Some(entry) = self.chunks.front_mut().and_then(VecDeque::pop_front) else { return };
        self.text_bytes -= entry.text_bytes();
        if let Ok(found) = self.index.find_entry(entry.hash, |&known| known == self.first) {
            found.remove();
        }
        self.first += 1;
        if self.first == self.next || self.first == self.base + CHUNK as u64 {
            self.chunks.pop_front();
            self.base = self.first;
        }
        if self.chunks.is_empty() {
            (self.chunks, self.index) = (VecDeque::new(), HashTable::new());
        }
        let (len, capacity) = (self.index.len(), self.index.capacity());
        if len < capacity / 4 {
            let mut index = std::mem::take(&mut self.index);
            index.shrink_to(2 * len, |&number| self.entry(number).hash);
            self.index = index;
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.chunks.capacity() * size_of::<VecDeque<Entry>>()
            + self.chunks.len() * CHUNK * size_of::<Entry>()
            + self.index.allocation_size()
            + self.text_bytes
    }

    fn entry(&self, number: u64) -> &Entry {
        let at = |number: u64| usize::try_from(number).expect("an indexed entry is here");
        let chunk = at(number - self.base) / CHUNK;
        let begin = if chunk == 0 { self.first } else { self.base + (chunk * CHUNK) as u64 };
        &self.chunks[chunk][at(number - begin)]
    }

    fn hash(&self, channel: &str, key: &str) -> u64 {
        keyed_hash(self.secret, (channel, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_known_until_it_expires_or_has_to_go_and_takes_nothing_then() {
        let mut keys = IdempotencyKeys::new(1_000, 7);
        let channel: Arc<str> = "c".into();
        let seen = |keys: &IdempotencyKeys, at: u32, now| keys.seen("c", &at.to_string(), now).is_some();
        let empty = keys.bytes();
        for at in 0..1_000 {
            assert!(!seen(&keys, at, Tick(0)));
            keys.keep(&channel, at.to_string().into(), None, Tick(0));
        }
        assert!((0..1_000).all(|at| seen(&keys, at, Tick(19))));
        assert!(!seen(&keys, 7, Tick(20)), "it has expired");
        assert!(keys.seen("d", "7", Tick(0)).is_none(), "another channel");
        for at in 0..1_000 {
            let before = keys.bytes();
            keys.drop_oldest();
            assert!(keys.bytes() < before);
            assert!(!seen(&keys, at, Tick(0)));
            assert!(at == 999 || seen(&keys, at + 1, Tick(0)));
        }
        keys.drop_oldest();
        assert_eq!((keys.bytes(), empty), (0, 0));
        keys.keep(&channel, "again".into(), None, Tick(30));
        assert!(keys.seen("c", "again", Tick(30)).is_some() && keys.oldest() == Some(Tick(30)));
    }
}
