//! Shed: who goes first when a budget is full.
//!
//! In:  the holders of a budget with their bytes, and how many bytes have to go.
//! Out: the holders to end, the largest first.
//!
//! What nobody holds (kept publications, positions, idempotency keys) goes by age instead, the oldest first: its own
//! order says which that is.

use std::cmp::Reverse;

/// The fewest holders, the largest first, that have `excess` bytes together; all of them where they have less. Holders of
/// nothing stay.
pub(crate) fn largest_first<T>(mut holders: Vec<(T, u64)>, excess: u64) -> impl Iterator<Item = T> {
    holders.sort_unstable_by_key(|&(_, bytes)| Reverse(bytes));
    let mut left = excess;
    holders.into_iter().map_while(move |(holder, bytes)| {
        let goes = left > 0 && bytes > 0;
        left = left.saturating_sub(bytes);
        goes.then_some(holder)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_holders_go_until_enough_has_gone() {
        let gone = |excess| largest_first(vec![('a', 5), ('b', 90), ('c', 0), ('d', 40)], excess).collect();
        let cases: [(u64, &str); 6] = [(0, ""), (1, "b"), (90, "b"), (91, "bd"), (131, "bda"), (999, "bda")];
        for (excess, holders) in cases {
            let gone: String = gone(excess);
            assert_eq!(gone, holders, "{excess}");
        }
    }
}
