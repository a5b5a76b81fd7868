//! Inbox: messages of this shard to itself.
//!
//! In:  requests of this shard's clients for channels that it owns, and the answers.
//! Out: the same, in order; whether there are too many.
//!
//! Bounded like the mailboxes of other shards: the capacity of a mailbox may wait, and as much again before nobody may
//! cause more; slow messages count for more. Worst case: twice the limits, and what one piece of work causes.

use std::collections::VecDeque;

use super::mailboxes::{MailboxLimits, Message, Parcel};

/// The longest that the queued messages may take to handle, judged by the latest ones, before they are too many.
const WAIT_NS_MAX: u64 = 8_000_000;

/// This many messages are never too many, however long they take.
const MESSAGES_MIN: u64 = 64;

/// The window of the mean, in messages.
const MEAN_MESSAGES: u64 = 256;

/// The queue.
#[derive(Debug)]
pub(crate) struct Inbox<M> {
    parcels: VecDeque<Parcel<M>>,
    bytes: u64,
    limits: MailboxLimits,
    /// The recent mean cost of a message.
    mean_ns: u64,
}

impl<M: Message> Inbox<M> {
    pub(crate) fn new(limits: MailboxLimits) -> Self {
        Self { parcels: VecDeque::new(), bytes: 0, limits, mean_ns: 0 }
    }

    pub(crate) fn push(&mut self, message: M) {
        let parcel = Parcel::from(message);
        self.bytes += u64::from(parcel.bytes);
        self.parcels.push_back(parcel);
    }

    pub(crate) fn pop(&mut self) -> Option<M> {
        let parcel = self.parcels.pop_front()?;
        self.bytes -= u64::from(parcel.bytes);
        if self.parcels.is_empty() && self.parcels.capacity() > self.limits.messages_max {
            self.parcels = VecDeque::new();
        }
        Some(parcel.message)
    }

    /// Records that this many messages took this long.
    pub(crate) fn took(&mut self, messages: u64, time_ns: u64) {
        let messages = messages.max(1);
        let weight = messages.min(MEAN_MESSAGES);
        self.mean_ns =
            (self.mean_ns * (MEAN_MESSAGES - weight) + time_ns / messages * weight) / MEAN_MESSAGES;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parcels.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.parcels.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// True exactly when more waits than another shard's mailbox would hold: publishers must wait.
    pub(crate) fn is_congested(&self) -> bool {
        self.has_more_than(1)
    }

    /// True exactly when twice that waits: nobody may cause more.
    pub(crate) fn is_full(&self) -> bool {
        self.has_more_than(2)
    }

    fn has_more_than(&self, mailboxes: u64) -> bool {
        let messages = self.parcels.len() as u64;
        messages > mailboxes * self.limits.messages_max as u64
            || self.bytes > mailboxes * self.limits.bytes_max
            || (messages > mailboxes * MESSAGES_MIN
                && messages.saturating_mul(self.mean_ns) > mailboxes * WAIT_NS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message that takes so many bytes.
    #[derive(Debug)]
    struct Bulky(u32);

    impl Message for Bulky {
        fn cost_bytes(&self) -> u32 {
            self.0
        }

        fn is_work(&self) -> bool {
            true
        }
    }

    fn inbox(messages_max: usize, bytes_max: u64) -> Inbox<Bulky> {
        Inbox::new(MailboxLimits { messages_max, bytes_max })
    }

    fn push(inbox: &mut Inbox<Bulky>, messages: usize, bytes: u32) {
        (0..messages).for_each(|_| inbox.push(Bulky(bytes)));
    }

    #[test]
    fn it_is_full_by_messages_by_bytes_or_by_the_time_that_they_take() {
        let mut many = inbox(100, 1 << 30);
        push(&mut many, 100, 1);
        assert!(!many.is_congested());
        push(&mut many, 1, 1);
        assert!(many.is_congested() && !many.is_full());
        push(&mut many, 100, 1);
        assert!(many.is_full());

        let mut long = inbox(1_000_000, 10_000);
        push(&mut long, 1, 11_000);
        assert!(long.is_congested() && !long.is_full());
        push(&mut long, 1, 11_000);
        assert!(long.is_full());

        let mut slow = inbox(1_000_000, 1 << 30);
        push(&mut slow, 100, 1);
        slow.took(1_000, 1_000 * 1_000_000);
        assert!(slow.is_congested() && !slow.is_full(), "each takes a millisecond");
        push(&mut slow, 100, 1);
        assert!(slow.is_full());
        slow.took(1_000, 1_000 * 1_000);
        assert!(!slow.is_congested(), "they take a microsecond now");
    }

    #[test]
    fn what_is_taken_counts_no_more() {
        let mut inbox = inbox(10, 1_000);
        push(&mut inbox, 30, 100);
        assert!(inbox.is_full());
        while inbox.pop().is_some() {}
        assert!(inbox.is_empty() && inbox.bytes() == 0 && !inbox.is_congested());
        assert!(inbox.parcels.capacity() <= 10);
    }
}
