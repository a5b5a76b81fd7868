//! Lag: what of all that waits for a client counts against the limit of its queue.
//!
//! In:  what is queued for it, message by message.
//! Out: whether that is still within the limit.
//!
//! A limit of bytes says how far behind a client may be, not how long a message may be: it counts what waited *before*
//! the newest message, so one that comes to an empty queue always passes. Nor does what was sent meanwhile count twice
//! against a client that is busy reading a long message, or the reply that it asked for: behind such a one the count
//! begins again, if what waited before it was within the limit. No I/O, no clock.
//!
//! Worst case a client: twice the limit, the longest message, and the replies that it may be owed
//! (`session/client/reads`).

use std::collections::HashMap;

use holdfast_ring::Socket;

/// What a message is to the one who gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Others sent it.
    Push,
    /// The client asked for it. How much it may ask for is bounded where it asks, and never a reason to close it.
    Reply,
}

/// The limits of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueLimits {
    /// Bytes that may wait before a message.
    pub(crate) bytes_max: usize,
    /// From this length on a message is a long one; and so much may wait without anybody counting.
    pub(crate) long_bytes: usize,
}

/// Bytes behind the newest long message or reply that still waits; `None` where there is none, and all of them count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lag(Option<usize>);

impl Lag {
    /// A message was queued behind `before` bytes. True exactly when that was within the limit.
    pub(crate) fn admit(&mut self, before: usize, len: usize, cause: Cause, limits: QueueLimits) -> bool {
        // Where little waits, messages may have come that nobody counted.
        if before <= limits.long_bytes || self.0.is_some_and(|behind| before <= behind) {
            self.0 = None;
        }
        let counted = self.0.unwrap_or(before);
        let is_reply = cause == Cause::Reply;
        if !is_reply && counted > limits.bytes_max {
            return false;
        }
        if (is_reply || len >= limits.long_bytes) && before <= limits.bytes_max {
            self.0 = Some(0);
        } else if let Some(behind) = &mut self.0
            && !is_reply
        {
            *behind += len;
        }
        true
    }
}

/// The lags of a shard's connections: of those only for which much waits. 24 bytes each.
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
        let mut lag = self.of.get(&socket).copied().unwrap_or_default();
        let is_within = lag.admit(before, len, cause, limits);
        if lag == Lag::default() {
            self.of.remove(&socket);
        } else {
            self.of.insert(socket, lag);
        }
        is_within
    }

    /// All of it has gone out, or the connection is gone.
    pub(crate) fn forget(&mut self, socket: Socket) {
        if !self.of.is_empty() {
            self.of.remove(&socket);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: QueueLimits = QueueLimits { bytes_max: 1_000, long_bytes: 250 };

    /// A queue that nobody reads from until it is told so.
    #[derive(Default)]
    struct Queue {
        lag: Lag,
        bytes: usize,
    }

    impl Queue {
        fn queue(&mut self, len: usize, cause: Cause) -> bool {
            let before = self.bytes;
            self.bytes += len;
            self.lag.admit(before, len, cause, LIMITS)
        }

        fn push(&mut self, len: usize) -> bool {
            self.queue(len, Cause::Push)
        }
    }

    #[test]
    fn a_message_of_any_length_passes_where_nothing_waits() {
        assert!(Queue::default().push(1_000_000));
    }

    #[test]
    fn small_messages_pass_until_as_much_waits_as_may() {
        let mut queue = Queue::default();
        let passed = (0..1_000).take_while(|_| queue.push(10)).count();
        assert_eq!(passed, 101, "up to the limit, and the one that passes it");
    }

    #[test]
    fn behind_a_long_message_the_count_begins_again() {
        let mut queue = Queue::default();
        assert!(queue.push(5_000));
        let passed = (0..1_000).take_while(|_| queue.push(10)).count();
        assert_eq!(passed, 101);
        assert!(queue.bytes <= 5_000 + 1_000 + 20);
    }

    #[test]
    fn long_messages_one_after_the_other_do_not_excuse_each_other_for_ever() {
        let mut queue = Queue::default();
        let passed = (0..1_000).take_while(|_| queue.push(900)).count();
        assert!((2..=4).contains(&passed), "{passed}");
        assert!(queue.bytes <= 2 * LIMITS.bytes_max + 3 * 900, "{}", queue.bytes);
    }

    #[test]
    fn what_a_client_asked_for_never_closes_it_and_does_not_make_room_for_more_and_more() {
        let mut queue = Queue::default();
        assert!(queue.queue(8_000, Cause::Reply));
        let mut pushed = 0;
        while queue.push(10) {
            pushed += 10;
            assert!(queue.queue(10, Cause::Reply), "a reply passes");
        }
        assert!(pushed <= 1_010, "{pushed}");
        assert!(queue.queue(10, Cause::Reply));
    }

    #[test]
    fn a_client_that_reads_a_long_reply_slowly_keeps_its_limit_for_what_others_send() {
        let mut queue = Queue::default();
        queue.queue(8_000, Cause::Reply);
        for _ in 0..70 {
            queue.bytes -= 100;
            assert!(queue.push(10));
        }
        // The reply has gone out; now all that waits counts.
        queue.bytes = 700;
        assert!(queue.push(240) && queue.push(80), "up to the limit");
        assert!(!queue.push(10));
    }

    #[test]
    fn what_has_gone_out_is_no_excuse_any_more() {
        let mut queue = Queue::default();
        queue.push(5_000);
        queue.push(100);
        queue.bytes = 100;
        let passed = (0..1_000).take_while(|_| queue.push(10)).count();
        assert_eq!(passed, 91);
    }
}
