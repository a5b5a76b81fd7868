//! Nodes: the other nodes, with which this one acts as one for the server API and for requests that name a session.
//!
//! In:  messages of other nodes; calls of the server API; requests of clients for sessions of other nodes.
//! Out: the same to other nodes, or to the shards; who is there; answers, which say whether they are complete.
//!
//! ```text
//!   server API ──> handle ──┐                          ┌──> commands ──> shards
//!                           ├──> worker (registry, ────┼──> surveys ───> shards
//!   shards ──> forward ─────┘     surveys, hello)      └──> requests ──> shards, clients
//!                                    ^      │
//!                    heard (broker) ─┘      └──> sender ──> Redis ──> other nodes
//! ```
//!
//! Names and messages are Centrifugo's; what those cannot say is a notification `holdfast.…`. Everything is said at most
//! once, and nothing here waits for another node for longer than a second, except a client's poll.

mod commands;
mod handle;
mod leases;
mod requests;
mod sender;
mod surveys;
mod worker;

pub(crate) use self::handle::Cluster;
pub(in crate::control) use self::{
    commands::{Addressee, body_of},
    handle::{Nodes, Part, RedisState},
    worker::{Links, serve},
};
