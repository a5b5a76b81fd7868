//! Mailbox: a bounded, lock-free queue into one thread, with that thread's bell.
//!
//! In:  messages of any other thread, in order for each sender.
//! Out: the same, to the owner.
//!
//! A full mailbox is an answer, not an error: the sender keeps the message and tries again. Worst case: `capacity`
//! times the size of a message, allocated at once.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::doorbell::Doorbell;

/// The queue into one thread.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: ArrayQueue<T>,
    bell: Arc<Doorbell>,
}

impl<T> Mailbox<T> {
    /// A mailbox of `capacity` messages for the thread that sleeps behind `bell`.
    #[must_use]
    pub fn new(capacity: usize, bell: Arc<Doorbell>) -> Self {
        Self { queue: ArrayQueue::new(capacity), bell }
    }

    /// Leaves a message. The owner is not woken by this: ring [`Mailbox::bell`], or push
    /// [`Op::Wake`](crate::Op::Wake) where the caller has a ring.
    ///
    /// # Errors
    /// Gives the message back when the mailbox is full.
    pub fn push(&self, message: T) -> Result<(), T> {
        self.queue.push(message)
    }

    /// Takes the oldest message. Only the owner calls this.
    #[must_use]
    pub fn pop(&self) -> Option<T> {
        self.queue.pop()
    }

    /// True exactly when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many messages wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// The owner's bell.
    #[must_use]
    pub fn bell(&self) -> &Arc<Doorbell> {
        &self.bell
    }
}
