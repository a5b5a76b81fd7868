//! Watch: what a room delivers, against what Redis had and the room was shown.
//!
//! In:  what Redis tells a room; what the room posts.
//! Out: a panic where a lost publication is papered over: after the publication A at an offset the room goes on with one
//! that followed another one there, which the room could have seen, and tells nobody.

use std::collections::HashSet;

use super::{
    redis::SimulatedRedis,
    store::{Store, Text},
    *,
};

/// One room of a channel after the other.
#[derive(Debug, Default)]
pub(super) struct Watch {
    room: u64,
    /// How many failovers there were before the last read that was answered.
    generation: u32,
    /// What it was shown since it began.
    shown: HashSet<(String, u64, Text)>,
    /// The last publication that it delivered since it last said that some are gone.
    head: Option<(u64, Text)>,
    /// The number of the last one: each shard is posted it.
    sequence: u64,
}

impl Watch {
    fn enter(&mut self, room: u64) {
        if self.room != room {
            *self = Self { room, ..Self::default() };
        }
    }

    /// Redis has told the room this, or could have.
    pub(super) fn show(&mut self, room: u64, epoch: &str, entries: impl IntoIterator<Item = (u64, Text)>) {
        self.enter(room);
        self.shown.extend(entries.into_iter().map(|(offset, text)| (epoch.to_owned(), offset, text)));
    }

    /// The channel is heard from here on. What was heard before has reached nobody, if the room has no position yet.
    pub(super) fn confirmed(&mut self) {
        if self.head.is_none() {
            self.shown.clear();
        }
    }

    /// A read is answered. `is_old`: the channel was confirmed again since it was asked, so that no more than what was
    /// delivered until then is known to be of the same line of the history.
    pub(super) fn read(
        &mut self,
        room: u64,
        epoch: &str,
        kept: Vec<(u64, Text)>,
        generation: u32,
        is_old: bool,
    ) {
        self.enter(room);
        let head = self.head.as_ref().map_or(0, |(offset, _)| *offset);
        let counts = |(offset, _): &(u64, Text)| !is_old || *offset <= head;
        self.show(room, epoch, kept.into_iter().filter(counts));
        if !is_old {
            self.generation = generation;
        }
    }

    pub(super) fn lost(&mut self) {
        self.head = None;
    }

    /// A subscriber is given a position, and what it missed.
    pub(super) fn admitted(&mut self, room: u64, subscribed: &Subscribed) {
        self.enter(room);
        let Some(Position { offset, epoch }) = &subscribed.position else { return };
        match &self.head {
            None => {
                let mut texts = self.shown.iter().filter(|(e, o, _)| **e == **epoch && o == offset);
                if let (Some((_, _, text)), None) = (texts.next(), texts.next()) {
                    self.head = Some((*offset, Arc::clone(text)));
                }
            }
            Some((at, text)) => {
                assert_eq!(at, offset, "the position is where the room stands");
                let newest = subscribed.recovered.iter().flatten().find(|stored| stored.offset == *offset);
                let newest = newest.map(|stored| data(&stored.data));
                assert!(newest.is_none_or(|newest| *newest == **text), "{text} is recovered as {newest:?}");
            }
        }
    }

    pub(super) fn delivered(&mut self, room: u64, stored: &StoredPublication, redis: &SimulatedRedis) {
        self.enter(room);
        let (offset, text) = (stored.offset, data(&stored.data));
        if offset == 0 || stored.sequence == self.sequence {
            return;
        }
        self.sequence = stored.sequence;
        let records = redis.records_of(text, offset);
        assert!(!records.is_empty(), "{text} was never at {offset}");
        if let Some((before, had)) = &self.head {
            assert_eq!(before + 1, offset, "a room's offsets have neither gaps nor repeats");
            let follows = records.iter().any(|record| record.before.as_ref() == Some(had));
            let known = records.iter().find_map(|record| {
                let other = record.before.clone()?;
                // It has been told, or would have been if its last read had begun with what this one follows.
                let is_told = self.shown.contains(&(record.epoch.clone(), *before, Arc::clone(&other)));
                let is_there = self.generation == redis.generation
                    && redis.primary.keeps(&record.channel, *before, &other)
                    && redis.primary.keeps(&record.channel, offset, text);
                (is_told || is_there).then_some(other)
            });
            if let (false, Some(known)) = (follows, known) {
                panic!("{text} at {offset} follows {known}, not {had}, which was lost, and this is not told");
            }
        }
        self.head = Some((offset, text.into()));
    }

    /// After rest: what Redis has at the room's position is what the room delivered there, as far as it could know.
    pub(super) fn assert_is_right(&self, channel: &str, store: &Store) {
        let (Some((offset, had)), Some((top, epoch))) = (&self.head, store.top(channel)) else { return };
        let Some(now) = store.text(channel, *offset).filter(|now| *offset == top && *now != had) else {
            return;
        };
        let is_known = self.shown.contains(&(epoch.to_owned(), *offset, Arc::clone(now)));
        assert!(!is_known, "{had} at {offset} of {channel} is {now} now, and this is not told");
    }
}
