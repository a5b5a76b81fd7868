//! Poll: the state of an HTTP long-polling session between its requests.
//!
//! In:  replies and pushes; the client's acknowledgments.
//! Out: the unacknowledged replies; whether a command is a repeat.
//!
//! Replies are numbered from 1 and kept until the client acknowledges a number, so that a lost answer is repeated. No
//! I/O, no clock. Memory: 250 bytes, plus the replies, up to a connection's queue limit ([`Lag`]), with [`REPLY_BYTES`]
//! for each.

mod serve;

use std::{collections::VecDeque, net::IpAddr};

use bytes::Bytes;

use crate::{
    conn::lag::{Cause, Lag, QueueLimits},
    session::request::RequestOrigin,
    time::{Entry, Tick},
};

/// Bytes of a reply beside its text: its slot in the queue, which may be half empty, and its allocation.
const REPLY_BYTES: usize = 96;

/// A session's queue.
#[derive(Debug, Default)]
pub(crate) struct Poll {
    replies: VecDeque<Bytes>,
    queued_bytes: usize,
    /// Replies that have been in an answer, and their bytes.
    answered: usize,
    answered_bytes: usize,
    lag: Lag,
    /// True exactly when the queue exceeds its limit.
    is_too_long: bool,
    /// The client's address, if the session counts among its connections.
    address: Option<IpAddr>,
    /// The number of the last acknowledged reply.
    received: u64,
    commands: SeenCommands,
    /// The request that waits for new replies.
    pub(crate) waiting: Option<RequestOrigin>,
    /// When the waiting request gets an empty answer, by the uptime; or, without a waiting request, when the session
    /// ends, by the clock that stops while nobody reads.
    deadline: Tick,
    /// Its entry in the wheel, by the uptime.
    wheel_entry: Entry,
    /// True exactly when it is on the list of sessions with new replies in this turn.
    is_touched: bool,
}

/// Capacity that an empty queue keeps.
const REPLIES_MIN: usize = 8;

/// A client acknowledged a reply that was never made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeverSent;

impl Poll {
    /// A session that counts among the connections of this address.
    pub(crate) fn of(address: Option<IpAddr>) -> Self {
        Self { address, ..Self::default() }
    }

    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Adds replies, one per line.
    pub(crate) fn push(&mut self, message: &[u8], cause: Cause, limits: QueueLimits, replies_max: usize) {
        // While a request waits, only replies already sent in an earlier answer count as late.
        let (replies, bytes) = match self.waiting {
            Some(_) => (self.answered, self.answered_bytes),
            None => (self.replies.len(), self.queued_bytes),
        };
        let is_within = self.lag.admit(bytes, message.len(), cause, limits);
        let message = Bytes::copy_from_slice(message);
        for line in message.split(|&byte| byte == b'\n') {
            self.queued_bytes += line.len();
            self.replies.push_back(message.slice_ref(line));
        }
        self.is_too_long |= !is_within || (cause == Cause::Push && replies >= replies_max);
    }

    /// Drops the acknowledged replies. A lower number than before is an old request that arrived late.
    pub(crate) fn acknowledge(&mut self, received: u64) -> Result<(), NeverSent> {
        if received > self.sequence() {
            return Err(NeverSent);
        }
        while self.received < received {
            self.received += 1;
            let reply = self.replies.pop_front().expect("there are as many as the numbers say");
            self.queued_bytes -= reply.len();
            self.answered = self.answered.saturating_sub(1);
            self.answered_bytes = self.answered_bytes.saturating_sub(reply.len());
        }
        if self.replies.is_empty() {
            self.replies.shrink_to(REPLIES_MIN);
            self.lag = Lag::default();
        }
        Ok(())
    }

    /// The number of the newest reply.
    pub(crate) fn sequence(&self) -> u64 {
        self.received + self.replies.len() as u64
    }

    /// The unacknowledged replies.
    pub(crate) fn replies(&self) -> impl Iterator<Item = &Bytes> {
        self.replies.iter()
    }

    pub(crate) fn has_replies(&self) -> bool {
        !self.replies.is_empty()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Marks everything that waits as sent.
    pub(crate) fn answer(&mut self) {
        (self.answered, self.answered_bytes) = (self.replies.len(), self.queued_bytes);
    }

    /// Memory of everything that waits.
    pub(crate) fn cost_bytes(&self) -> usize {
        self.queued_bytes + self.replies.len() * REPLY_BYTES
    }

    /// True exactly when a command must be handled; one without a number always is.
    pub(crate) fn is_new_command(&mut self, id: u32) -> bool {
        id == 0 || self.commands.add(id)
    }
}

/// The commands already handled: a window over their numbers, as in protocols with replay protection (RFC 4303 §3.4.3).
#[derive(Debug, Default)]
struct SeenCommands {
    /// The highest number.
    highest: u32,
    /// Bit n: the number `highest - n`.
    window: u128,
}

impl SeenCommands {
    /// True exactly when this number is new and within the window.
    fn add(&mut self, id: u32) -> bool {
        if id > self.highest {
            self.window = self.window.checked_shl(id - self.highest).unwrap_or(0) | 1;
            self.highest = id;
            return true;
        }
        let Some(bit) = 1_u128.checked_shl(self.highest - id) else { return false };
        let is_new = self.window & bit == 0;
        self.window |= bit;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use holdfast_ring::{Descriptor, Socket};

    use super::*;
    use crate::ids::ShardId;

    const LIMITS: QueueLimits = QueueLimits { bytes_max: 100, paused_bytes: 25, pieces_max: 100 };

    fn push(poll: &mut Poll, message: &[u8]) {
        poll.push(message, Cause::Push, LIMITS, 8);
    }

    fn texts(poll: &Poll) -> Vec<&[u8]> {
        poll.replies().map(|reply| &reply[..]).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_repeated() {
        let mut poll = Poll::default();
        push(&mut poll, b"{1}\n{2}");
        push(&mut poll, b"{3}");
        assert_eq!((poll.sequence(), texts(&poll)), (3, vec![&b"{1}"[..], b"{2}", b"{3}"]));
        poll.acknowledge(2).unwrap();
        assert_eq!((poll.sequence(), texts(&poll)), (3, vec![&b"{3}"[..]]));
        assert_eq!(poll.queued_bytes(), 3);
        poll.acknowledge(1).unwrap();
        assert_eq!(texts(&poll), [b"{3}"], "an old request takes nothing back");
        assert_eq!(poll.acknowledge(4), Err(NeverSent));
    }

    #[test]
    fn what_nobody_acknowledges_is_bounded_in_bytes_and_in_number() {
        let mut long = Poll::default();
        push(&mut long, &[b'x'; 500]);
        assert!(!long.is_too_long, "a single one passes");
        for _ in 0..20 {
            push(&mut long, &[b'x'; 10]);
        }
        assert!(long.is_too_long);

        let mut many = Poll::default();
        for _ in 0..8 {
            push(&mut many, b"x");
        }
        assert!(!many.is_too_long);
        push(&mut many, b"x");
        assert!(many.is_too_long);
        assert_eq!(many.cost_bytes(), 9 * (1 + REPLY_BYTES));
    }

    #[test]
    fn who_waits_takes_whatever_a_turn_brings_but_not_what_it_never_acknowledges() {
        let socket = Socket::new(Descriptor::new(0, 0), 0);
        let waits = Some(RequestOrigin::Connection { shard: ShardId::FIRST, socket });
        let mut poll = Poll { waiting: waits, ..Poll::default() };
        for _ in 0..100 {
            push(&mut poll, &[b'x'; 10]);
        }
        assert!(!poll.is_too_long);
        poll.answer();
        poll.acknowledge(100).unwrap();
        for _ in 0..8 {
            poll.waiting = waits;
            push(&mut poll, b"x");
            poll.answer();
        }
        assert!(!poll.is_too_long);
        poll.waiting = waits;
        push(&mut poll, b"x");
        assert!(poll.is_too_long, "eight were not acknowledged");
    }

    #[test]
    fn a_command_is_new_once() {
        let mut poll = Poll::default();
        for (id, is_new) in
            [(1, true), (1, false), (3, true), (2, true), (2, false), (300, true), (171, false)]
        {
            assert_eq!(poll.is_new_command(id), is_new, "{id}");
        }
        assert!(poll.is_new_command(173), "within the window, and never seen");
        assert!(!poll.is_new_command(172), "below the window");
        assert!(poll.is_new_command(0) && poll.is_new_command(0), "what has no number is not told apart");
    }
}
