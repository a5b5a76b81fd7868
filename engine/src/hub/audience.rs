//! Audience: the shards with subscribers of a channel.
//!
//! In:  shards that join and leave, in the order of their messages; deliveries.
//! Out: each delivery, to every one of them.

use std::sync::Arc;

use super::message::{Delivery, FromOwner, Outgoing};
use crate::ids::ShardId;

#[derive(Debug, Default)]
pub(super) struct Audience(Vec<ShardId>);

impl Audience {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn has(&self, shard: ShardId) -> bool {
        self.0.contains(&shard)
    }

    /// A shard has a subscriber. True exactly when it is the first one.
    pub(super) fn join(&mut self, shard: ShardId) -> bool {
        let is_first = self.0.is_empty();
        if !self.has(shard) {
            // Usually there is one.
            self.0.reserve_exact(1);
            self.0.push(shard);
        }
        is_first
    }

    /// A shard has no subscriber left. True exactly when it was the last one.
    pub(super) fn leave(&mut self, shard: ShardId) -> bool {
        let before = self.0.len();
        self.0.retain(|&other| other != shard);
        if self.0.is_empty() {
            self.0 = Vec::new();
        }
        before > 0 && self.0.is_empty()
    }

    /// Memory beside the value itself.
    pub(super) fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<ShardId>()
    }

    pub(super) fn deliver(&self, posts: &mut Outgoing, delivery: Delivery) {
        let Some((last, others)) = self.0.split_last() else { return };
        let delivery = Arc::new(delivery);
        for &shard in others {
            posts.push((shard, FromOwner::Deliver(Arc::clone(&delivery))));
        }
        posts.push((*last, FromOwner::Deliver(delivery)));
    }

    /// Tells each shard something that is not for its subscribers alike.
    pub(super) fn tell(&self, posts: &mut Outgoing, message: impl Fn() -> FromOwner) {
        posts.extend(self.0.iter().map(|&shard| (shard, message())));
    }
}
