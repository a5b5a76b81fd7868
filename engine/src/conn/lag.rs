//! Lag: which queued bytes of a client count against the limit of its queue.
//!
//! In:  queued messages, one by one.
//! Out: whether the queue is still within the limit.
//!
//! The limit in bytes says how far behind a client may be, not how long a message may be. So it counts the bytes queued
//! *before* the newest message, without the longest message and without the replies that the client asked for: a message to
//! an empty queue always passes, and a client that is busy reading a long one keeps its limit for messages of others. No
//! I/O, no clock.
//!
//! Worst case per client: the limit, twice the longest message, and the replies that it may be owed
//! (`session/client/reads`).

use std::collections::HashMap;

use holdfast_ring::Socket;

use crate::{config::ClientConfig, conn::Session};

/// Why a client gets a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Another client or the server sent it.
    Push,
    /// The client asked for it. The request is bounded where it is made, so a reply never closes the client.
    Reply,
}

/// The queue of a session's connection is over its limit: the session must end.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub(crate) struct TooSlow(pub(crate) Session);

/// A connection has a long queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongQueue {
    pub(crate) socket: Socket,
    /// Bytes queued before the newest message.
    pub(crate) before: usize,
    /// Length of that message.
    pub(crate) len: usize,
    pub(crate) cause: Cause,
}

/// The limits of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueLimits {
    /// Bytes that may be queued before a message: above this a client that gets pushes is closed.
    pub(crate) bytes_max: usize,
    /// Up to this nothing is counted; above it the receive of a connection that only gets answers is paused.
    pub(crate) paused_bytes: usize,
    /// Messages that may be queued.
    pub(crate) pieces_max: usize,
}

impl From<&ClientConfig> for QueueLimits {
    fn from(client: &ClientConfig) -> Self {
        let bytes_max = client.queue_max_size_bytes as usize;
        Self { bytes_max, paused_bytes: bytes_max / 4, pieces_max: client.queue_max_messages as usize }
    }
}

/// The queued bytes that do not count, since the queue was last short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lag {
    /// The longest message sent by others.
    longest: usize,
    /// All replies.
    replies: usize,
}

impl Lag {
    /// A message was queued behind `before` bytes. True exactly when that was within the limit.
    pub(crate) fn admit(&mut self, before: usize, len: usize, cause: Cause, limits: QueueLimits) -> bool {
        if before <= limits.paused_bytes {
            *self = Self::default();
        }
        match cause {
            Cause::Reply => {
                self.replies += len;
                true
            }
            Cause::Push => {
                let counted = before.saturating_sub(self.longest + self.replies);
                self.longest = self.longest.max(len);
                counted <= limits.bytes_max
            }
        }
    }
}

/// The lags of those connections of a shard that have long queues. 32 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Lags {
    of: HashMap<Socket, Lag>,
}

impl Lags {
    /// [`Lag::admit`] for a connection.
    pub(crate) fn admit(
        &mut self,
        socket: Socket,
        before: usize,
        len: usize,
        cause: Cause,
        limits: QueueLimits,
    ) -> bool {
        self.of.entry(socket).or_default().admit(before, len, cause, limits)
    }

    /// The queue is flushed, or the connection is gone.
    pub(crate) fn forget(&mut self, socket: Socket) {
        if !self.of.is_empty() {
            self.of.remove(&socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits { bytes_max: 1_000, paused_bytes: 250, pieces_max: 100 };

    /// A queue that nobody reads from until told to.
    #[derive(Default)]
    struct Queue {
        lag: Lag,
        bytes: usize,
    }

    impl Queue {
        fn queue(&mut self, len: usize, cause: Cause) -> bool {
            let before = self.bytes;
            self.bytes += len;
            // As the caller does, which checks only long queues.
            self.bytes <= LIMITS.paused_bytes || self.lag.admit(before, len, cause, LIMITS)
        }

        fn push(&mut self, len: usize) -> bool {
            self.queue(len, Cause::Push)
        }

        fn push_until_full(&mut self, len: usize) -> usize {
            (0..1_000).take_while(|_| self.push(len)).count() * len
        }
    }

    #[test]
    fn a_message_of_any_length_passes_where_nothing_waits() {
        assert!(Queue::default().push(1_000_000));
    }

    #[test]
    fn small_messages_pass_until_as_much_waits_as_may() {
        let pushed = Queue::default().push_until_full(10);
        assert!((1_000..=1_030).contains(&pushed), "{pushed}");
    }

    #[test]
    fn a_long_message_leaves_the_limit_to_what_follows() {
        let mut queue = Queue::default();
        assert!(queue.push(5_000));
        let pushed = queue.push_until_full(10);
        assert!((1_000..=1_030).contains(&pushed), "{pushed}");
    }

    #[test]
    fn who_is_always_one_long_message_behind_keeps_up() {
        let mut queue = Queue::default();
        for _ in 0..100 {
            assert!(queue.push(900) && queue.push(5_000));
            queue.bytes = 5_000;
        }
    }

    #[test]
    fn long_messages_without_a_reader_end_soon() {
        let mut queue = Queue::default();
        assert_eq!(queue.push_until_full(5_000), 2 * 5_000);
        let mut queue = Queue::default();
        assert!(queue.push_until_full(900) <= 3 * 900);
    }

    #[test]
    fn what_a_client_asked_for_never_closes_it_and_makes_no_room_for_what_others_send() {
        let mut queue = Queue::default();
        assert!(queue.queue(8_000, Cause::Reply));
        let mut pushed = 0;
        while queue.push(10) {
            pushed += 10;
            assert!(queue.queue(10, Cause::Reply), "a reply passes");
        }
        assert!((1_000..=1_030).contains(&pushed), "{pushed}");
        assert!(queue.queue(8_000, Cause::Reply));
    }

    #[test]
    fn where_little_waits_the_account_begins_again() {
        let mut queue = Queue::default();
        queue.queue(8_000, Cause::Reply);
        queue.bytes = 100;
        let pushed = queue.push_until_full(10);
        assert!((900..=930).contains(&pushed), "{pushed}");
    }
}
