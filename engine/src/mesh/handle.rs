//! Handle: the way from a thread that is no shard to one shard.
//!
//! In:  a message.
//! Out: the same in the shard's mailbox, and the shard awake.
//!
//! A full mailbox is retried for a while: its owner takes messages every turn, and clients never fill it. A shard that has
//! stopped takes every message, and nobody reads it.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{mailboxes::Message, shared::Shared};
use crate::{ids::ShardId, time::patience::Patience};

/// How long to wait before a full mailbox is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// The mailbox stayed full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MailboxFull;

/// One shard, as other threads see it.
#[derive(Debug)]
pub(crate) struct ShardHandle<M> {
    shared: Arc<Shared<M>>,
    shard: ShardId,
}

impl<M> Clone for ShardHandle<M> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), shard: self.shard }
    }
}

impl<M: Message> ShardHandle<M> {
    /// Handles of all shards.
    pub(crate) fn all(shared: &Arc<Shared<M>>) -> Vec<Self> {
        shared.shard_ids().map(|shard| Self { shared: Arc::clone(shared), shard }).collect()
    }

    /// Puts a message into the shard's mailbox, which may stay full for so long.
    ///
    /// # Errors
    /// It stayed full; the log has a line about it.
    pub(crate) async fn deliver(&self, mut message: M, full_max: Duration) -> Result<(), MailboxFull> {
        let mut patience = Patience::of(full_max);
        while let Err(back) = self.shared.mailboxes(self.shard).push_control(message) {
            message = back;
            if patience.is_over() {
                tracing::warn!(
                    shard = self.shard.index(),
                    "a message of the control plane was dropped, because the mailbox of its shard stayed full: the shard is overloaded; try again or add cores"
                );
                return Err(MailboxFull);
            }
            sleep(RETRY_AFTER).await;
        }
        Ok(())
    }
}

/// Waits while shards have more for each other than fits into their mailboxes: what would make them send more waits here,
/// as the input of clients waits on their connections.
///
/// # Errors
/// They were congested for so long.
pub(crate) async fn wait_until_uncongested<M: Message>(
    shared: &Shared<M>,
    congested_max: Duration,
) -> Result<(), MailboxFull> {
    let mut patience = Patience::of(congested_max);
    while shared.is_congested() {
        if patience.is_over() {
            return Err(MailboxFull);
        }
        sleep(RETRY_AFTER).await;
    }
    Ok(())
}
