//! The operator: who has the server API. Publishes what is not to be kept, or may go out as a patch, and empties histories.
//!
//! In:  chance.
//! Out: messages to homes, as the control thread sends them.

use bytes::Bytes;
use rand::{Rng, rngs::SmallRng, seq::IndexedRandom};
use tokio::sync::oneshot;

use super::{
    house::House,
    ledger::{Ledger, Publisher},
    terms::{CACHED, PATCHED, TAG, TAGGED, TAGS},
};
use crate::hub::{
    message::{AnswerBytes, AnswerTo, Outcome, Publish, Question, ToHome, Version},
    publication::{Data, Tags, tags},
};

pub(super) struct Operator {
    publisher: Publisher,
}

impl Operator {
    pub(super) fn new(ledger: &mut Ledger) -> Self {
        Self { publisher: ledger.new_publisher() }
    }

    /// Asks who is in a channel.
    pub(super) fn ask_presence(&self, house: &House, channel: &str) -> oneshot::Receiver<Outcome> {
        let (answer_to, answer) = oneshot::channel();
        house.call(ToHome::Ask {
            channel: channel.into(),
            question: Question::Presence(AnswerBytes::ANY),
            answer_to: AnswerTo::Api(answer_to),
        });
        answer
    }

    pub(super) fn act(&self, house: &House, ledger: &mut Ledger, random: &mut SmallRng) {
        if random.random_bool(0.2) {
            let channel = *[PATCHED, CACHED].concat().choose(random).expect("there are some");
            ledger.emptied.insert(channel);
            let answer_to = AnswerTo::Api(oneshot::channel().0);
            let question = Question::RemoveHistory;
            house.call(ToHome::Ask { channel: channel.into(), question, answer_to });
            return;
        }
        if random.random_bool(0.4) {
            return self.publish_tagged(house, ledger, random);
        }
        let channel = *PATCHED.choose(random).expect("there are some");
        let message = ledger.write(channel, self.publisher, random);
        house.call(ToHome::Publish(Box::new(Publish {
            skip_history: random.random_bool(0.6),
            delta: random.random_bool(0.7),
            ..publication(channel, message)
        })));
    }

    fn publish_tagged(&self, house: &House, ledger: &mut Ledger, random: &mut SmallRng) {
        let channel = *TAGGED.choose(random).expect("there are some");
        let message = ledger.write(channel, self.publisher, random);
        let tag = random.random_range(0..TAGS);
        ledger.orders.tag(&message, tag);
        let tags = tags([(TAG.into(), tag.to_string().into())].into_iter());
        house.call(ToHome::Publish(Box::new(Publish { tags, ..publication(channel, message) })));
    }
}

fn publication(channel: &str, message: String) -> Publish {
    Publish {
        channel: channel.into(),
        data: Data::checked(Bytes::from(message)),
        info: None,
        tags: Tags::default(),
        skip_history: false,
        delta: false,
        idempotency_key: "".into(),
        version: Version::default(),
        answer_to: None,
    }
}
