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
    terms::{CACHED, PATCHED},
};
use crate::hub::{
    message::{AnswerTo, Publish, Question, ToHome, Version},
    publication::{Data, Tags},
};

pub(super) struct Operator {
    publisher: Publisher,
}

impl Operator {
    pub(super) fn new(ledger: &mut Ledger) -> Self {
        Self { publisher: ledger.new_publisher() }
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
        let channel = *PATCHED.choose(random).expect("there are some");
        let message = ledger.write(channel, self.publisher, random);
        house.call(ToHome::Publish(Box::new(Publish {
            channel: channel.into(),
            data: Data::checked(Bytes::from(message)),
            info: None,
            tags: Tags::default(),
            skip_history: random.random_bool(0.6),
            delta: random.random_bool(0.7),
            idempotency_key: "".into(),
            version: Version::default(),
            answer_to: None,
        })));
    }
}
