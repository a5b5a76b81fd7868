//! The operator: who has the server API. Publishes what is not to be kept, or may go out as a patch, empties
//! histories, and has clients subscribed, unsubscribed, refreshed and sent away.
//!
//! In:  chance.
//! Out: messages to homes, and calls of all shards, as the control thread sends them.

use std::time::Duration;

use bytes::Bytes;
use holdfast_protocol::client::DisconnectCode;
use holdfast_ring::simulated::Network;
use rand::{
    Rng,
    rngs::SmallRng,
    seq::{IndexedRandom, IteratorRandom},
};
use tokio::sync::oneshot;

use super::{
    cluster::Cluster,
    config::{CACHED, PATCHED, SimConfig, TAG, TAGGED, TAGS, channels, keeps_history},
    oracle::{Oracle, Publisher},
    wishes::{Meant, Wish, Wished},
};
use crate::{
    channel::Overrides,
    hub::{
        history::AnswerBytes,
        message::{AnswerTo, ChannelQuery, Publish, QueryResult, Reply, ToOwner, Version},
        publication::{Data, Tags, tags},
    },
    session::calls::{ClientCommand, ClientSelector, SubscribeCommand},
    time::UnixSeconds,
};

pub(super) struct Operator {
    publisher: Publisher,
}

impl Operator {
    pub(super) fn new(ledger: &mut Oracle) -> Self {
        Self { publisher: ledger.new_publisher() }
    }

    /// Asks who is in a channel.
    pub(super) fn ask_presence(&self, cluster: &Cluster, channel: &str) -> oneshot::Receiver<QueryResult> {
        let (answer_to, answer) = oneshot::channel();
        cluster.call(ToOwner::Ask {
            channel: channel.into(),
            question: ChannelQuery::Presence(AnswerBytes::ANY),
            answer_to: AnswerTo::Api(Reply::new(|outcome| drop(answer_to.send(outcome)))),
        });
        answer
    }

    pub(super) fn act(
        &self,
        cluster: &Cluster,
        network: &Network,
        terms: &SimConfig,
        ledger: &mut Oracle,
        random: &mut SmallRng,
    ) {
        if random.random_bool(if terms.expires { 0.3 } else { 0.15 }) {
            return wish(cluster, network.trace().now(), terms, ledger, random);
        }
        if random.random_bool(0.2) {
            let channel = *[PATCHED, CACHED].concat().choose(random).expect("there are some");
            ledger.emptied.insert(channel);
            let answer_to = AnswerTo::Api(Reply::new(drop));
            let question = ChannelQuery::RemoveHistory;
            cluster.call(ToOwner::Ask { channel: channel.into(), question, answer_to });
            return;
        }
        if random.random_bool(0.4) {
            return self.publish_tagged(cluster, ledger, random);
        }
        let channel = *PATCHED.choose(random).expect("there are some");
        let message = ledger.write(channel, self.publisher, random);
        cluster.call(ToOwner::Publish(Box::new(Publish {
            skip_history: random.random_bool(0.6),
            delta: random.random_bool(0.7),
            ..publication(channel, message)
        })));
    }

    fn publish_tagged(&self, cluster: &Cluster, ledger: &mut Oracle, random: &mut SmallRng) {
        let channel = *TAGGED.choose(random).expect("there are some");
        let message = ledger.write(channel, self.publisher, random);
        let tag = random.random_range(0..TAGS);
        ledger.orders.tag(&message, tag);
        let tags = tags([(TAG.into(), tag.to_string().into())].into_iter());
        cluster.call(ToOwner::Publish(Box::new(Publish { tags, ..publication(channel, message) })));
    }
}

/// Of so many that came last, some are there.
const GUESTS: usize = 10;

/// Wishes something of some clients, or of nobody.
fn wish(cluster: &Cluster, now: Duration, terms: &SimConfig, ledger: &mut Oracle, random: &mut SmallRng) {
    let Some(meant) = somebody(terms, ledger, random) else { return };
    // Who hears everything is not asked for anything that it would have to know of.
    let may_be_witness = meant.client.is_none() && meant.user == Some("");
    let wished = match random.random_range(0..10) {
        _ if may_be_witness => Wished::Disconnect { code: any_code(ledger, random) },
        0..3 => Wished::Subscribe {
            channel: channels().choose(random).expect("there are channels"),
            until_s: any_end(now, terms, ledger, random),
        },
        3..6 => {
            Wished::Unsubscribe { channel: channels().choose(random).filter(|_| random.random_bool(0.7)) }
        }
        6..8 => Wished::Refresh { until_s: any_end(now, terms, ledger, random) },
        8 => Wished::Disconnect { code: any_code(ledger, random) },
        _ => Wished::Expire,
    };
    let whom = ClientSelector {
        user: meant.user.map(Into::into),
        client: meant.client.as_ref().map(|client| client.parse().expect("an id")),
    };
    let asked = match wished {
        Wished::Subscribe { channel, until_s } => ClientCommand::Subscribe(SubscribeCommand {
            channel: channel.into(),
            chan_info: None,
            data: None,
            expires_at: UnixSeconds::new(until_s),
            since: None,
            overrides: Overrides { force_recovery: Some(keeps_history(channel)), ..Overrides::default() },
        }),
        Wished::Unsubscribe { channel } => ClientCommand::Unsubscribe { channel: channel.map(Into::into) },
        Wished::Disconnect { code } => ClientCommand::Disconnect {
            code,
            reason: "the application's".into(),
            except: vec![ledger.wishes.witness.parse().expect("an id")],
        },
        Wished::Refresh { until_s } => {
            ClientCommand::Refresh { expires_at: UnixSeconds::new(until_s), info: None }
        }
        Wished::Expire => ClientCommand::Expire,
    };
    let is_everywhere = cluster.wish(whom, asked);
    let at = ledger.now();
    ledger.wishes.add(Wish { at, since: now, meant, wished, is_everywhere });
}

/// One client, one user, both, or somebody who is unknown.
fn somebody(terms: &SimConfig, ledger: &Oracle, random: &mut SmallRng) -> Option<Meant> {
    // Those who came long ago have gone.
    let guest = ledger.wishes.guests().iter().rev().take(GUESTS).choose(random);
    Some(match random.random_range(0..20) {
        0 => Meant { client: Some(uuid::Uuid::from_u128(random.random()).to_string()), user: None },
        1 => Meant { client: None, user: Some("") },
        2..6 => Meant { client: None, user: Some(*terms.users.choose(random)?) },
        6..9 => Meant { client: Some(guest?.0.clone()), user: terms.users.choose(random).copied() },
        9..12 => Meant { client: Some(guest?.0.clone()), user: Some(guest?.1) },
        _ => Meant { client: Some(guest?.0.clone()), user: None },
    })
}

/// A code of the application, which no other wish has, or one of the protocol.
fn any_code(ledger: &Oracle, random: &mut SmallRng) -> u16 {
    let own = 4_000 + u16::try_from(ledger.wishes.len()).expect("there are few");
    if random.random_bool(0.7) { own } else { DisconnectCode::FORCE_DISCONNECT.code }
}

/// Never, or where things may expire, soon or in the past.
fn any_end(now: Duration, terms: &SimConfig, ledger: &Oracle, random: &mut SmallRng) -> u64 {
    let now_s = ledger.clock.wall_s(now);
    match random.random_range(0..10) {
        0 if terms.expires => now_s - random.random_range(0..100),
        1..6 if terms.expires => now_s + random.random_range(1..6),
        6..8 => now_s + 100_000_000,
        _ => 0,
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
