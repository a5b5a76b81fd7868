//! Ask: the way from the shards to the control thread, and what comes back.
//!
//! In:  asks of all shards.
//! Out: the same, in bounded queues; answers as they go to mailboxes.
//!
//! Worst case: `backend.queue_size` calls, each of at most one message of a client. Asks for keys have a queue of their
//! own, so that no slow backend keeps clients with tokens out.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use super::{KeyNews, KeysRequest, ProxyRequest, ProxyResult};
use crate::ids::ClientKey;

/// Where an answer belongs. A client that has gone by then is not found, since its key has a generation; nor is what it
/// no longer waits for, since every ask has a ticket of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplyTo {
    pub(crate) core: usize,
    pub(crate) client: ClientKey,
    pub(crate) ticket: u32,
}

/// What comes back to a shard.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Of the application's backend.
    ProxyResult(ReplyTo, Box<ProxyResult>),
    /// Of a JWKS endpoint.
    Keys(KeyNews),
}

/// Numbers of all calls, written by the threads that see them happen.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Asks that found the queue full.
    pub(crate) overflows: AtomicU64,
    /// Calls that are under way.
    pub(crate) calls_under_way: AtomicU64,
    /// Calls by the place of their event, and those among them that failed.
    pub(crate) calls: [AtomicU64; super::Event::ALL.len()],
    pub(crate) failures: [AtomicU64; super::Event::ALL.len()],
}

impl Counts {
    pub(crate) fn add(count: &AtomicU64) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks for keys that may wait: a shard has at most one for each kind of token.
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

/// Both ends. `calls_max` may wait.
pub(crate) fn queue(calls_max: usize) -> (ProxyHandle, Queue) {
    let counts = Arc::new(Counts::default());
    let (calls, calls_out) = mpsc::channel(calls_max);
    let (keys, keys_out) = mpsc::channel(KEYS_ASKS_MAX);
    let asker = ProxyHandle { calls, keys, counts: Arc::clone(&counts) };
    (asker, Queue { calls: calls_out, keys: keys_out, counts })
}

impl ProxyHandle {
    /// Hands an event for the backend over. False where too many wait: nobody will answer.
    pub(crate) fn call(&self, back: ReplyTo, call: Box<ProxyRequest>) -> bool {
        self.counted(self.calls.try_send((back, call)).is_ok())
    }

    /// Asks whether there are newer keys. False where too many wait: nobody will answer.
    pub(crate) fn keys(&self, ask: KeysRequest) -> bool {
        self.counted(self.keys.try_send(ask).is_ok())
    }

    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
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
        let (asker, _queue) = queue(1);
        let ask =
            || asker.keys(KeysRequest { endpoint: "https://id.test/".parse().unwrap(), core: 0, number: 1 });
        assert!((0..KEYS_ASKS_MAX).all(|_| ask()));
        assert!(!ask());
        assert_eq!(asker.counts().overflows.load(Ordering::Relaxed), 1);
    }
}
