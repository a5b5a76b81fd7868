//! Queue: carries what rooms want from the shards to the broker.
//!
//! In:  what a turn of a shard has for the broker.
//! Out: the same, in order; or all of it back, at once, if the broker has too much to do.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use tokio::sync::mpsc;

use crate::hub::broker::ToBroker;

/// The most that may wait for the broker, of all shards together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    pub(crate) messages_max: usize,
    pub(crate) bytes_max: usize,
}

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    pub(super) messages: AtomicUsize,
    pub(super) bytes: AtomicUsize,
    /// Messages that came back so far.
    pub(super) refused: AtomicU64,
}

/// A turn's messages, and their memory.
#[derive(Debug)]
struct Batch {
    messages: Vec<ToBroker>,
    bytes: usize,
}

/// The shards' end.
#[derive(Clone, Debug)]
pub(crate) struct BrokerHandle {
    sender: mpsc::UnboundedSender<Batch>,
    waiting: Arc<Waiting>,
    limits: QueueLimits,
}

/// The broker's end.
#[derive(Debug)]
pub(crate) struct Queue {
    receiver: mpsc::UnboundedReceiver<Batch>,
    waiting: Arc<Waiting>,
}

/// Both ends.
pub(crate) fn queue(limits: QueueLimits) -> (BrokerHandle, Queue) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let waiting = Arc::new(Waiting::default());
    (BrokerHandle { sender, waiting: Arc::clone(&waiting), limits }, Queue { receiver, waiting })
}

impl BrokerHandle {
    /// Hands over a turn's messages. One turn's are taken whatever they are if nothing else waits.
    ///
    /// # Errors
    /// The messages, because too much waits, or because the broker has ended.
    pub(crate) fn send(&self, messages: Vec<ToBroker>) -> Result<(), Vec<ToBroker>> {
        let bytes = messages.iter().map(|message| size_of::<ToBroker>() + message.cost_bytes()).sum();
        let count = messages.len();
        let Waiting { messages: waiting, bytes: waiting_bytes, refused } = &*self.waiting;
        let before = waiting.fetch_add(count, Ordering::Relaxed);
        let bytes_before = waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_too_much = before > 0
            && (before + count > self.limits.messages_max || bytes_before + bytes > self.limits.bytes_max);
        let sent = if is_too_much {
            Err(messages)
        } else {
            self.sender.send(Batch { messages, bytes }).map_err(|error| error.0.messages)
        };
        sent.inspect_err(|messages| {
            waiting.fetch_sub(messages.len(), Ordering::Relaxed);
            waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            refused.fetch_add(messages.len() as u64, Ordering::Relaxed);
        })
    }
}

impl Queue {
    /// What waits, for whoever counts.
    pub(super) fn waiting(&self) -> Arc<Waiting> {
        Arc::clone(&self.waiting)
    }

    /// Waits for messages. `None` once all shards have ended.
    pub(crate) async fn receive(&mut self) -> Option<Vec<ToBroker>> {
        let batch = self.receiver.recv().await?;
        Some(self.taken(batch))
    }

    /// The next messages, if there are some.
    pub(crate) fn try_receive(&mut self) -> Option<Vec<ToBroker>> {
        let batch = self.receiver.try_recv().ok()?;
        Some(self.taken(batch))
    }

    fn taken(&self, batch: Batch) -> Vec<ToBroker> {
        self.waiting.messages.fetch_sub(batch.messages.len(), Ordering::Relaxed);
        self.waiting.bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
        batch.messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wants(count: usize) -> Vec<ToBroker> {
        (0..count).map(|at| ToBroker::Want(format!("channel-{at}").into())).collect()
    }

    #[test]
    fn too_much_comes_back_whole_and_what_was_taken_makes_room() {
        let (handle, mut queue) = queue(QueueLimits { messages_max: 3, bytes_max: 1 << 20 });
        assert!(handle.send(wants(5)).is_ok(), "nothing else waits");
        assert_eq!(handle.send(wants(1)).unwrap_err().len(), 1);
        assert_eq!(queue.try_receive().map(|messages| messages.len()), Some(5));
        assert!(queue.try_receive().is_none());
        assert!((0..3).all(|_| handle.send(wants(1)).is_ok()));
        assert!(handle.send(wants(1)).is_err());
        assert_eq!(handle.waiting.messages.load(Ordering::Relaxed), 3);
        assert_eq!(handle.waiting.refused.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn bytes_count_and_a_broker_that_has_ended_takes_nothing() {
        let (handle, queue) = queue(QueueLimits { messages_max: 1_000, bytes_max: 1_000 });
        assert!(handle.send(wants(1)).is_ok());
        assert!(handle.send(wants(20)).is_err());
        drop(queue);
        assert_eq!(handle.send(wants(1)).unwrap_err().len(), 1);
    }
}
