//! Session: what one session of a client has asked and hears.
//!
//! In:  commands; replies.
//! Out: what a reply is to.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bytes::BytesMut;
use holdfast_protocol::client::{Command, Format, Request, append_command};
use rand::Rng as _;

use crate::simulation::{
    actor::{Fate, Scene},
    ledger::{Hearing, Publisher},
    terms::TAGS,
};

/// Epoch and offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) epoch: String,
    pub(super) offset: u64,
}

/// What was asked.
#[derive(Debug)]
pub(super) enum Asked {
    Connect,
    Subscribe {
        channel: &'static str,
        since: Option<Position>,
        wants: Wants,
    },
    /// To what it is subscribed already, or is about to be.
    SubscribeAgain(&'static str),
    Unsubscribe(&'static str),
    Publish {
        channel: &'static str,
        message: String,
    },
    PresenceStats(&'static str),
    History(&'static str),
}

/// What a subscription is to have beside publications.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wants {
    pub(super) patches: bool,
    pub(super) joins: bool,
    /// The tag that publications are to have.
    pub(super) tag: Option<u64>,
}

impl Wants {
    pub(super) fn any(scene: &mut Scene<'_>) -> Self {
        let tag = scene.random.random_range(0..2 * TAGS);
        Self { patches: scene.chance(0.7), joins: scene.chance(0.5), tag: (tag < TAGS).then_some(tag) }
    }
}

#[derive(Debug, Default)]
pub(super) struct Subscription {
    /// When it knew that it is subscribed: a number that no other subscription has.
    pub(super) since: u64,
    pub(super) hearing: Hearing,
    /// What patches build on, where they were agreed upon: the text that came last.
    pub(super) base: Option<Vec<u8>>,
    /// Who has come and who has gone since then, where it is told.
    pub(super) seen: Option<BTreeMap<String, bool>>,
}

#[derive(Default)]
pub(super) struct Session {
    pub(super) fate: Fate,
    pub(super) is_connected: bool,
    pub(super) asked: BTreeMap<u32, Asked>,
    /// Of these, those that may never be answered.
    pub(super) lost: BTreeSet<u32>,
    /// When the last command was asked that has a given number or a lower one.
    pub(super) asked_at: BTreeMap<u32, Duration>,
    pub(super) last_id: u32,
    pub(super) subscriptions: BTreeMap<&'static str, Subscription>,
    /// What the daemon calls it.
    pub(super) client: String,
    /// Whose it is, where users have names.
    pub(super) user: Option<usize>,
    /// What it calls itself in its messages.
    pub(super) publisher: Publisher,
}

impl Session {
    pub(super) fn append(
        &mut self,
        format: Format,
        frame: &mut BytesMut,
        request: Request<'_>,
        asked: Asked,
    ) {
        self.last_id += 1;
        append_command(format, frame, &Command { id: self.last_id, request });
        self.asked.insert(self.last_id, asked);
    }

    /// A frame of commands, up to the last one, is sent.
    pub(super) fn sent(&mut self, now: Duration) {
        self.asked_at.insert(self.last_id, now);
    }

    /// The oldest command that is not answered, and when it was asked.
    pub(super) fn oldest(&self) -> Option<(&Asked, Duration)> {
        let (id, asked) = self.asked.first_key_value()?;
        let (_, at) = self.asked_at.range(id..).next()?;
        Some((asked, *at))
    }

    /// True exactly when it is subscribed to a channel, or may be soon.
    pub(super) fn concerns(&self, channel: &str) -> bool {
        self.subscriptions.contains_key(channel) || self.awaits(channel)
    }

    /// True exactly when that may change soon.
    pub(super) fn awaits(&self, channel: &str) -> bool {
        self.asked.values().any(|asked| match asked {
            Asked::Subscribe { channel: asked, .. }
            | Asked::SubscribeAgain(asked)
            | Asked::Unsubscribe(asked) => *asked == channel,
            Asked::Connect | Asked::Publish { .. } | Asked::PresenceStats(_) | Asked::History(_) => false,
        })
    }

    /// The subscriptions that certainly are.
    pub(super) fn certain(&self) -> impl Iterator<Item = (&'static str, &Subscription)> {
        let all = self.subscriptions.iter().map(|(channel, subscription)| (*channel, subscription));
        all.filter(|(channel, _)| !self.awaits(channel))
    }
}
