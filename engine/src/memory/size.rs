//! Size: what collections of the standard library take, by their capacity rather than their length.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
    sync::Arc,
};

/// Below so many entries a map is small enough as it is.
const SHRUNK_MIN: usize = 16;

/// Bytes of a text that several share: its two counts stand before it.
pub(crate) fn arc_str_bytes(text: &Arc<str>) -> usize {
    2 * size_of::<usize>() + text.len()
}

/// Gives back what a map has for entries that were removed from it, where most of it is not used.
pub(crate) fn shrink<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    if map.capacity() > 4 * map.len().max(SHRUNK_MIN) {
        map.shrink_to(2 * map.len());
    }
}

/// Bytes of a map's table. Of eight slots seven are used, a slot has a byte beside its entry, and sixteen such bytes more
/// stand at the end.
pub(crate) fn map_bytes<K, V, S>(map: &HashMap<K, V, S>) -> usize {
    const GROUP: usize = 16;
    match map.capacity() {
        0 => 0,
        capacity => {
            let slots = (capacity * 8 / 7).next_power_of_two();
            slots * (size_of::<(K, V)>() + 1) + 2 * GROUP
        }
    }
}
