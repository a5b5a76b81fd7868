//! By slot: channels that wait for a command, which has channels of one slot only.
//!
//! In:  channels, each with its slot.
//! Out: batches, the lowest slot first; within a slot in the order in which they came.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

/// Channels by their slot; all in one where slots do not matter.
#[derive(Debug, Default)]
pub(super) struct BySlot(BTreeMap<u16, VecDeque<Arc<str>>>);

impl BySlot {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, slot: u16, channel: Arc<str>) {
        self.0.entry(slot).or_default().push_back(channel);
    }

    /// Those of the first slot that has any, at most `max`, of which `is_due` is true.
    pub(super) fn pop(&mut self, max: usize, mut is_due: impl FnMut(&Arc<str>) -> bool) -> Vec<Arc<str>> {
        let mut batch = Vec::new();
        while batch.is_empty()
            && let Some(mut slot) = self.0.first_entry()
        {
            while batch.len() < max
                && let Some(channel) = slot.get_mut().pop_front()
            {
                if is_due(&channel) {
                    batch.push(channel);
                }
            }
            if slot.get().is_empty() {
                slot.remove();
            }
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_channels_of_one_slot_that_are_still_due() {
        let mut queue = BySlot::default();
        for (slot, channel) in [(9, "i"), (3, "a"), (3, "b"), (3, "c"), (3, "gone"), (5, "gone")] {
            queue.push(slot, channel.into());
        }
        let mut pop = || queue.pop(2, |channel| &**channel != "gone");
        assert_eq!(pop(), ["a".into(), "b".into()]);
        assert_eq!(pop(), ["c".into()]);
        assert_eq!(pop(), ["i".into()], "nothing is due of slot 5");
        assert!(pop().is_empty());
        assert!(queue.is_empty());
    }
}
