//! Shards: several Redis, over which clients divide channels.
//!
//! In:  a channel.
//! Out: the Redis that has it, the same one for all nodes whose list is the same and in the same order.
//!
//! Each has a breaker of its own: one that is down takes its share of the channels only.

use super::commands::Commands;
use crate::layout::bucket_of;

/// Several Redis, in the order in which they are configured.
#[derive(Debug)]
pub struct Shards {
    all: Vec<Commands>,
}

impl Shards {
    /// Of at least one. None where there is none.
    pub fn new(all: Vec<Commands>) -> Option<Self> {
        (!all.is_empty()).then_some(Self { all })
    }

    /// The one that has this channel.
    pub fn of(&self, channel: &str) -> &Commands {
        &self.all[self.place_of(channel)]
    }

    /// Its place among all.
    pub fn place_of(&self, channel: &str) -> usize {
        bucket_of(channel, self.all.len())
    }

    /// The one of this name, or the next after it that is not down. Control messages of a node go by it, as every node
    /// listens at all: over several at once, a later message would overtake an earlier one.
    pub fn open_of(&self, name: &str) -> &Commands {
        let first = self.place_of(name);
        let mut from_there = (0..self.all.len()).map(|n| &self.all[(first + n) % self.all.len()]);
        from_there.find(|commands| commands.down().is_none()).unwrap_or(&self.all[first])
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
    async fn a_channel_and_a_node_always_have_the_same_one() {
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
        // Nothing is connected yet: all are down.
        for node in ["a node", "another node"] {
            assert!(std::ptr::eq(shards.open_of(node), shards.of(node)));
        }
    }
}
