//! Shards: several Redis, over which clients divide channels.
//!
//! In:  a channel.
//! Out: the Redis that has it, the same one for all nodes whose list is the same and in the same order.
//!
//! Each has a breaker of its own: one that is down takes its share of the channels only.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::commands::Commands;
use crate::layout::bucket_of;

/// Several Redis, in the order in which they are configured.
#[derive(Debug)]
pub struct Shards {
    all: Vec<Commands>,
    turn: AtomicUsize,
}

impl Shards {
    /// Of at least one. None where there is none.
    pub fn new(all: Vec<Commands>) -> Option<Self> {
        (!all.is_empty()).then_some(Self { all, turn: AtomicUsize::new(0) })
    }

    /// The one that has this channel.
    pub fn of(&self, channel: &str) -> &Commands {
        &self.all[self.place_of(channel)]
    }

    /// Its place among all.
    pub fn place_of(&self, channel: &str) -> usize {
        bucket_of(channel, self.all.len())
    }

    /// The next in turn that is not down; any where all are. Control messages go by it, as every node listens at all.
    pub fn any(&self) -> &Commands {
        let start = self.turn.fetch_add(1, Relaxed);
        let in_turn = || (0..self.all.len()).map(|n| &self.all[start.wrapping_add(n) % self.all.len()]);
        in_turn().find(|commands| commands.down().is_none()).unwrap_or(&self.all[start % self.all.len()])
    }

    /// All of them, in order.
    pub fn all(&self) -> &[Commands] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        command::{CommandOptions, Servers, commands},
        layout::{Layout, Mode},
        receive::connection::Address,
    };

    #[tokio::test]
    async fn a_channel_always_has_the_same_one_and_messages_take_turns() {
        assert!(Shards::new(Vec::new()).is_none());
        let layout = Layout::new("centrifugo", Mode::Plain).expect("a prefix");
        let node = |n: usize| {
            let address = Address { host: format!("redis-{n}.test"), port: 6379 };
            commands(CommandOptions::new(Servers::One(address)), layout.clone()).0
        };
        let shards = Shards::new((0..3).map(node).collect()).expect("there are three");
        for channel in ["news", "chat:1", "chat:2", ""] {
            assert!(std::ptr::eq(shards.of(channel), &shards.all()[bucket_of(channel, 3)]));
        }
        // Nothing is connected yet: all are down, and each is asked in turn.
        let asked: Vec<_> = (0..3).map(|_| std::ptr::from_ref(shards.any())).collect();
        assert!(shards.all().iter().all(|commands| asked.contains(&std::ptr::from_ref(commands))));
    }
}
