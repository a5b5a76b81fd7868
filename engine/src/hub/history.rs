//! History: the newest publications of a channel, and recovery from a position in it.
//!
//! In:  publications, in order; positions.
//! Out: the publications after a position, or a notice that they are no longer available.
//!
//! Worst case: `history_size` publications per channel, or the shard's part of the total budget, whichever is reached
//! first.

use std::{collections::VecDeque, sync::Arc};

use super::publication::StoredPublication;
use crate::memory::arc_str_bytes;

/// The identity of a history: offsets of different epochs are not comparable.
pub(crate) type Epoch = Arc<str>;

/// A position in a channel's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) offset: u64,
    pub(crate) epoch: Epoch,
}

/// The approximate limits of an answer, in bytes of the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AnswerBytes {
    /// Beside other answers: a longer one is not given now, and the query comes back.
    pub(crate) now_max: usize,
    /// In any case.
    pub(crate) max: usize,
}

impl AnswerBytes {
    /// No limit.
    pub(crate) const ANY: Self = Self { now_max: usize::MAX, max: usize::MAX };
}

/// The parameters of a page of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// Maximum number of publications; 0 for the position alone.
    pub(crate) limit: usize,
    /// Its start, exclusive.
    pub(crate) since: Option<(u64, Box<str>)>,
    pub(crate) reverse: bool,
    /// Limit of the answer. A longer page ends early, but contains at least one publication.
    pub(crate) bytes: AnswerBytes,
}

/// A part of a history, and the approximate length of an answer with it.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) publications: Vec<Arc<StoredPublication>>,
    pub(crate) bytes: usize,
}

impl Part {
    /// As many as fit, and at least one.
    pub(crate) fn of<'a>(
        publications: impl Iterator<Item = &'a Arc<StoredPublication>>,
        bytes_max: usize,
    ) -> Self {
        let mut part = Self::default();
        for publication in publications {
            let bytes = part.bytes + publication.answer_bytes();
            if bytes > bytes_max && !part.publications.is_empty() {
                break;
            }
            part.bytes = bytes;
            part.publications.push(Arc::clone(publication));
        }
        part
    }
}

/// Below this capacity the index of publications is not shrunk.
const INDEX_MIN: usize = 16;

/// The publications of one channel.
#[derive(Debug)]
pub(crate) struct History {
    epoch: Epoch,
    top: u64,
    publications: VecDeque<Arc<StoredPublication>>,
    bytes: usize,
}

impl History {
    pub(crate) fn new(epoch: Epoch) -> Self {
        Self { epoch, top: 0, publications: VecDeque::new(), bytes: 0 }
    }

    /// A history without publications that ends at a position.
    pub(crate) fn at(position: Position) -> Self {
        Self { top: position.offset, ..Self::new(position.epoch) }
    }

    /// The number of publications.
    pub(crate) fn len(&self) -> usize {
        self.publications.len()
    }

    /// The offset of the oldest publication; without one, of the next.
    pub(crate) fn first_offset(&self) -> u64 {
        self.publications.front().map_or(self.top + 1, |oldest| oldest.offset)
    }

    /// Adds the publication before [`History::first_offset`].
    pub(crate) fn prepend(&mut self, publication: Arc<StoredPublication>) {
        debug_assert_eq!(publication.offset + 1, self.first_offset(), "offsets have no gap");
        self.bytes += publication.cost_bytes();
        self.publications.push_front(publication);
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

    /// Appends the publication of [`History::next_offset`] and drops those beyond `size_max`.
    pub(crate) fn push(&mut self, publication: Arc<StoredPublication>, size_max: usize) {
        debug_assert_eq!(publication.offset, self.top + 1, "offsets have no gap");
        self.top = publication.offset;
        while self.publications.len() >= size_max.max(1) {
            self.drop_oldest();
        }
        self.bytes += publication.cost_bytes();
        self.publications.push_back(publication);
    }

    /// Drops all publications; the position stays.
    pub(crate) fn clear(&mut self) {
        self.publications = VecDeque::new();
        self.bytes = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }

    /// Memory of the publications and their index.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.publications.capacity() * size_of::<Arc<StoredPublication>>()
    }

    /// The publication with an offset, if it is kept.
    pub(crate) fn get(&self, offset: u64) -> Option<&Arc<StoredPublication>> {
        let place = offset.checked_sub(self.first_offset())?;
        self.publications.get(usize::try_from(place).ok()?)
    }

    /// The sequence number of the oldest publication, among all that this shard made.
    pub(crate) fn oldest_sequence(&self) -> Option<u64> {
        self.publications.front().map(|oldest| oldest.sequence)
    }

    pub(crate) fn newest(&self) -> Option<&Arc<StoredPublication>> {
        self.publications.back()
    }

    /// Everything after `offset`, if the epoch matches, no publication of it is gone, and it is at most `limit`
    /// publications and `bytes_max` in an answer; a single publication may have any length.
    pub(crate) fn recover(&self, offset: u64, epoch: &str, limit: usize, bytes_max: usize) -> Option<Part> {
        if !(epoch.is_empty() || epoch == &*self.epoch) || offset > self.top {
            return None;
        }
        let missed = usize::try_from(self.top - offset).ok()?;
        if missed > self.publications.len() || missed > limit {
            return None;
        }
        let part = Part::of(self.publications.range(self.publications.len() - missed..), bytes_max);
        (part.publications.len() == missed).then_some(part)
    }

    /// For cache recovery: the newest publication that `is_wanted`, among the newest `limit` ones; nothing if the
    /// client is up to date; `None` if there is none.
    pub(crate) fn recover_newest(
        &self,
        offset: u64,
        epoch: &str,
        limit: usize,
        is_wanted: impl Fn(&StoredPublication) -> bool,
    ) -> Option<Part> {
        if offset > 0 && offset == self.top && *epoch == *self.epoch {
            return Some(Part::default());
        }
        let newest = self.newest_wanted(limit, is_wanted)?;
        Some(Part::of([newest].into_iter(), usize::MAX))
    }

    /// The newest publication that `is_wanted`, among the newest `limit` ones.
    pub(crate) fn newest_wanted(
        &self,
        limit: usize,
        is_wanted: impl Fn(&StoredPublication) -> bool,
    ) -> Option<&Arc<StoredPublication>> {
        self.publications.iter().rev().take(limit).find(|publication| is_wanted(publication))
    }

    /// A page; `None` if its start belongs to another epoch.
    pub(crate) fn page(&self, page: &Page) -> Option<Part> {
        if let Some((_, epoch)) = &page.since
            && !epoch.is_empty()
            && **epoch != *self.epoch
        {
            return None;
        }
        let since = page.since.as_ref().map(|&(offset, _)| offset);
        let all = self.publications.len();
        let bytes_max = page.bytes.max;
        Some(if page.reverse {
            // Those below `since`, newest first.
            let end = since.map_or(all, |since| self.place_of(since));
            Part::of(self.publications.range(..end).rev().take(page.limit), bytes_max)
        } else {
            let begin = since.map_or(0, |since| self.place_of(since.saturating_add(1)));
            Part::of(self.publications.range(begin..).take(page.limit), bytes_max)
        })
    }

    /// The index of the publication with an offset, or of the next one kept. Offsets have no gaps.
    fn place_of(&self, offset: u64) -> usize {
        let all = self.publications.len();
        let before = self.publications.front().map_or(0, |oldest| offset.saturating_sub(oldest.offset));
        usize::try_from(before).map_or(all, |before| before.min(all))
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
            history.push(Arc::new(StoredPublication { offset, ..StoredPublication::default() }), size_max);
        }
        history
    }

    const ALL: usize = usize::MAX;

    fn offsets(part: &Part) -> Vec<u64> {
        part.publications.iter().map(|publication| publication.offset).collect()
    }

    #[test]
    fn recovery_gives_the_whole_gap_or_nothing() {
        let history = history(10, 5);
        let recover = |offset, epoch| history.recover(offset, epoch, 100, ALL).map(|found| offsets(&found));
        assert_eq!(recover(10, "e"), Some(vec![]));
        assert_eq!(recover(7, ""), Some(vec![8, 9, 10]));
        assert_eq!(recover(5, "e"), Some(vec![6, 7, 8, 9, 10]));
        assert_eq!(recover(4, "e"), None, "5 is gone");
        assert_eq!(recover(11, "e"), None, "from the future");
        assert_eq!(recover(7, "other"), None);
        assert!(history.recover(5, "e", 4, ALL).is_none(), "more than allowed");
    }

    #[test]
    fn what_would_be_too_long_an_answer_is_not_recovered_but_for_a_single_one() {
        let history = history(10, 10);
        let one = StoredPublication::default().answer_bytes();
        assert!(history.recover(7, "e", 100, 3 * one).is_some_and(|found| found.bytes == 3 * one));
        assert!(history.recover(7, "e", 100, 3 * one - 1).is_none());
        assert!(history.recover(9, "e", 100, 0).is_some(), "however long it is");
    }

    #[test]
    fn a_position_survives_what_was_dropped() {
        let mut history = history(3, 5);
        history.clear();
        assert_eq!(history.position().offset, 3);
        assert!(history.recover(3, "e", 10, ALL).is_some_and(|none| none.publications.is_empty()));
        assert!(history.recover(2, "e", 10, ALL).is_none());
        assert_eq!(history.bytes(), 0);
    }

    #[test]
    fn pages_go_both_ways_from_a_position() {
        let history = history(10, 8);
        let page = |limit, since: Option<u64>, reverse| {
            let since = since.map(|offset| (offset, "e".into()));
            let bytes = AnswerBytes::ANY;
            offsets(&history.page(&Page { limit, since, reverse, bytes }).unwrap())
        };
        assert_eq!(page(3, None, false), [3, 4, 5]);
        assert_eq!(page(3, None, true), [10, 9, 8]);
        assert_eq!(page(3, Some(5), false), [6, 7, 8]);
        assert_eq!(page(3, Some(5), true), [4, 3]);
        assert!(page(0, None, false).is_empty());
        for (since, forward, backward) in [
            (0, vec![3, 4], vec![]),
            (2, vec![3, 4], vec![]),
            (3, vec![4, 5], vec![]),
            (9, vec![10], vec![8, 7]),
            (10, vec![], vec![9, 8]),
            (11, vec![], vec![10, 9]),
            (u64::MAX, vec![], vec![10, 9]),
        ] {
            assert_eq!(page(2, Some(since), false), forward, "after {since}");
            assert_eq!(page(2, Some(since), true), backward, "before {since}");
        }
        let since = Some((1, "x".into()));
        let wrong = Page { limit: 1, since, reverse: false, bytes: AnswerBytes::ANY };
        assert!(history.page(&wrong).is_none());
    }

    #[test]
    fn a_page_ends_where_its_answer_would_be_too_long_but_not_before_its_first_publication() {
        let history = history(10, 8);
        let one = StoredPublication::default().answer_bytes();
        let page = |max, reverse| {
            let bytes = AnswerBytes { now_max: max, max };
            offsets(&history.page(&Page { limit: 100, since: None, reverse, bytes }).unwrap())
        };
        assert_eq!(page(2 * one, false), [3, 4]);
        assert_eq!(page(2 * one, true), [10, 9]);
        assert_eq!(page(0, false), [3]);
    }

    #[test]
    fn a_page_of_an_empty_history_is_empty() {
        let mut history = history(3, 3);
        history.clear();
        for reverse in [false, true] {
            let since = Some((2, "e".into()));
            let page = Page { limit: 9, since, reverse, bytes: AnswerBytes::ANY };
            assert!(history.page(&page).unwrap().publications.is_empty());
        }
    }

    #[test]
    fn bytes_are_counted_in_and_out() {
        let mut history = history(200, 150);
        let one = StoredPublication::default().cost_bytes();
        assert!(history.bytes() >= 150 * (one + size_of::<Arc<StoredPublication>>()));
        for left in (0..150).rev() {
            history.drop_oldest();
            assert!(history.bytes() >= left * one);
        }
        assert!(history.bytes() <= 2 * INDEX_MIN * size_of::<Arc<StoredPublication>>(), "the index shrinks");
        assert_eq!(history.position().offset, 200);
        history.clear();
        assert_eq!(history.bytes(), 0);
    }

    #[test]
    fn the_index_becomes_smaller_only_where_three_quarters_of_it_are_free() {
        let index = |history: &History| {
            let publications = history.publications.len() * StoredPublication::default().cost_bytes();
            (history.bytes() - publications) / size_of::<Arc<StoredPublication>>()
        };
        let mut large = history(100, 200);
        let whole = index(&large);
        for left in (whole / 4..100).rev() {
            large.drop_oldest();
            assert_eq!(index(&large), whole, "{left} are left");
        }
        large.drop_oldest();
        let left = large.publications.len();
        assert!((2 * left..whole).contains(&index(&large)), "{} for {left}", index(&large));

        let mut small = history(INDEX_MIN as u64, INDEX_MIN);
        for _ in 0..INDEX_MIN {
            small.drop_oldest();
            assert_eq!(index(&small), INDEX_MIN);
        }
    }
}
