//! Backend: everything for which a shard needs an answer from the control thread.
//!
//! In:  asks of the shards: events for the application's backend, keys of a JWKS endpoint.
//! Out: answers in the mailbox of the shard that asked.
//!
//! A shard never waits: it hands what it asks to a bounded queue, notes at the client what the answer is for, and goes on.
//! Names, bodies and codes are those of Centrifugo v6's HTTP proxies. The files: `ask` (the queue), `call` (an event),
//! `endpoint` and `proxy` (how one kind of event is put to the backend), `answer` (what it may say), `keys` (JWKS),
//! `desk` (the control thread's part).

mod answer;
mod ask;
mod call;
mod endpoint;
mod keys;
mod proxy;
mod worker;

pub use self::endpoint::Endpoint;
pub(crate) use self::{
    answer::{Connected, ProxyResult, Published, Refreshed, Refusal, Subscribed},
    ask::{Answer, Counts, ProxyHandle, Queue, ReplyTo, queue},
    call::{Event, Header, ProxyRequest},
    keys::{KeyNews, KeysAre, KeysRequest},
    worker::serve,
};
