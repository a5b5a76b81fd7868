//! Sessions: what the messages of a connection mean.
//!
//! In:  complete messages.
//! Out: messages to the same connection, or to others through the hub.
//!
//! The parts: `echo` and `broadcast`; `client` (the Centrifuge protocol over any transport), its transports' framing in
//! `wire`, and the transports other than WebSocket: `stream` and `poll`. Their requests find their session through
//! `registry` and `emulation`.

pub(crate) mod api;
pub(crate) mod calls;
pub(crate) mod client;
mod conflation;
pub(crate) mod emulation;
mod fan_out;
pub(crate) mod flow;
pub(crate) mod forward;
mod io;
mod limits;
pub(crate) mod message;
mod owners;
pub(crate) mod policy;
mod poll;
pub(crate) mod quota;
pub(crate) mod receivers;
mod refusals;
pub(crate) mod registry;
pub(crate) mod request;
#[cfg(test)]
pub(crate) mod script;
mod stream;
pub(crate) mod users;

use std::sync::Arc;

use bytes::BytesMut;
use rand::rngs::StdRng;

use self::{
    client::{Clients, KeyWaits},
    forward::ForwardHandle,
    policy::SessionPolicy,
    quota::ConnectionQuota,
    registry::SessionRegistry,
    request::{SessionId, SessionIndex},
    users::Users,
};
use crate::{
    backend::ProxyHandle,
    ids::ShardId,
    metrics::{Counters, Metric},
    time::Wheel,
    token::TokenPolicy,
};

pub(crate) use self::io::{Class, Deferred, FlowKey, Io, SessionCx, must_hold};

/// The sessions of a shard.
pub(crate) struct Sessions {
    /// The way to the application's backend, and to the endpoints of keys.
    pub(crate) backend: ProxyHandle,
    pub(crate) policy: SessionPolicy,
    /// The policy for tokens, with the keys that were fetched for it.
    pub(crate) tokens: TokenPolicy,
    /// The name of this daemon among others.
    pub(crate) node: Arc<str>,
    /// The way to sessions of other nodes; `None` on a node alone.
    pub(crate) forward: Option<ForwardHandle>,
    /// The name of the anonymous user.
    pub(crate) nobody: Arc<str>,
    pub(crate) clients: Clients,
    /// Sessions that requests look up by id.
    pub(crate) registry: SessionRegistry,
    /// Deadlines of polling sessions.
    pub(crate) poll_wheel: Wheel<SessionIndex>,
    /// Polling sessions with new replies in this turn.
    pub(crate) touched_polls: Vec<SessionIndex>,
    pub(crate) users: Users,
    /// Users whose connections are counted on this shard.
    pub(crate) quota: ConnectionQuota,
    pub(crate) key_waits: KeyWaits,
    /// Replies to the commands of one frame.
    pub(crate) replies: BytesMut,
    /// Source of clients' ids and secrets; its output is unpredictable.
    pub(crate) ids: StdRng,
}

impl Sessions {
    pub(crate) fn new(
        shard: ShardId,
        node: Arc<str>,
        policy: SessionPolicy,
        tokens: TokenPolicy,
        backend: ProxyHandle,
        seed: [u8; 32],
        ids: StdRng,
    ) -> Self {
        Self {
            backend,
            policy,
            tokens,
            node,
            forward: None,
            nobody: "".into(),
            clients: Clients::new(seed),
            registry: SessionRegistry::new(shard),
            poll_wheel: Wheel::new(),
            touched_polls: Vec::new(),
            users: Users::default(),
            quota: ConnectionQuota::default(),
            key_waits: KeyWaits::default(),
            replies: BytesMut::new(),
            ids,
        }
    }

    /// A polling session's id for its client. Where there are other nodes it begins with this node's name: requests may come
    /// to any of them.
    pub(crate) fn poll_name(&self, id: SessionId) -> String {
        if self.forward.is_some() { format!("{}.{id}", self.node) } else { id.to_string() }
    }

    /// Adds the sessions' figures to the counters.
    pub(crate) fn report(&self, counters: &mut Counters) {
        counters.set(Metric::Clients, self.clients.len() as u64);
        counters.set(Metric::PollSessions, self.registry.polls() as u64);
        counters.set(Metric::Users, self.users.len() as u64);
    }
}
