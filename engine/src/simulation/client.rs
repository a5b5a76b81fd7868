//! Centrifuge clients, in JSON: they subscribe, publish, leave, break off and come back to recover.
//!
//! In channels with history they hear every publication, in its order, or are told that they lost their place. In
//! channels without, those of each publisher while they are subscribed.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::BytesMut;
use holdfast_protocol::{
    client::{
        Command, Format, FromServer, Payload, Publication, PushBody, Reply, ReplyResult, Request,
        append_command,
        command::{ConnectRequest, PublishRequest, SubscribeRequest, UnsubscribeRequest},
        decode_replies,
        reply::SubscribeResult,
    },
    websocket::MessageKind,
};
use rand::{Rng, seq::IndexedRandom};

use super::{
    actor::{Actor, Fate, Scene},
    ledger::{Hearing, Ledger},
    wire::{Heard, Wire},
};

const FORMAT: Format = Format::Json;

/// Channels of the namespace that keeps history, and others.
pub(super) const WITH_HISTORY: [&str; 3] = ["hist:a", "hist:b", "hist:c"];
const WITHOUT: [&str; 2] = ["plain", "other"];

/// Publications that a channel with history keeps, and that one recovery gives.
pub(super) const HISTORY_SIZE: u64 = 50;

/// Commands that may wait for their answers.
const OPEN_COMMANDS_MAX: usize = 200;

/// Epoch and offset.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Position {
    epoch: String,
    offset: u64,
}

/// What was asked.
#[derive(Debug)]
enum Asked {
    Connect,
    Subscribe { channel: &'static str, since: Option<Position> },
    Unsubscribe(&'static str),
    Publish { channel: &'static str, message: String },
}

#[derive(Debug, Default)]
struct Subscription {
    /// When it knew that it is subscribed.
    since: u64,
    hearing: Hearing,
}

/// One connection of a client.
#[derive(Default)]
struct Session {
    fate: Fate,
    is_connected: bool,
    asked: BTreeMap<u32, Asked>,
    last_id: u32,
    subscriptions: BTreeMap<&'static str, Subscription>,
}

#[derive(Default)]
pub(super) struct Client {
    wire: Option<Wire>,
    session: Session,
    /// Where it stands in channels with history; outlives connections.
    positions: BTreeMap<&'static str, Position>,
    /// True exactly when it only listens, and nothing happens to it.
    is_witness: bool,
}

impl Client {
    /// A client that hears the histories from their beginning, so that all else can be held against them.
    pub(super) fn witness() -> Self {
        Self { is_witness: true, ..Self::default() }
    }

    /// True exactly when it hears all channels with history.
    pub(super) fn hears_histories(&self) -> bool {
        WITH_HISTORY.iter().all(|channel| self.session.subscriptions.contains_key(channel))
    }

    fn arrive(&mut self, scene: &mut Scene<'_>) {
        let Some(wire) = scene.connect("/connection/websocket") else { return };
        if self.is_witness {
            wire.peer.keep_safe();
        }
        self.wire = Some(wire);
        self.session = Session::default();
        let mut frame = BytesMut::new();
        self.session.append(&mut frame, Request::Connect(ConnectRequest::default()), Asked::Connect);
        if self.is_witness {
            for channel in WITH_HISTORY {
                self.append_subscribe(&mut frame, channel);
            }
        } else if scene.chance(0.5) {
            // What follows a connect in its frame is done after it.
            let channel = any_channel(scene);
            self.append_subscribe(&mut frame, channel);
        }
        self.send(&frame, scene);
    }

    fn send(&mut self, frame: &[u8], scene: &mut Scene<'_>) {
        if let Some(wire) = &mut self.wire {
            wire.send(MessageKind::Text, frame, scene.random);
        }
    }

    fn append_subscribe(&mut self, frame: &mut BytesMut, channel: &'static str) {
        let since = self.positions.get(channel).cloned();
        let is_recoverable = WITH_HISTORY.contains(&channel);
        let request = SubscribeRequest {
            channel: Cow::Borrowed(channel),
            recover: since.is_some(),
            epoch: Cow::Owned(since.as_ref().map(|since| since.epoch.clone()).unwrap_or_default()),
            offset: since.as_ref().map_or(0, |since| since.offset),
            recoverable: is_recoverable,
            ..SubscribeRequest::default()
        };
        self.session.append(frame, Request::Subscribe(request), Asked::Subscribe { channel, since });
    }

    fn do_something(&mut self, scene: &mut Scene<'_>) {
        let Some(wire) = &mut self.wire else { return };
        let is_ready = self.session.is_connected
            && !wire.has_sent_close()
            && self.session.asked.len() < OPEN_COMMANDS_MAX;
        let mut frame = BytesMut::new();
        match scene.random.random_range(0..1000) {
            0..40 if is_ready => {
                let channel = any_channel(scene);
                if !self.session.concerns(channel) {
                    self.append_subscribe(&mut frame, channel);
                }
            }
            40..48 if is_ready => {
                let channel = any_channel(scene);
                // Only where it is subscribed for certain, so that the answer is.
                if self.session.subscriptions.contains_key(channel) && !self.session.awaits(channel) {
                    let request = UnsubscribeRequest { channel: Cow::Borrowed(channel) };
                    self.session.append(
                        &mut frame,
                        Request::Unsubscribe(request),
                        Asked::Unsubscribe(channel),
                    );
                }
            }
            48..250 if is_ready => {
                let publisher = wire.peer.number();
                for _ in 0..scene.random.random_range(1..4) {
                    let channel = any_channel(scene);
                    let number = scene.ledger.publish(channel, publisher);
                    let padding = "y".repeat(scene.random.random_range(0..100));
                    let message = format!("\"{publisher}:{number}:{padding}\"");
                    let data = Payload::new(message.as_bytes());
                    let request = PublishRequest { channel: Cow::Borrowed(channel), data };
                    let asked = Asked::Publish { channel, message: message.clone() };
                    self.session.append(&mut frame, Request::Publish(request), asked);
                }
            }
            250..260 => wire.reads = !wire.reads,
            260..263 => {
                self.session.fate.is_our_doing = true;
                wire.close(scene.random);
            }
            263..268 => {
                self.session.fate.is_our_doing = true;
                wire.peer.reset();
            }
            268..270 => {
                self.session.fate.is_our_doing = true;
                wire.peer.close();
            }
            _ => {}
        }
        if !frame.is_empty() {
            self.send(&frame, scene);
        }
    }

    fn hear_frame(&mut self, frame: &[u8], scene: &mut Scene<'_>) {
        for message in decode_replies(FORMAT, frame) {
            match message.expect("the daemon speaks the protocol") {
                FromServer::Ping => self.send(b"{}", scene),
                FromServer::Reply(reply) => self.hear_reply(reply, scene.ledger),
                FromServer::Push(push) => match push.body {
                    PushBody::Publication(publication) => {
                        self.hear_publication(&push.channel, &publication, scene.ledger);
                    }
                    other => panic!("nothing else was asked for: {other:?}"),
                },
            }
        }
    }

    fn hear_reply(&mut self, reply: Reply<'_>, ledger: &mut Ledger) {
        let asked = self.session.asked.remove(&reply.id).expect("a reply comes once, to what was asked");
        let result = reply.result.unwrap_or_else(|error| panic!("{asked:?} is refused: {error:?}"));
        match (asked, result) {
            (Asked::Connect, ReplyResult::Connect(_)) => self.session.is_connected = true,
            (Asked::Subscribe { channel, since }, ReplyResult::Subscribe(result)) => {
                self.subscribed(channel, since, &result, ledger);
            }
            (Asked::Unsubscribe(channel), ReplyResult::Unsubscribe(_)) => {
                self.session.subscriptions.remove(channel);
            }
            (Asked::Publish { channel, message }, ReplyResult::Publish(_)) => {
                if WITH_HISTORY.contains(&channel) {
                    ledger.acknowledge(channel, &message);
                }
            }
            (asked, result) => panic!("{asked:?} is answered with {result:?}"),
        }
    }

    fn subscribed(
        &mut self,
        channel: &'static str,
        since: Option<Position>,
        result: &SubscribeResult<'_>,
        ledger: &mut Ledger,
    ) {
        let subscription = Subscription { since: ledger.now(), hearing: Hearing::default() };
        let last = self.session.subscriptions.insert(channel, subscription);
        assert!(last.is_none(), "{channel} is subscribed once");
        if !WITH_HISTORY.contains(&channel) {
            return;
        }
        let position = Position { epoch: result.epoch.to_string(), offset: result.offset };
        assert_eq!(result.was_recovering, since.is_some(), "the daemon knows what was asked");
        if result.recovered {
            let since = since.expect("only who asks recovers");
            assert_eq!(position.epoch, since.epoch, "recovery is within one epoch");
            let offsets: Vec<_> = result.publications.iter().map(|publication| publication.offset).collect();
            let missed: Vec<_> = (since.offset + 1..=position.offset).collect();
            assert_eq!(offsets, missed, "{channel} is recovered without a gap");
            for publication in &result.publications {
                ledger.record(channel, &position.epoch, publication.offset, &text(publication));
            }
        } else {
            assert!(result.publications.is_empty(), "what is not recovered is not given in part");
            if let Some(since) = since {
                let is_lost = since.epoch != position.epoch || position.offset - since.offset > HISTORY_SIZE;
                assert!(is_lost || ledger.has_jumped, "{channel} is lost at {since:?}, now {position:?}");
            }
            if self.is_witness && position.offset > 0 {
                ledger.has_lost_witness = true;
            }
        }
        self.positions.insert(channel, position);
    }

    fn hear_publication(&mut self, channel: &str, publication: &Publication<'_>, ledger: &mut Ledger) {
        let all = WITH_HISTORY.iter().chain(&WITHOUT);
        let channel =
            *all.into_iter().find(|&&known| known == channel).expect("channels are those that we know");
        let text = text(publication);
        let subscription =
            self.session.subscriptions.get_mut(channel).expect("only subscribers hear a channel");
        if let Some(position) = self.positions.get_mut(channel) {
            assert_eq!(
                publication.offset,
                position.offset + 1,
                "{channel}: none is missing, none comes twice"
            );
            position.offset += 1;
            ledger.record(channel, &position.epoch, publication.offset, &text);
        } else {
            ledger.heard += 1;
            assert_eq!(publication.offset, 0, "{channel} has no history");
            let mut parts = text.trim_matches('"').split(':').map(str::parse);
            let (Some(Ok(publisher)), Some(Ok(number))) = (parts.next(), parts.next()) else {
                panic!("a publication is what was published, not {text:?}")
            };
            subscription.hearing.hear(publisher, number);
        }
    }

    fn lives(&self) -> bool {
        let is_sound = |wire: &Wire| !wire.peer.is_broken() && !wire.has_sent_close();
        self.wire.as_ref().is_some_and(is_sound) && self.session.fate.is_sound()
    }
}

impl Session {
    fn append(&mut self, frame: &mut BytesMut, request: Request<'_>, asked: Asked) {
        self.last_id += 1;
        append_command(FORMAT, frame, &Command { id: self.last_id, request });
        self.asked.insert(self.last_id, asked);
    }

    /// True exactly when it is subscribed to a channel, or may be soon.
    fn concerns(&self, channel: &str) -> bool {
        self.subscriptions.contains_key(channel) || self.awaits(channel)
    }

    fn awaits(&self, channel: &str) -> bool {
        self.asked.values().any(|asked| match asked {
            Asked::Subscribe { channel: asked, .. } | Asked::Unsubscribe(asked) => *asked == channel,
            Asked::Connect | Asked::Publish { .. } => false,
        })
    }
}

impl Actor for Client {
    fn act(&mut self, scene: &mut Scene<'_>) {
        let Some(wire) = &mut self.wire else {
            if !scene.is_ending {
                self.arrive(scene);
            }
            return;
        };
        let mut heard = Vec::new();
        wire.reads |= scene.is_ending;
        wire.step(scene.random, &mut heard);
        for heard in heard {
            let Some(wire) = &self.wire else { return };
            self.session.fate.hear(&heard, wire, scene.ledger);
            match heard {
                Heard::Message(kind, frame) => {
                    assert_eq!(kind, MessageKind::Text, "JSON is text");
                    self.hear_frame(&frame, scene);
                }
                Heard::Open | Heard::Closed(_) | Heard::Refused(_) | Heard::Ended(_) => {}
            }
        }
        if self.session.fate.is_over {
            if self.is_witness && !scene.ledger.is_stopping {
                scene.ledger.has_lost_witness = true;
            }
            self.wire = None;
        } else if !scene.is_ending && !self.is_witness {
            self.do_something(scene);
        }
    }

    fn check_complete(&self, ledger: &Ledger, hearings: &[(&str, &Hearing)]) {
        if !self.lives() {
            return;
        }
        let number = self.wire.as_ref().map_or(0, |wire| wire.peer.number());
        if !self.session.is_connected {
            assert!(!ledger.are_all_in, "connection {number} is answered");
            return;
        }
        assert!(
            self.session.asked.is_empty(),
            "connection {number}: every command is answered: {:?}",
            self.session.asked
        );
        for (channel, subscription) in &self.session.subscriptions {
            if let Some(position) = self.positions.get(channel) {
                let newest = ledger.newest(channel, &position.epoch);
                assert!(position.offset >= newest, "connection {number}: nothing of {channel} is missing");
            } else {
                let others: Vec<_> =
                    hearings.iter().filter(|(of, _)| of == channel).map(|(_, hearing)| *hearing).collect();
                ledger.check_hearing(channel, &subscription.hearing, subscription.since, &others);
            }
        }
    }

    fn hearings(&self) -> Vec<(&str, &Hearing)> {
        if !self.lives() {
            return Vec::new();
        }
        self.session
            .subscriptions
            .iter()
            .map(|(channel, subscription)| (*channel, &subscription.hearing))
            .collect()
    }
}

fn any_channel(scene: &mut Scene<'_>) -> &'static str {
    let all: Vec<_> = WITH_HISTORY.iter().chain(&WITHOUT).collect();
    all.choose(scene.random).expect("there are channels")
}

fn text(publication: &Publication<'_>) -> String {
    String::from_utf8(publication.data.bytes().to_vec()).expect("JSON is text")
}
