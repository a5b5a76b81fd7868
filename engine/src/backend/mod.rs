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
mod desk;
mod endpoint;
mod keys;
mod proxy;

pub use self::endpoint::Endpoint;
pub(crate) use self::{
    answer::{Connected, Published, Refreshed, Refusal, Said, Subscribed},
    ask::{Answer, Asker, Back, Counts, Queue, queue},
    call::{Call, Event, Header},
    desk::serve,
    keys::{KeyNews, KeysAre, KeysAsk},
};
