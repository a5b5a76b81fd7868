//! Node: rooms, the broker between them and the simulated Redis, and the mailboxes between rooms and shards.
//!
//! In:  what shards post; what rooms want; what Redis publishes and replies.
//! Out: commands, whose replies come in any order, late, or never; what rooms post.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{
    link::{Event, Link},
    redis::SimulatedRedis,
    store::{Command, Kept, Publication, Reply, Text},
    watch::Watch,
    *,
};

pub(super) const SHARDS: usize = 2;

/// Who gets a reply.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    Room(RoomKey, Option<u64>),
    Publisher { text: Text, channel: Arc<str> },
    Nobody,
}

/// A command on its way, or its reply.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) asker: Asker,
    pub(super) command: Command,
    pub(super) reply: Option<Reply>,
}

pub(super) struct Node {
    number: usize,
    /// Which application it belongs to.
    pub(super) app: usize,
    pub(super) rooms: Rooms,
    pub(super) ledger: Ledger,
    pub(super) posts: Outgoing,
    pub(super) link: Link,
    pub(super) asked: Vec<Asked>,
    pub(super) to_owner: [VecDeque<ToOwner>; SHARDS],
    pub(super) from_owner: [VecDeque<FromOwner>; SHARDS],
    pub(super) watches: HashMap<Arc<str>, Watch>,
    /// Rooms whose channel was confirmed again since they asked.
    old: HashSet<RoomNumber>,
    /// As Redis is told.
    pub(super) present: HashSet<(Arc<str>, Box<str>)>,
    /// Whose join was announced, and whose leave was not.
    pub(super) joined: HashSet<(Arc<str>, Box<str>)>,
    /// Histories that were removed, on whatever node.
    pub(super) removed: Vec<Arc<str>>,
    /// How often each channel's history was read.
    pub(super) reads: HashMap<Arc<str>, u32>,
}

impl Node {
    pub(super) fn new(number: usize, seed: u64, app: usize, budget_bytes: u64) -> Self {
        Self {
            number,
            app,
            rooms: Rooms::new(PRESENCE_MS, seed),
            ledger: Ledger::new(BudgetLimits::all(budget_bytes), 1),
            posts: Outgoing::new(),
            link: Link { is_up: true, ..Link::default() },
            asked: Vec::new(),
            to_owner: Default::default(),
            from_owner: Default::default(),
            watches: HashMap::new(),
            old: HashSet::new(),
            present: HashSet::new(),
            joined: HashSet::new(),
            removed: Vec::new(),
            reads: HashMap::new(),
        }
    }

    pub(super) fn hear(&mut self, message: FromBroker, now: Tick) {
        self.rooms.handle_broker(message, now, &mut self.ledger, &mut self.posts);
    }

    pub(super) fn handle(&mut self, message: ToOwner, policy: ChannelPolicy, now: Tick) {
        self.rooms.handle(message, policy, now, &mut self.ledger, &mut self.posts);
    }

    pub(super) fn tend(&mut self, now: Tick) {
        self.rooms.tend(now, &mut self.ledger, &mut self.posts);
    }

    /// What the rooms have posted goes into the mailboxes of shards. True exactly when there was something.
    pub(super) fn take_posts(&mut self, redis: &SimulatedRedis) -> bool {
        let posts = std::mem::take(&mut self.posts);
        let is_something = !posts.is_empty();
        for (shard, message) in posts {
            trace(|| format!("{}: says {}", self.number, told(&message)));
            match &message {
                FromOwner::Deliver(delivery) => {
                    if let Some(stored) = &delivery.publication {
                        let room = self.room_number(&delivery.channel);
                        self.watch(&delivery.channel).delivered(room, stored, redis);
                    }
                }
                FromOwner::Subscribed(subscribed) if subscribed.refused.is_none() => {
                    let room = self.room_number(&subscribed.channel);
                    self.watch(&subscribed.channel).admitted(room, subscribed);
                }
                FromOwner::PositionLost { channel, .. } => self.watch(channel).lost(),
                _ => {}
            }
            self.from_owner[shard.index()].push_back(message);
        }
        is_something
    }

    fn room_number(&self, channel: &str) -> u64 {
        self.rooms.rooms.get(channel).map_or(0, |room| room.key.number.0)
    }

    fn watch(&mut self, channel: &Arc<str>) -> &mut Watch {
        self.watches.entry(Arc::clone(channel)).or_default()
    }

    /// A question of a room is answered.
    pub(super) fn answer(&mut self, key: RoomKey, from: Option<u64>, reply: Option<Reply>, now: Tick) {
        let is_old = self.old.remove(&key.number);
        let read = reply.map(|reply| {
            let Reply::Read { top, entries, kept, generation } = reply else {
                unreachable!("a read is not answered with {reply:?}")
            };
            let room = self.room_number(&key.channel);
            self.watch(&key.channel).read(room, &top.epoch, kept, generation, is_old);
            ReadResult { top, from, entries }
        });
        self.hear(FromBroker::Read(key, read), now);
    }

    /// Takes what the rooms want. `is_busy`: the broker takes nothing.
    pub(super) fn take_wants(
        &mut self,
        is_busy: bool,
        redis: &mut SimulatedRedis,
        random: &mut SmallRng,
        now: Tick,
    ) {
        let wants = self.rooms.take_for_broker();
        for want in &wants {
            trace(|| format!("{}: wants {want:?}", self.number));
            if let ToBroker::Announce { channel, info, is_join } = want {
                let member = (Arc::clone(channel), info.client.clone());
                let is_new = if *is_join { self.joined.insert(member) } else { self.joined.remove(&member) };
                assert!(is_new, "{} joins (or leaves: {}) once", info.client, !is_join);
            }
        }
        if is_busy {
            return self.rooms.put_back(wants, &mut self.posts);
        }
        for want in wants {
            self.take_want(want, redis, random, now);
        }
    }

    fn take_want(&mut self, want: ToBroker, redis: &mut SimulatedRedis, random: &mut SmallRng, now: Tick) {
        let (asker, command) = match want {
            ToBroker::Want(channel) => {
                if self.link.want(Arc::clone(&channel), random) {
                    self.hear(FromBroker::Refused(vec![channel]), now);
                }
                return;
            }
            ToBroker::Unwant(channel) => return self.link.unwant(&channel),
            ToBroker::Read(Read { room, from, meta_ttl_ms, .. }) => {
                self.assert_is_only_question(&room);
                let channel = Arc::clone(&room.channel);
                *self.reads.entry(Arc::clone(&channel)).or_default() += 1;
                let fresh = redis.fresh_epoch();
                (Asker::Room(room, from), Command::Read { channel, from, meta_ttl_ms, fresh })
            }
            ToBroker::Repair { room, known, .. } => {
                self.assert_is_only_question(&room);
                let channel = Arc::clone(&room.channel);
                (Asker::Room(room, None), Command::Repair { channel, known, fresh: redis.fresh_epoch() })
            }
            ToBroker::Publish(publish) => {
                let Outbound { channel, payload, keep, idempotency_key, .. } = *publish;
                let payload = payload.freeze();
                let text = text_of(&payload);
                let keep = keep.map(|keep| Kept {
                    size: keep.size,
                    ttl_ms: keep.ttl_ms,
                    meta_ttl_ms: keep.meta_ttl_ms,
                    is_delta: keep.is_delta,
                    version: keep.version.number,
                });
                let asker = Asker::Publisher { text: Arc::clone(&text), channel: Arc::clone(&channel) };
                let key = idempotency_key.into();
                let publication = Arc::new(Publication { channel, text, payload, keep, key });
                (asker, Command::Publish { publication, fresh: redis.fresh_epoch() })
            }
            ToBroker::Present { channel, info } => {
                self.present.insert((channel, info.client.clone()));
                return;
            }
            ToBroker::Absent { channel, info } => {
                let was_there = self.present.remove(&(channel, info.client.clone()));
                assert!(was_there, "{} was present", info.client);
                return;
            }
            ToBroker::StillPresent { channel, members } => {
                for info in members.iter() {
                    let member = (Arc::clone(&channel), info.client.clone());
                    assert!(self.present.contains(&member), "who stays was there");
                }
                return;
            }
            ToBroker::Announce { channel, info, is_join } => {
                let mut client = BytesMut::new();
                holdfast_redis::publication::encode_client_info(&info.client_info(), &mut client);
                let mut frame = BytesMut::new();
                if is_join { Frame::Join { info: &client } } else { Frame::Leave { info: &client } }
                    .encode(&mut frame);
                (Asker::Nobody, Command::Announce { channel, frame: frame.freeze() })
            }
            ToBroker::Ask { .. } => unreachable!("nobody asks"),
            ToBroker::Lease { .. } => unreachable!("rooms know no users"),
        };
        self.asked.push(Asked { asker, command, reply: None });
    }

    fn assert_is_only_question(&self, key: &RoomKey) {
        let is_same = |asked: &Asked| matches!(&asked.asker, Asker::Room(other, _) if other == key);
        assert!(!self.asked.iter().any(is_same), "a room asks one question at a time");
    }

    /// The rooms get the next event, as the broker's reader hands it over.
    pub(super) fn receive(&mut self, now: Tick) {
        let Some(event) = self.link.events.pop_front() else { return };
        trace(|| format!("{}: hears {event:?}", self.number));
        match event {
            Event::Message(channel, _) if !self.link.wanted.contains(&channel) => {}
            Event::Message(channel, _) if self.link.is_full => _ = self.link.lagging.insert(channel),
            Event::Message(channel, frame) => {
                self.tell_lagging(now);
                if let Ok(
                    Frame::Positioned { position, publication } | Frame::Delta { position, publication, .. },
                ) = Frame::decode(&frame)
                {
                    let room = self.room_number(&channel);
                    let entry = (position.offset, text_of(publication));
                    self.watch(&channel).show(room, position.epoch, [entry]);
                }
                self.hear(FromBroker::Messages(vec![Received { channel, frame }]), now);
            }
            Event::Confirmed(channel) if !self.link.wanted.contains(&channel) => {}
            Event::Confirmed(channel) => {
                self.tell_lagging(now);
                self.watch(&channel).confirmed();
                let old = self.asked.iter().filter_map(|asked| match &asked.asker {
                    Asker::Room(key, _) if key.channel == channel => Some(key.number),
                    _ => None,
                });
                self.old.extend(old);
                self.hear(FromBroker::Confirmed(vec![channel]), now);
            }
        }
    }

    pub(super) fn tell_lagging(&mut self, now: Tick) {
        let lagging: Vec<_> = std::mem::take(&mut self.link.lagging).into_iter().collect();
        if !lagging.is_empty() {
            self.hear(FromBroker::Lagging(lagging), now);
        }
    }

    /// True exactly when nothing is on its way.
    pub(super) fn is_at_rest(&self) -> bool {
        let Self { link, asked, removed, to_owner, from_owner, .. } = self;
        let is_posted = to_owner.iter().any(|mail| !mail.is_empty());
        let is_answered = from_owner.iter().any(|mail| !mail.is_empty());
        link.commands.is_empty()
            && link.events.is_empty()
            && asked.is_empty()
            && removed.is_empty()
            && !is_posted
            && !is_answered
    }
}

/// The data of an encoded publication.
fn text_of(payload: &[u8]) -> Text {
    let publication = holdfast_redis::publication::decode_publication(payload).expect("a node encoded it");
    std::str::from_utf8(publication.data.bytes()).expect("it is a text").into()
}
