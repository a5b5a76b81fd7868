//! Conflation: slow readers, and the publications for them.
//!
//! In:  publications for sockets that the kernel accepts no more bytes for; a budget of the whole daemon.
//! Out: the publications that the namespace's policy keeps, when there is room; the end of the readers with the longest
//!      queues, if the total exceeds the budget.
//!
//! Fast readers cost nothing here: a channel whose policy is `disconnect` never asks, and the others ask one question
//! per receiver. No publication is dropped silently: the next one delivered says how many are missing before it
//! (`docs/decisions/0011-slow-readers.md`).

mod queue;

use std::collections::HashMap;

use holdfast_ring::Socket;

use self::queue::Size;
pub(crate) use self::queue::{ConflationQueue, TooMuch};
use crate::{config::SlowReaderPolicy, memory::shrink, metrics::Metric};

/// What happens to a channel's publications for a slow reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    /// They wait in its queue, up to the limits; then it is disconnected.
    #[default]
    Disconnect,
    /// The newest `kept` publications wait.
    DropOldest { kept: u32 },
    /// Only the newest waits.
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

    /// True exactly when publications may be dropped.
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

/// The slow readers of a shard with waiting publications.
#[derive(Debug, Default)]
pub(crate) struct Conflation {
    pub(crate) held: HashMap<Socket, ConflationQueue>,
    /// The total that waits for all of them.
    pub(crate) size: Size,
    /// Readers over their limit; they are disconnected after the walk over a channel's subscribers.
    pub(crate) given_up: Vec<Socket>,
}

impl Conflation {
    /// The connection or its session is gone.
    pub(crate) fn forget(&mut self, socket: Socket) {
        if !self.held.is_empty()
            && let Some(held) = self.held.remove(&socket)
        {
            self.size.change(held.size(), Size::default());
            shrink(&mut self.held);
        }
    }

    /// One of its subscriptions has ended. A later one to the same channel must not count what was dropped before it.
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
