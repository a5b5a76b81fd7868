//! Broker: the thread that talks to Redis for all shards.
//!
//! In:  what rooms want: subscriptions, reads, publications, presence; what Redis says.
//! Out: what is published, to the owners of the channels; answers to whoever asked.
//!
//! ```text
//!   shards ── queue ──> worker ──> commands (fred) ──────────────────> Redis
//!     ^                   │ wanted channels                             │
//!     │                   └───> links (readers of our own) <─── pub/sub ─┘
//!     └──── outlets <── answers, inbound <──┘
//! ```
//!
//! It has a runtime of its own, so that no call of the server API, no scrape and no backend keeps it from reading. No shard
//! waits for it: what it cannot take comes back at once, and what it has for a shard whose mailbox is full waits here.

mod ask;
mod counts;
mod inbound;
mod leases;
mod links;
mod options;
mod outlets;
mod place;
mod presence;
mod queue;
mod thread;
mod worker;

pub(crate) use self::{
    counts::Counts,
    leases::LeaseOrder,
    links::Links,
    options::Deployment,
    queue::{BrokerHandle, QueueLimits, queue},
    thread::{Broker, start},
};
