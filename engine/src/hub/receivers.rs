//! Receivers: who gets messages on this shard, as the hub knows them.
//!
//! In:  receivers that come and go.
//! Out: the same, by index; a receiver's index changes only when it is given the one of a receiver that has gone.
//!
//! The hub does not know what a receiver is: a layer above chooses the types, and finds out how to send.

use std::{fmt::Debug, hash::Hash};

/// The types by which the layer above knows its receivers.
pub(crate) trait Receivers {
    /// A connection.
    type Connection: Copy + Eq + Hash + Debug;
    /// How a subscriber of a channel is sent its publications.
    type Path: Copy + Debug;
    /// A member of `/broadcast`.
    type Member: Copy + Debug;
}

/// Receivers without an order. Memory: the entries, and up to as many free ones.
#[derive(Debug)]
pub(crate) struct ReceiverList<T>(Vec<T>);

impl<T> Default for ReceiverList<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Copy> ReceiverList<T> {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<T> {
        self.0.get(index).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Adds a receiver. Returns its index.
    pub(crate) fn join(&mut self, receiver: T) -> u32 {
        let index = u32::try_from(self.0.len()).expect("fewer receivers than 2^32");
        self.0.push(receiver);
        index
    }

    /// Removes a receiver. Returns the one that has its index now, if any.
    pub(crate) fn leave(&mut self, index: u32) -> Option<T> {
        self.0.swap_remove(index as usize);
        self.get(index as usize)
    }

    /// Frees what a burst of receivers has left.
    pub(crate) fn trim(&mut self) {
        if self.0.capacity() > 4 * self.0.len().max(4) {
            self.0.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_gives_its_index_to_the_last() {
        let mut list = ReceiverList::default();
        assert_eq!(['a', 'b', 'c'].map(|receiver| list.join(receiver)), [0, 1, 2]);
        assert_eq!(list.leave(0), Some('c'));
        assert_eq!(list.leave(1), None);
        assert_eq!((list.len(), list.get(0), list.get(1)), (1, Some('c'), None));
    }

    #[test]
    fn a_burst_leaves_no_memory_behind() {
        let mut list = ReceiverList::default();
        (0..10_000).for_each(|receiver| _ = list.join(receiver));
        (1..10_000).rev().for_each(|index| _ = list.leave(index));
        list.trim();
        assert!(list.0.capacity() <= 16);
    }
}
