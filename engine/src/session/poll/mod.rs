//! Poll: what a session of HTTP long-polling keeps between its requests.
//!
//! In:  replies and pushes; what the client says it has received.
//! Out: the replies that it has not; whether a command has been here before.
//!
//! Replies are numbered from 1 and kept until the client names a number as received, so that an answer that was lost on
//! its way is repeated. No I/O, no clock. Memory: 200 bytes, and the replies, up to `client.queue_max_size`.

mod serve;

use std::collections::VecDeque;

use bytes::Bytes;

use super::ask::Asker;
use crate::clock::Tick;

/// A session's queue.
#[derive(Debug, Default)]
pub(crate) struct Poll {
    replies: VecDeque<Bytes>,
    queued_bytes: usize,
    /// The number of the last reply that the client has.
    received: u64,
    commands: SeenCommands,
    /// The request that waits for something to come.
    pub(crate) waiting: Option<Asker>,
    /// When that is answered although nothing came, by the uptime; or, where none waits, when the session ends, by the
    /// clock that stands still while nobody reads.
    deadline: Tick,
    /// When the wheel looks at it, by the uptime.
    looked_at: Tick,
    /// True exactly when it is on the list of those that have something new in this turn.
    is_touched: bool,
}

/// A client named a reply that was never made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NeverSent;

impl Poll {
    /// Adds replies, one a line.
    pub(crate) fn push(&mut self, message: &[u8]) {
        let message = Bytes::copy_from_slice(message);
        for line in message.split(|&byte| byte == b'\n') {
            self.queued_bytes += line.len();
            self.replies.push_back(message.slice_ref(line));
        }
    }

    /// Lets go of what the client has. One that names less than it did before is an old request that came late.
    pub(crate) fn acknowledge(&mut self, received: u64) -> Result<(), NeverSent> {
        if received > self.sequence() {
            return Err(NeverSent);
        }
        while self.received < received {
            self.received += 1;
            let reply = self.replies.pop_front().expect("there are as many as the numbers say");
            self.queued_bytes -= reply.len();
        }
        Ok(())
    }

    /// The number of the newest reply.
    pub(crate) fn sequence(&self) -> u64 {
        self.received + self.replies.len() as u64
    }

    /// What the client does not have yet.
    pub(crate) fn replies(&self) -> impl Iterator<Item = &Bytes> {
        self.replies.iter()
    }

    pub(crate) fn has_replies(&self) -> bool {
        !self.replies.is_empty()
    }

    pub(crate) fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// True exactly when a command is to be handled; one without a number always is.
    pub(crate) fn is_new_command(&mut self, id: u32) -> bool {
        id == 0 || self.commands.add(id)
    }
}

/// Which commands have been handled: a window over their numbers, as protocols use it against replays (RFC 4303
/// §3.4.3).
#[derive(Debug, Default)]
struct SeenCommands {
    /// The highest number.
    highest: u32,
    /// Bit n: the number `highest - n`.
    window: u128,
}

impl SeenCommands {
    /// True exactly when this number is new, and not so old that nobody can tell.
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
    use super::*;

    fn texts(poll: &Poll) -> Vec<&[u8]> {
        poll.replies().map(|reply| &reply[..]).collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_repeated() {
        let mut poll = Poll::default();
        poll.push(b"{1}\n{2}");
        poll.push(b"{3}");
        assert_eq!((poll.sequence(), texts(&poll)), (3, vec![&b"{1}"[..], b"{2}", b"{3}"]));
        poll.acknowledge(2).unwrap();
        assert_eq!((poll.sequence(), texts(&poll)), (3, vec![&b"{3}"[..]]));
        assert_eq!(poll.queued_bytes(), 3);
        poll.acknowledge(1).unwrap();
        assert_eq!(texts(&poll), [b"{3}"], "an old request takes nothing back");
        assert_eq!(poll.acknowledge(4), Err(NeverSent));
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
