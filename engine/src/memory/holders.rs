//! Holders: the connections, sessions or clients that use a budget.
//!
//! In:  a holder's bytes, whenever they change.
//! Out: all current holders, so that a search for the largest visits no others.
//!
//! Worst case: 26 bytes for each holder of 12 bytes; each uses more than that.

use std::{collections::HashMap, hash::Hash};

use super::size::{map_bytes, shrink};

/// The holders of a budget on one shard.
#[derive(Debug)]
pub(crate) struct Holders<T> {
    all: HashMap<T, ()>,
}

impl<T> Default for Holders<T> {
    fn default() -> Self {
        Self { all: HashMap::new() }
    }
}

impl<T: Copy + Eq + Hash> Holders<T> {
    /// A holder's bytes have changed from `before` to `now`.
    #[inline]
    pub(crate) fn changed(&mut self, who: T, before: usize, now: usize) {
        if (before > 0) != (now > 0) {
            self.came_or_went(who, now > 0);
        }
    }

    fn came_or_went(&mut self, who: T, holds: bool) {
        if holds {
            self.all.insert(who, ());
        } else {
            self.all.remove(&who);
            shrink(&mut self.all);
        }
    }

    /// All holders, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = T> {
        self.all.keys().copied()
    }

    /// Memory of the table.
    pub(crate) fn bytes(&self) -> usize {
        map_bytes(&self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_something_is_known_for_as_long_as_that_is_so() {
        let mut holders = Holders::default();
        holders.changed(1, 0, 0);
        holders.changed(2, 0, 5);
        holders.changed(2, 5, 9);
        holders.changed(3, 0, 1);
        holders.changed(3, 1, 0);
        assert_eq!(holders.all().collect::<Vec<_>>(), [2]);
        (0..10_000).for_each(|who| holders.changed(who, usize::from(who == 2), 1));
        let most = holders.bytes();
        (0..10_000).for_each(|who| holders.changed(who, 1, 0));
        assert!(holders.all().count() == 0 && holders.bytes() < most / 50);
    }
}
