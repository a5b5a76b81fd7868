//! Backend: requests of the shards that the control thread answers.
//!
//! In:  requests of the shards: events for the application's backend, and keys of a JWKS endpoint.
//! Out: answers in the mailbox of the requesting shard.
//!
//! A shard never blocks: it puts its request into a bounded queue, notes in the client's state what the answer is for,
//! and continues. Names, bodies and codes are those of Centrifugo v6's HTTP proxies. The files: `queue` (both
//! directions), `call` (an event), `proxy` (the request for one kind of event), `answer` (the possible answers), `jwks`
//! (keys of tokens), `worker` (the control thread's part).

mod answer;
mod call;
mod jwks;
mod proxy;
mod queue;
mod worker;

pub(crate) use self::{
    answer::{Connected, ProxyResult, Published, Refreshed, Refusal, Subscribed},
    call::{Event, Header, ProxyRequest},
    queue::{Answer, Counts, KeyNews, KeysAre, KeysRequest, ProxyHandle, Queue, ReplyTo, queue},
    worker::serve,
};
