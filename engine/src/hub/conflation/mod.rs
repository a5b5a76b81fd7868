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

use std::{collections::HashMap, hash::Hash};

use self::queue::Size;
pub(crate) use self::queue::{ConflationQueue, Policy, TooMuch};
use crate::memory::shrink;

/// The slow readers of a shard with waiting publications.
#[derive(Debug)]
pub(crate) struct Conflation<C> {
    pub(crate) held: HashMap<C, ConflationQueue>,
    /// The total that waits for all of them.
    pub(crate) size: Size,
    /// Readers over their limit; they are disconnected after the walk over a channel's subscribers.
    pub(crate) given_up: Vec<C>,
}

impl<C> Default for Conflation<C> {
    fn default() -> Self {
        Self { held: HashMap::new(), size: Size::default(), given_up: Vec::new() }
    }
}

impl<C: Copy + Eq + Hash> Conflation<C> {
    /// The connection or its session is gone.
    pub(crate) fn forget(&mut self, connection: C) {
        if !self.held.is_empty()
            && let Some(held) = self.held.remove(&connection)
        {
            self.size.change(held.size(), Size::default());
            shrink(&mut self.held);
        }
    }

    /// One of its subscriptions has ended. A later one to the same channel must not count what was dropped before it.
    pub(crate) fn forget_channel(&mut self, connection: C, channel: &str) {
        let Some(held) = self.held.get_mut(&connection) else { return };
        let before = held.size();
        held.leave(channel);
        self.size.change(before, held.size());
        if held.is_empty() {
            self.held.remove(&connection);
            shrink(&mut self.held);
        }
    }
}
