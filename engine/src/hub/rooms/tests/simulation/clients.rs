//! Clients: who subscribes where and how, and what they may be delivered.
//!
//! In:  answers and deliveries, as shards hand them over.
//! Out: a panic for what no client may see: a gap or a repeat that it was not told of, a publication that never had its
//! offset, a recovery that is not complete, or a patch that makes another text.

use std::collections::HashMap;

use holdfast_protocol::client::{Format, FromServer, PushBody, decode_replies, delta};

use super::{redis::SimulatedRedis, store::Text, *};

/// Longer than any text becomes by patches.
const TEXT_BYTES_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Away,
    Waiting,
    In,
}

/// How a client subscribes.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    pub(super) channel: Arc<str>,
    pub(super) app: usize,
    pub(super) wants_position: bool,
    /// True exactly when it recovers the newest publication alone.
    pub(super) cache: bool,
    pub(super) rejects_loss: bool,
    pub(super) takes_patches: bool,
    /// Limit of an answer beside others.
    pub(super) now_max: usize,
    pub(super) shows: PresenceFlags,
}

/// What a client has that takes patches: the last text in each format, and its publication's number.
#[derive(Clone, Debug, Default)]
struct Base {
    had: Option<u64>,
    json: Vec<u8>,
    protobuf: Vec<u8>,
}

/// A client, and where it is or was last.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) ways: Ways,
    pub(super) state: State,
    pub(super) node: usize,
    pub(super) shard: ShardId,
    /// Its subscriptions so far: an answer to an earlier one finds nobody.
    pub(super) generation: u32,
    /// Its connections so far: each has an id of its own.
    connections: u32,
    /// What it would come back with.
    pub(super) position: Option<(u64, String)>,
    pub(super) recovers: Option<(u64, String)>,
    /// True exactly when it recovered all when it last subscribed.
    pub(super) has_recovered: bool,
    base: Base,
    /// How often it got each publication with an offset, since it was last told that something is missing.
    got: HashMap<Text, u32>,
    /// How often it got each without one, since it subscribed.
    got_plain: HashMap<Text, u32>,
    /// Its subscribe, which came back because its answer is too long now.
    pub(super) deferred: Option<Box<ToOwner>>,
}

impl Client {
    pub(super) fn new(ways: Ways) -> Self {
        Self {
            ways,
            state: State::Away,
            node: 0,
            shard: ShardId::FIRST,
            generation: 0,
            connections: 0,
            position: None,
            recovers: None,
            has_recovered: false,
            base: Base::default(),
            got: HashMap::new(),
            got_plain: HashMap::new(),
            deferred: None,
        }
    }

    pub(super) fn is_at(&self, node: usize, shard: ShardId, channel: &str) -> bool {
        self.node == node && self.shard == shard && *self.ways.channel == *channel
    }

    /// As others see it.
    pub(super) fn info(&self, at: u32) -> Arc<Info> {
        Arc::new(Info { client: format!("{at}-{}", self.connections).into(), ..Info::default() })
    }

    /// It comes to a node, over a new connection unless it is there already.
    pub(super) fn subscribe(&mut self, at: u32, node: usize, shard: ShardId, recovers: bool) -> Subscribe {
        if (self.node, self.shard) != (node, shard) {
            self.connections += 1;
        }
        (self.node, self.shard, self.state) = (node, shard, State::Waiting);
        self.generation += 1;
        let Ways { channel, wants_position, cache, rejects_loss, now_max, shows, .. } = self.ways.clone();
        let recovers = recovers && wants_position;
        self.recovers = self.position.clone().filter(|_| recovers);
        if cache && recovers && self.recovers.is_none() {
            self.recovers = Some((0, String::new()));
        }
        let recover = self.recovers.as_ref().and_then(|(offset, epoch)| since(epoch, *offset));
        let bytes = AnswerBytes { now_max, max: usize::MAX };
        Subscribe {
            channel,
            shard,
            client: ClientKey { place: at, generation: self.generation },
            wants_position,
            recover: recover.map(|recover| Recover { cache, rejects_loss, bytes, ..recover }),
            info: shows.is_seen().then(|| self.info(at)),
            shows,
            ..subscribe(at, None)
        }
    }

    /// Its node has died.
    pub(super) fn disconnect(&mut self) {
        (self.state, self.deferred) = (State::Away, None);
        self.connections += 1;
    }

    /// A subscription is answered.
    pub(super) fn admit(&mut self, subscribed: &Subscribed, redis: &SimulatedRedis) {
        self.state = State::In;
        self.has_recovered = subscribed.recovered.is_some();
        self.got_plain.clear();
        self.base = Base::default();
        let Some(top) = &subscribed.position else {
            self.position = None;
            return self.got.clear();
        };
        let top = (top.offset, top.epoch.to_string());
        let Some(missed) = &subscribed.recovered else {
            // It is told that it starts anew.
            self.got.clear();
            self.position = Some(top);
            return;
        };
        let (offset, epoch) = self.recovers.clone().expect("only who asks recovers");
        if self.ways.cache {
            assert!(missed.len() <= 1, "the newest one alone");
            let newest = missed.first().map_or(top.0, |newest| newest.offset);
            assert_eq!(newest, top.0, "it is the newest one");
            if missed.is_empty() {
                assert_eq!((offset, &epoch), (top.0, &top.1), "nothing is newer than what it has");
            } else {
                self.got.clear();
                self.position = Some((top.0 - 1, top.1.clone()));
            }
        } else {
            assert_eq!(epoch, top.1, "recovered in another epoch");
            self.position = Some((offset, epoch));
        }
        for stored in missed {
            self.take(stored, redis);
            self.base.had = Some(stored.sequence);
            self.base.json = data(&stored.data).as_bytes().to_vec();
            self.base.protobuf = self.base.json.clone();
        }
        assert_eq!(self.position.as_ref(), Some(&top), "what was recovered ends where the channel stands");
    }

    /// A publication or a join comes, as part of a turn.
    pub(super) fn hear(&mut self, delivery: &Delivery, redis: &SimulatedRedis) {
        let Some(stored) = &delivery.publication else { return };
        self.take(stored, redis);
        if self.ways.takes_patches
            && let Some(for_delta) = &delivery.for_delta
        {
            let patch = for_delta.patch.as_ref().filter(|patch| self.base.had == Some(patch.base));
            let frames = patch.map_or(&for_delta.whole, |patch| &patch.frames);
            let text = data(&stored.data);
            for (format, base) in
                [(Format::Json, &mut self.base.json), (Format::Protobuf, &mut self.base.protobuf)]
            {
                let message = frames.payload(format);
                let Some(Ok(FromServer::Push(push))) = decode_replies(format, &message).next() else {
                    panic!("it is a push")
                };
                let PushBody::Publication(publication) = push.body else { panic!("it is a publication") };
                let bytes = match format {
                    Format::Json => {
                        publication.data.unquoted().expect("it is a text").into_owned().into_bytes()
                    }
                    Format::Protobuf => publication.data.bytes().to_vec(),
                };
                *base = match publication.delta {
                    true => delta::apply(base, &bytes, TEXT_BYTES_MAX).expect("it is a patch to what it has"),
                    false => bytes,
                };
                assert_eq!(std::str::from_utf8(base), Ok(text), "the patch makes its text");
            }
            self.base.had = Some(stored.sequence);
        }
    }

    fn take(&mut self, stored: &StoredPublication, redis: &SimulatedRedis) {
        let (offset, text) = (stored.offset, data(&stored.data));
        let got = if offset == 0 { &mut self.got_plain } else { &mut self.got };
        let times = got.entry(text.into()).or_default();
        *times += 1;
        let published = redis.published.get(text).copied().unwrap_or_default();
        assert!(*times <= published, "{text} was published {published} times and delivered {times} times");
        if offset == 0 || !self.ways.wants_position {
            return;
        }
        let (before, epoch) = self.position.as_mut().expect("it has a position");
        assert_eq!(*before + 1, offset, "offsets have neither gaps nor repeats");
        let records = redis.records_of(text, offset);
        let is_there =
            records.iter().any(|record| record.epoch == *epoch && record.channel == self.ways.channel);
        assert!(is_there, "{text} was never at {offset} of {epoch}, but {records:?}");
        *before = offset;
    }

    /// After rest, it is where Redis is.
    pub(super) fn assert_is_at_the_top(&self, redis: &SimulatedRedis) {
        let Some((offset, epoch)) = &self.position else { return };
        let top = redis.primary.top(&self.ways.channel);
        assert_eq!(top, Some((*offset, epoch.as_str())), "it is at the top, or was told");
    }
}
