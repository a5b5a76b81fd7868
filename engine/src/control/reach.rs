//! Reach: sends messages from a call to the shards, and waits for their answers.
//!
//! In:  messages for a channel's owner shard, or for all shards.
//! Out: the answers; error 100 if a shard takes too long.

use std::{sync::Arc, time::Duration};

use holdfast_protocol::client::ErrorCode;
use tokio::sync::oneshot;

use super::share::Slices;
use crate::{
    hub::message::{Answer, AnswerTo, QueryResult, Reply, ToOwner},
    ids::ShardId,
    mesh::wait_until_uncongested,
    session::{
        calls::{ApiCall, ApiPage},
        message::{Message, ShardHandle, Shared},
    },
    time::patience::timeout,
};

/// Timeout for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long a shard's mailbox may stay full, or shards congested, before the call fails.
const FULL_MAX: Duration = Duration::from_secs(1);

/// All shards.
#[derive(Debug)]
pub(super) struct ShardClient {
    shared: Arc<Shared>,
    shards: Vec<ShardHandle>,
}

/// An outstanding answer.
pub(super) struct Pending(oneshot::Receiver<QueryResult>);

impl ShardClient {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shards: ShardHandle::all(&shared), shared }
    }

    /// Sends a message to a channel's owner shard. The channel must be valid in the configuration: owners rely on that.
    pub(super) async fn send_home(
        &self,
        channel: &str,
        message: impl FnOnce(AnswerTo) -> ToOwner,
    ) -> Result<Pending, ErrorCode> {
        wait_until_uncongested(&self.shared, FULL_MAX).await.map_err(|_| {
            tracing::warn!("a call of the server API got error 100, because the mailboxes between shards stayed full: the daemon is overloaded; send fewer publications or add cores");
            ErrorCode::INTERNAL
        })?;
        let (sender, receiver) = oneshot::channel();
        let home = self.shared.shard_for(channel);
        self.post(
            home,
            Message::ToOwner(message(AnswerTo::Api(Reply::new(|outcome| drop(sender.send(outcome)))))),
        )
        .await?;
        Ok(Pending(receiver))
    }

    /// Sends a message to a channel's owner shard, and waits for the answer.
    pub(super) async fn ask_home(
        &self,
        channel: &str,
        message: impl FnOnce(AnswerTo) -> ToOwner,
    ) -> Result<Answer, ErrorCode> {
        self.send_home(channel, message).await?.answer().await
    }

    /// Asks all shards for all items of a kind, page by page, so that neither a shard nor this thread handles more at a
    /// time.
    pub(super) async fn each_of_all<T>(
        &self,
        call: impl Fn(usize, oneshot::Sender<ApiPage<T>>) -> ApiCall,
        mut each: impl FnMut(T),
    ) -> Result<(), ErrorCode> {
        let mut slices = Slices::new();
        for shard in self.shared.shard_ids() {
            let mut from = Some(0);
            while let Some(at) = from {
                let (sender, receiver) = oneshot::channel();
                self.post(shard, Message::Api(call(at, sender))).await?;
                let page = in_time(receiver).await?;
                from = page.next;
                for item in page.items {
                    each(item);
                    slices.step().await;
                }
            }
        }
        Ok(())
    }

    /// Asks all shards, and collects their answers.
    pub(super) async fn ask_all<T>(
        &self,
        call: impl Fn(oneshot::Sender<T>) -> ApiCall,
    ) -> Result<Vec<T>, ErrorCode> {
        let mut receivers = Vec::new();
        for shard in self.shared.shard_ids() {
            let (sender, receiver) = oneshot::channel();
            self.post(shard, Message::Api(call(sender))).await?;
            receivers.push(receiver);
        }
        let mut answers = Vec::new();
        for receiver in receivers {
            answers.push(in_time(receiver).await?);
        }
        Ok(answers)
    }

    /// Sends a message to a channel's owner shard, which answers nobody.
    pub(super) async fn post_home(&self, channel: &str, message: Message) -> Result<(), ErrorCode> {
        self.post(self.shared.shard_for(channel), message).await
    }

    async fn post(&self, shard: ShardId, message: Message) -> Result<(), ErrorCode> {
        self.shards[shard.index()].deliver(message, FULL_MAX).await.map_err(|_| ErrorCode::INTERNAL)
    }
}

impl Pending {
    pub(super) async fn answer(self) -> Result<Answer, ErrorCode> {
        in_time(self.0).await?
    }
}

/// Waits for a shard's answer. A stopped shard never answers.
async fn in_time<T>(receiver: oneshot::Receiver<T>) -> Result<T, ErrorCode> {
    match timeout(ANSWER_MAX, receiver).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) | Err(_) => Err(ErrorCode::INTERNAL),
    }
}
