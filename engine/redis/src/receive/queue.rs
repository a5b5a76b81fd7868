//! Queue: a consumer for an owner who takes events at his own pace.
//!
//! In:  events of one link, or of several.
//! Out: the same, in their order; bounded by number and by bytes.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::mpsc::{self, error::TrySendError};

use super::event::{Consumer, Event};

/// What may wait at most.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// Events; a read's messages are one. 4,096.
    pub events_max: usize,
    /// Bytes of messages. One event more than that is taken where nothing else waits. 32 MiB.
    pub bytes_max: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { events_max: 4096, bytes_max: 32 << 20 }
    }
}

/// Both ends of a queue.
pub fn queue(limits: QueueLimits) -> (QueueSender, Queue) {
    let (sender, receiver) = mpsc::channel(limits.events_max.max(1));
    let bytes = Arc::new(AtomicUsize::new(0));
    let sender = QueueSender { sender, bytes: bytes.clone(), bytes_max: limits.bytes_max };
    (sender, Queue { receiver, bytes })
}

/// The link's end.
#[derive(Debug, Clone)]
pub struct QueueSender {
    sender: mpsc::Sender<Event>,
    bytes: Arc<AtomicUsize>,
    bytes_max: usize,
}

impl Consumer for QueueSender {
    fn offer(&mut self, event: Event) -> Result<(), Event> {
        let bytes = bytes_of(&event);
        let waiting = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let sent = if bytes > 0 && waiting > 0 && waiting + bytes > self.bytes_max {
            Err(TrySendError::Full(event))
        } else {
            self.sender.try_send(event)
        };
        match sent {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(event)) => {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                Err(event)
            }
            // Nobody will ever miss it.
            Err(TrySendError::Closed(_)) => Ok(()),
        }
    }
}

/// The owner's end.
#[derive(Debug)]
pub struct Queue {
    receiver: mpsc::Receiver<Event>,
    bytes: Arc<AtomicUsize>,
}

impl Queue {
    /// Waits for the next event. None once all links are gone. Can be dropped at any time.
    pub async fn recv(&mut self) -> Option<Event> {
        let event = self.receiver.recv().await?;
        Some(self.taken(event))
    }

    /// The next event, if it is there.
    ///
    /// Whoever drains with this between two [`Self::recv`] is not slowed down by tokio's cooperative budget.
    pub fn try_recv(&mut self) -> Option<Event> {
        let event = self.receiver.try_recv().ok()?;
        Some(self.taken(event))
    }

    fn taken(&self, event: Event) -> Event {
        self.bytes.fetch_sub(bytes_of(&event), Ordering::Relaxed);
        event
    }
}

fn bytes_of(event: &Event) -> usize {
    match event {
        Event::Messages(messages) => messages.bytes(),
        _ => 0,
    }
}
