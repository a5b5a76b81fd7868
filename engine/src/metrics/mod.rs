//! Metrics: what each shard counts, and how others may read it.
//!
//! In:  a shard's own numbers, plain integers on its own core.
//! Out: the same, in atomics that only that shard writes, once a turn. Readers are at most one turn behind.
//!
//! No lock, and no cache line that two shards write to. Nothing here knows a part that counts: `catalog`, `process`, `redis`
//! and `broker` name what there is, `labels` the values that tell numbers apart, `definition` makes code and facts of a line of them,
//! `reference` the page.

pub(crate) mod broker;
mod catalog;
mod definition;
mod labels;
pub(crate) mod process;
pub(crate) mod redis;
mod reference;

use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::reference::reference_markdown;
pub(crate) use self::{
    catalog::{CATALOG, Metric},
    definition::Kind,
    labels::{
        Bucket, Budget, CloseReason, DisconnectKind, ErrorKind, LimitExceeded, Lost, Offense, RefusalReason,
        RoomState,
    },
};

/// What is published under one name.
pub(crate) type Family = definition::Family<Metric>;

/// The numbers of one shard, as the shard itself holds them.
#[derive(Debug)]
pub(crate) struct Counters {
    values: [u64; Metric::COUNT],
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self { values: [0; Metric::COUNT] }
    }

    #[inline]
    pub(crate) fn add(&mut self, metric: Metric, count: u64) {
        self.values[metric.index()] += count;
    }

    #[inline]
    pub(crate) fn set(&mut self, metric: Metric, value: u64) {
        self.values[metric.index()] = value;
    }

    /// Counts a turn that took `busy_us` of work.
    pub(crate) fn turn(&mut self, busy_us: u64) {
        self.add(Metric::TurnBucket(Bucket::of(busy_us)), 1);
        self.add(Metric::TurnBusyUs, busy_us);
    }

    pub(crate) fn publish(&self, to: &Published) {
        for (value, cell) in self.values.iter().zip(&to.cells) {
            cell.store(*value, Ordering::Relaxed);
        }
    }
}

/// The numbers of one shard, as others read them.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Published {
    cells: [AtomicU64; Metric::COUNT],
}

impl Published {
    /// All zero.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { cells: [const { AtomicU64::new(0) }; Metric::COUNT] }
    }

    /// The value as of the shard's last turn.
    #[must_use]
    pub(crate) fn get(&self, metric: Metric) -> u64 {
        self.cells[metric.index()].load(Ordering::Relaxed)
    }
}

impl Default for Published {
    fn default() -> Self {
        Self::new()
    }
}
