//! Size: memory of the standard library's collections, by their capacity rather than their length.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash},
    sync::Arc,
};

/// Below this many entries a map is not shrunk.
const SHRUNK_MIN: usize = 16;

/// Bytes of a shared text: its two reference counts precede it.
pub(crate) fn arc_str_bytes(text: &Arc<str>) -> usize {
    2 * size_of::<usize>() + text.len()
}

/// Frees the unused capacity of a map, if most of it is unused.
pub(crate) fn shrink<K: Eq + Hash, V, S: BuildHasher>(map: &mut HashMap<K, V, S>) {
    if map.capacity() > 4 * map.len().max(SHRUNK_MIN) {
        map.shrink_to(2 * map.len());
    }
}

/// Bytes of a map's table. Seven of eight slots are used, each slot has a byte beside its entry, and sixteen more such
/// bytes are at the end.
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
