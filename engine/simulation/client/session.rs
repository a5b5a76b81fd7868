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

use super::lease::Lease;
use crate::simulation::{
    actor::{EndExpectation, StepContext},
    config::TAGS,
    oracle::{Hearing, Publisher},
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
    Connect(Lease),
    Subscribe {
        channel: &'static str,
        since: Option<Position>,
        wants: Wants,
        lease: Lease,
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
    Refresh(Lease),
    SubRefresh {
        channel: &'static str,
        lease: Lease,
        /// In the ledger's steps.
        at: u64,
    },
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
    pub(super) fn any(scene: &mut StepContext<'_>) -> Self {
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
    pub(super) lease: Lease,
    /// True exactly when the server API asked for it.
    pub(super) is_server_side: bool,
}

#[derive(Default)]
pub(super) struct Session {
    pub(super) fate: EndExpectation,
    pub(super) is_connected: bool,
    /// When it knew that it is connected, in the ledger's steps.
    pub(super) connected_at: u64,
    pub(super) lease: Lease,
    pub(super) asked: BTreeMap<u32, Asked>,
    /// Of these, those that may never be answered.
    pub(super) lost: BTreeSet<u32>,
    /// When the last command was asked that has a given number or a lower one.
    pub(super) asked_at: BTreeMap<u32, Duration>,
    pub(super) last_id: u32,
    pub(super) subscriptions: BTreeMap<&'static str, Subscription>,
    /// When it was told last that it is not subscribed to a channel, in the ledger's steps.
    pub(super) ended: BTreeMap<&'static str, u64>,
    /// Channels that it is about to be told the end of, though it knows of no beginning.
    pub(super) given_up: BTreeSet<&'static str>,
    /// Wishes of the server API of which it was told, by their numbers.
    pub(super) fulfilled: BTreeSet<usize>,
    /// What the daemon calls it.
    pub(super) client: String,
    /// Whose it is; empty for the anonymous one.
    pub(super) user: &'static str,
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
            _ => false,
        })
    }

    /// The leases that were asked for and of which it is not known whether they apply: of the session, or of a subscription.
    pub(super) fn asked_leases(&self, of: Option<&str>) -> impl Iterator<Item = (u32, &Lease)> {
        self.asked.iter().filter_map(move |(id, asked)| match (asked, of) {
            (Asked::Refresh(lease), None) => Some((*id, lease)),
            (Asked::SubRefresh { channel, lease, .. }, Some(of)) if *channel == of => Some((*id, lease)),
            _ => None,
        })
    }

    /// True exactly when the next lease is on its way.
    pub(super) fn awaits_lease(&self, of: Option<&str>) -> bool {
        self.asked_leases(of).any(|(id, _)| !self.lost.contains(&id))
    }

    /// The subscriptions that certainly are.
    pub(super) fn certain(&self) -> impl Iterator<Item = (&'static str, &Subscription)> {
        let all = self.subscriptions.iter().map(|(channel, subscription)| (*channel, subscription));
        all.filter(|(channel, _)| !self.awaits(channel))
    }
}
