//! Slab: values in numbered places, by typed keys.
//!
//! In:  values that come and go.
//! Out: their keys; the value of a key, unless it is gone.
//!
//! A place is used again, the last freed one first. A key with a generation finds its own value or none; a key without one
//! is held only while its value is there. Memory: one value for each place that was ever used, and 4 bytes for a free one.

use std::{cmp::Reverse, marker::PhantomData, ops::Range};

use super::ClientKey;

/// The key of a value in a slab.
pub(crate) trait SlabKey: Copy {
    /// Tells the values that had the same place apart; `()` if nothing does.
    type Generation: Generation;

    /// The key of a value.
    fn new(place: u32, generation: Self::Generation) -> Self;

    /// Its place.
    fn place(self) -> u32;

    /// How many values had the place before.
    fn generation(self) -> Self::Generation;
}

/// Counts the values that had one place.
pub(crate) trait Generation: Copy + Eq {
    /// Of the first value.
    const FIRST: Self;

    /// Of the value after this one.
    fn next(self) -> Self;
}

/// Values by key.
#[derive(Debug)]
pub(crate) struct Slab<K: SlabKey, T> {
    slots: Vec<Slot<K::Generation, T>>,
    free: Vec<u32>,
    keys: PhantomData<K>,
}

/// Values beside those of a slab, by the same keys. A value is there from its first use until that of the next key with
/// its place. Memory: one value for each place up to the highest one used.
#[derive(Debug)]
pub(crate) struct SideTable<K: SlabKey, T> {
    values: Vec<(K::Generation, T)>,
}

/// A place.
#[derive(Debug)]
struct Slot<G, T> {
    /// Of its value, or of the next one.
    generation: G,
    value: Option<T>,
}

impl Generation for u32 {
    const FIRST: Self = 0;

    fn next(self) -> Self {
        self.wrapping_add(1)
    }
}

impl Generation for () {
    const FIRST: Self = ();

    fn next(self) -> Self {}
}

impl SlabKey for ClientKey {
    type Generation = u32;

    fn new(place: u32, generation: u32) -> Self {
        Self { place, generation }
    }

    fn place(self) -> u32 {
        self.place
    }

    fn generation(self) -> u32 {
        self.generation
    }
}

/// Makes a type that holds a place the key of values of which nothing tells two apart that had the same place.
macro_rules! key_by_place {
    ($key:ty) => {
        impl $crate::ids::slab::SlabKey for $key {
            type Generation = ();

            fn new(place: u32, (): ()) -> Self {
                Self(place)
            }

            fn place(self) -> u32 {
                self.0
            }

            fn generation(self) {}
        }
    };
}

pub(crate) use key_by_place;

impl<K: SlabKey, T> Default for Slab<K, T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), keys: PhantomData }
    }
}

impl<K: SlabKey, T> Slab<K, T> {
    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The number of places, taken or free.
    pub(crate) fn places(&self) -> usize {
        self.slots.len()
    }

    /// Memory of the table, in bytes.
    pub(crate) fn table_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<K::Generation, T>>() + self.free.capacity() * size_of::<u32>()
    }

    /// Adds a value.
    pub(crate) fn insert(&mut self, value: T) -> K {
        self.insert_with(|_| value)
    }

    /// Adds a value that depends on its key.
    pub(crate) fn insert_with(&mut self, value: impl FnOnce(K) -> T) -> K {
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: K::Generation::FIRST, value: None });
            u32::try_from(self.slots.len() - 1).expect("fewer places than 2^32")
        });
        let slot = &mut self.slots[place as usize];
        let key = K::new(place, slot.generation);
        slot.value = Some(value(key));
        key
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: K) -> Option<&T> {
        let slot = self.slots.get(key.place() as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == key.generation())
    }

    /// The value of a key, to be changed.
    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.place() as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation())
    }

    /// Takes a value out, and frees its place.
    pub(crate) fn remove(&mut self, key: K) -> Option<T> {
        let slot = self.slots.get_mut(key.place() as usize)?;
        if slot.generation != key.generation() {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.next();
        self.free.push(key.place());
        Some(value)
    }

    /// The value in a place, with its key.
    pub(crate) fn in_place(&self, place: usize) -> Option<(K, &T)> {
        let slot = self.slots.get(place)?;
        let value = slot.value.as_ref()?;
        u32::try_from(place).ok().map(|place| (K::new(place, slot.generation), value))
    }

    /// The values in a range of places.
    pub(crate) fn in_places(&self, places: Range<usize>) -> impl Iterator<Item = (K, &T)> {
        places.filter_map(|place| self.in_place(place))
    }
}

impl<K: SlabKey<Generation = ()>, T> Slab<K, T> {
    /// Below this many places nothing is trimmed.
    const TRIMMED_PLACES_MIN: usize = 1_024;

    /// Frees what a burst of values has left: where most places are free and the last half of them is, these are dropped,
    /// and new values fill the first free places. Keys stay valid. True exactly when something was freed.
    pub(crate) fn trim(&mut self) -> bool {
        let places = self.slots.len();
        if places < Self::TRIMMED_PLACES_MIN || self.free.len() < places / 4 * 3 {
            return false;
        }
        let used = self.slots.iter().rposition(|slot| slot.value.is_some()).map_or(0, |last| last + 1);
        if used > places / 2 {
            return false;
        }
        self.slots.truncate(used);
        self.slots.shrink_to_fit();
        self.free.retain(|&place| (place as usize) < used);
        self.free.sort_unstable_by_key(|&place| Reverse(place));
        self.free.shrink_to_fit();
        true
    }
}

impl<K: SlabKey, T> Default for SideTable<K, T> {
    fn default() -> Self {
        Self { values: Vec::new() }
    }
}

impl<K: SlabKey, T: Default> SideTable<K, T> {
    /// The memory of one place, in bytes.
    pub(crate) const SLOT_BYTES: usize = size_of::<(K::Generation, T)>();

    /// Memory of the table, in bytes.
    pub(crate) fn table_bytes(&self) -> usize {
        self.values.capacity() * Self::SLOT_BYTES
    }

    /// The value of a key; the default one at first.
    pub(crate) fn of(&mut self, key: K) -> &mut T {
        let place = key.place() as usize;
        if self.values.len() <= place {
            self.values.resize_with(place + 1, || (K::Generation::FIRST, T::default()));
        }
        let (generation, value) = &mut self.values[place];
        if *generation != key.generation() {
            (*generation, *value) = (key.generation(), T::default());
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

    use super::*;

    /// A key without a generation.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Place(u32);

    key_by_place!(Place);

    #[test]
    fn a_key_of_an_earlier_value_finds_nothing() {
        let mut slab = Slab::<ClientKey, _>::default();
        let first = slab.insert("first");
        assert_eq!(slab.remove(first), Some("first"));
        let second = slab.insert("second");
        assert_eq!((second.place, second.generation), (first.place, first.generation + 1));
        assert!(slab.get(first).is_none() && slab.get_mut(first).is_none() && slab.remove(first).is_none());
        assert_eq!((slab.get(second), slab.len(), slab.places()), (Some(&"second"), 1, 1));
    }

    #[test]
    fn a_slab_does_what_a_map_of_the_standard_library_does() {
        for seed in 0..200 {
            let mut random = SmallRng::seed_from_u64(seed);
            let (mut slab, mut model) = (Slab::<ClientKey, u32>::default(), HashMap::<ClientKey, u32>::new());
            let mut keys = Vec::new();
            for value in 0..300_u32 {
                if keys.is_empty() || random.random_ratio(2, 5) {
                    let key = slab.insert_with(|key: ClientKey| key.place ^ value);
                    assert_eq!(model.insert(key, key.place ^ value), None, "seed {seed}");
                    keys.push(key);
                    continue;
                }
                let key = keys[random.random_range(0..keys.len())];
                if random.random_ratio(1, 2) {
                    assert_eq!(slab.remove(key), model.remove(&key), "seed {seed}");
                } else if let Some(found) = slab.get_mut(key) {
                    *found = value;
                    assert!(model.insert(key, value).is_some(), "seed {seed}");
                }
                assert_eq!((slab.get(key), slab.len()), (model.get(&key), model.len()), "seed {seed}");
            }
            let all: HashMap<_, _> =
                slab.in_places(0..slab.places()).map(|(key, &value)| (key, value)).collect();
            assert_eq!(all, model, "seed {seed}");
        }
    }

    #[test]
    fn what_a_burst_leaves_is_given_back_and_keys_stay() {
        let mut slab = Slab::<Place, [u64; 4]>::default();
        let stays = slab.insert([7; 4]);
        let burst: Vec<_> = (1..20_000).map(|_| slab.insert([0; 4])).collect();
        let most = slab.table_bytes();
        assert!(!slab.trim(), "all places are taken");
        burst.into_iter().for_each(|key| _ = slab.remove(key));
        assert!(slab.trim() && slab.table_bytes() < most / 20, "{} of {most} bytes", slab.table_bytes());
        assert_eq!(slab.get(stays), Some(&[7; 4]));
        assert_eq!((slab.insert([0; 4]), slab.places()), (Place(1), 2), "the first free place comes first");
    }

    #[test]
    fn a_value_beside_a_slab_begins_anew_with_each_key() {
        let mut side = SideTable::<ClientKey, u32>::default();
        let first = ClientKey { place: 3, generation: 1 };
        *side.of(first) += 7;
        assert_eq!((*side.of(first), side.table_bytes()), (7, 4 * 8));
        assert_eq!(*side.of(ClientKey { generation: 2, ..first }), 0);
        assert_eq!(*side.of(ClientKey { place: 0, ..first }), 0);
    }

    #[test]
    fn a_key_without_a_generation_costs_no_memory() {
        assert_eq!(size_of::<Slot<(), Box<u8>>>(), size_of::<Option<Box<u8>>>());
        assert_eq!(size_of::<Slot<u32, Box<u8>>>(), 16);
    }
}
