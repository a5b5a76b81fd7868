//! Queue: carries requests from the shards to the control thread, and answers back.
//!
//! In:  requests of all shards.
//! Out: the same requests, in bounded queues; answers in the form that mailboxes carry.
//!
//! Worst case: `backend.queue_size` calls, each of at most one client message. Key requests have their own queue, so
//! that a slow backend does not lock out clients with tokens.

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

/// The address of an answer. The client key has a generation, so a late answer does not reach another client. Every
/// request has its own ticket, so an answer that is no longer expected is ignored.
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

/// Asks whether the endpoint has newer keys. A shard asks again only after it gets the answer.
#[derive(Debug)]
pub(crate) struct KeysRequest {
    pub(crate) endpoint: HttpUrl,
    pub(crate) shard: ShardId,
    /// The number of this shard's last token that waits for the answer. Tokens are numbered from 1.
    pub(crate) number: u64,
}

/// News about the keys of an endpoint.
#[derive(Clone, Debug)]
pub(crate) struct KeyNews {
    pub(crate) endpoint: HttpUrl,
    pub(crate) what: KeysAre,
}

/// The state of an endpoint's keys.
#[derive(Clone, Debug)]
pub(crate) enum KeysAre {
    /// Keys fetched after token number `asked` of this shard arrived.
    Fetched { keys: KeySet, asked: u64 },
    /// The fetch failed; known keys stay valid. `asked` has the same meaning.
    Failed { asked: u64 },
    /// The last fetch was a moment ago; the next one starts in this many milliseconds.
    FetchedIn { ms: u64 },
    /// The known keys are too old to be used.
    TooOld,
}

/// How long a mailbox may stay full.
const FULL_MAX: Duration = Duration::from_secs(10);

/// The mailboxes of all shards.
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

    /// Sends an answer to a shard. Gives up if its mailbox stays full; the mailbox logs that.
    pub(super) async fn answer(&self, shard: ShardId, answer: Answer) {
        _ = self.0[shard.index()].deliver(answer.into(), FULL_MAX).await;
    }
}

/// Counters of all calls. Each is written by the thread that sees the event.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Requests dropped because the queue was full.
    pub(crate) overflows: AtomicU64,
    /// Calls in progress.
    pub(crate) calls_under_way: AtomicU64,
    /// Calls, and failed calls, by the index of their event.
    pub(crate) calls: [AtomicU64; Event::ALL.len()],
    pub(crate) failures: [AtomicU64; Event::ALL.len()],
}

impl Counts {
    pub(crate) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The capacity of the key queue. A shard has at most one request for each kind of token.
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
    /// Takes the oldest queued event.
    pub(crate) fn next_call(&mut self) -> Option<(ReplyTo, Box<ProxyRequest>)> {
        self.calls.try_recv().ok()
    }

    /// Takes the oldest queued request for keys.
    pub(crate) fn next_keys(&mut self) -> Option<KeysRequest> {
        self.keys.try_recv().ok()
    }
}

impl ProxyHandle {
    /// Queues an event for the backend. Returns false if the queue is full; then no answer follows.
    pub(crate) fn call(&self, back: ReplyTo, call: Box<ProxyRequest>) -> bool {
        self.counted(self.calls.try_send((back, call)).is_ok())
    }

    /// Asks for newer keys. Returns false if the queue is full; then no answer follows.
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
