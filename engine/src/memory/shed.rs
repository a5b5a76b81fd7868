//! Shed: which holders are ended when a budget is full.
//!
//! In:  the holders of a budget with their bytes, and how many bytes to free.
//! Out: the holders to end, largest first.
//!
//! State without a holder (kept publications, positions, idempotency keys) is dropped by age instead, oldest first, in
//! an order of its own.

use std::collections::BinaryHeap;

/// The fewest holders, largest first, that have `excess` bytes together; all of them if they have less. Holders of
/// nothing stay. Among equals the greatest key goes first, so that the result is deterministic.
///
/// Visits each holder once, and sorts only those that go.
pub(crate) fn largest_first<T: Ord>(holders: Vec<(T, u64)>, excess: u64) -> impl Iterator<Item = T> {
    let mut holders: BinaryHeap<(u64, T)> =
        holders.into_iter().filter(|&(_, bytes)| bytes > 0).map(|(holder, bytes)| (bytes, holder)).collect();
    let mut left = excess;
    std::iter::from_fn(move || {
        let (bytes, holder) = if left > 0 { holders.pop()? } else { return None };
        left = left.saturating_sub(bytes);
        Some(holder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_holders_go_until_enough_has_gone() {
        let gone = |excess| {
            let holders = vec![('a', 5), ('b', 90), ('c', 0), ('d', 40), ('e', 5)];
            largest_first(holders, excess).collect()
        };
        let cases: [(u64, &str); 7] =
            [(0, ""), (1, "b"), (90, "b"), (91, "bd"), (131, "bde"), (136, "bdea"), (999, "bdea")];
        for (excess, holders) in cases {
            let gone: String = gone(excess);
            assert_eq!(gone, holders, "{excess}");
        }
    }
}
