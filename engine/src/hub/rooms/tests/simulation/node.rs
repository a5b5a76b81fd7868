//! Node: rooms, and the broker between them and the simulated Redis.
//!
//! In:  what rooms want; what Redis publishes.
//! Out: commands, and their replies in any order, late, or never; messages in order, with some of them dropped.

use std::collections::{BTreeSet, HashSet, VecDeque};

use super::{
    redis::{Command, Reply},
    *,
};

/// What comes over the connection of pub/sub, in order.
#[derive(Debug)]
pub(super) enum Event {
    Confirmed(Arc<str>),
    Message(Arc<str>, Bytes),
}

/// The connection of pub/sub.
#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) is_up: bool,
    /// True exactly when it leads to a Redis that is no primary any more: nothing comes.
    pub(super) is_stale: bool,
    pub(super) wanted: BTreeSet<Arc<str>>,
    /// What Redis knows.
    pub(super) subscribed: BTreeSet<Arc<str>>,
    /// Subscribe (true) or unsubscribe, on the way.
    pub(super) commands: VecDeque<(Arc<str>, bool)>,
    pub(super) events: VecDeque<Event>,
    /// While true, messages find no room.
    pub(super) is_full: bool,
    pub(super) lagging: BTreeSet<Arc<str>>,
}

impl Link {
    /// The connection is lost, and of what is on its way all but the first events.
    pub(super) fn lose(&mut self, kept: usize) {
        self.events.truncate(kept);
        self.subscribed.clear();
        self.commands.clear();
        (self.is_up, self.is_stale) = (false, false);
    }

    pub(super) fn come_back(&mut self) {
        if !self.is_up {
            self.is_up = true;
            self.commands = self.wanted.iter().map(|channel| (Arc::clone(channel), true)).collect();
        }
    }

    /// Redis executes the next command.
    pub(super) fn execute(&mut self) {
        if !self.is_up || self.is_stale {
            return;
        }
        let Some((channel, is_subscribe)) = self.commands.pop_front() else { return };
        if is_subscribe {
            self.subscribed.insert(Arc::clone(&channel));
            self.events.push_back(Event::Confirmed(channel));
        } else {
            self.subscribed.remove(&channel);
        }
    }

    pub(super) fn publish(&mut self, channel: &Arc<str>, frame: &Bytes) {
        if self.is_up && !self.is_stale && self.subscribed.contains(channel) {
            self.events.push_back(Event::Message(Arc::clone(channel), frame.clone()));
        }
    }

    fn change(&mut self, channel: Arc<str>, is_wanted: bool) {
        if is_wanted {
            self.wanted.insert(Arc::clone(&channel));
        } else {
            self.wanted.remove(&channel);
        }
        if self.is_up {
            self.commands.push_back((channel, is_wanted));
        }
    }
}

/// Who gets a reply.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    Room(RoomKey, Option<u64>),
    Publisher { text: String, channel: Arc<str> },
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
    pub(super) rooms: Rooms,
    pub(super) ledger: Ledger,
    pub(super) posts: Outgoing,
    pub(super) link: Link,
    pub(super) asked: Vec<Asked>,
    /// As Redis is told.
    pub(super) present: HashSet<(Arc<str>, Box<str>)>,
    /// Histories that other nodes have removed.
    pub(super) removed: Vec<Arc<str>>,
}

impl Node {
    pub(super) fn new(seed: u64, budget_bytes: u64) -> Self {
        Self {
            rooms: Rooms::new(PRESENCE_MS, seed),
            ledger: Ledger::new(BudgetLimits::all(budget_bytes), 1),
            posts: Outgoing::new(),
            link: Link { is_up: true, ..Link::default() },
            asked: Vec::new(),
            present: HashSet::new(),
            removed: Vec::new(),
        }
    }

    pub(super) fn hear(&mut self, message: FromBroker, now: Tick) {
        self.rooms.handle_broker(message, now, &mut self.ledger, &mut self.posts);
    }

    /// Takes what the rooms want. `is_busy`: the broker takes nothing.
    pub(super) fn take_wants(&mut self, is_busy: bool, redis: &mut redis::SimulatedRedis, now: Tick) {
        let wants = self.rooms.take_for_broker();
        if is_busy {
            return self.rooms.put_back(wants, &mut self.posts);
        }
        for want in wants {
            self.take_want(want, redis, now);
        }
    }

    fn take_want(&mut self, want: ToBroker, redis: &mut redis::SimulatedRedis, now: Tick) {
        let (asker, command) = match want {
            ToBroker::Want(channel) => {
                self.link.change(Arc::clone(&channel), true);
                if !self.link.is_up {
                    self.hear(FromBroker::Refused(vec![channel]), now);
                }
                return;
            }
            ToBroker::Unwant(channel) => return self.link.change(channel, false),
            ToBroker::Read(Read { room, from, meta_ttl_ms, .. }) => {
                let channel = Arc::clone(&room.channel);
                let fresh = redis.fresh_epoch();
                (Asker::Room(room, from), Command::Read { channel, from, meta_ttl_ms, fresh })
            }
            ToBroker::Repair { room, known, .. } => {
                let channel = Arc::clone(&room.channel);
                (Asker::Room(room, None), Command::Repair { channel, known, fresh: redis.fresh_epoch() })
            }
            ToBroker::Publish(publish) => {
                let Outbound { channel, payload, keep, idempotency_key, .. } = *publish;
                let payload = payload.freeze();
                let text =
                    holdfast_redis::publication::decode_publication(&payload).expect("it was just encoded");
                let text = String::from_utf8_lossy(text.data.bytes()).into_owned();
                let keep = keep.map(|keep| (keep.size, keep.ttl_ms, keep.meta_ttl_ms, keep.is_delta));
                let key = idempotency_key.into();
                let asker = Asker::Publisher { text: text.clone(), channel: Arc::clone(&channel) };
                let publication = Arc::new(redis::Publication { channel, text, payload, keep, key });
                (asker, Command::Publish { publication, fresh: redis.fresh_epoch() })
            }
            ToBroker::Present { channel, info } => {
                self.present.insert((channel, info.client.clone()));
                return;
            }
            ToBroker::Absent { channel, info } => {
                self.present.remove(&(channel, info.client.clone()));
                return;
            }
            ToBroker::StillPresent { channel, members } => {
                for info in members.iter() {
                    assert!(
                        self.present.contains(&(Arc::clone(&channel), info.client.clone())),
                        "who stays was there"
                    );
                }
                return;
            }
            ToBroker::Ask { .. } | ToBroker::Announce { .. } => return,
            ToBroker::Lease { .. } => unreachable!("rooms know no users"),
        };
        self.asked.push(Asked { asker, command, reply: None });
    }

    /// The rooms get the next event, as the broker's reader hands it over.
    pub(super) fn receive(&mut self, now: Tick) {
        let Some(event) = self.link.events.pop_front() else { return };
        match event {
            Event::Message(channel, _) if !self.link.wanted.contains(&channel) => {}
            Event::Message(channel, _) if self.link.is_full => _ = self.link.lagging.insert(channel),
            Event::Message(channel, frame) => {
                self.tell_lagging(now);
                self.hear(FromBroker::Messages(vec![Received { channel, frame }]), now);
            }
            Event::Confirmed(channel) if !self.link.wanted.contains(&channel) => {}
            Event::Confirmed(channel) => {
                self.tell_lagging(now);
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
}
