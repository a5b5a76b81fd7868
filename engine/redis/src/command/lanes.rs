//! Lanes: publications that wait, in an order that nothing on the way can change.
//!
//! In:  publications, each for a lane; lanes whose batch came back.
//! Out: batches for one script call, or one pipeline.
//!
//! A lane is a part of the channels: those of one slot in a cluster, of one of 4,096 hashes elsewhere. A lane has at most one
//! batch under way. So a batch that is sent again because Redis forgot the script cannot come behind a later one of the
//! same channel; and while one is under way, more gathers, which is what makes batches.
//! At most [`LaneLimits::asks_max`] wait, and with those under way they have at most [`LaneLimits::bytes_max`]. No I/O, no
//! clock.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{answer::Answer, failure::Failure};

/// A publication of one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// The channel.
    pub channel: String,
    /// The Protobuf message `Publication`.
    pub payload: Bytes,
    /// Whether and how long it is kept.
    pub keep: Option<Keep>,
    /// A publication of the same key within [`idempotency`](super::CommandOptions::idempotency) is not published again.
    pub idempotency_key: Option<String>,
    /// False exactly when it is only put into the history.
    pub is_sent: bool,
}

/// How a channel keeps its publications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// The newest so many. At least 1.
    pub size: u32,
    /// All of them are forgotten so long after the newest, in whole seconds, at least 1.
    pub ttl: Duration,
    /// Epoch and top offset are forgotten so long after the newest, in whole seconds; zero: never.
    pub meta_ttl: Duration,
    /// True exactly when the publication before it goes along, for whoever makes patches: `__d1`.
    pub is_delta: bool,
    /// Held back unless it is newer than the channel's.
    pub version: Option<Version>,
}

/// The version of what a publication says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// From 1.
    pub number: u64,
    /// Numbers of different epochs are not compared; empty: of any.
    pub epoch: String,
}

/// A publication that waits.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) publication: Publication,
    pub(super) answer: Answer,
    pub(super) at: Instant,
}

impl Ask {
    fn kind(&self) -> Kind {
        let Publication { keep, idempotency_key, .. } = &self.publication;
        if keep.is_some() || idempotency_key.is_some() { Kind::Script } else { Kind::Plain }
    }

    fn bytes(&self) -> usize {
        let Publication { channel, payload, idempotency_key, .. } = &self.publication;
        // Names go into several keys.
        size_of::<Self>()
            + 4 * channel.len()
            + payload.len()
            + idempotency_key.as_ref().map_or(0, String::len)
    }
}

/// How a batch is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// PUBLISH or SPUBLISH, pipelined.
    Plain,
    /// One call of the script.
    Script,
}

/// How much may wait and go together.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneLimits {
    pub(super) asks_max: usize,
    pub(super) bytes_max: usize,
    pub(super) batch_max: usize,
    pub(super) batch_bytes_max: usize,
    pub(super) under_way_max: usize,
    pub(super) gather: Duration,
    /// True exactly when the keys of a script call must be of one lane: in a cluster.
    pub(super) is_slotted: bool,
}

/// What is sent in one go.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) kind: Kind,
    pub(super) asks: Vec<Ask>,
    lanes: Vec<u16>,
    bytes: usize,
}

impl Batch {
    /// What to give back once it has been answered, and its publications.
    pub(super) fn split(self) -> (Returned, Vec<Ask>) {
        (Returned { lanes: self.lanes, count: self.asks.len(), bytes: self.bytes }, self.asks)
    }
}

/// The lanes of a batch that came back.
#[derive(Debug)]
pub(super) struct Returned {
    lanes: Vec<u16>,
    count: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Ask>,
    is_busy: bool,
}

/// All that waits for one Redis.
#[derive(Debug)]
pub(super) struct Lanes {
    limits: LaneLimits,
    lanes: HashMap<u16, Lane>,
    /// Those that wait and are not busy, each once.
    ready: VecDeque<u16>,
    asks: usize,
    /// Of all that waits or is under way.
    bytes: usize,
    under_way: usize,
    /// How many asks are in lanes that are ready.
    ready_asks: usize,
}

impl Lanes {
    pub(super) fn new(limits: LaneLimits) -> Self {
        let (lanes, ready) = (HashMap::new(), VecDeque::new());
        Self { limits, lanes, ready, asks: 0, bytes: 0, under_way: 0, ready_asks: 0 }
    }

    /// Asks that wait; bytes that wait or are under way.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.asks, self.bytes)
    }

    /// Takes an ask in; gives it back where there is no room.
    pub(super) fn push(&mut self, lane: u16, ask: Ask) -> Option<Ask> {
        let bytes = ask.bytes();
        if self.asks >= self.limits.asks_max || self.bytes.saturating_add(bytes) > self.limits.bytes_max {
            return Some(ask);
        }
        (self.asks, self.bytes) = (self.asks + 1, self.bytes + bytes);
        let queue = self.lanes.entry(lane).or_default();
        queue.waiting.push_back(ask);
        if !queue.is_busy {
            self.ready_asks += 1;
            if queue.waiting.len() == 1 {
                self.ready.push_back(lane);
            }
        }
        None
    }

    /// When the next batch is due, if nothing comes back before; none where nothing could be sent.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.under_way >= self.limits.under_way_max {
            return None;
        }
        let oldest = self.lanes.get(self.ready.front()?)?.waiting.front()?.at;
        if self.under_way == 0 || self.ready_asks >= self.limits.batch_max {
            return Some(oldest);
        }
        Some(oldest + self.limits.gather)
    }

    /// The next batch, where one is due: a full one, one that waited long enough, or any while nothing is under way.
    pub(super) fn take(&mut self, now: Instant) -> Option<Batch> {
        if self.due()? > now {
            return None;
        }
        let mut batch = Batch { kind: Kind::Plain, asks: Vec::new(), lanes: Vec::new(), bytes: 0 };
        while let Some(&lane) = self.ready.front() {
            let queue = self.lanes.get_mut(&lane)?;
            let before = batch.asks.len();
            while let Some(ask) = queue.waiting.front() {
                if batch.asks.is_empty() {
                    batch.kind = ask.kind();
                }
                let is_too_much = batch.asks.len() >= self.limits.batch_max
                    || batch.bytes + ask.bytes() > self.limits.batch_bytes_max && !batch.asks.is_empty();
                if ask.kind() != batch.kind || is_too_much {
                    break;
                }
                batch.bytes += ask.bytes();
                batch.asks.extend(queue.waiting.pop_front());
            }
            if batch.asks.len() == before {
                break;
            }
            self.ready.pop_front();
            queue.is_busy = true;
            self.ready_asks -= batch.asks.len() - before + queue.waiting.len();
            batch.lanes.push(lane);
            if self.limits.is_slotted && batch.kind == Kind::Script {
                break;
            }
        }
        self.asks -= batch.asks.len();
        self.under_way += batch.asks.len();
        Some(batch)
    }

    /// A batch has been answered: its lanes may have the next one.
    pub(super) fn give_back(&mut self, returned: &Returned) {
        self.under_way -= returned.count;
        self.bytes -= returned.bytes;
        for lane in &returned.lanes {
            let Some(queue) = self.lanes.get_mut(lane) else { continue };
            queue.is_busy = false;
            if queue.waiting.is_empty() {
                self.lanes.remove(lane);
            } else {
                self.ready_asks += queue.waiting.len();
                self.ready.push_back(*lane);
            }
        }
    }

    /// Takes out all that has waited since before `deadline`; all there is, without one.
    pub(super) fn drain(&mut self, deadline: Option<Instant>) -> Vec<Ask> {
        let mut drained = Vec::new();
        for queue in self.lanes.values_mut() {
            while let Some(ask) = queue.waiting.pop_front() {
                if deadline.is_some_and(|deadline| ask.at >= deadline) {
                    queue.waiting.push_front(ask);
                    break;
                }
                self.asks -= 1;
                self.bytes -= ask.bytes();
                self.ready_asks -= usize::from(!queue.is_busy);
                drained.push(ask);
            }
        }
        if !drained.is_empty() {
            self.lanes.retain(|_, queue| queue.is_busy || !queue.waiting.is_empty());
            self.ready.retain(|lane| self.lanes.contains_key(lane));
        }
        drained
    }
}

/// Answers all of them alike.
pub(super) fn refuse(asks: Vec<Ask>, why: &Failure) {
    for ask in asks {
        ask.answer.give(Err(why.clone()));
    }
}

#[cfg(test)]
#[path = "lanes/tests.rs"]
mod tests;
