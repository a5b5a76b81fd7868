//! Client: a session that speaks the Centrifuge client protocol.
//!
//! In:  commands, from any transport; answers and deliveries of owners.
//! Out: replies and pushes, as the same bytes for all clients of the same format.
//!
//! The client's shard decides what a command may do; the channel's owner decides what the channel holds. What is kept of a
//! client is plain data: `record`, `subscription`, `connecting` (a connect without its reply), `deferred` (what waits), `table`
//! (all clients), `memory`. What is done with it: [`command`] (dispatch), `connect`, `subscribe`, `publish`, `ask` (presence
//! and history), `refresh` (expiring tokens), `lease` (the limit of a user's connections), `event` (decisions of the
//! application's backend), `keys` (tokens with unknown keys), `pending` (commands that wait for either), `waiting` and
//! `parked` (clients on hold), `reads` (queries with long answers), `account` (the ledger), `deliver` (publications for
//! subscribers with individual options), `leave` (the end).

mod account;
mod ask;
mod command;
mod connect;
mod connecting;
mod deferred;
mod deliver;
mod event;
mod keys;
mod lease;
mod leave;
mod memory;
mod parked;
mod pending;
mod publish;
mod reads;
mod record;
mod refresh;
mod subscribe;
mod subscribed;
mod subscription;
mod table;
#[cfg(test)]
mod tests;
mod unsubscribe;
mod waiting;

pub(crate) use self::{
    connecting::is_past,
    deferred::{KeyWaits, KeysCame},
    record::{Client, READS_MAX, Stage, Transport, id_text},
    subscription::{Delta, SubState, SubscribeParams},
    table::Clients,
};
