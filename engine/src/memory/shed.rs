//! Shed: who goes first when a budget is full.
//!
//! In:  the holders of a budget with their bytes, and how many bytes have to go.
//! Out: the holders to end, the largest first.
//!
//! What nobody holds (kept publications, positions, idempotency keys) goes by age instead, the oldest first: its own
//! order says which that is.

use std::collections::BinaryHeap;

/// The fewest holders, the largest first, that have `excess` bytes together; all of them where they have less. Holders of
/// nothing stay. Of those who hold the same the greatest goes first, so that chance has no part in it.
///
/// Looks once at each holder, and puts only those in order who go.
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
