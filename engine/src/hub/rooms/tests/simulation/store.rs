//! Store: what one Redis has, as the scripts keep it.
//!
//! In:  commands, one at a time.
//! Out: replies. Beside them, what no real Redis tells: all that an epoch ever had, also if it was trimmed, removed or has
//!      expired.

use std::collections::{HashMap, VecDeque};

use super::*;

/// The data of a publication.
pub(super) type Text = Arc<str>;

/// What a stream has: offsets, payloads and texts.
pub(super) type Entries = VecDeque<(u64, Bytes, Text)>;

#[derive(Clone, Debug)]
pub(super) enum Command {
    Publish {
        publication: Arc<Publication>,
        fresh: String,
    },
    Read {
        channel: Arc<str>,
        from: Option<u64>,
        meta_ttl_ms: u64,
        fresh: String,
    },
    Repair {
        channel: Arc<str>,
        known: Position,
        fresh: String,
    },
    RemoveHistory {
        channel: Arc<str>,
    },
    Announce {
        channel: Arc<str>,
        frame: Bytes,
    },
    /// Redis drops the position alone, as it may where it has too little memory.
    Evict {
        channel: Arc<str>,
    },
}

impl Command {
    pub(super) fn channel(&self) -> &Arc<str> {
        match self {
            Self::Publish { publication, .. } => &publication.channel,
            Self::Read { channel, .. }
            | Self::Repair { channel, .. }
            | Self::RemoveHistory { channel }
            | Self::Evict { channel }
            | Self::Announce { channel, .. } => channel,
        }
    }
}

#[derive(Debug)]
pub(super) struct Publication {
    pub(super) channel: Arc<str>,
    pub(super) text: Text,
    pub(super) payload: Bytes,
    pub(super) keep: Option<Kept>,
    /// Empty for none.
    pub(super) key: String,
}

/// How a publication is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub(super) size: usize,
    pub(super) ttl_ms: u64,
    pub(super) meta_ttl_ms: u64,
    /// True exactly when the one before it goes along.
    pub(super) is_delta: bool,
    /// 0 for none.
    pub(super) version: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Reply {
    Published {
        position: Option<Position>,
        /// None where it had been published before.
        frame: Option<Bytes>,
    },
    /// Its version is not newer.
    Suppressed,
    Read {
        top: Position,
        entries: Vec<(u64, Bytes)>,
        /// All that the stream had.
        kept: Vec<(u64, Text)>,
        /// How many failovers there were before.
        generation: u32,
    },
    Done,
}

#[derive(Clone, Debug, Default)]
struct Life {
    epoch: String,
    offset: u64,
    version: u64,
    until: Tick,
    /// The text of each offset.
    log: Vec<Text>,
}

impl Life {
    fn text(&self, offset: u64) -> Option<&Text> {
        self.log.get(usize::try_from(offset.checked_sub(1)?).ok()?)
    }
}

#[derive(Clone, Debug, Default)]
struct Stream {
    entries: Entries,
    until: Tick,
}

/// What one Redis has.
#[derive(Clone, Debug, Default)]
pub(super) struct Store {
    lives: HashMap<Arc<str>, Life>,
    streams: HashMap<Arc<str>, Stream>,
    results: HashMap<(Arc<str>, String), Option<Position>>,
}

const FOREVER: Tick = Tick(u32::MAX);

impl Store {
    fn expire(&mut self, now: Tick) {
        self.lives.retain(|_, life| life.until > now);
        self.streams.retain(|_, stream| stream.until > now);
    }

    fn life(&mut self, channel: &Arc<str>, fresh: &str) -> &mut Life {
        let life = self
            .lives
            .entry(Arc::clone(channel))
            .or_insert_with(|| Life { until: FOREVER, ..Life::default() });
        if life.epoch.is_empty() {
            fresh.clone_into(&mut life.epoch);
        }
        life
    }

    pub(super) fn apply(&mut self, command: &Command, now: Tick) -> Reply {
        self.expire(now);
        match command {
            Command::Publish { publication, fresh } => self.publish(publication, fresh, now),
            Command::Read { channel, from, meta_ttl_ms, fresh } => {
                let life = self.life(channel, fresh);
                life.until = now.after_ms(*meta_ttl_ms);
                let top = Position { offset: life.offset, epoch: life.epoch.as_str().into() };
                self.read(channel, top, *from)
            }
            Command::Repair { channel, known, fresh } => {
                let life = self.lives.get_mut(channel).filter(|life| *life.epoch == *known.epoch);
                if let Some(life) = life.filter(|life| life.offset < known.offset) {
                    *life = Life { epoch: fresh.clone(), until: FOREVER, ..Life::default() };
                    self.streams.remove(channel);
                }
                let (offset, epoch) = self.top(channel).unwrap_or_default();
                let top = Position { offset, epoch: epoch.into() };
                Reply::Read { top, entries: Vec::new(), kept: Vec::new(), generation: 0 }
            }
            Command::RemoveHistory { channel } => {
                self.streams.remove(channel);
                Reply::Done
            }
            Command::Evict { channel } => {
                self.lives.remove(channel);
                Reply::Done
            }
            Command::Announce { .. } => Reply::Done,
        }
    }

    fn read(&self, channel: &Arc<str>, top: Position, from: Option<u64>) -> Reply {
        let stream = self.streams.get(channel);
        let all = stream.into_iter().flat_map(|stream| &stream.entries);
        let entries = |from| all.clone().filter(move |(offset, ..)| *offset >= from);
        // Without a start: the newest one.
        let from = from.or_else(|| all.clone().last().map(|(offset, ..)| *offset));
        Reply::Read {
            top,
            entries: entries(from.unwrap_or(u64::MAX))
                .map(|(offset, payload, _)| (*offset, payload.clone()))
                .collect(),
            kept: all.clone().map(|(offset, _, text)| (*offset, Arc::clone(text))).collect(),
            generation: 0,
        }
    }

    fn publish(&mut self, publication: &Publication, fresh: &str, now: Tick) -> Reply {
        let Publication { channel, payload, keep, key, text } = publication;
        let named = (Arc::clone(channel), key.clone());
        if let Some(position) = self.results.get(&named).filter(|_| !key.is_empty()) {
            return Reply::Published { position: position.clone(), frame: None };
        }
        let (position, frame) = match *keep {
            None => (None, payload.clone()),
            Some(Kept { size, ttl_ms, meta_ttl_ms, is_delta, version }) => {
                let life = self.life(channel, fresh);
                if version > 0 && version <= life.version {
                    return Reply::Suppressed;
                }
                life.version = version.max(life.version);
                life.offset += 1;
                life.until = now.after_ms(meta_ttl_ms);
                life.log.push(Arc::clone(text));
                let (offset, epoch) = (life.offset, life.epoch.clone());
                let stream = self.streams.entry(Arc::clone(channel)).or_default();
                if offset == 1 {
                    stream.entries.clear();
                }
                let previous = stream.entries.back().map(|(_, payload, _)| payload.clone());
                stream.entries.push_back((offset, payload.clone(), Arc::clone(text)));
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

    pub(super) fn top(&self, channel: &str) -> Option<(u64, &str)> {
        self.lives.get(channel).map(|life| (life.offset, life.epoch.as_str()))
    }

    /// What has the channel's present epoch at an offset, whether it is kept or not.
    pub(super) fn text(&self, channel: &str, offset: u64) -> Option<&Text> {
        self.lives.get(channel)?.text(offset)
    }

    /// True exactly when the history has a text at an offset.
    pub(super) fn keeps(&self, channel: &str, offset: u64, text: &str) -> bool {
        let stream = self.streams.get(channel);
        let mut entries = stream.into_iter().flat_map(|stream| &stream.entries);
        entries.any(|(at, _, kept)| *at == offset && **kept == *text)
    }

    /// The offsets that the history has.
    pub(super) fn kept(&self, channel: &str, now: Tick) -> Vec<u64> {
        let stream = self.streams.get(channel).filter(|stream| stream.until > now);
        stream.into_iter().flat_map(|stream| &stream.entries).map(|(offset, ..)| *offset).collect()
    }
}
