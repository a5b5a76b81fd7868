//! The wanted set against a server that refuses, forgets and is killed, in any order.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use proptest::prelude::*;
use redis_protocol::resp2::{
    decode::decode,
    types::{OwnedFrame, Resp2Frame as _},
};

use super::*;
use crate::receive::{cause::Cause, reader::Reply};

/// What a server does with commands, and what it has said that has not arrived.
#[derive(Default)]
struct Server {
    subscribed: BTreeSet<String>,
    replies: VecDeque<Reply>,
    /// The longest command, in channels.
    batch: usize,
}

impl Server {
    fn execute(&mut self, mut bytes: &[u8]) {
        while let Some((OwnedFrame::Array(words), used)) = decode(bytes).unwrap() {
            bytes = &bytes[used..];
            let mut words: Vec<String> = words.iter().map(|word| word.to_string().unwrap()).collect();
            let channels = words.split_off(1);
            self.batch = self.batch.max(channels.len());
            match words[0].as_str() {
                "PING" => self.replies.push_back(Reply::Pong),
                "SUBSCRIBE" | "SSUBSCRIBE" => self.subscribe(&channels),
                "UNSUBSCRIBE" | "SUNSUBSCRIBE" => {
                    channels.iter().for_each(|channel| self.unsubscribe(channel));
                }
                other => panic!("{other}"),
            }
        }
        assert!(bytes.is_empty());
    }

    fn subscribe(&mut self, channels: &[String]) {
        if channels.iter().any(|channel| is_forbidden(channel)) {
            let error = "NOPERM this user has no permissions to access one of the channels used as arguments";
            self.replies.push_back(Reply::Error(Bytes::from_static(error.as_bytes())));
            return;
        }
        for channel in channels {
            self.subscribed.insert(channel.clone());
            let count = i64::try_from(self.subscribed.len()).unwrap();
            self.replies.push_back(Reply::Subscribed { channel: Bytes::from(channel.clone()), count });
        }
    }

    fn unsubscribe(&mut self, channel: &str) {
        self.subscribed.remove(channel);
        self.replies.push_back(Reply::Unsubscribed { channel: Some(Bytes::from(channel.to_owned())) });
    }
}

fn is_forbidden(channel: &str) -> bool {
    channel.ends_with('7')
}

fn name(channel: usize) -> Arc<str> {
    format!("c{channel}").into()
}

/// What the owner knows by what he was told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    Confirmed,
    Refused,
    Lost,
}

struct World {
    wanted: Wanted,
    server: Server,
    now: Instant,
    wants: BTreeSet<Arc<str>>,
    known: HashMap<Arc<str>, Known>,
}

impl World {
    fn new(kind: Kind) -> Self {
        let options = WantedOptions { kind, batch_max: 5, asked_max: 12, ..WantedOptions::default() };
        let now = Instant::now();
        let mut wanted = Wanted::new(options, 1);
        wanted.connect(now);
        let (wants, known) = (BTreeSet::new(), HashMap::new());
        Self { wanted, server: Server::default(), now, wants, known }
    }

    fn learn(&mut self, notes: Vec<Note>) {
        for note in notes {
            match note {
                Note::Confirmed(channel) => self.known.insert(channel, Known::Confirmed),
                Note::Refused(channel, why) => {
                    assert!(matches!(why, Refusal::NotPermitted(_)));
                    assert!(is_forbidden(&channel), "{channel} has bad neighbors, that is all");
                    self.known.insert(channel, Known::Refused)
                }
                Note::Lost(channel) => self.known.insert(channel, Known::Lost),
            };
        }
    }

    fn want(&mut self, channel: usize) {
        let mut notes = Vec::new();
        self.wanted.want(name(channel), &mut notes);
        self.wants.insert(name(channel));
        self.learn(notes);
    }

    fn unwant(&mut self, channel: usize) {
        self.wanted.unwant(&name(channel), self.now);
        self.wants.remove(&name(channel));
        self.known.remove(&name(channel));
    }

    fn write(&mut self) {
        let mut out = BytesMut::new();
        self.wanted.write(self.now, &mut out, 1 << 20);
        self.server.execute(&out);
    }

    fn ask(&mut self, ask: fn(&mut Wanted, Instant, &mut BytesMut)) {
        let mut out = BytesMut::new();
        ask(&mut self.wanted, self.now, &mut out);
        self.server.execute(&out);
    }

    fn deliver(&mut self, count: usize) {
        for _ in 0..count {
            let Some(reply) = self.server.replies.pop_front() else { return };
            let mut notes = Vec::new();
            self.wanted.reply(&reply, self.now, &mut notes).unwrap();
            self.learn(notes);
        }
    }

    fn kill(&mut self) {
        self.server = Server { batch: self.server.batch, ..Server::default() };
        self.known.clear();
        self.wanted.disconnect();
        self.wanted.connect(self.now);
    }

    /// What the owner believes is true, but for what is on its way to him.
    fn check(&self) {
        for (channel, known) in &self.known {
            let on_its_way = |reply: &Reply| matches!(reply, Reply::Unsubscribed { channel: Some(gone) } if gone == channel.as_bytes());
            if *known == Known::Confirmed && self.wants.contains(channel) {
                assert!(
                    self.server.subscribed.contains(&**channel) || self.server.replies.iter().any(on_its_way),
                    "{channel} is believed in"
                );
            }
        }
        let places = 2 * self.wanted.channels.len() + STALE_TIMERS_MAX;
        assert!(self.wanted.timers.len() <= places);
        let counts =
            self.wanted.asked.iter().filter(|asked| matches!(asked.command, Command::Count(_))).count();
        assert!(self.wanted.asked_channels - counts < 12 + 5);
    }

    /// Lets everything that is due happen.
    fn settle(&mut self) {
        for _ in 0..500 {
            self.now += Duration::from_millis(100);
            self.wanted.expire(self.now);
            self.write();
            self.deliver(usize::MAX);
        }
        for channel in &self.wants {
            let expected = if is_forbidden(channel) { Known::Refused } else { Known::Confirmed };
            assert_eq!(self.known.get(channel), Some(&expected), "{channel}");
        }
        let expected: BTreeSet<String> =
            self.wants.iter().filter(|channel| !is_forbidden(channel)).map(ToString::to_string).collect();
        assert_eq!(self.server.subscribed, expected);
        assert_eq!(self.wanted.confirmed(), expected.len());
        assert_eq!(self.wanted.len(), self.wants.len());
        assert!(self.wanted.is_settled());
        assert!(self.server.batch <= 5);
        self.ask(Wanted::count);
        self.deliver(1);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Want(usize),
    Unwant(usize),
    Write,
    Deliver(usize),
    Pass(u64),
    Unasked(usize),
    Count,
    Ping,
    Kill,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..40_usize).prop_map(Step::Want),
        4 => (0..40_usize).prop_map(Step::Unwant),
        6 => Just(Step::Write),
        6 => (1..30_usize).prop_map(Step::Deliver),
        4 => (1..3000_u64).prop_map(Step::Pass),
        2 => (0..40_usize).prop_map(Step::Unasked),
        1 => Just(Step::Count),
        1 => Just(Step::Ping),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn nothing_is_believed_that_the_server_did_not_say_and_all_is_said_in_the_end(
        is_sharded: bool,
        steps in steps(),
    ) {
        let mut world = World::new(if is_sharded { Kind::Sharded } else { Kind::Classic });
        for step in steps {
            match step {
                Step::Want(channel) => world.want(channel),
                Step::Unwant(channel) => world.unwant(channel),
                Step::Write => world.write(),
                Step::Deliver(count) => world.deliver(count),
                Step::Pass(ms) => {
                    world.now += Duration::from_millis(ms);
                    world.wanted.expire(world.now);
                }
                Step::Unasked(channel) => {
                    if world.server.subscribed.contains(&*name(channel)) {
                        world.server.unsubscribe(&name(channel));
                    }
                }
                Step::Count => world.ask(Wanted::count),
                Step::Ping => world.ask(Wanted::ping),
                Step::Kill => world.kill(),
            }
            world.check();
        }
        world.settle();
    }

    #[test]
    fn replies_that_answer_nothing_are_errors_and_never_confirmations(
        wants in prop::collection::vec(0..10_usize, 0..10),
        replies in prop::collection::vec((0..6_u8, 0..10_usize), 1..30),
    ) {
        let mut world = World::new(Kind::Classic);
        wants.iter().for_each(|&channel| world.want(channel));
        for (kind, channel) in replies {
            let channel = Bytes::copy_from_slice(name(channel).as_bytes());
            let reply = match kind {
                0 => Reply::Subscribed { channel, count: 1 },
                1 => Reply::Unsubscribed { channel: Some(channel) },
                2 => Reply::Error(channel),
                3 => Reply::Pong,
                4 => Reply::Array(Some(channel)),
                _ => Reply::Push,
            };
            let mut notes = Vec::new();
            let is_harmless = matches!(reply, Reply::Unsubscribed { .. } | Reply::Push);
            let taken = world.wanted.reply(&reply, world.now, &mut notes);
            prop_assert_eq!(taken.is_ok(), is_harmless);
            prop_assert!(notes.is_empty());
        }
    }
}

#[test]
fn a_command_that_is_not_answered_is_overdue() {
    let mut world = World::new(Kind::Classic);
    world.want(1);
    world.write();
    let (start, second) = (world.now, Duration::from_secs(1));
    assert!(!world.wanted.is_overdue(start + 9 * second, 10 * second));
    assert!(world.wanted.is_overdue(start + 10 * second, 10 * second));
    world.wanted.forgive(start + 5 * second);
    assert!(!world.wanted.is_overdue(start + 10 * second, 10 * second), "this process stood still");
    world.deliver(1);
    assert!(!world.wanted.is_overdue(start + 99 * second, 10 * second));
}

#[test]
fn commands_of_sharded_channels_have_one_slot_each() {
    let options = WantedOptions { kind: Kind::Sharded, ..WantedOptions::default() };
    let mut wanted = Wanted::new(options, 1);
    for channel in 0..100 {
        wanted.want(format!("{{{}}}.{channel}", channel % 3).into(), &mut Vec::new());
    }
    wanted.connect(Instant::now());
    let mut out = BytesMut::new();
    wanted.write(Instant::now(), &mut out, 1 << 20);
    let mut commands = 0;
    while let Some((OwnedFrame::Array(words), used)) = decode(&out).unwrap() {
        let _ = out.split_to(used);
        let slots: BTreeSet<u16> =
            words[1..].iter().map(|word| redis_protocol::redis_keyslot(word.as_bytes().unwrap())).collect();
        assert_eq!(slots.len(), 1);
        commands += 1;
    }
    assert_eq!(commands, 3);
}

#[test]
fn a_server_that_counts_otherwise_is_found_out() {
    let mut world = World::new(Kind::Classic);
    world.want(1);
    world.want(2);
    world.write();
    world.deliver(2);
    world.server.subscribed.remove("c1");
    world.server.subscribed.remove("c2");
    world.ask(Wanted::count);
    let reply = world.server.replies.pop_front().unwrap();
    let counted = world.wanted.reply(&reply, world.now, &mut Vec::new());
    assert!(matches!(counted, Err(Cause::Miscounted { ours: 2, theirs: 1 })));
}

#[test]
fn too_many_channels_are_refused_and_not_asked_for() {
    let options = WantedOptions { channels_max: 2, ..WantedOptions::default() };
    let mut wanted = Wanted::new(options, 1);
    let mut notes = Vec::new();
    (0..3).for_each(|channel| wanted.want(name(channel), &mut notes));
    assert_eq!(notes, [Note::Refused(name(2), Refusal::TooMany)]);
    assert_eq!(wanted.len(), 2);
}
