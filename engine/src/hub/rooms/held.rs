//! Held: publications that came before those which precede them.
//!
//! In:  publications with positions, while a room reads what it missed.
//! Out: the same by offset, or that too much came: then the room reads that, too.

use std::{collections::BTreeMap, sync::Arc};

use super::super::publication::StoredPublication;

/// Limits of a room: beyond them, reading again costs less than waiting.
const MESSAGES_MAX: usize = 1_024;
const BYTES_MAX: usize = 1 << 20;

/// A publication that waits, and whether it may be sent as a patch.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) stored: StoredPublication,
    pub(super) delta: bool,
}

/// The publications of one epoch.
#[derive(Debug, Default)]
pub(super) struct Held {
    epoch: Arc<str>,
    publications: BTreeMap<u64, Waiting>,
    bytes: usize,
}

impl Held {
    /// Holds a publication. Those of another epoch are given up: whatever comes last is what Redis goes on with.
    pub(super) fn hold(&mut self, epoch: &str, publication: Waiting) {
        if *self.epoch != *epoch {
            self.clear();
            self.epoch = epoch.into();
        }
        if self.publications.len() >= MESSAGES_MAX || self.bytes >= BYTES_MAX {
            // The last ones are missed, not the first: what can follow the read stays.
            return;
        }
        self.bytes += publication.stored.cost_bytes();
        if let Some(before) = self.publications.insert(publication.stored.offset, publication) {
            self.bytes -= before.stored.cost_bytes();
        }
    }

    /// Takes the publication that follows `top` of this epoch. Drops those up to it.
    pub(super) fn next_after(&mut self, top: u64, epoch: &str) -> Option<Waiting> {
        if *self.epoch != *epoch {
            self.clear();
            return None;
        }
        while let Some(first) = self.publications.first_entry() {
            let offset = *first.key();
            if offset > top + 1 {
                return None;
            }
            let first = first.remove();
            self.bytes -= first.stored.cost_bytes();
            if offset == top + 1 {
                return Some(first);
            }
        }
        None
    }

    pub(super) fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.publications.clear();
        self.bytes = 0;
    }

    /// Memory beside the value itself.
    pub(super) fn bytes(&self) -> usize {
        const ENTRY: usize = 2 * size_of::<u64>();
        self.bytes + self.publications.len() * ENTRY
    }
}
