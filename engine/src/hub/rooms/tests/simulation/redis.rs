//! Simulated Redis: streams, positions and results, as the scripts keep them; and a replica that is behind.
//!
//! In:  commands, each at a time.
//! Out: replies; what goes over pub/sub; what has ever been published at an offset.

use std::collections::{HashMap, VecDeque};

use super::*;

/// A publication at an offset.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) text: String,
    /// How many failovers there were before.
    pub(super) generation: u32,
    /// The failover that lost it.
    pub(super) lost_at: Option<u32>,
}

#[derive(Clone, Debug)]
pub(super) enum Command {
    Publish { publication: Arc<Publication>, fresh: String },
    Read { channel: Arc<str>, from: Option<u64>, meta_ttl_ms: u64, fresh: String },
    Repair { channel: Arc<str>, known: Position, fresh: String },
    RemoveHistory { channel: Arc<str> },
}

#[derive(Debug)]
pub(super) struct Publication {
    pub(super) channel: Arc<str>,
    pub(super) text: String,
    pub(super) payload: Bytes,
    /// Its history's size, lifetime and position's lifetime, and whether the one before it goes along.
    pub(super) keep: Option<(usize, u64, u64, bool)>,
    pub(super) key: String,
}

#[derive(Clone, Debug)]
pub(super) enum Reply {
    Published { position: Option<Position>, frame: Option<Bytes> },
    Read { top: Position, entries: Vec<(u64, Bytes)> },
    Done,
}

#[derive(Clone, Debug, Default)]
struct Life {
    epoch: String,
    offset: u64,
    until: Tick,
}

#[derive(Clone, Debug, Default)]
struct Stream {
    entries: VecDeque<(u64, Bytes)>,
    until: Tick,
}

/// What one Redis has.
#[derive(Clone, Debug, Default)]
struct Store {
    lives: HashMap<Arc<str>, Life>,
    streams: HashMap<Arc<str>, Stream>,
    results: HashMap<(Arc<str>, String), Option<Position>>,
}

impl Store {
    fn expire(&mut self, now: Tick) {
        self.lives.retain(|_, life| life.until > now);
        self.streams.retain(|_, stream| stream.until > now);
    }

    fn life(&mut self, channel: &Arc<str>, fresh: &str) -> &mut Life {
        let life = self
            .lives
            .entry(Arc::clone(channel))
            .or_insert_with(|| Life { until: Tick(u32::MAX), ..Life::default() });
        if life.epoch.is_empty() {
            fresh.clone_into(&mut life.epoch);
        }
        life
    }

    fn apply(&mut self, command: &Command, now: Tick) -> Reply {
        self.expire(now);
        match command {
            Command::Publish { publication, fresh } => self.publish(publication, fresh, now),
            Command::Read { channel, from, meta_ttl_ms, fresh } => {
                let life = self.life(channel, fresh);
                life.until = now.after_ms(*meta_ttl_ms);
                let top = Position { offset: life.offset, epoch: life.epoch.as_str().into() };
                let entries = from.map(|from| {
                    let stream = self.streams.get(channel);
                    let all = stream.into_iter().flat_map(|stream| &stream.entries);
                    all.filter(|(offset, _)| *offset >= from).cloned().collect()
                });
                Reply::Read { top, entries: entries.unwrap_or_default() }
            }
            Command::Repair { channel, known, fresh } => {
                let life = self.lives.get_mut(channel).filter(|life| *life.epoch == *known.epoch);
                if let Some(life) = life.filter(|life| life.offset < known.offset) {
                    *life = Life { epoch: fresh.clone(), offset: 0, until: Tick(u32::MAX) };
                    self.streams.remove(channel);
                }
                let life = self.lives.get(channel).cloned().unwrap_or_default();
                let top = Position { offset: life.offset, epoch: life.epoch.as_str().into() };
                Reply::Read { top, entries: Vec::new() }
            }
            Command::RemoveHistory { channel } => {
                self.streams.remove(channel);
                Reply::Done
            }
        }
    }

    fn publish(&mut self, publication: &Publication, fresh: &str, now: Tick) -> Reply {
        let Publication { channel, payload, keep, key, .. } = publication;
        let named = (Arc::clone(channel), key.clone());
        if let Some(position) = self.results.get(&named).filter(|_| !key.is_empty()) {
            return Reply::Published { position: position.clone(), frame: None };
        }
        let (position, frame) = match *keep {
            None => (None, payload.clone()),
            Some((size, ttl_ms, meta_ttl_ms, is_delta)) => {
                let life = self.life(channel, fresh);
                life.offset += 1;
                life.until = now.after_ms(meta_ttl_ms);
                let (offset, epoch) = (life.offset, life.epoch.clone());
                let stream = self.streams.entry(Arc::clone(channel)).or_default();
                if offset == 1 {
                    stream.entries.clear();
                }
                let previous = stream.entries.back().map(|(_, payload)| payload.clone());
                stream.entries.push_back((offset, payload.clone()));
                while stream.entries.len() > size {
                    stream.entries.pop_front();
                }
                stream.until = now.after_ms(ttl_ms);
                let position = FramePosition { offset, epoch: &epoch };
                let mut frame = BytesMut::new();
                if is_delta {
                    Frame::Delta { position, previous: previous.as_deref(), publication: payload }
                } else {
                    Frame::Positioned { position, publication: payload }
                }
                .encode(&mut frame);
                (Some(Position { offset, epoch: epoch.as_str().into() }), frame.freeze())
            }
        };
        if !key.is_empty() {
            self.results.insert(named, position.clone());
        }
        Reply::Published { position, frame: Some(frame) }
    }
}

/// A channel, an epoch and an offset of it.
pub(super) type Place = (Arc<str>, String, u64);

#[derive(Default)]
pub(super) struct SimulatedRedis {
    primary: Store,
    replica: Store,
    /// What the replica does not have yet.
    lag: VecDeque<(Command, Tick, Option<Place>)>,
    pub(super) generation: u32,
    epochs: u32,
    /// All that was ever published at an offset.
    pub(super) records: HashMap<Place, Vec<Record>>,
    /// How often each text was published.
    pub(super) published: HashMap<String, u32>,
}

impl SimulatedRedis {
    pub(super) fn fresh_epoch(&mut self) -> String {
        self.epochs += 1;
        format!("e{}", self.epochs)
    }

    pub(super) fn execute(&mut self, command: Command, now: Tick) -> Reply {
        let reply = self.primary.apply(&command, now);
        let mut place = None;
        if let (Command::Publish { publication, .. }, Reply::Published { position, frame: Some(_) }) =
            (&command, &reply)
        {
            *self.published.entry(publication.text.clone()).or_default() += 1;
            place = position
                .as_ref()
                .map(|at| (Arc::clone(&publication.channel), at.epoch.to_string(), at.offset));
            if let Some(place) = &place {
                let text = publication.text.clone();
                let record = Record { text, generation: self.generation, lost_at: None };
                self.records.entry(place.clone()).or_default().push(record);
            }
        }
        self.lag.push_back((command, now, place));
        reply
    }

    /// The replica gets up to so many commands more.
    pub(super) fn replicate(&mut self, count: usize) {
        for _ in 0..count {
            let Some((command, at, _)) = self.lag.pop_front() else { return };
            self.replica.apply(&command, at);
        }
    }

    /// The replica becomes the primary. What it does not have is lost, also if it was acknowledged.
    pub(super) fn fail_over(&mut self) {
        self.generation += 1;
        for (_, _, place) in self.lag.drain(..) {
            let records = place.and_then(|place| self.records.get_mut(&place));
            if let Some(record) =
                records.and_then(|records| records.iter_mut().rev().find(|record| record.lost_at.is_none()))
            {
                record.lost_at = Some(self.generation);
            }
        }
        self.primary = self.replica.clone();
    }

    /// Everything is lost.
    pub(super) fn restart_empty(&mut self) {
        self.generation += 1;
        self.lag.clear();
        (self.primary, self.replica) = (Store::default(), Store::default());
    }

    pub(super) fn top(&self, channel: &str) -> Option<(u64, &str)> {
        self.primary.lives.get(channel).map(|life| (life.offset, life.epoch.as_str()))
    }

    /// True exactly when the history has what was last published at an offset.
    pub(super) fn keeps(&self, place: &Place) -> bool {
        let (channel, epoch, offset) = place;
        self.top(channel).is_some_and(|(_, now)| now == epoch)
            && self
                .primary
                .streams
                .get(channel)
                .is_some_and(|stream| stream.entries.iter().any(|(at, _)| at == offset))
    }

    /// True exactly when the text that somebody got at a place was lost, and this is to be noticed: another one is there.
    pub(super) fn is_papered_over(&self, place: &Place, text: &str) -> bool {
        let records = self.records.get(place).map(Vec::as_slice).unwrap_or_default();
        let is_lost = records.iter().any(|record| record.text == text && record.lost_at.is_some());
        let stays = records.iter().any(|record| record.text == text && record.lost_at.is_none());
        is_lost && !stays
    }
}
