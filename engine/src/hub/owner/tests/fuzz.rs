//! Fuzz: any commands in any order, with every allocation counted.
//!
//! In:  a seed.
//! Out: a failed test if more memory is live than the ledger says, or if any is left at the end.

use allocation_counter::measure;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::*;
use crate::{
    channel::PresenceFlags,
    hub::publication::{Tags, tags},
    ids::{ShardId, Ticket},
};

/// Live memory beside the ledger's: epochs of names (64 KiB), and the test's own.
const FIXED_BYTES: i64 = 66 * 1024;

/// The factor by which the ledger may overstate: shared texts and infos count for each holder, tables by their worst
/// case.
const OVERSTATED: i64 = 4;

const STEPS: u32 = 6_000;

struct Fuzz {
    bench: Bench,
    random: SmallRng,
    /// The subscriptions, as their shards would report them.
    subscribers: Vec<(Arc<str>, ShardId, Arc<Info>)>,
    clients: u32,
}

impl Fuzz {
    fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let budget = [1 << 30, 200_000, 20_000][random.random_range(0..3)];
        Self { bench: Bench::new(budget), random, subscribers: Vec::new(), clients: 0 }
    }

    fn channel(&mut self) -> Arc<str> {
        let at = if self.random.random_bool(0.5) {
            self.random.random_range(0..10)
        } else {
            self.random.random_range(0..2_000)
        };
        format!("channel-{at}").into()
    }

    fn policy(channel: &str) -> ChannelPolicy {
        let kind = channel.len() + usize::from(channel.as_bytes()[channel.len() - 1]);
        ChannelPolicy {
            history_size: [0, 1, 10, 100][kind % 4],
            history_ttl_ms: [1_000, 600_000, 20_000][kind % 3],
            history_meta_ttl_ms: [30_000, 600_000][kind % 2],
            presence: true,
            delta: kind.is_multiple_of(5),
            delta_publish: kind.is_multiple_of(10),
            stays_local: false,
        }
    }

    fn text(&mut self, most: usize) -> String {
        let len = self.random.random_range(0..most);
        "x".repeat(len)
    }

    fn step(&mut self) {
        let channel = self.channel();
        self.bench.policy = Self::policy(&channel);
        let answer_to =
            || AnswerTo::Client { shard: ShardId::FIRST, client: CLIENT, command: COMMAND, is_read: false };
        match self.random.random_range(0..100) {
            0..50 => {
                let data = Data::checked(Bytes::from(
                    format!("\"{}\"", self.text(300)).into_boxed_str().into_boxed_bytes(),
                ));
                let key = if self.random.random_bool(0.3) {
                    format!("key-{}", self.random.random_range(0..500))
                } else {
                    String::new()
                };
                let tags: Tags = tags(
                    (0..self.random.random_range(0..3_usize))
                        .map(|at| (format!("tag-{at}").into(), self.text(20).into())),
                );
                let info = self.random.random_bool(0.3).then(|| Arc::new(self.info()));
                let version = Version { number: self.random.random_range(0..5), epoch: self.text(5).into() };
                let skip_history = self.random.random_bool(0.1);
                let publish =
                    Publish { channel, data, tags, info, skip_history, version, ..publish("", &key) };
                self.bench.handle(ToOwner::Publish(Box::new(publish)));
            }
            50..65 => {
                let info = Arc::new(self.info());
                let shard = ShardId::new(self.random.random_range(0..3));
                self.subscribers.push((Arc::clone(&channel), shard, Arc::clone(&info)));
                let wants_position = self.random.random_bool(0.5);
                self.handle_subscribe(channel, shard, info, wants_position);
            }
            65..80 if !self.subscribers.is_empty() => {
                let at = self.random.random_range(0..self.subscribers.len());
                self.leave(at);
            }
            80..90 => {
                let question = match self.random.random_range(0..4) {
                    0 => ChannelQuery::Presence(AnswerBytes::ANY),
                    1 => ChannelQuery::PresenceStats,
                    2 => ChannelQuery::RemoveHistory,
                    _ => ChannelQuery::History(Page {
                        limit: 10,
                        since: None,
                        reverse: false,
                        bytes: AnswerBytes::ANY,
                    }),
                };
                self.bench.handle(ToOwner::Ask { channel, question, answer_to: answer_to() });
            }
            _ => {
                let now = self.bench.now.0 + self.random.random_range(0..40);
                self.bench.pass_to(now);
            }
        }
        // Outgoing messages belong to the receivers.
        self.refuse_those_refused();
        self.bench.posts = Outgoing::new();
        self.bench.homes.tend(self.bench.now, &mut self.bench.ledger);
    }

    fn info(&mut self) -> Info {
        self.clients += 1;
        Info {
            user: self.text(10).into(),
            client: format!("client-{:08}", self.clients).into(),
            conn_info: Data::checked(Bytes::copy_from_slice(self.text(40).as_bytes())),
            chan_info: Data::default(),
        }
    }

    fn handle_subscribe(&mut self, channel: Arc<str>, shard: ShardId, info: Arc<Info>, wants_position: bool) {
        let subscribe = Subscribe {
            channel,
            shard,
            client: CLIENT,
            ticket: Ticket::default(),
            command: Some(COMMAND),
            is_read: false,
            recover: None,
            wants_position,
            info: Some(info),
            shows: PresenceFlags { presence: true, join_leave: true },
            data: None,
        };
        self.bench.handle(ToOwner::Subscribe(Box::new(subscribe)));
    }

    fn refuse_those_refused(&mut self) {
        for (_, message) in &self.bench.posts {
            if let FromOwner::Subscribed(subscribed) = message
                && subscribed.refused.is_some()
            {
                self.subscribers.pop();
            }
        }
    }

    fn leave(&mut self, at: usize) {
        let (channel, shard, info) = self.subscribers.swap_remove(at);
        self.bench.policy = Self::policy(&channel);
        let was_last = !self.subscribers.iter().any(|(other, on, _)| *other == channel && *on == shard);
        let shows = PresenceFlags { presence: true, join_leave: true };
        self.bench.handle(ToOwner::Unsubscribe { channel, shard, info: Some(info), shows, was_last });
    }

    fn charged(&self) -> i64 {
        let bytes = self.bench.bytes(Budget::History) + self.bench.bytes(Budget::Channels);
        i64::try_from(bytes).expect("it fits")
    }

    /// The test's own memory.
    fn own_bytes(&self) -> i64 {
        let each = size_of::<(Arc<str>, ShardId, Arc<Info>)>();
        i64::try_from(self.subscribers.capacity() * each).expect("it fits")
    }
}

#[test]
fn no_more_is_alive_than_the_ledger_says_and_nothing_is_left_when_all_has_gone() {
    let first: u64 = rand::random();
    for seed in (0..6).map(|at| first.wrapping_add(at)) {
        println!("seed {seed}");
        let mut alive = 0;
        let mut fuzz = None;
        alive += measure(|| fuzz = Some(Fuzz::new(seed))).bytes_current;
        let mut fuzz = fuzz.expect("it was made");
        let mut most = 0;
        for step in 0..STEPS {
            alive += measure(|| fuzz.step()).bytes_current;
            let (held, charged) = (alive - fuzz.own_bytes(), fuzz.charged());
            assert!(
                held <= charged + FIXED_BYTES,
                "step {step}: {held} bytes are alive, {charged} are charged"
            );
            assert!(
                charged <= OVERSTATED * held + FIXED_BYTES,
                "step {step}: {charged} bytes are charged, {held} are alive"
            );
            most = most.max(charged);
            let mut channels: Vec<_> = fuzz.subscribers.iter().map(|(channel, ..)| channel).collect();
            channels.sort_unstable();
            channels.dedup();
            assert_eq!(fuzz.bench.homes.active(), channels.len(), "channels with subscribers are counted");
        }
        println!("{most} bytes were charged at most");
        alive += measure(|| {
            while !fuzz.subscribers.is_empty() {
                fuzz.leave(0);
                fuzz.bench.posts = Outgoing::new();
            }
            fuzz.subscribers = Vec::new();
            fuzz.bench.pass_to(fuzz.bench.now.0 + 100_000);
        })
        .bytes_current;
        assert_eq!((fuzz.charged(), fuzz.bench.homes.len()), (0, 0));
        assert!(alive <= FIXED_BYTES, "{alive} bytes are left");
    }
}
