//! The home alone: publications, questions and the passing of time, without any core around it.

use super::*;
use crate::hub::{
    history::Page,
    message::{AnswerBytes, ClientKey},
    publication::Data,
};

const RULES: Rules = Rules {
    history_size: 10,
    history_ttl_ms: 1_000,
    history_meta_ttl_ms: 60_000,
    presence: false,
    delta: false,
    delta_publish: false,
};
const CLIENT: ClientKey = ClientKey { place: 0, generation: 0 };

struct Channel {
    homes: Homes,
    posts: Posts,
}

impl Channel {
    fn new(kept_bytes_max: usize) -> Self {
        Self { homes: Homes::new(kept_bytes_max, 300_000, 7), posts: Posts::new() }
    }

    fn publish(&mut self, key: &str, now: Tick) -> Option<Position> {
        let publish = Publish {
            channel: "c".into(),
            data: Data::checked(bytes::Bytes::from_static(b"{}")),
            info: None,
            tags: Box::default(),
            skip_history: false,
            delta: false,
            idempotency_key: key.into(),
            version: Version::default(),
            answer_to: Some(AnswerTo::Client { core: 0, client: CLIENT, command: 1, is_read: false }),
        };
        self.homes.handle(ToHome::Publish(Box::new(publish)), RULES, now, &mut self.posts);
        match self.posts.pop() {
            Some((0, FromHome::Answered { outcome: Ok(Answer::Published(position)), .. })) => position,
            other => panic!("a publish is answered last, not {other:?}"),
        }
    }

    fn history(&mut self, now: Tick) -> (usize, Position) {
        let question =
            Question::History(Page { limit: 100, since: None, reverse: false, bytes: AnswerBytes::ANY });
        let answer_to = AnswerTo::Client { core: 0, client: CLIENT, command: 1, is_read: false };
        let ask = ToHome::Ask { channel: "c".into(), question, answer_to };
        self.homes.handle(ask, RULES, now, &mut self.posts);
        match self.posts.pop() {
            Some((0, FromHome::Answered { outcome: Ok(Answer::History { publications, position }), .. })) => {
                (publications.len(), position)
            }
            other => panic!("a question is answered, not {other:?}"),
        }
    }
}

#[test]
fn readers_do_not_prolong_the_life_of_publications_and_the_position_outlives_them() {
    let mut channel = Channel::new(1 << 20);
    channel.publish("", Tick(0));
    let position = channel.publish("", Tick(1)).expect("there is a history");
    // 1 s of life are 20 ticks; somebody reads at 15.
    assert_eq!(channel.history(Tick(15)).0, 2);
    channel.homes.expire(Tick(22));
    assert_eq!(channel.history(Tick(22)), (0, position));
    assert_eq!(channel.homes.kept_bytes(), 0);
}

#[test]
fn a_key_that_was_seen_publishes_nothing_and_answers_the_same() {
    let mut channel = Channel::new(1 << 20);
    let first = channel.publish("k", Tick(0));
    assert_eq!(channel.publish("k", Tick(5)), first);
    assert_eq!(channel.publish("other", Tick(5)).map(|position| position.offset), Some(2));
}

#[test]
fn over_the_budget_the_oldest_publications_go_and_offsets_go_on() {
    let one =
        Stored { data: Data::checked(bytes::Bytes::from_static(b"{}")), ..Stored::default() }.cost_bytes();
    let mut channel = Channel::new(3 * one);
    for _ in 0..8 {
        channel.publish("", Tick(0));
    }
    let (kept, position) = channel.history(Tick(0));
    assert_eq!((kept, position.offset), (3, 8));
    assert!(channel.homes.kept_bytes() <= 3 * one);
}

#[test]
fn a_channel_that_nobody_needs_is_forgotten() {
    let mut channel = Channel::new(1 << 20);
    channel.publish("", Tick(0));
    assert_eq!(channel.homes.len(), 1);
    channel.homes.expire(Tick(30));
    channel.homes.expire(Tick(2_000));
    assert_eq!(channel.homes.len(), 0);
}
