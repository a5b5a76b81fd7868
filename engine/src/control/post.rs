//! Post: the way from the control thread to a shard.
//!
//! In:  a message.
//! Out: the same in the shard's mailbox, and the shard awake.
//!
//! A full mailbox is retried for a while: its owner takes messages every turn. Client traffic never fills it.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    mesh::{Message, Shared},
    patience::Patience,
};

/// How long a mailbox may stay full.
const FULL_MAX: Duration = Duration::from_secs(1);

/// How long to wait before a full mailbox is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(1);

/// The mailbox stayed full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MailboxFull;

/// Waits while shards are congested: messages caused by the server API wait here, as client input waits on its
/// connections.
pub(super) async fn calm(shared: &Shared) -> Result<(), MailboxFull> {
    let mut patience = Patience::of(FULL_MAX);
    while shared.is_congested() {
        if patience.is_over() {
            tracing::warn!(
                "a call of the server API got error 100, because the mailboxes between shards stayed full: the daemon is overloaded; send fewer publications or add cores"
            );
            return Err(MailboxFull);
        }
        sleep(RETRY_AFTER).await;
    }
    Ok(())
}

pub(super) async fn post(shared: &Shared, shard: usize, mut message: Message) -> Result<(), MailboxFull> {
    let mailbox = &shared.mailboxes[shard];
    let mut patience = Patience::of(FULL_MAX);
    while let Err(back) = mailbox.push_control(message) {
        message = back;
        if patience.is_over() {
            tracing::warn!(
                shard,
                "a call of the server API did not reach a shard, because its mailbox stayed full: the shard is overloaded; try again or add cores"
            );
            return Err(MailboxFull);
        }
        sleep(RETRY_AFTER).await;
    }
    Ok(())
}
