//! Sessions: what the messages of a connection mean.
//!
//! In:  whole messages.
//! Out: messages to the same connection, or to others by way of the hub.
//!
//! The parts: `echo` and `broadcast`; `client` (the Centrifuge protocol, whatever carries it), the bytes of its transports
//! in `wire`, and those that are not WebSocket: `stream` and `poll`, whose requests find their session by `named` and
//! `ask`.

pub(crate) mod api;
pub(crate) mod client;
mod conflation;
pub(crate) mod emulation;
mod fan_out;
pub(crate) mod flow;
mod io;
mod limits;
mod owners;
mod poll;
pub(crate) mod quota;
mod refusals;
pub(crate) mod registry;
pub(crate) mod rules;
mod stream;
pub(crate) mod users;

pub(crate) use self::io::{Io, SessionCx, must_hold};
use bytes::BytesMut;

use rand::rngs::StdRng;

use self::{
    client::{Clients, KeyWaits},
    registry::{SessionIndex, SessionRegistry},
};
use self::{quota::ConnectionQuota, rules::Rules, users::Users};
use crate::{
    metrics::{Counters, Metric},
    time::Wheel,
};

/// The sessions of a shard.
pub(crate) struct Sessions {
    pub(crate) rules: Rules,
    pub(crate) clients: Clients,
    /// Sessions that requests name.
    pub(crate) named: SessionRegistry,
    /// When sessions of polls are due.
    pub(crate) poll_wheel: Wheel<SessionIndex>,
    /// Sessions of polls that have something new in this turn.
    pub(crate) touched_polls: Vec<SessionIndex>,
    pub(crate) users: Users,
    /// Users whose connections are counted on this core.
    pub(crate) seats: ConnectionQuota,
    pub(crate) key_waits: KeyWaits,
    /// Replies to the commands of one frame.
    pub(crate) replies: BytesMut,
    /// Where clients' ids and secrets come from: nobody can guess the next one.
    pub(crate) ids: StdRng,
}

impl Sessions {
    pub(crate) fn new(shard: usize, rules: Rules, seed: [u8; 32], ids: StdRng) -> Self {
        Self {
            rules,
            clients: Clients::new(seed),
            named: SessionRegistry::new(shard),
            poll_wheel: Wheel::new(),
            touched_polls: Vec::new(),
            users: Users::default(),
            seats: ConnectionQuota::default(),
            key_waits: KeyWaits::default(),
            replies: BytesMut::new(),
            ids,
        }
    }

    /// Tells what there is of them.
    pub(crate) fn report(&self, counters: &mut Counters) {
        counters.set(Metric::Clients, self.clients.len() as u64);
        counters.set(Metric::PollSessions, self.named.polls() as u64);
        counters.set(Metric::Users, self.users.len() as u64);
    }
}
