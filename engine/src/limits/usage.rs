//! Usage: counts open connections and activity of each address, network and user, over all shards.
//!
//! In:  changes on this shard.
//! Out: sums over all shards.
//!
//! Each shard keeps exact counts of its own. It publishes them in a table of atomics that only it writes and all shards
//! read, like its metrics; but immediately, not once a turn. Shards that decide at the same time may all admit: a limit
//! is exceeded by at most the number of shards minus one.
//!
//! Keys are SipHash values under a secret of this process, so nobody can choose addresses that collide. A table has as
//! many places as keys are tracked, in buckets of eight. If a bucket is full (rare up to half occupancy, common when
//! nearly all places are in use), the key counts on its own shard only.
//! Memory: see `limits.tracked_max`.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use super::decaying::{DecayingCounter, RATE_FADE_MS, WallTick};
use crate::{ids::ShardId, memory::map_bytes};

/// Places per bucket.
const BUCKET: usize = 8;

/// How many of the oldest keys are examined to make room for a new one.
const LOOKED_AT: usize = 8;

/// Keys examined in one round of housekeeping.
const TENDED: usize = 16_384;

/// A level below this counts as 0.
const FADED: f32 = 0.01;

/// What a key identifies; part of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Address,
    Subnet,
    User,
    /// The daemon as a whole: all its connections.
    Daemon,
}

/// The hash of a kind and its subject. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

impl Key {
    /// The shard that owns the key, out of `shards`.
    pub(crate) fn shard_of(self, shards: usize) -> ShardId {
        // The upper bits, because the lower ones choose the bucket.
        ShardId::new(usize::try_from((self.0 >> 32) % shards as u64).expect("below the divisor"))
    }
}

/// The published tables of all shards.
#[derive(Debug)]
pub(crate) struct Tables {
    hash: RandomState,
    shards: Vec<Published>,
}

impl Tables {
    /// One table of about `places` places per shard. A single shard publishes nothing.
    pub(crate) fn new(shards: usize, places: usize) -> Self {
        let places = if shards > 1 && places > 0 { places.next_power_of_two().max(BUCKET) } else { 0 };
        Self { hash: RandomState::new(), shards: (0..shards).map(|_| Published::new(places)).collect() }
    }

    pub(crate) fn key(&self, kind: Kind, of: impl Hash) -> Key {
        Key(self.hash.hash_one((kind, of)).max(1))
    }
}

/// The counts of one shard, as other shards read them.
#[derive(Debug)]
struct Published {
    places: Box<[Place]>,
}

/// The published counts of one key.
#[derive(Debug, Default)]
struct Place {
    /// 0: the place is free.
    key: AtomicU64,
    counts: AtomicU64,
    first: AtomicU64,
    second: AtomicU64,
}

impl Published {
    fn new(places: usize) -> Self {
        Self { places: (0..places).map(|_| Place::default()).collect() }
    }

    fn bucket(&self, key: Key) -> std::ops::Range<usize> {
        let buckets = (self.places.len() / BUCKET) as u64;
        if buckets == 0 {
            return 0..0;
        }
        let at = usize::try_from(key.0 % buckets).expect("below the divisor") * BUCKET;
        at..at + BUCKET
    }

    fn read(&self, key: Key) -> Option<Entry> {
        let place = self.places[self.bucket(key)].iter().find(|place| place.is_of(key))?;
        let entry = Entry::from_words(
            [&place.counts, &place.first, &place.second].map(|word| word.load(Ordering::Acquire)),
        );
        // Another key may have taken the place during the read.
        place.is_of(key).then_some(entry)
    }

    fn claim(&self, key: Key) -> Option<usize> {
        let at = self.bucket(key).find(|&at| self.places[at].key.load(Ordering::Relaxed) == 0)?;
        self.places[at].key.store(key.0, Ordering::Release);
        Some(at)
    }

    fn write(&self, at: usize, entry: &Entry) {
        let place = &self.places[at];
        for (word, value) in [&place.counts, &place.first, &place.second].into_iter().zip(entry.words()) {
            word.store(value, Ordering::Release);
        }
    }

    pub(crate) fn release(&self, at: usize) {
        self.places[at].key.store(0, Ordering::Release);
        self.write(at, &Entry::default());
    }
}

impl Place {
    fn is_of(&self, key: Key) -> bool {
        self.key.load(Ordering::Acquire) == key.0
    }
}

/// The counts of a key on one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    /// Open connections.
    pub(crate) open: u32,
    /// Open connections whose request is incomplete.
    pub(crate) handshakes: u32,
    /// New connections, or commands.
    pub(crate) first: DecayingCounter,
    /// Bytes.
    pub(crate) second: DecayingCounter,
}

impl Entry {
    fn words(&self) -> [u64; 3] {
        let counts = u64::from(self.open) << 32 | u64::from(self.handshakes);
        [counts, self.first.to_bits(), self.second.to_bits()]
    }

    fn from_words([counts, first, second]: [u64; 3]) -> Self {
        let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).expect("the low 32 bits fit a u32");
        Self {
            open: half(counts >> 32),
            handshakes: half(counts),
            first: DecayingCounter::from_bits(first),
            second: DecayingCounter::from_bits(second),
        }
    }

    /// True exactly when the entry can be dropped without losing information.
    fn has_faded(&self, now: WallTick) -> bool {
        let is_low = |sum: DecayingCounter| sum.level(now, RATE_FADE_MS) < FADED;
        self.open == 0 && is_low(self.first) && is_low(self.second)
    }
}

/// The counts of a key on all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    pub(crate) open: u64,
    pub(crate) handshakes: u64,
    pub(crate) first: f32,
    pub(crate) second: f32,
}

impl Sum {
    fn add(&mut self, entry: &Entry, now: WallTick) {
        self.open += u64::from(entry.open);
        self.handshakes += u64::from(entry.handshakes);
        self.first += entry.first.level(now, RATE_FADE_MS);
        self.second += entry.second.level(now, RATE_FADE_MS);
    }
}

#[derive(Debug, Default)]
struct LocalUsage {
    entry: Entry,
    /// The index of its place in the published table, if it has one.
    place: Option<u32>,
}

/// The counts of this shard.
#[derive(Debug)]
pub(crate) struct UsageTable {
    shard: ShardId,
    own: HashMap<Key, LocalUsage>,
    /// All keys, least recently examined first.
    order: VecDeque<Key>,
    tracked_max: usize,
}

impl UsageTable {
    pub(crate) fn new(shard: ShardId, tracked_max: usize) -> Self {
        Self { shard, own: HashMap::new(), order: VecDeque::new(), tracked_max }
    }

    /// The number of keys with counts on this shard.
    pub(crate) fn len(&self) -> usize {
        self.own.len()
    }

    pub(crate) fn table_bytes(&self) -> usize {
        map_bytes(&self.own) + self.order.capacity() * size_of::<Key>()
    }

    /// The counts of a key on all shards.
    pub(crate) fn sum(&self, tables: &Tables, key: Key, now: WallTick) -> Sum {
        let mut sum = Sum::default();
        if let Some(own) = self.own.get(&key) {
            sum.add(&own.entry, now);
        }
        let others = tables.shards.iter().enumerate().filter(|(shard, _)| *shard != self.shard.index());
        for entry in others.filter_map(|(_, published)| published.read(key)) {
            sum.add(&entry, now);
        }
        sum
    }

    /// Changes this shard's counts of a key, and publishes them.
    pub(crate) fn change(&mut self, tables: &Tables, key: Key, change: impl FnOnce(&mut Entry)) {
        let published = &tables.shards[self.shard.index()];
        if !self.own.contains_key(&key) {
            self.make_room(published);
            let place = published.claim(key).map(|at| u32::try_from(at).expect("fewer than 2^32 places"));
            self.own.insert(key, LocalUsage { entry: Entry::default(), place });
            self.order.push_back(key);
        }
        let Some(own) = self.own.get_mut(&key) else { return };
        change(&mut own.entry);
        if let Some(at) = own.place {
            published.write(at as usize, &own.entry);
        }
    }

    /// Forgets keys whose counts have decayed.
    pub(crate) fn tend(&mut self, tables: &Tables, now: WallTick) {
        for _ in 0..self.order.len().min(TENDED) {
            self.forget_first(&tables.shards[self.shard.index()], |entry| entry.has_faded(now));
        }
        if self.own.capacity() > 4 * self.own.len() + 1024 {
            self.own.shrink_to(2 * self.own.len());
            self.order.shrink_to(2 * self.order.len());
        }
    }

    /// Forgets the oldest keys without a connection. Each new key examines only a few of them. There are never more
    /// keys than `tracked_max`, or the number of keys with connections if that is larger, plus an eighth of the latter.
    fn make_room(&mut self, published: &Published) {
        for _ in 0..LOOKED_AT {
            if self.own.len() < self.tracked_max {
                return;
            }
            self.forget_first(published, |entry| entry.open == 0);
        }
    }

    /// Examines the first key: forgets it, or moves it to the end.
    fn forget_first(&mut self, published: &Published, may_go: impl FnOnce(&Entry) -> bool) {
        let Some(key) = self.order.pop_front() else { return };
        match self.own.get(&key) {
            Some(own) if may_go(&own.entry) => {
                if let Some(at) = own.place {
                    published.release(at as usize);
                }
                self.own.remove(&key);
            }
            _ => self.order.push_back(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(ledger: &mut UsageTable, tables: &Tables, key: Key) {
        ledger.change(tables, key, |entry| {
            entry.open += 1;
            entry.first.add(1.0, WallTick(0), RATE_FADE_MS);
        });
    }

    #[test]
    fn every_core_sees_the_sum_of_all_at_once() {
        let tables = Tables::new(3, 64);
        let mut ledgers = [0, 1, 2].map(|shard| UsageTable::new(ShardId::new(shard), 64));
        let key = tables.key(Kind::Address, 7);
        for count in 1..=9 {
            open(&mut ledgers[count % 3], &tables, key);
            for ledger in &ledgers {
                let sum = ledger.sum(&tables, key, WallTick(0));
                assert_eq!((sum.open, sum.first), (count as u64, count as f32));
            }
        }
        assert_eq!(ledgers[0].sum(&tables, tables.key(Kind::Subnet, 7), WallTick(0)), Sum::default());
    }

    #[test]
    fn what_has_faded_is_forgotten_on_all_cores() {
        let tables = Tables::new(2, 64);
        let mut ledgers = [0, 1].map(|shard| UsageTable::new(ShardId::new(shard), 64));
        let key = tables.key(Kind::Address, "a");
        open(&mut ledgers[0], &tables, key);
        let later = WallTick(0).after_ms(60_000);
        ledgers[0].tend(&tables, later);
        assert_eq!(ledgers[1].sum(&tables, key, later).open, 1, "its connection is open");
        ledgers[0].change(&tables, key, |entry| entry.open = 0);
        ledgers[0].tend(&tables, WallTick(0));
        assert_eq!(ledgers[0].len(), 1, "it was busy a moment ago");
        ledgers[0].tend(&tables, later);
        assert_eq!((ledgers[0].len(), ledgers[0].order.len()), (0, 0));
        assert!(tables.shards[0].read(key).is_none());
    }

    #[test]
    fn memory_is_bounded_and_open_connections_are_never_forgotten() {
        let tables = Tables::new(2, 64);
        let mut ledger = UsageTable::new(ShardId::FIRST, 64);
        let kept: Vec<Key> = (0..32).map(|n| tables.key(Kind::Address, n)).collect();
        kept.iter().for_each(|&key| open(&mut ledger, &tables, key));
        for flood in 0..10_000 {
            ledger.change(&tables, tables.key(Kind::User, flood), |entry| {
                entry.second.add(9.0, WallTick(0), 1.0);
            });
            assert!(ledger.len() <= 64 + 32 / LOOKED_AT && ledger.order.len() == ledger.len());
        }
        assert!(kept.iter().all(|&key| ledger.sum(&tables, key, WallTick(0)).open == 1));
        // A full bucket hides a key from other shards only.
        for n in 0..500 {
            open(&mut ledger, &tables, tables.key(Kind::Subnet, n));
        }
        assert!(ledger.len() >= 532);
        assert_eq!(ledger.sum(&tables, tables.key(Kind::Subnet, 499), WallTick(0)).open, 1);
    }

    #[test]
    fn cores_that_decide_at_once_pass_a_limit_by_less_than_there_are_cores() {
        const CORES: usize = 4;
        const MAX: u64 = 50;
        let tables = Tables::new(CORES, 64);
        for round in 0..200 {
            let key = tables.key(Kind::Address, round);
            let start = std::sync::Barrier::new(CORES);
            let come = |core| {
                let mut ledger = UsageTable::new(ShardId::new(core), 64);
                start.wait();
                for _ in 0..MAX {
                    if ledger.sum(&tables, key, WallTick(0)).open < MAX {
                        open(&mut ledger, &tables, key);
                    }
                }
                ledger
            };
            std::thread::scope(|scope| {
                let come = &come;
                let cores: Vec<_> = (0..CORES).map(|core| scope.spawn(move || come(core))).collect();
                let mut ledgers: Vec<_> = cores.into_iter().map(|core| core.join().unwrap()).collect();
                let sum = ledgers[0].sum(&tables, key, WallTick(0)).open;
                assert!((MAX..MAX + CORES as u64).contains(&sum), "{sum}");
                for ledger in &mut ledgers {
                    ledger.change(&tables, key, |entry| *entry = Entry::default());
                    ledger.tend(&tables, WallTick(0));
                }
            });
            assert!(tables.shards.iter().all(|core| core.read(key).is_none()));
        }
    }
}
