//! Order: the word to stop, which goes to all shards.
//!
//! In:  the operator's wish.
//! Out: how fast clients are told, and cut.

use std::time::Duration;

/// How a shard is to stop. A later order only makes it faster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StopOrder {
    /// In this time all clients are told, evenly.
    pub(crate) told_within: Duration,
    /// Who is still there then is cut.
    pub(crate) gone_within: Duration,
    /// Sockets of other daemons that listen on our port.
    pub(crate) successors: u32,
}

impl StopOrder {
    /// Tells all clients at once.
    pub(crate) fn at_once(gone_within: Duration) -> Self {
        Self { told_within: Duration::ZERO, gone_within, successors: 0 }
    }
}
