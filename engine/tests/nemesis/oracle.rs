//! Oracle: what was published, what was acknowledged, what was seen; and every promise that was broken.
//!
//! In:  acknowledgments, publications as subscribers and histories have them.
//! Out: broken promises.
//!
//! A channel's epoch stands for one life of it: offsets begin anew with each.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use serde_json::{Value, json};

/// Past this many, more would say nothing new.
const BROKEN_MAX: usize = 40;

/// A publication: who published it, and its number among those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Content {
    pub(crate) by: u64,
    pub(crate) number: u64,
}

impl Content {
    /// What is published for it; a length that is not always the same.
    pub(crate) fn data(self, pad_bytes: usize) -> Value {
        json!({ "by": self.by, "n": self.number, "pad": "x".repeat(pad_bytes) })
    }

    pub(crate) fn of(data: &Value) -> Option<Self> {
        Some(Self { by: data["by"].as_u64()?, number: data["n"].as_u64()? })
    }
}

/// One life of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Life {
    pub(crate) channel: String,
    pub(crate) epoch: String,
}

#[derive(Debug, Default)]
struct Record {
    /// What is at each offset.
    at: HashMap<u64, Content>,
    /// Where each publication is.
    offsets: HashMap<Content, u64>,
    /// What was acknowledged.
    acknowledged: Vec<Content>,
    /// The highest offset that was acknowledged.
    newest: u64,
}

/// The oracle.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    lives: Mutex<HashMap<Life, Record>>,
    broken: Mutex<Vec<String>>,
}

impl Oracle {
    /// A promise was broken.
    pub(crate) fn broken(&self, what: String) {
        let mut broken = lock(&self.broken);
        if broken.len() < BROKEN_MAX {
            println!("BROKEN: {what}");
            broken.push(what);
        }
    }

    /// All promises that were broken.
    pub(crate) fn verdict(&self) -> Vec<String> {
        lock(&self.broken).clone()
    }

    /// A publication was acknowledged; with its offset where that was told.
    pub(crate) fn acknowledged(&self, life: &Life, content: Content, offset: Option<u64>) {
        let mut lives = lock(&self.lives);
        let record = lives.entry(life.clone()).or_default();
        record.acknowledged.push(content);
        drop(lives);
        if let Some(offset) = offset {
            self.saw("the acknowledgment", life, offset, content);
            let mut lives = lock(&self.lives);
            let record = lives.entry(life.clone()).or_default();
            record.newest = record.newest.max(offset);
        }
    }

    /// Somebody saw a publication: what others saw must agree.
    pub(crate) fn saw(&self, who: &str, life: &Life, offset: u64, content: Content) {
        let mut lives = lock(&self.lives);
        let record = lives.entry(life.clone()).or_default();
        let there = *record.at.entry(offset).or_insert(content);
        let first = *record.offsets.entry(content).or_insert(offset);
        drop(lives);
        if there != content {
            self.broken(format!("{who}: {life:?} has {content:?} at {offset}; others saw {there:?} there"));
        }
        if first != offset {
            self.broken(format!("{who}: {life:?} has {content:?} at {offset}; others saw it at {first}"));
        }
    }

    /// What was acknowledged in a life up to now, and the highest offset of it.
    pub(crate) fn acknowledged_in(&self, life: &Life) -> (Vec<Content>, u64) {
        let lives = lock(&self.lives);
        lives.get(life).map(|record| (record.acknowledged.clone(), record.newest)).unwrap_or_default()
    }

    /// How many publications were acknowledged in all.
    pub(crate) fn count(&self) -> usize {
        lock(&self.lives).values().map(|record| record.acknowledged.len()).sum()
    }
}

/// No thread of this test panics with a lock, unless the test has failed already.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no thread has failed")
}
