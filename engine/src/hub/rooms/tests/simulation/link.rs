//! Link: a node's connection of pub/sub.
//!
//! In:  channels that rooms want; what Redis publishes; losses.
//! Out: events in order, some of them dropped. A channel that is not wanted any more is heard for a while longer.

use std::collections::{BTreeSet, VecDeque};

use super::*;

/// What comes over the connection, in order.
#[derive(Debug)]
pub(super) enum Event {
    Confirmed(Arc<str>),
    Message(Arc<str>, Bytes),
}

#[derive(Debug, Default)]
pub(super) struct Link {
    pub(super) is_up: bool,
    /// True exactly when it leads to a Redis that is no primary any more: nothing comes.
    pub(super) is_stale: bool,
    pub(super) wanted: BTreeSet<Arc<str>>,
    /// What Redis knows.
    pub(super) subscribed: BTreeSet<Arc<str>>,
    /// Subscribe (true) or unsubscribe, on the way.
    pub(super) commands: VecDeque<(Arc<str>, bool)>,
    pub(super) events: VecDeque<Event>,
    /// While true, messages find no room.
    pub(super) is_full: bool,
    pub(super) lagging: BTreeSet<Arc<str>>,
}

impl Link {
    /// The connection is lost, and of what is on its way all but the first events.
    pub(super) fn lose(&mut self, kept: usize) {
        self.events.truncate(kept);
        self.subscribed.clear();
        self.commands.clear();
        (self.is_up, self.is_stale) = (false, false);
    }

    pub(super) fn come_back(&mut self) {
        if !self.is_up {
            self.is_up = true;
            self.commands = self.wanted.iter().map(|channel| (Arc::clone(channel), true)).collect();
        }
    }

    /// Redis executes the next command.
    pub(super) fn execute(&mut self) {
        if !self.is_up || self.is_stale {
            return;
        }
        let Some((channel, is_subscribe)) = self.commands.pop_front() else { return };
        if is_subscribe {
            self.subscribed.insert(Arc::clone(&channel));
            self.events.push_back(Event::Confirmed(channel));
        } else {
            self.subscribed.remove(&channel);
        }
    }

    pub(super) fn publish(&mut self, channel: &Arc<str>, frame: &Bytes) {
        if self.is_up && !self.is_stale && self.subscribed.contains(channel) {
            self.events.push_back(Event::Message(Arc::clone(channel), frame.clone()));
        }
    }

    /// A room wants a channel. True exactly when it is not heard and will not be soon.
    pub(super) fn want(&mut self, channel: Arc<str>, random: &mut SmallRng) -> bool {
        self.wanted.insert(Arc::clone(&channel));
        if !self.is_up {
            return true;
        }
        let is_leaving = self.commands.iter().any(|(name, is_subscribe)| *name == channel && !is_subscribe);
        let is_asked = self.commands.iter().any(|(name, is_subscribe)| *name == channel && *is_subscribe);
        if self.subscribed.contains(&channel) && !is_leaving {
            // It is heard already: the room is told so, whatever of what it heard is still on its way.
            let at = random.random_range(0..=self.events.len());
            self.events.insert(at, Event::Confirmed(channel));
        } else if !is_asked || is_leaving {
            self.commands.push_back((channel, true));
        }
        false
    }

    pub(super) fn unwant(&mut self, channel: &Arc<str>) {
        self.wanted.remove(channel);
    }

    /// What is not wanted any more has been heard for long enough.
    pub(super) fn leave_unwanted(&mut self) {
        if self.is_up && self.commands.is_empty() {
            let unwanted = self.subscribed.iter().filter(|channel| !self.wanted.contains(*channel));
            self.commands = unwanted.map(|channel| (Arc::clone(channel), false)).collect();
        }
    }
}
