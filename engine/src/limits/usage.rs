//! Usage: what each address, network and user has open and does, on all cores together.
//!
//! In:  changes on this core.
//! Out: sums over all cores.
//!
//! Each core has its own numbers, exactly, and publishes them in a table of atomics that only it writes and all read,
//! as it does with its metrics; but at once, not once a turn. So two cores that decide in the same moment may both say
//! yes: a limit is passed by at most one less than there are cores.
//!
//! Keys are hashes under a key of this process's own (SipHash), so nobody can choose addresses that collide. A table
//! has as many places as keys are tracked, in buckets of eight; where a bucket is full (rare up to half of them, common
//! when nearly all places are in use) the key's numbers count on their own core alone.
//! Memory: see `limits.tracked_max`.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher as _, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use super::decaying::{DecayingCounter, Moment, RATE_FADE_MS};
use crate::memory::map_bytes;

/// Places of a bucket.
const BUCKET: usize = 8;

/// How many of the oldest keys are looked at to make room for one.
const LOOKED_AT: usize = 8;

/// Keys that are looked at in one round of housekeeping.
const TENDED: usize = 16_384;

/// Below this a level is as good as none.
const FADED: f32 = 0.01;

/// What the numbers are about; part of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Address,
    Subnet,
    User,
    /// All connections of the daemon.
    Daemon,
}

/// A hash of what the numbers are about. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

impl Key {
    /// The core, of so many, that is its home.
    pub(crate) fn core_of(self, cores: usize) -> usize {
        // The lower bits choose a bucket.
        usize::try_from((self.0 >> 32) % cores as u64).expect("below the number of cores")
    }
}

/// What all cores share.
#[derive(Debug)]
pub(crate) struct Tables {
    hash: RandomState,
    cores: Vec<Published>,
}

impl Tables {
    /// One table of about `places` a core; a single core publishes nothing.
    pub(crate) fn new(cores: usize, places: usize) -> Self {
        let places = if cores > 1 && places > 0 { places.next_power_of_two().max(BUCKET) } else { 0 };
        Self { hash: RandomState::new(), cores: (0..cores).map(|_| Published::new(places)).collect() }
    }

    pub(crate) fn key(&self, kind: Kind, of: impl Hash) -> Key {
        Key(self.hash.hash_one((kind, of)).max(1))
    }
}

/// The numbers of one core, as others read them.
#[derive(Debug)]
struct Published {
    places: Box<[Place]>,
}

/// One key's numbers.
#[derive(Debug, Default)]
struct Place {
    /// 0: nobody's.
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
        let at = usize::try_from(key.0 % buckets).expect("below the number of buckets") * BUCKET;
        at..at + BUCKET
    }

    fn read(&self, key: Key) -> Option<Entry> {
        let place = self.places[self.bucket(key)].iter().find(|place| place.is_of(key))?;
        let entry = Entry::from_words(
            [&place.counts, &place.first, &place.second].map(|word| word.load(Ordering::Acquire)),
        );
        // Meanwhile it may have become another key's.
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

/// The numbers of a key on one core.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Entry {
    /// Connections that are open.
    pub(crate) open: u32,
    /// Those of them whose request has not come.
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
        let half = |word: u64| u32::try_from(word & u64::from(u32::MAX)).expect("it is masked");
        Self {
            open: half(counts >> 32),
            handshakes: half(counts),
            first: DecayingCounter::from_bits(first),
            second: DecayingCounter::from_bits(second),
        }
    }

    /// True exactly when it says nothing that would be missed.
    fn has_faded(&self, now: Moment) -> bool {
        let is_low = |sum: DecayingCounter| sum.level(now, RATE_FADE_MS) < FADED;
        self.open == 0 && is_low(self.first) && is_low(self.second)
    }
}

/// The numbers of a key on all cores.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Sum {
    pub(crate) open: u64,
    pub(crate) handshakes: u64,
    pub(crate) first: f32,
    pub(crate) second: f32,
}

impl Sum {
    fn add(&mut self, entry: &Entry, now: Moment) {
        self.open += u64::from(entry.open);
        self.handshakes += u64::from(entry.handshakes);
        self.first += entry.first.level(now, RATE_FADE_MS);
        self.second += entry.second.level(now, RATE_FADE_MS);
    }
}

#[derive(Debug, Default)]
struct LocalUsage {
    entry: Entry,
    /// Where it is published.
    place: Option<u32>,
}

/// The numbers of this core.
#[derive(Debug)]
pub(crate) struct UsageTable {
    core: usize,
    own: HashMap<Key, LocalUsage>,
    /// All keys, those that have not been looked at for the longest time first.
    order: VecDeque<Key>,
    tracked_max: usize,
}

impl UsageTable {
    pub(crate) fn new(core: usize, tracked_max: usize) -> Self {
        Self { core, own: HashMap::new(), order: VecDeque::new(), tracked_max }
    }

    /// Keys that have numbers on this core.
    pub(crate) fn len(&self) -> usize {
        self.own.len()
    }

    pub(crate) fn table_bytes(&self) -> usize {
        map_bytes(&self.own) + self.order.capacity() * size_of::<Key>()
    }

    /// What all cores know of a key.
    pub(crate) fn sum(&self, tables: &Tables, key: Key, now: Moment) -> Sum {
        let mut sum = Sum::default();
        if let Some(own) = self.own.get(&key) {
            sum.add(&own.entry, now);
        }
        let others = tables.cores.iter().enumerate().filter(|(core, _)| *core != self.core);
        for entry in others.filter_map(|(_, published)| published.read(key)) {
            sum.add(&entry, now);
        }
        sum
    }

    /// Changes this core's numbers of a key, and lets the others know.
    pub(crate) fn change(&mut self, tables: &Tables, key: Key, change: impl FnOnce(&mut Entry)) {
        let published = &tables.cores[self.core];
        if !self.own.contains_key(&key) {
            self.make_room(published);
            let place = published.claim(key).map(|at| u32::try_from(at).expect("fewer places than 2^32"));
            self.own.insert(key, LocalUsage { entry: Entry::default(), place });
            self.order.push_back(key);
        }
        let Some(own) = self.own.get_mut(&key) else { return };
        change(&mut own.entry);
        if let Some(at) = own.place {
            published.write(at as usize, &own.entry);
        }
    }

    /// Forgets what has faded.
    pub(crate) fn tend(&mut self, tables: &Tables, now: Moment) {
        for _ in 0..self.order.len().min(TENDED) {
            self.forget_first(&tables.cores[self.core], |entry| entry.has_faded(now));
        }
        if self.own.capacity() > 4 * self.own.len() + 1024 {
            self.own.shrink_to(2 * self.own.len());
            self.order.shrink_to(2 * self.order.len());
        }
    }

    /// Of the keys without a connection the oldest go. A few are looked at for each that comes: there are never more than
    /// `tracked_max`, or as many as have connections, and an eighth of these.
    fn make_room(&mut self, published: &Published) {
        for _ in 0..LOOKED_AT {
            if self.own.len() < self.tracked_max {
                return;
            }
            self.forget_first(published, |entry| entry.open == 0);
        }
    }

    /// Looks at the first key: it is forgotten, or becomes the last one.
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
            entry.first.add(1.0, Moment(0), RATE_FADE_MS);
        });
    }

    #[test]
    fn every_core_sees_the_sum_of_all_at_once() {
        let tables = Tables::new(3, 64);
        let mut ledgers = [0, 1, 2].map(|core| UsageTable::new(core, 64));
        let key = tables.key(Kind::Address, 7);
        for count in 1..=9 {
            open(&mut ledgers[count % 3], &tables, key);
            for ledger in &ledgers {
                let sum = ledger.sum(&tables, key, Moment(0));
                assert_eq!((sum.open, sum.first), (count as u64, count as f32));
            }
        }
        assert_eq!(ledgers[0].sum(&tables, tables.key(Kind::Subnet, 7), Moment(0)), Sum::default());
    }

    #[test]
    fn what_has_faded_is_forgotten_on_all_cores() {
        let tables = Tables::new(2, 64);
        let mut ledgers = [0, 1].map(|core| UsageTable::new(core, 64));
        let key = tables.key(Kind::Address, "a");
        open(&mut ledgers[0], &tables, key);
        let later = Moment(0).after_ms(60_000);
        ledgers[0].tend(&tables, later);
        assert_eq!(ledgers[1].sum(&tables, key, later).open, 1, "its connection is open");
        ledgers[0].change(&tables, key, |entry| entry.open = 0);
        ledgers[0].tend(&tables, Moment(0));
        assert_eq!(ledgers[0].len(), 1, "it was busy a moment ago");
        ledgers[0].tend(&tables, later);
        assert_eq!((ledgers[0].len(), ledgers[0].order.len()), (0, 0));
        assert!(tables.cores[0].read(key).is_none());
    }

    #[test]
    fn memory_is_bounded_and_open_connections_are_never_forgotten() {
        let tables = Tables::new(2, 64);
        let mut ledger = UsageTable::new(0, 64);
        let kept: Vec<Key> = (0..32).map(|n| tables.key(Kind::Address, n)).collect();
        kept.iter().for_each(|&key| open(&mut ledger, &tables, key));
        for flood in 0..10_000 {
            ledger.change(&tables, tables.key(Kind::User, flood), |entry| {
                entry.second.add(9.0, Moment(0), 1.0);
            });
            assert!(ledger.len() <= 64 + 32 / LOOKED_AT && ledger.order.len() == ledger.len());
        }
        assert!(kept.iter().all(|&key| ledger.sum(&tables, key, Moment(0)).open == 1));
        // A full bucket hides a key from other cores, and from nobody else.
        for n in 0..500 {
            open(&mut ledger, &tables, tables.key(Kind::Subnet, n));
        }
        assert!(ledger.len() >= 532);
        assert_eq!(ledger.sum(&tables, tables.key(Kind::Subnet, 499), Moment(0)).open, 1);
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
                let mut ledger = UsageTable::new(core, 64);
                start.wait();
                for _ in 0..MAX {
                    if ledger.sum(&tables, key, Moment(0)).open < MAX {
                        open(&mut ledger, &tables, key);
                    }
                }
                ledger
            };
            std::thread::scope(|scope| {
                let come = &come;
                let cores: Vec<_> = (0..CORES).map(|core| scope.spawn(move || come(core))).collect();
                let mut ledgers: Vec<_> = cores.into_iter().map(|core| core.join().unwrap()).collect();
                let sum = ledgers[0].sum(&tables, key, Moment(0)).open;
                assert!((MAX..MAX + CORES as u64).contains(&sum), "{sum}");
                for ledger in &mut ledgers {
                    ledger.change(&tables, key, |entry| *entry = Entry::default());
                    ledger.tend(&tables, Moment(0));
                }
            });
            assert!(tables.cores.iter().all(|core| core.read(key).is_none()));
        }
    }
}
