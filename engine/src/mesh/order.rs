//! Order: the stop order, which goes to all shards.
//!
//! In:  the operator's request.
//! Out: how fast clients are told, and cut.

use std::time::Duration;

/// How a shard must stop. A later order only makes it faster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopOrder {
    /// All clients are told within this time, evenly spread.
    pub(crate) told_within: Duration,
    /// Clients still connected after this time are cut.
    pub(crate) gone_within: Duration,
    /// Listening sockets of other daemons on our port.
    pub(crate) successors: u32,
}

impl StopOrder {
    /// Tells all clients at once.
    pub(crate) fn at_once(gone_within: Duration) -> Self {
        Self { told_within: Duration::ZERO, gone_within, successors: 0 }
    }
}
