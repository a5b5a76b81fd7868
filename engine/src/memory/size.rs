//! Size: what collections of the standard library take, by their capacity rather than their length.

use std::{collections::HashMap, sync::Arc};

/// Bytes of a text that several share: its two counts stand before it.
pub(crate) fn arc_str_bytes(text: &Arc<str>) -> usize {
    2 * size_of::<usize>() + text.len()
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
