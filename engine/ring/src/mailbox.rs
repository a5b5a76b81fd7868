//! Mailbox: a bounded, lock-free queue into one thread, with that thread's bell.
//!
//! In:  messages of any other thread, in order for each sender.
//! Out: the same, to the owner.
//!
//! A full mailbox is an answer, not an error: the sender keeps the message and tries again. One whose owner has gone is
//! never full: what is left there is dropped. Worst case: `capacity` times the size of a message, allocated at once.

#[cfg(feature = "simulation")]
use std::sync::atomic::AtomicUsize;

use crate::{
    doorbell::Doorbell,
    sync::{Arc, ArrayQueue, AtomicBool, Ordering},
};

/// The queue into one thread.
#[derive(Debug)]
pub struct Mailbox<T> {
    queue: ArrayQueue<T>,
    bell: Arc<Doorbell>,
    /// True exactly when the owner takes no more.
    is_abandoned: AtomicBool,
    /// Messages until it answers as if it were full.
    #[cfg(feature = "simulation")]
    room: AtomicUsize,
}

impl<T> Mailbox<T> {
    /// A mailbox of `capacity` messages for the thread that sleeps behind `bell`.
    #[must_use]
    pub fn new(capacity: usize, bell: Arc<Doorbell>) -> Self {
        Self {
            queue: ArrayQueue::new(capacity),
            bell,
            is_abandoned: AtomicBool::new(false),
            #[cfg(feature = "simulation")]
            room: AtomicUsize::new(usize::MAX),
        }
    }

    /// Leaves a message. The owner is not woken by this: ring [`Mailbox::bell`], or push
    /// [`Op::Wake`](crate::Op::Wake) where the caller has a ring.
    ///
    /// # Errors
    /// Gives the message back when the mailbox is full.
    pub fn push(&self, message: T) -> Result<(), T> {
        if self.is_abandoned.load(Ordering::Relaxed) {
            return Ok(());
        }
        #[cfg(feature = "simulation")]
        if self.room.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |room| room.checked_sub(1)).is_err() {
            return Err(message);
        }
        self.queue.push(message)
    }

    /// Has it answer as if it were full after so many more messages: a sender that is slow between two mailboxes, or
    /// that others are always ahead of, finds one so.
    #[cfg(feature = "simulation")]
    pub fn narrow(&self, messages: usize) {
        self.room.store(messages, Ordering::Relaxed);
    }

    /// The owner takes no more messages. What is there is dropped, and so is what comes.
    pub fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
        while self.queue.pop().is_some() {}
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_gives_messages_back_and_one_that_is_abandoned_takes_any_number() {
        let mailbox = Mailbox::new(2, Arc::new(Doorbell::new(None).unwrap()));
        assert_eq!([1, 2, 3].map(|message| mailbox.push(message)), [Ok(()), Ok(()), Err(3)]);
        mailbox.abandon();
        assert!(mailbox.is_empty());
        assert_eq!([1, 2, 3].map(|message| mailbox.push(message)), [Ok(()); 3]);
        assert_eq!(mailbox.pop(), None);
    }
}

#[cfg(all(test, loom))]
mod orders;
