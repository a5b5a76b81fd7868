//! The owner alone: publications, queries and the passing of time, without a shard around it.

mod answers;
mod bounds;
mod deltas;
mod figures;
mod fuzz;
mod positions;

use bytes::Bytes;

use super::*;
use crate::{
    channel::PresenceFlags,
    hub::{
        history::{AnswerBytes, Page},
        message::{ClientKey, Outgoing, Recover, Version},
        publication::Data,
    },
    ids::{CommandId, ShardId, Ticket},
    memory::{Budget, BudgetLimits},
};

const POLICY: ChannelPolicy = ChannelPolicy {
    history_size: 10,
    history_ttl_ms: 1_000,
    history_meta_ttl_ms: 60_000,
    presence: false,
    delta: false,
    delta_publish: false,
    stays_local: false,
};
const CLIENT: ClientKey = ClientKey { place: 0, generation: 0 };

/// The command of a client.
const COMMAND: CommandId = CommandId::new(1).expect("1 is a number of a command");

/// The channels that one shard owns, and their outgoing messages.
struct Bench {
    homes: OwnedChannels,
    ledger: Ledger,
    posts: Outgoing,
    now: Tick,
    policy: ChannelPolicy,
}

impl Bench {
    fn new(budget_bytes: u64) -> Self {
        let ledger = Ledger::new(BudgetLimits::all(budget_bytes), 1);
        let homes = OwnedChannels::new(300_000, 7);
        Self { homes, ledger, posts: Outgoing::new(), now: Tick(0), policy: POLICY }
    }

    fn with(mut self, policy: ChannelPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Advances the time, and expires what is due.
    fn pass_to(&mut self, now: u32) {
        self.now = Tick(now);
        while self.homes.is_due(self.now) {
            self.homes.tend(self.now, &mut self.ledger);
        }
        self.homes.tend(self.now, &mut self.ledger);
    }

    fn handle(&mut self, message: ToOwner) {
        self.homes.handle(message, self.policy, self.now, &mut self.ledger, &mut self.posts);
    }

    fn try_publish(&mut self, channel: &str, key: &str) -> Result<Option<Position>, ErrorCode> {
        self.handle(ToOwner::Publish(Box::new(publish(channel, key))));
        match self.posts.pop() {
            Some((ShardId::FIRST, FromOwner::Answered { outcome: Ok(Answer::Published(position)), .. })) => {
                Ok(position)
            }
            Some((ShardId::FIRST, FromOwner::Answered { outcome: Err(code), .. })) => Err(code),
            other => panic!("a publish is answered last, not {other:?}"),
        }
    }

    fn publish(&mut self, channel: &str, key: &str) -> Option<Position> {
        self.try_publish(channel, key).expect("it is published")
    }

    fn history_since(
        &mut self,
        channel: &str,
        since: Option<(u64, Box<str>)>,
    ) -> Result<(usize, Position), ErrorCode> {
        let question =
            ChannelQuery::History(Page { limit: 100, since, reverse: false, bytes: AnswerBytes::ANY });
        let answer_to =
            AnswerTo::Client { shard: ShardId::FIRST, client: CLIENT, command: COMMAND, is_read: false };
        self.handle(ToOwner::Ask { channel: channel.into(), question, answer_to });
        match self.posts.pop() {
            Some((
                ShardId::FIRST,
                FromOwner::Answered { outcome: Ok(Answer::History { publications, position }), .. },
            )) => Ok((publications.len(), position)),
            Some((ShardId::FIRST, FromOwner::Answered { outcome: Err(code), .. })) => Err(code),
            other => panic!("a question is answered, not {other:?}"),
        }
    }

    fn history(&mut self, channel: &str) -> (usize, Position) {
        self.history_since(channel, None).expect("there is one")
    }

    /// Subscribes a client, with its position if it has one, and returns the answer.
    fn subscribe(&mut self, channel: &str, since: Option<&Position>) -> Subscribed {
        self.subscribe_from(channel, since.map(recover))
    }

    fn subscribe_from(&mut self, channel: &str, recover: Option<Recover>) -> Subscribed {
        let subscribe = Subscribe {
            channel: channel.into(),
            shard: ShardId::FIRST,
            client: CLIENT,
            ticket: Ticket::default(),
            command: Some(COMMAND),
            is_read: false,
            recover,
            wants_position: true,
            info: None,
            shows: PresenceFlags::default(),
            data: None,
        };
        self.handle(ToOwner::Subscribe(Box::new(subscribe)));
        match self.posts.pop() {
            Some((ShardId::FIRST, FromOwner::Subscribed(subscribed))) => *subscribed,
            other => panic!("a subscriber is answered, not {other:?}"),
        }
    }

    fn unsubscribe(&mut self, channel: &str) {
        let shows = PresenceFlags::default();
        self.handle(ToOwner::Unsubscribe {
            channel: channel.into(),
            shard: ShardId::FIRST,
            info: None,
            shows,
            was_last: true,
        });
    }

    /// A publication of another channel uses up the budget for publications.
    fn fill_history(&mut self) {
        let bytes = usize::try_from(self.ledger.part(Budget::History)).expect("it is small");
        let data = Data::checked(Bytes::from(format!("\"{}\"", "x".repeat(bytes))));
        self.handle(ToOwner::Publish(Box::new(Publish { data, answer_to: None, ..publish("other", "") })));
        self.posts.clear();
    }

    fn bytes(&self, budget: Budget) -> u64 {
        self.ledger.bytes(budget)
    }
}

/// Recovers everything after a position.
fn recover(since: &Position) -> Recover {
    Recover {
        offset: since.offset,
        epoch: (*since.epoch).into(),
        limit: 100,
        cache: false,
        filter: None,
        rejects_loss: false,
        bytes: AnswerBytes::ANY,
    }
}

fn publish(channel: &str, key: &str) -> Publish {
    Publish {
        channel: channel.into(),
        data: Data::checked(Bytes::from_static(b"{}")),
        info: None,
        tags: Arc::default(),
        skip_history: false,
        delta: false,
        idempotency_key: key.into(),
        version: Version::default(),
        answer_to: Some(AnswerTo::Client {
            shard: ShardId::FIRST,
            client: CLIENT,
            command: COMMAND,
            is_read: false,
        }),
    }
}

#[test]
fn readers_do_not_prolong_the_life_of_publications_and_the_position_outlives_them() {
    let mut bench = Bench::new(1 << 20);
    bench.publish("c", "");
    bench.pass_to(1);
    let position = bench.publish("c", "").expect("there is a history");
    // A lifetime of 1 s is 20 ticks; a client reads at 15.
    bench.pass_to(15);
    assert_eq!(bench.history("c").0, 2);
    bench.pass_to(22);
    assert_eq!(bench.history("c"), (0, position));
    assert_eq!(bench.bytes(Budget::History), 0);
}

#[test]
fn a_key_that_was_seen_publishes_nothing_and_answers_the_same() {
    let mut bench = Bench::new(1 << 20);
    let first = bench.publish("c", "k");
    bench.pass_to(5);
    assert_eq!(bench.publish("c", "k"), first);
    assert_eq!(
        bench.publish("d", "k").map(|position| position.offset),
        Some(1),
        "a channel has its own keys"
    );
    assert_eq!(bench.publish("c", "other").map(|position| position.offset), Some(2));
    bench.pass_to(6_001);
    assert_eq!(bench.publish("c", "k").map(|position| position.offset), Some(1), "all has expired");
}

#[test]
fn a_version_that_is_not_newer_changes_nothing_and_answers_where_the_channel_stands() {
    let mut bench = Bench::new(1 << 20);
    let offsets = [5, 5, 4, 0, 6].map(|number| {
        let version = Version { number, epoch: "e".into() };
        bench.handle(ToOwner::Publish(Box::new(Publish { version, ..publish("c", "") })));
        match bench.posts.pop() {
            Some((
                ShardId::FIRST,
                FromOwner::Answered { outcome: Ok(Answer::Published(Some(position))), .. },
            )) => position.offset,
            other => panic!("a publish is answered, not {other:?}"),
        }
    });
    assert_eq!(offsets, [1, 1, 1, 2, 3]);
}
