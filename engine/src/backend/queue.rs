//! Queue: the queues from the shards to the control thread, and the answers on their way back.
//!
//! In:  requests of all shards.
//! Out: the same, in bounded queues; answers in the form that mailboxes carry.
//!
//! Worst case: `backend.queue_size` calls, each of at most one message of a client. Requests for keys have a queue of
//! their own, so that a slow backend does not lock out clients with tokens.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::mpsc;

use super::{Event, ProxyRequest, ProxyResult};
use crate::{
    ids::{ClientKey, ShardId, Ticket},
    jose::KeySet,
    mesh::{Message, ShardHandle},
    value::HttpUrl,
};

/// Where an answer belongs. The key has a generation, so a client that is gone is not found; every request has its own
/// ticket, so an answer that is no longer expected is not found either.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTo {
    pub(crate) shard: ShardId,
    pub(crate) client: ClientKey,
    pub(crate) ticket: Ticket,
}

/// A message back to a shard.
#[derive(Debug)]
pub(crate) enum Answer {
    /// From the application's backend.
    ProxyResult(ReplyTo, Box<ProxyResult>),
    /// From a JWKS endpoint.
    Keys(KeyNews),
}

/// A shard asks whether the endpoint has newer keys. It asks again only after an answer to this.
#[derive(Debug)]
pub(crate) struct KeysRequest {
    pub(crate) endpoint: HttpUrl,
    pub(crate) shard: ShardId,
    /// The last token of this shard that waits for the answer; tokens are numbered from 1.
    pub(crate) number: u64,
}

/// News of an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct KeyNews {
    pub(crate) endpoint: HttpUrl,
    pub(crate) what: KeysAre,
}

/// The state of its keys.
#[derive(Clone, Debug)]
pub(crate) enum KeysAre {
    /// Fetched after this shard's tokens up to that number arrived.
    Fetched { keys: KeySet, asked: u64 },
    /// The fetch failed; known keys stay valid. `asked` as above.
    Failed { asked: u64 },
    /// Fetched a moment ago; the next fetch is in this many milliseconds.
    FetchedIn { ms: u64 },
    /// The known keys are too old to be used.
    TooOld,
}

/// How long a mailbox may stay full.
const FULL_MAX: Duration = Duration::from_secs(10);

/// The shards, as this thread answers them.
#[derive(Debug)]
pub(super) struct Shards<M>(pub(super) Vec<ShardHandle<M>>);

impl<M> Clone for Shards<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Message + From<Answer>> Shards<M> {
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    pub(super) async fn answer_all(&self, answer: impl Fn(ShardId) -> Answer) {
        for shard in ShardId::all(self.count()) {
            self.answer(shard, answer(shard)).await;
        }
    }

    /// Gives up where its mailbox stays full; the log has a line about it.
    pub(super) async fn answer(&self, shard: ShardId, answer: Answer) {
        _ = self.0[shard.index()].deliver(answer.into(), FULL_MAX).await;
    }
}

/// Counters of all calls, each written by the thread that sees the event.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Requests dropped because the queue was full.
    pub(crate) overflows: AtomicU64,
    /// Calls under way.
    pub(crate) calls_under_way: AtomicU64,
    /// Calls by the index of their event, and how many of them failed.
    pub(crate) calls: [AtomicU64; Event::ALL.len()],
    pub(crate) failures: [AtomicU64; Event::ALL.len()],
}

impl Counts {
    pub(crate) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The queue's limit of key requests: a shard has at most one for each kind of token.
const KEYS_ASKS_MAX: usize = 64;

/// The shards' end of the queues.
#[derive(Clone, Debug)]
pub(crate) struct ProxyHandle {
    calls: mpsc::Sender<(ReplyTo, Box<ProxyRequest>)>,
    keys: mpsc::Sender<KeysRequest>,
    counts: Arc<Counts>,
}

/// The control thread's end of the queues.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(super) calls: mpsc::Receiver<(ReplyTo, Box<ProxyRequest>)>,
    pub(super) keys: mpsc::Receiver<KeysRequest>,
    pub(super) counts: Arc<Counts>,
}

/// Creates both ends. At most `calls_max` calls may wait.
pub(crate) fn queue(calls_max: usize) -> (ProxyHandle, Queue) {
    let counts = Arc::new(Counts::default());
    let (calls, calls_out) = mpsc::channel(calls_max);
    let (keys, keys_out) = mpsc::channel(KEYS_ASKS_MAX);
    let asker = ProxyHandle { calls, keys, counts: Arc::clone(&counts) };
    (asker, Queue { calls: calls_out, keys: keys_out, counts })
}

impl Queue {
    /// The counters of all calls.
    pub(crate) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }
}

#[cfg(test)]
impl Queue {
    /// The oldest event that waits.
    pub(crate) fn next_call(&mut self) -> Option<(ReplyTo, Box<ProxyRequest>)> {
        self.calls.try_recv().ok()
    }

    /// The oldest request for keys.
    pub(crate) fn next_keys(&mut self) -> Option<KeysRequest> {
        self.keys.try_recv().ok()
    }
}

impl ProxyHandle {
    /// Queues an event for the backend. False if the queue is full: no answer will follow.
    pub(crate) fn call(&self, back: ReplyTo, call: Box<ProxyRequest>) -> bool {
        self.counted(self.calls.try_send((back, call)).is_ok())
    }

    /// Asks for newer keys. False if the queue is full: no answer will follow.
    pub(crate) fn keys(&self, ask: KeysRequest) -> bool {
        self.counted(self.keys.try_send(ask).is_ok())
    }

    fn counted(&self, is_taken: bool) -> bool {
        if !is_taken {
            Counts::add(&self.counts.overflows);
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_takes_no_more_and_is_counted() {
        let (asker, queue) = queue(1);
        let ask = || {
            asker.keys(KeysRequest {
                endpoint: "https://id.test/".parse().unwrap(),
                shard: ShardId::FIRST,
                number: 1,
            })
        };
        assert!((0..KEYS_ASKS_MAX).all(|_| ask()));
        assert!(!ask());
        assert_eq!(queue.counts().overflows.load(Ordering::Relaxed), 1);
    }
}
