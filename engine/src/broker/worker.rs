//! Worker: does what rooms want.
//!
//! In:  messages of the shards, in order.
//! Out: commands to Redis and to the links; answers, by the outlets.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use holdfast_redis::{
    command::{
        self, Answer as CommandAnswer, Commands, Direction, Failure, History, HistoryRead, Published, Range,
        Repair, Shards, Top,
    },
    frame::Frame,
    publication::{append_time, encode_client_info},
    receive::link::{Command, LinkHandle, NotTaken},
};
use tokio::sync::Semaphore;

use super::{
    ask::{self, Given},
    counts::now_ms,
    inbound::{Heard, Names},
    leases::Leases,
    outlets::Outlets,
    presence::{Change, Lanes, What},
    queue::Queue,
};
use crate::{
    hub::{
        broker::{FromBroker, Keep, Outbound, Read, ReadResult, RoomKey, ToBroker},
        history::Position,
        message::{Answer, AnswerTo, ChannelQuery, FromOwner, ToOwner},
        publication::Info,
    },
    mesh::Message,
};

/// Reads for which no client waits, at a time: after a long outage every room has one.
const HEALING_READS_MAX: usize = 256;

/// Redis counts as away after so long without a connection: a subscription does not wait any longer.
const AWAY_AFTER: Duration = Duration::from_secs(1);

/// How long to wait before a link that took too many commands is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// What is listened to in one deployment.
pub(super) struct Listening {
    link: LinkHandle,
    names: Names,
    /// Commands that the link has not taken yet, in order.
    waiting: Vec<Command>,
    want: Vec<Arc<str>>,
    unwant: Vec<Arc<str>>,
}

impl Listening {
    pub(super) fn new(link: LinkHandle, names: Names) -> Self {
        Self { link, names, waiting: Vec::new(), want: Vec::new(), unwant: Vec::new() }
    }

    fn want(&mut self, name: Arc<str>) {
        self.end(|this| &mut this.unwant, Command::Unwant);
        self.want.push(name);
    }

    fn unwant(&mut self, name: Arc<str>) {
        self.end(|this| &mut this.want, Command::Want);
        self.unwant.push(name);
    }

    /// Closes a run of names.
    fn end(&mut self, run: fn(&mut Self) -> &mut Vec<Arc<str>>, command: fn(Vec<Arc<str>>) -> Command) {
        let names = std::mem::take(run(self));
        if !names.is_empty() {
            self.waiting.push(command(names));
        }
    }

    /// Hands over what was gathered, as far as the link takes it.
    fn flush(&mut self) {
        self.end(|this| &mut this.want, Command::Want);
        self.end(|this| &mut this.unwant, Command::Unwant);
        let mut waiting = std::mem::take(&mut self.waiting).into_iter();
        while let Some(command) = waiting.next() {
            if let Err(NotTaken::Full(command)) = self.link.try_send(command) {
                self.waiting.push(command);
                self.waiting.extend(waiting);
                return;
            }
        }
    }
}

/// The worker.
pub(super) struct Worker<M> {
    pub(super) redis: Arc<Shards>,
    /// One for each deployment.
    pub(super) listening: Vec<Listening>,
    pub(super) outlets: Arc<Outlets<M>>,
    pub(super) presence: Lanes,
    leases: Leases,
    healing: Arc<Semaphore>,
}

impl<M: Message + From<FromBroker> + From<FromOwner> + Send + 'static> Worker<M> {
    pub(super) fn new(
        redis: Arc<Shards>,
        listening: Vec<Listening>,
        outlets: Arc<Outlets<M>>,
        presence: Lanes,
        leases: Leases,
    ) -> Self {
        let healing = Arc::new(Semaphore::new(HEALING_READS_MAX));
        Self { redis, listening, outlets, presence, leases, healing }
    }

    /// Works until all shards have ended.
    pub(super) async fn run(mut self, mut queue: Queue) {
        self.listening.iter_mut().for_each(Listening::flush);
        loop {
            let is_behind = self.listening.iter().any(|listening| !listening.waiting.is_empty());
            let messages = tokio::select! {
                messages = queue.receive() => messages,
                () = tokio::time::sleep(RETRY_AFTER), if is_behind => Some(Vec::new()),
            };
            let Some(messages) = messages else { return };
            messages.into_iter().for_each(|message| self.handle(message));
            while let Some(messages) = queue.try_receive() {
                messages.into_iter().for_each(|message| self.handle(message));
            }
            self.listening.iter_mut().for_each(Listening::flush);
        }
    }

    fn handle(&mut self, message: ToBroker) {
        match message {
            ToBroker::Want(channel) => self.want(channel),
            ToBroker::Unwant(channel) => {
                let (at, name) = self.place_of(&channel);
                self.listening[at].names.remove(&name);
                self.listening[at].unwant(name);
            }
            ToBroker::Read(read) => self.read(read),
            ToBroker::Repair { room, known, meta_ttl_ms } => self.repair(room, known, meta_ttl_ms),
            ToBroker::Publish(publish) => self.publish(*publish),
            ToBroker::Ask { channel, question, meta_ttl_ms, answer_to } => {
                self.ask(channel, question, meta_ttl_ms, answer_to);
            }
            ToBroker::Announce { channel, info, is_join } => self.announce(channel, &info, is_join),
            ToBroker::Present { channel, info } => {
                self.presence.send(Change { channel, what: What::Came(info) });
            }
            ToBroker::Absent { channel, info } => {
                self.presence.send(Change { channel, what: What::Went(info) });
            }
            ToBroker::Lease { user, call } => self.leases.send(user, call),
            ToBroker::StillPresent { channel, members } => {
                self.presence.send(Change { channel, what: What::Stay(members) });
            }
        }
    }

    /// The Redis of a channel, and the channel's name there.
    fn place_of(&self, channel: &str) -> (usize, Arc<str>) {
        let at = self.redis.place_of(channel);
        (at, self.redis.all()[at].layout().channel(channel).into())
    }

    fn want(&mut self, channel: Arc<str>) {
        let shard = self.outlets.owner(&channel);
        let (at, name) = self.place_of(&channel);
        let is_possible = self.redis.all()[at].layout().check(&channel).is_ok();
        let listening = &mut self.listening[at];
        let is_away = listening.link.away(&name).is_some_and(|away| away >= AWAY_AFTER);
        if is_possible {
            listening.names.insert(Arc::clone(&name), Heard::Channel(Arc::clone(&channel), shard));
            listening.want(name);
        }
        // Whoever waits for it is told at once. It is asked for all the same, for those who come later.
        if !is_possible || is_away {
            self.outlets.send(shard, FromBroker::Refused(vec![channel]));
        }
    }

    fn read(&self, read: Read) {
        let Read { room, from, meta_ttl_ms, is_urgent } = read;
        let (redis, outlets, healing) =
            (Arc::clone(&self.redis), Arc::clone(&self.outlets), Arc::clone(&self.healing));
        tokio::spawn(async move {
            let _turn = if is_urgent { None } else { healing.acquire().await.ok() };
            let range = match from {
                Some(from) => {
                    let from = (from > 1).then_some(from);
                    Range { from, limit: None, direction: Direction::Forward }
                }
                None => Range { from: None, limit: Some(1), direction: Direction::Backward },
            };
            let meta_ttl = Duration::from_millis(meta_ttl_ms);
            let read = HistoryRead { channel: room.channel.to_string(), range: Some(range), meta_ttl };
            let read = logged(redis.of(&room.channel).history(read).await, &room);
            let read = read.map(|History { top, entries }| ReadResult {
                top: position(top),
                from,
                entries: entries.into_iter().map(|entry| (entry.offset, entry.payload)).collect(),
            });
            outlets.send(outlets.owner(&room.channel), FromBroker::Read(room, read));
        });
    }

    fn repair(&self, room: RoomKey, known: Position, meta_ttl_ms: u64) {
        let (redis, outlets) = (Arc::clone(&self.redis), Arc::clone(&self.outlets));
        tokio::spawn(async move {
            let known = Top { offset: known.offset, epoch: known.epoch.to_string() };
            let commands = redis.of(&room.channel);
            let repaired = commands.repair(&room.channel, &known, Duration::from_millis(meta_ttl_ms)).await;
            let read = logged(repaired, &room).map(|Repair { top, .. }| ReadResult {
                top: position(top),
                from: None,
                entries: Vec::new(),
            });
            outlets.send(outlets.owner(&room.channel), FromBroker::Read(room, read));
        });
    }

    fn publish(&self, publish: Outbound) {
        let Outbound { channel, mut payload, keep, idempotency_key, answer_to, local } = publish;
        append_time(now_ms(), &mut payload);
        let is_kept = keep.is_some();
        let publication = command::Publication {
            channel: channel.to_string(),
            payload: payload.freeze(),
            keep: keep.map(kept),
            idempotency_key: (!idempotency_key.is_empty()).then(|| idempotency_key.into()),
            is_sent: true,
        };
        let outlets = Arc::clone(&self.outlets);
        let answer = CommandAnswer::new(move |published: Result<Published, Failure>| {
            let outcome = match published {
                Ok(Published { offset, epoch, .. }) => {
                    let position = is_kept.then(|| Position { offset, epoch: epoch.into() });
                    Ok(Answer::Published(position))
                }
                Err(failure) => {
                    if let Some(mut local) = local.filter(|_| !failure.is_unknown()) {
                        local.answer_to = answer_to;
                        outlets.send(outlets.owner(&channel), FromBroker::Undelivered(local));
                        return;
                    }
                    Err(ask::code_of(&failure))
                }
            };
            if let Some(to) = answer_to {
                outlets.answer(to, outcome);
            }
        });
        self.redis.of(&publication.channel).publish(publication, answer);
    }

    fn ask(&self, channel: Arc<str>, question: ChannelQuery, meta_ttl_ms: u64, answer_to: AnswerTo) {
        let (redis, outlets) = (Arc::clone(&self.redis), Arc::clone(&self.outlets));
        tokio::spawn(async move {
            let meta_ttl = Duration::from_millis(meta_ttl_ms);
            match (ask::ask(redis.of(&channel), &channel, &question, meta_ttl).await, answer_to) {
                (Given::Now(outcome), to) => outlets.answer(to, outcome),
                (Given::TooLongNow, AnswerTo::Client { shard, client, command, is_read }) => {
                    let answer_to = AnswerTo::Client { shard, client, command, is_read };
                    let question = Box::new(ToOwner::Ask { channel, question, answer_to });
                    outlets.answer_client(shard, FromOwner::TooLongNow { client, question });
                }
                // The server API allows answers of any length.
                (Given::TooLongNow, to @ AnswerTo::Api(_)) => {
                    outlets.answer(to, Err(holdfast_protocol::client::ErrorCode::INTERNAL));
                }
            }
        });
    }

    fn announce(&self, channel: Arc<str>, info: &Info, is_join: bool) {
        let redis = Arc::clone(&self.redis);
        let mut client = BytesMut::new();
        encode_client_info(&info.client_info(), &mut client);
        let mut frame = BytesMut::new();
        if is_join { Frame::Join { info: &client } } else { Frame::Leave { info: &client } }
            .encode(&mut frame);
        tokio::spawn(async move {
            let commands: &Commands = redis.of(&channel);
            let name = commands.layout().channel(&channel);
            if let Err(failure) = commands.send_sharded(name, frame.freeze()).await {
                tracing::debug!(channel = &*channel, "a join or leave was not told: {failure}");
            }
        });
    }
}

fn kept(keep: Keep) -> command::Keep {
    let Keep { size, ttl_ms, meta_ttl_ms, is_delta, version } = keep;
    command::Keep {
        size: u32::try_from(size).unwrap_or(u32::MAX),
        ttl: Duration::from_millis(ttl_ms),
        meta_ttl: Duration::from_millis(meta_ttl_ms),
        is_delta,
        version: (version.number > 0)
            .then(|| command::Version { number: version.number, epoch: version.epoch.into() }),
    }
}

fn position(top: Top) -> Position {
    Position { offset: top.offset, epoch: top.epoch.into() }
}

fn logged<T>(read: Result<T, Failure>, room: &RoomKey) -> Option<T> {
    read.inspect_err(|failure| {
        tracing::debug!(channel = &*room.channel, "the history was not read: {failure}");
    })
    .ok()
}
