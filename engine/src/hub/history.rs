//! History: the newest publications of a channel, and recovery from a position in it.
//!
//! In:  publications, in order; positions.
//! Out: what came after a position, or the word that it can no longer be told.
//!
//! Worst case: `history_size` publications a channel, and the shard's part of the total budget, whichever is reached
//! first.

use std::{collections::VecDeque, sync::Arc};

use super::publication::Stored;
use crate::memory::arc_str_bytes;

/// The life of a history: a client that knows another epoch's offsets knows nothing of this one's.
pub(crate) type Epoch = Arc<str>;

/// A place in a channel's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: u64,
    pub(crate) epoch: Epoch,
}

/// What a page of history is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Publications at most; 0 for none, only the position.
    pub(crate) limit: usize,
    /// Where it begins, exclusively.
    pub(crate) since: Option<(u64, Box<str>)>,
    pub(crate) reverse: bool,
}

/// Below so many entries the index of publications is never made smaller.
const INDEX_MIN: usize = 16;

/// The publications of one channel.
#[derive(Debug)]
pub(crate) struct History {
    epoch: Epoch,
    top: u64,
    publications: VecDeque<Arc<Stored>>,
    bytes: usize,
}

impl History {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { epoch, top: 0, publications: VecDeque::new(), bytes: 0 }
    }

    /// Memory of the epoch, which positions share.
    pub(crate) fn epoch_bytes(&self) -> usize {
        arc_str_bytes(&self.epoch)
    }

    pub(crate) fn position(&self) -> Position {
        Position { offset: self.top, epoch: Arc::clone(&self.epoch) }
    }

    /// The offset of the next publication.
    pub(crate) fn next_offset(&self) -> u64 {
        self.top + 1
    }

    /// Appends the publication of [`History::next_offset`] and drops what is beyond `size_max`.
    pub(crate) fn push(&mut self, publication: Arc<Stored>, size_max: usize) {
        debug_assert_eq!(publication.offset, self.top + 1, "offsets have no gap");
        self.top = publication.offset;
        while self.publications.len() >= size_max.max(1) {
            self.drop_oldest();
        }
        self.bytes += publication.cost_bytes();
        self.publications.push_back(publication);
    }

    /// Forgets all publications; the position stays.
    pub(crate) fn clear(&mut self) {
        self.publications = VecDeque::new();
        self.bytes = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }

    /// Memory of the publications and their index.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.publications.capacity() * size_of::<Arc<Stored>>()
    }

    /// The number of the oldest publication among all that the core has made.
    pub(crate) fn oldest_sequence(&self) -> Option<u64> {
        self.publications.front().map(|oldest| oldest.sequence)
    }

    pub(crate) fn newest(&self) -> Option<&Arc<Stored>> {
        self.publications.back()
    }

    /// All that came after `offset`, if the epoch is right, nothing of it is gone, and it is no more than `limit`.
    pub(crate) fn recover(&self, offset: u64, epoch: &str, limit: usize) -> Option<Vec<Arc<Stored>>> {
        if !(epoch.is_empty() || epoch == &*self.epoch) || offset > self.top {
            return None;
        }
        let missed = usize::try_from(self.top - offset).ok()?;
        if missed > self.publications.len() || missed > limit {
            return None;
        }
        Some(self.publications.range(self.publications.len() - missed..).cloned().collect())
    }

    /// A page; `None` where its beginning belongs to another epoch.
    pub(crate) fn page(&self, page: &Page) -> Option<Vec<Arc<Stored>>> {
        let publications = self.publications.iter();
        let Some((since, epoch)) = &page.since else {
            return Some(if page.reverse {
                publications.rev().take(page.limit).cloned().collect()
            } else {
                publications.take(page.limit).cloned().collect()
            });
        };
        if !epoch.is_empty() && **epoch != *self.epoch {
            return None;
        }
        Some(if page.reverse {
            publications.rev().filter(|stored| stored.offset < *since).take(page.limit).cloned().collect()
        } else {
            publications.filter(|stored| stored.offset > *since).take(page.limit).cloned().collect()
        })
    }

    /// Drops the oldest publication.
    pub(crate) fn drop_oldest(&mut self) {
        if let Some(oldest) = self.publications.pop_front() {
            self.bytes -= oldest.cost_bytes();
        }
        let (len, capacity) = (self.publications.len(), self.publications.capacity());
        if capacity > INDEX_MIN && len < capacity / 4 {
            self.publications.shrink_to(2 * len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(count: u64, size_max: usize) -> History {
        let mut history = History::new("e".into());
        for offset in 1..=count {
            history.push(Arc::new(Stored { offset, ..Stored::default() }), size_max);
        }
        history
    }

    fn offsets(publications: &[Arc<Stored>]) -> Vec<u64> {
        publications.iter().map(|publication| publication.offset).collect()
    }

    #[test]
    fn recovery_gives_the_whole_gap_or_nothing() {
        let history = history(10, 5);
        let recover = |offset, epoch| history.recover(offset, epoch, 100).map(|found| offsets(&found));
        assert_eq!(recover(10, "e"), Some(vec![]));
        assert_eq!(recover(7, ""), Some(vec![8, 9, 10]));
        assert_eq!(recover(5, "e"), Some(vec![6, 7, 8, 9, 10]));
        assert_eq!(recover(4, "e"), None, "5 is gone");
        assert_eq!(recover(11, "e"), None, "from the future");
        assert_eq!(recover(7, "other"), None);
        assert_eq!(history.recover(5, "e", 4).map(|found| offsets(&found)), None, "more than allowed");
    }

    #[test]
    fn a_position_survives_what_was_dropped() {
        let mut history = history(3, 5);
        history.clear();
        assert_eq!(history.position().offset, 3);
        assert!(history.recover(3, "e", 10).is_some_and(|none| none.is_empty()));
        assert!(history.recover(2, "e", 10).is_none());
        assert_eq!(history.bytes(), 0);
    }

    #[test]
    fn pages_go_both_ways_from_a_position() {
        let history = history(10, 8);
        let page = |limit, since: Option<u64>, reverse| {
            let since = since.map(|offset| (offset, "e".into()));
            offsets(&history.page(&Page { limit, since, reverse }).unwrap())
        };
        assert_eq!(page(3, None, false), [3, 4, 5]);
        assert_eq!(page(3, None, true), [10, 9, 8]);
        assert_eq!(page(3, Some(5), false), [6, 7, 8]);
        assert_eq!(page(3, Some(5), true), [4, 3]);
        assert!(page(0, None, false).is_empty());
        let wrong = Page { limit: 1, since: Some((1, "x".into())), reverse: false };
        assert!(history.page(&wrong).is_none());
    }

    #[test]
    fn bytes_are_counted_in_and_out() {
        let mut history = history(200, 150);
        let one = Stored::default().cost_bytes();
        assert!(history.bytes() >= 150 * (one + size_of::<Arc<Stored>>()));
        for left in (0..150).rev() {
            history.drop_oldest();
            assert!(history.bytes() >= left * one);
        }
        assert!(history.bytes() <= 2 * INDEX_MIN * size_of::<Arc<Stored>>(), "the index shrinks");
        assert_eq!(history.position().offset, 200);
        history.clear();
        assert_eq!(history.bytes(), 0);
    }
}
