//! Held: what was heard of a channel, and the publications that came before those which precede them.
//!
//! In:  publications with positions.
//! Out: the same by offset, once a room has read what it missed.

use std::{collections::BTreeMap, sync::Arc};

use super::super::publication::StoredPublication;
use crate::memory::arc_str_bytes;

/// Limits of a room: beyond them, reading again costs less than waiting.
const MESSAGES_MAX: usize = 1_024;
const BYTES_MAX: usize = 1 << 20;

/// A publication that waits, and whether it may be sent as a patch.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) stored: StoredPublication,
    pub(super) delta: bool,
}

/// What was heard since the channel was last confirmed. Only the epoch that was heard last counts.
#[derive(Debug, Default)]
pub(super) struct Held {
    epoch: Arc<str>,
    /// The latest offset heard.
    heard: u64,
    /// True exactly when an earlier offset was heard after a later one, which does not happen in a history that only grows.
    has_gone_back: bool,
    /// True exactly when something was heard since the history was last asked for.
    is_newer: bool,
    publications: BTreeMap<u64, Waiting>,
    bytes: usize,
}

impl Held {
    /// An offset is heard. True exactly when it is later than all before it, as they are in a history that never goes back.
    pub(super) fn hear(&mut self, epoch: &str, offset: u64) -> bool {
        if *self.epoch != *epoch {
            // Whatever comes last is what Redis goes on with.
            self.restart();
            self.epoch = epoch.into();
        }
        self.is_newer = true;
        let is_later = offset > self.heard;
        self.has_gone_back |= !is_later;
        self.heard = self.heard.max(offset);
        is_later
    }

    /// Holds a publication that was just heard.
    pub(super) fn hold(&mut self, publication: Waiting) {
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

    /// The publication that is held at an offset of an epoch.
    pub(super) fn get(&self, epoch: &str, offset: u64) -> Option<&StoredPublication> {
        let publication = self.publications.get(&offset).filter(|_| *self.epoch == *epoch);
        publication.map(|waiting| &waiting.stored)
    }

    /// The latest offset heard of an epoch; 0 for none.
    pub(super) fn heard(&self, epoch: &str) -> u64 {
        if *self.epoch == *epoch { self.heard } else { 0 }
    }

    /// True exactly when an earlier offset of an epoch was heard after a later one: some of what was heard was lost.
    pub(super) fn has_gone_back(&self, epoch: &str) -> bool {
        self.has_gone_back && *self.epoch == *epoch
    }

    /// True exactly when another epoch than this one was heard since the history was last asked for.
    pub(super) fn is_of_newer_epoch(&self, epoch: &str) -> bool {
        self.is_newer && self.heard > 0 && *self.epoch != *epoch
    }

    /// The history is asked for.
    pub(super) fn ask(&mut self) {
        self.is_newer = false;
    }

    /// An epoch has ended: what is still heard of it does not count.
    pub(super) fn forget(&mut self, epoch: &str) {
        if *self.epoch == *epoch {
            self.restart();
        }
    }

    /// The channel is heard anew: what comes now is later than all that will be read, or will be read.
    pub(super) fn restart(&mut self) {
        self.clear();
        (self.heard, self.has_gone_back) = (0, false);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.publications.clear();
        self.bytes = 0;
    }

    /// Memory beside the value itself.
    pub(super) fn memory_bytes(&self) -> usize {
        const ENTRY: usize = 2 * size_of::<u64>();
        let epoch = if self.epoch.is_empty() { 0 } else { arc_str_bytes(&self.epoch) };
        self.bytes + self.publications.len() * ENTRY + epoch
    }
}
