//! Clients: who subscribes on which node, and what they may be delivered.
//!
//! In:  what shards are posted.
//! Out: a panic for what no client may see: a gap or a repeat that it was not told of, or another publication than Redis
//! has at an offset.

use std::collections::HashMap;

use super::{
    redis::{Place, SimulatedRedis},
    *,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Away,
    Waiting,
    In,
}

/// A client, and where it is or was last.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) channel: Arc<str>,
    pub(super) wants_position: bool,
    pub(super) state: State,
    pub(super) node: usize,
    pub(super) shard: ShardId,
    /// Its subscriptions so far: an answer to an earlier one finds nobody.
    pub(super) generation: u32,
    /// What it would come back with.
    pub(super) position: Option<(u64, String)>,
    pub(super) recovers: Option<(u64, String)>,
    /// The text at its position, if it got one.
    pub(super) last: Option<String>,
    /// How often it got each text, since it was last told that something is missing.
    pub(super) got: HashMap<String, u32>,
}

impl Client {
    pub(super) fn new(channel: &Arc<str>, wants_position: bool) -> Self {
        Self {
            channel: Arc::clone(channel),
            wants_position,
            state: State::Away,
            node: 0,
            shard: ShardId::FIRST,
            generation: 0,
            position: None,
            recovers: None,
            last: None,
            got: HashMap::new(),
        }
    }

    pub(super) fn is_at(&self, node: usize, shard: ShardId, channel: &str) -> bool {
        self.node == node && self.shard == shard && *self.channel == *channel
    }

    fn place(&self, offset: u64) -> Option<Place> {
        let (_, epoch) = self.position.as_ref()?;
        Some((Arc::clone(&self.channel), epoch.clone(), offset))
    }

    /// A subscription is answered.
    pub(super) fn admit(&mut self, subscribed: &Subscribed, redis: &SimulatedRedis) {
        self.state = State::In;
        let Some(top) = &subscribed.position else {
            self.position = None;
            return self.got.clear();
        };
        let top = (top.offset, top.epoch.to_string());
        let Some(missed) = &subscribed.recovered else {
            // It is told that it starts anew.
            self.got.clear();
            (self.position, self.last) = (Some(top), None);
            return;
        };
        let (offset, epoch) = self.recovers.clone().expect("only who asks recovers");
        assert_eq!(epoch, top.1, "recovered in another epoch");
        // The window of the design: a client that comes from another node may know what a failover lost, before any node
        // has noticed. What it recovers is right in the history that is left, so it follows from there.
        self.last = self
            .last
            .take()
            .filter(|text| !redis.is_papered_over(&(Arc::clone(&self.channel), epoch.clone(), offset), text));
        if self.last.is_none() {
            self.got.clear();
        }
        self.position = Some((offset, epoch));
        for stored in missed {
            self.take(stored.offset, data(&stored.data), redis);
        }
        assert_eq!(self.position.as_ref(), Some(&top), "what was recovered ends where the channel stands");
    }

    /// A publication comes.
    pub(super) fn take(&mut self, offset: u64, text: &str, redis: &SimulatedRedis) {
        let times = self.got.entry(text.to_owned()).or_default();
        *times += 1;
        let published = redis.published.get(text).copied().unwrap_or_default();
        assert!(*times <= published, "{text} was published {published} times and delivered {times} times");
        if offset == 0 || !self.wants_position {
            return;
        }
        let before = self.position.as_ref().map(|(before, _)| *before);
        assert_eq!(before.map(|before| before + 1), Some(offset), "offsets have neither gaps nor repeats");
        let place = self.place(offset).expect("it has a position");
        let records = redis.records.get(&place).map(Vec::as_slice).unwrap_or_default();
        let record = records.iter().rev().find(|record| record.text == text);
        let record = record.unwrap_or_else(|| panic!("{text} was never at {place:?}, but {records:?}"));
        if let (Some(last), Some(known)) = (&self.last, self.place(offset - 1)) {
            let lost = redis.records[&known].iter().filter(|record| record.text == *last);
            let lost = lost.map(|record| record.lost_at.unwrap_or(u32::MAX)).max();
            let was_lost_before = lost.is_some_and(|lost_at| lost_at <= record.generation);
            // Where the history has nothing at that offset any more, nobody can know.
            assert!(
                !was_lost_before || !redis.keeps(&known) || !redis.is_papered_over(&known, last),
                "{last} at {known:?} was lost before {text} was published, and this is not told"
            );
        }
        self.last = Some(text.to_owned());
        if let Some((at, _)) = &mut self.position {
            *at = offset;
        }
    }

    /// After rest, it is where Redis is.
    pub(super) fn assert_is_at_the_top(&self, redis: &SimulatedRedis) {
        let Some((offset, epoch)) = &self.position else { return };
        assert_eq!(
            redis.top(&self.channel),
            Some((*offset, epoch.as_str())),
            "it is at the top, or was told"
        );
        if let (Some(last), Some(place)) = (&self.last, self.place(*offset)) {
            assert!(
                !redis.keeps(&place) || !redis.is_papered_over(&place, last),
                "{last} at {place:?} was lost, and this is not told"
            );
        }
    }
}
