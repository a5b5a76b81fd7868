//! Slow: readers that do not keep up, and what becomes of what is sent to them.
//!
//! In:  publications for sockets that the kernel takes no more for; a budget of the whole daemon.
//! Out: what their namespaces' policies leave of it, when there is room; the end of the worst, where all together are
//! too much.
//!
//! Who keeps up costs nothing here: a channel whose policy is `disconnect` never asks, and the others ask one question
//! a receiver. Nothing is left out in silence: the next publication that comes through says how many are missing before
//! it (`docs/decisions/0011-slow-readers.md`).

mod queue;

use std::collections::HashMap;

use holdfast_ring::Socket;

use self::queue::Size;
pub(crate) use self::queue::{ConflationQueue, TooMuch};
use crate::{config::SlowReaderPolicy, memory::shrink, metrics::Metric};

/// What becomes of a channel's publications for a reader that does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// They wait in its queue, up to the limits; then it is sent away.
    #[default]
    Disconnect,
    /// The newest so many wait.
    DropOldest { kept: u32 },
    /// The newest waits.
    KeepLatest,
}

impl Policy {
    pub(crate) fn new(policy: SlowReaderPolicy, kept: u32) -> Self {
        match policy {
            SlowReaderPolicy::Disconnect => Self::Disconnect,
            SlowReaderPolicy::DropOldest => Self::DropOldest { kept },
            SlowReaderPolicy::KeepLatest => Self::KeepLatest,
        }
    }

    /// True exactly when publications may be left out.
    pub(crate) fn may_leave_out(self) -> bool {
        self != Self::Disconnect
    }

    fn kept(self) -> usize {
        match self {
            Self::Disconnect => usize::MAX,
            Self::DropOldest { kept } => kept as usize,
            Self::KeepLatest => 1,
        }
    }

    pub(crate) fn metric(self) -> Metric {
        match self {
            Self::KeepLatest => Metric::OutdatedLeftOut,
            Self::Disconnect | Self::DropOldest { .. } => Metric::OldestLeftOut,
        }
    }
}

/// The readers of a shard for which something is held.
#[derive(Debug, Default)]
pub(crate) struct Conflation {
    pub(crate) held: HashMap<Socket, ConflationQueue>,
    /// What waits of all of them.
    pub(crate) size: Size,
    /// For whom too much is held; they go when the walk over a channel's subscribers is over.
    pub(crate) given_up: Vec<Socket>,
}

impl Conflation {
    /// The connection has gone, or its session has.
    pub(crate) fn forget(&mut self, socket: Socket) {
        if !self.held.is_empty()
            && let Some(held) = self.held.remove(&socket)
        {
            self.size.change(held.size(), Size::default());
            shrink(&mut self.held);
        }
    }

    /// One of its subscriptions has ended. A later one to the same channel is not to be told of what was before it.
    pub(crate) fn forget_channel(&mut self, socket: Socket, channel: &str) {
        let Some(held) = self.held.get_mut(&socket) else { return };
        let before = held.size();
        held.leave(channel);
        self.size.change(before, held.size());
        if held.is_empty() {
            self.held.remove(&socket);
            shrink(&mut self.held);
        }
    }
}
