//! The rooms alone: one node, with a broker that answers by hand.
//!
//! In:  subscribers, frames, answers of Redis, time.
//! Out: what was posted to shards, and wanted of the broker, one by one.

mod failures;
mod figures;
mod gone_back;
mod healing;
mod memory;
mod presence;
mod simulation;

mod subscribing;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::client::{Payload, Publication};
use holdfast_redis::{
    frame::{Frame, Position as FramePosition},
    publication::encode_publication,
};

use super::*;
use crate::{
    channel::PresenceFlags,
    hub::{
        broker::{Outbound, Read, ReadResult, Received},
        history::{AnswerBytes, Position},
        message::{ClientKey, Outgoing, Publish, Recover, Version},
        publication::{Data, Info},
    },
    ids::{CommandId, ShardId, Ticket},
    memory::BudgetLimits,
    time::TICK_MS,
};

const POLICY: ChannelPolicy = ChannelPolicy {
    stays_local: false,
    history_size: 10,
    history_ttl_ms: 600_000,
    history_meta_ttl_ms: 3_600_000,
    presence: true,
    delta: false,
    delta_publish: false,
};

/// How long Redis keeps presence.
const PRESENCE_MS: u64 = 60_000;

/// The command of a client.
const COMMAND: CommandId = CommandId::new(1).expect("1 is a number of a command");

const CHANNEL: &str = "c";

/// The rooms of one shard, what they posted, and what they want of the broker.
struct Bench {
    rooms: Rooms,
    ledger: Ledger,
    posts: Outgoing,
    now: Tick,
    policy: ChannelPolicy,
}

impl Bench {
    fn new() -> Self {
        Self::with_budget(1 << 30)
    }

    fn with_budget(bytes: u64) -> Self {
        Self {
            rooms: Rooms::new(PRESENCE_MS, 7),
            ledger: Ledger::new(BudgetLimits::all(bytes), 1),
            posts: Outgoing::new(),
            now: Tick(1_000),
            policy: POLICY,
        }
    }

    fn with(mut self, policy: ChannelPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// A room with one subscriber at a position, which nobody looks at any more.
    fn live_at(offset: u64) -> Self {
        let mut bench = Self::new();
        bench.subscribe(1, None);
        bench.confirm();
        bench.wants();
        bench.answer_read("e", offset, &[]);
        bench.posts.clear();
        bench
    }

    fn handle(&mut self, message: ToOwner) {
        self.rooms.handle(message, self.policy, self.now, &mut self.ledger, &mut self.posts);
    }

    fn broker(&mut self, message: FromBroker) {
        self.rooms.handle_broker(message, self.now, &mut self.ledger, &mut self.posts);
    }

    /// Time passes, and what is due is done at its time.
    fn pass_ms(&mut self, ms: u64) {
        for _ in 0..ms / TICK_MS {
            self.now = self.now.after(1);
            self.rooms.tend(self.now, &mut self.ledger, &mut self.posts);
        }
    }

    fn subscribe(&mut self, client: u32, recover: Option<Recover>) {
        self.handle(ToOwner::Subscribe(Box::new(subscribe(client, recover))));
    }

    fn unsubscribe(&mut self, client: u32, was_last: bool) {
        self.handle(ToOwner::Unsubscribe {
            channel: CHANNEL.into(),
            shard: ShardId::FIRST,
            info: Some(info(client)),
            shows: SHOWS,
            was_last,
        });
    }

    fn confirm(&mut self) {
        self.broker(FromBroker::Confirmed(vec![CHANNEL.into()]));
    }

    fn lag(&mut self) {
        self.broker(FromBroker::Lagging(vec![CHANNEL.into()]));
    }

    fn hear(&mut self, frame: Bytes) {
        let message = Received { channel: CHANNEL.into(), frame };
        self.broker(FromBroker::Messages(vec![message]));
    }

    fn hear_at(&mut self, epoch: &str, offset: u64) {
        self.hear(frame(epoch, offset, &text(offset)));
    }

    /// The only room's newest key.
    fn key(&self) -> RoomKey {
        self.rooms.rooms[CHANNEL].key.clone()
    }

    /// Redis answers a read: its top, and what it has, with the text of each offset.
    fn answer_read_from(&mut self, epoch: &str, top: u64, from: Option<u64>, offsets: &[u64]) {
        let entries = offsets.iter().map(|&offset| (offset, payload(&text(offset)))).collect();
        self.answer_with(epoch, top, from, entries);
    }

    fn answer_with(&mut self, epoch: &str, top: u64, from: Option<u64>, entries: Vec<(u64, Bytes)>) {
        let read = ReadResult { top: Position { offset: top, epoch: epoch.into() }, from, entries };
        self.broker(FromBroker::Read(self.key(), Some(read)));
    }

    /// The same, from the first of them.
    fn answer_read(&mut self, epoch: &str, top: u64, offsets: &[u64]) {
        self.answer_read_from(epoch, top, offsets.first().copied(), offsets);
    }

    fn fail_read(&mut self) {
        self.broker(FromBroker::Read(self.key(), None));
    }

    /// What the rooms want of the broker since this was last asked.
    fn wants(&mut self) -> Vec<String> {
        let told = |message: &ToBroker| match message {
            ToBroker::Want(_) => "want".to_owned(),
            ToBroker::Unwant(_) => "unwant".to_owned(),
            ToBroker::Read(Read { from: Some(from), is_urgent, .. }) => {
                format!("read from {from}{}", if *is_urgent { ", urgent" } else { "" })
            }
            ToBroker::Read(Read { from: None, .. }) => "read the position".to_owned(),
            ToBroker::Repair { known, .. } => format!("repair {}", known.epoch),
            ToBroker::Publish(_) => "publish".to_owned(),
            ToBroker::Ask { .. } => "ask".to_owned(),
            ToBroker::Announce { info, is_join: true, .. } => format!("{} joins", info.client),
            ToBroker::Announce { info, is_join: false, .. } => format!("{} leaves", info.client),
            ToBroker::Present { info, .. } => format!("{} is present", info.client),
            ToBroker::Absent { info, .. } => format!("{} is absent", info.client),
            ToBroker::StillPresent { members, .. } => format!("{} are still present", members.len()),
            ToBroker::Lease { .. } => unreachable!("rooms know no users"),
        };
        self.rooms.take_for_broker().iter().map(told).collect()
    }

    /// The same, without presence.
    fn reads(&mut self) -> Vec<String> {
        let mut wants = self.wants();
        wants.retain(|want| want.starts_with("read") || want.starts_with("repair"));
        wants
    }

    /// What was posted since this was last asked.
    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.posts).iter().map(|(_, message)| told(message)).collect()
    }

    fn bytes(&self) -> (u64, u64) {
        (self.ledger.bytes(Budget::History), self.ledger.bytes(Budget::Channels))
    }
}

fn told(message: &FromOwner) -> String {
    match message {
        FromOwner::Deliver(delivery) => match &delivery.publication {
            Some(stored) if stored.offset == 0 => format!("plain {}", data(&stored.data)),
            Some(stored) => format!("{} {}", stored.offset, data(&stored.data)),
            None => "join or leave".to_owned(),
        },
        FromOwner::Subscribed(subscribed) => {
            let client = subscribed.client.place;
            if let Some(code) = subscribed.refused {
                return format!("{client} is refused with {}", code.code);
            }
            let position = subscribed.position.as_ref();
            let position =
                position.map_or_else(String::new, |at| format!(" at {} of {}", at.offset, at.epoch));
            let recovered = match (&subscribed.recovered, subscribed.was_recovering) {
                (Some(missed), _) => {
                    let missed: Vec<u64> = missed.iter().map(|stored| stored.offset).collect();
                    format!(", recovers {missed:?}")
                }
                (None, true) => ", recovers nothing".to_owned(),
                (None, false) => String::new(),
            };
            format!("{client} is in{position}{recovered}")
        }
        FromOwner::Answered { outcome, .. } => match outcome {
            Ok(_) => "answered".to_owned(),
            Err(code) => format!("answered with {}", code.code),
        },
        FromOwner::PositionLost { .. } => "position lost".to_owned(),
        FromOwner::TooLongNow { client, .. } => format!("too long now for {}", client.place),
    }
}

fn data(data: &Data) -> &str {
    std::str::from_utf8(&data.bytes).expect("it is a text")
}

const SHOWS: PresenceFlags = PresenceFlags { presence: true, join_leave: true };

fn info(client: u32) -> Arc<Info> {
    Arc::new(Info { user: "u".into(), client: format!("{client}").into(), ..Info::default() })
}

fn subscribe(client: u32, recover: Option<Recover>) -> Subscribe {
    Subscribe {
        channel: CHANNEL.into(),
        shard: ShardId::FIRST,
        client: ClientKey { place: client, generation: 0 },
        ticket: Ticket::default(),
        command: Some(COMMAND),
        is_read: false,
        recover,
        wants_position: true,
        info: Some(info(client)),
        shows: SHOWS,
        data: None,
    }
}

/// Everything after a position.
fn since(epoch: &str, offset: u64) -> Option<Recover> {
    Some(Recover {
        offset,
        epoch: epoch.into(),
        limit: 100,
        cache: false,
        filter: None,
        rejects_loss: false,
        bytes: AnswerBytes::ANY,
    })
}

fn text(offset: u64) -> String {
    format!("\"p{offset}\"")
}

fn payload(text: &str) -> Bytes {
    let publication = Publication { data: Payload::new(text.as_bytes()), ..Publication::default() };
    let mut payload = BytesMut::new();
    encode_publication(&publication, &mut payload);
    payload.freeze()
}

fn frame(epoch: &str, offset: u64, text: &str) -> Bytes {
    let mut frame = BytesMut::new();
    let position = FramePosition { offset, epoch };
    Frame::Positioned { position, publication: &payload(text) }.encode(&mut frame);
    frame.freeze()
}

fn publish(channel: &str, key: &str, text: &str) -> Publish {
    Publish {
        channel: channel.into(),
        data: Data::checked(Bytes::copy_from_slice(text.as_bytes())),
        info: None,
        tags: Arc::default(),
        skip_history: false,
        delta: false,
        idempotency_key: key.into(),
        version: Version::default(),
        answer_to: Some(AnswerTo::Client {
            shard: ShardId::FIRST,
            client: ClientKey { place: 1, generation: 0 },
            command: COMMAND,
            is_read: false,
        }),
    }
}
