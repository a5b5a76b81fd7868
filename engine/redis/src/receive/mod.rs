//! Receive: what other nodes publish, read from Redis by a reader of our own.
//!
//! In:  channels that are wanted; a connection to a server.
//! Out: events: which channels are heard, which are not and why, and messages.
//!
//! ```text
//!   owner ── want, unwant ──> link ──> wanted ──> SUBSCRIBE …          connection, stream
//!     ^                        │         ^                                  │
//!     │                        │         └── replies ──┐                    v
//!     └── consumer <── outbox <┴───────────────── messages ───────── reader ── resp
//! ```
//!
//! Where a cluster's channels have slots, [`slots`] keeps one link to each owner of slots, and looks like one link.
//!
//! Three promises hold it together. A channel is heard only once the server itself said so. What may have been lost is
//! told before what came after it. Reading waits for nobody.

mod backoff;
mod by_slot;
pub mod cause;
pub mod connection;
pub mod event;
mod handle;
pub mod health;
pub mod link;
pub mod options;
mod outbox;
pub mod probe;
pub mod queue;
pub mod reader;
pub mod refusal;
pub mod resp;
pub mod slots;
mod stream;
mod wanted;
