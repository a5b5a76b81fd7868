//! Command: what a node does and asks in Redis, through the client library fred.
//!
//! In:  publications, questions about history and presence, messages to other nodes.
//! Out: exactly one answer to each: a reply, an error, or that it took too long.
//!
//! ```text
//!   publish ──> queue of lanes ──> batches ──> one script call ──> Redis
//!      │ full, or breaker open         │                             │
//!      └────────> Failure <────────────┴── lost, late, denied <──────┘
//!                    ^                            │
//!   history, … ──────┴── breaker <── supervisor <─┘   connected, ROLE, PING
//! ```
//!
//! One [`Commands`] is one deployment: one Redis, those behind Sentinel, or one cluster. Nothing is ever repeated by itself:
//! whoever repeats a publication gives it an idempotency key. fred subscribes to nothing: see [`receive`](crate::receive).

mod answer;
mod breaker;
mod client;
mod commands;
mod counters;
mod driver;
mod failure;
mod history;
mod lanes;
mod leases;
mod options;
mod presence;
mod publish;
mod sentinels;
mod shards;
mod supervisor;
mod value;

pub use answer::{Answer, Published};
pub use breaker::Down;
pub use commands::{Commands, commands};
pub(crate) use counters::difference_ms;
pub use counters::{BATCH_BUCKETS, Numbers, ROUND_TRIP_BUCKETS_US};
pub use driver::Driver;
pub use failure::Failure;
pub use history::{Direction, Entry, History, HistoryRead, Range, Repair, Top};
pub use lanes::{Keep, Publication, Version};
pub use leases::{LeaseLimit, Leased};
pub use options::{CommandOptions, PresenceExpiry, PresenceOptions, Servers};
pub use presence::{Joined, PresenceCounts, Present, Who};
pub use shards::Shards;
