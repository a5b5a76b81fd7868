//! Backend: everything for which a shard needs an answer from the control thread.
//!
//! In:  requests of the shards: events for the application's backend, keys of a JWKS endpoint.
//! Out: answers in the mailbox of the shard that asked.
//!
//! A shard never blocks: it puts its request into a bounded queue, records at the client what the answer is for, and
//! continues. Names, bodies and codes are those of Centrifugo v6's HTTP proxies. The files: `ask` (the queue), `call`
//! (an event), `endpoint` and `proxy` (the request for one kind of event), `answer` (the possible answers), `keys`
//! (JWKS), `worker` (the control thread's part).

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
