//! Transmit: the writing side of a socket.
//!
//! In:  bytes, in any number of pieces.
//! Out: at most one write a socket a turn, the pieces in order, each byte once.
//!
//! A write that the kernel does not take whole leaves its rest at the head of the queue, and the queue waits until
//! there is room. How long a queue may grow is the owner's to say: [`Sockets::send`] tells how long it is.

use bytes::{Buf as _, Bytes};

use super::{
    CloseWhen, Ended, Event, Sockets,
    queue::{COPIED_BYTES_MAX, Queue},
};
use crate::kernel::{Errno, Kernel, Op, Socket};

/// So many places for blocked sockets are kept when there are none.
const BLOCKED_PLACES_MIN: usize = 64;

impl<K: Kernel> Sockets<K> {
    /// Queues bytes, to go out with the next turn. Returns how many bytes of this socket wait now, these among them;
    /// 0 where the socket is closing or gone, and the bytes go nowhere.
    pub fn send(&mut self, socket: Socket, bytes: Bytes) -> usize {
        let Some(record) = self.table.get(socket) else { return 0 };
        if record.closing.is_some() || !bytes.has_remaining() {
            return record.queued_bytes as usize;
        }
        record.queued_bytes =
            record.queued_bytes.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        if record.is_blocked {
            self.behind_bytes += bytes.len() as u64;
            record.queue.push_back_to_wait(bytes);
        } else {
            record.queue.push_back(bytes);
        }
        if !record.is_dirty && !record.is_blocked {
            record.is_dirty = true;
            self.dirty.push_back(socket);
        }
        record.queued_bytes as usize
    }

    /// How many bytes of this socket wait.
    pub fn queued_bytes(&mut self, socket: Socket) -> usize {
        self.table.get(socket).map_or(0, |record| record.queued_bytes as usize)
    }

    /// How many messages of this socket wait: what was given to [`Sockets::send`] at once, or the rest of it.
    pub fn queued_messages(&mut self, socket: Socket) -> usize {
        self.table.get(socket).map_or(0, |record| record.queue.messages())
    }

    /// True exactly when the kernel takes no more for this socket now: its peer does not keep up.
    pub fn is_backlogged(&mut self, socket: Socket) -> bool {
        self.table.get(socket).is_some_and(|record| record.is_blocked)
    }

    /// True exactly when something for this socket waits for a turn of ours, and not for its peer.
    pub fn is_unwritten(&mut self, socket: Socket) -> bool {
        self.table.get(socket).is_some_and(|record| record.is_dirty && !record.is_blocked)
    }

    /// The number of sockets for which the kernel takes no more, and how many bytes wait for them.
    #[must_use]
    pub fn behind(&self) -> (u64, u64) {
        (self.blocked.len() as u64, self.behind_bytes)
    }

    /// All of these sockets for which something waits, in no order, and how many bytes that are. Looks at no others.
    pub fn by_backlog(&mut self) -> Vec<(Socket, usize)> {
        let bytes = |&socket: &Socket| Some((socket, self.table.get(socket)?.queued_bytes as usize));
        self.blocked.iter().filter_map(bytes).filter(|&(_, bytes)| bytes > 0).collect()
    }

    /// Has [`Event::Drained`] come when all has gone out that is queued now, even if that takes one turn.
    pub fn notify_drained(&mut self, socket: Socket) {
        if let Some(record) = self.table.get(socket) {
            record.was_backlogged = true;
        }
    }

    /// What one write takes of a queue.
    #[must_use]
    pub fn write_bytes_max(&self) -> usize {
        self.config.joined_bytes_max
    }

    /// True exactly when no socket has anything that could be written, but for those that the kernel takes no more for.
    #[must_use]
    pub fn is_all_written(&self) -> bool {
        self.dirty.is_empty()
    }

    /// A mark behind all that is queued now, for [`Sockets::has_passed`].
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.flushed + self.dirty.len() as u64
    }

    /// True exactly when a turn has handed over a write for each socket that had one at `mark`, as far as the kernel takes
    /// them.
    #[must_use]
    pub fn has_passed(&self, mark: u64) -> bool {
        self.flushed >= mark
    }

    /// Pushes one write for each socket that has something to send, first come, first served, as many as a turn may
    /// have.
    pub(super) fn flush(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let writes_until = self.statistics.writes + self.config.turn_writes_max as u64;
        let bytes_until = self.statistics.written_bytes + self.config.turn_bytes_max as u64;
        while self.statistics.writes < writes_until
            && self.statistics.written_bytes < bytes_until
            && let Some(socket) = dirty.pop_front()
        {
            self.flushed += 1;
            let Some(record) = self.table.get(socket) else { continue };
            record.is_dirty = false;
            if record.is_blocked {
                continue;
            }
            if let Some(bytes) = record.queue.take_joined(self.config.joined_bytes_max) {
                record.queued_bytes -= u32::try_from(bytes.len()).expect("it was counted in a u32");
                self.statistics.writes += 1;
                self.statistics.written_bytes += bytes.len() as u64;
                record.was_backlogged |= !record.queue.is_empty();
                let has_more_to_do = record.was_backlogged || record.closing.is_some();
                self.kernel.push(Op::Send(socket, bytes));
                if has_more_to_do {
                    self.flushing.push(socket);
                }
            } else if record.closing == Some(CloseWhen::Flushed) || record.was_backlogged {
                self.flushing.push(socket);
            }
        }
        self.dirty = dirty;
    }

    /// Looks at the sockets whose write of this turn was not their whole business.
    pub(super) fn finish_flush(&mut self, events: &mut Vec<Event<K::Buffer>>) {
        let mut flushing = std::mem::take(&mut self.flushing);
        for socket in flushing.drain(..) {
            let Some(record) = self.table.get(socket) else { continue };
            if record.is_blocked {
                continue;
            }
            if !record.queue.is_empty() {
                if !record.is_dirty {
                    record.is_dirty = true;
                    self.dirty.push_back(socket);
                }
                continue;
            }
            if record.was_backlogged {
                record.was_backlogged = false;
                if record.closing.is_none() {
                    events.push(Event::Drained(socket));
                }
            }
            if record.closing == Some(CloseWhen::Flushed) {
                self.close(socket, CloseWhen::Now);
            }
        }
        self.flushing = flushing;
    }

    pub(super) fn send_short(
        &mut self,
        socket: Socket,
        rest: Bytes,
        error: Option<Errno>,
        events: &mut Vec<Event<K::Buffer>>,
    ) {
        self.statistics.written_bytes -= rest.len() as u64;
        let Some(record) = self.table.get(socket) else { return };
        if let Some(error) = error {
            self.drop_queue(socket);
            self.ended(socket, Ended::Failed(error), events);
            if self.table.record(socket).closing.is_some() {
                self.close(socket, CloseWhen::Now);
            }
            return;
        }
        self.statistics.short_writes += 1;
        if record.closing == Some(CloseWhen::Now) {
            return;
        }
        let rest_bytes = u32::try_from(rest.len()).unwrap_or(u32::MAX);
        record.queued_bytes = record.queued_bytes.saturating_add(rest_bytes);
        // It may wait long: a copy, so that it does not keep the buffer of a whole turn alive.
        let rest = if rest.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&rest) } else { rest };
        record.queue.push_front(rest);
        if record.is_blocked {
            // It had been held, and the word that it was taken follows.
            self.behind_bytes += u64::from(rest_bytes);
        } else {
            self.block(socket);
            self.kernel.push(Op::PollWritable(socket));
        }
    }

    /// The kernel has not taken this turn's send, nor may another one overtake it. Its bytes are queued, if not here.
    pub(super) fn send_held(&mut self, socket: Socket, len: usize) {
        let Some(record) = self.table.get(socket) else { return };
        record.queued_bytes = record.queued_bytes.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        self.block(socket);
    }

    pub(super) fn send_taken(&mut self, socket: Socket, len: usize) {
        let Some(record) = self.table.get(socket) else { return };
        // They are counted no more where the queue was dropped.
        let counted = u32::try_from(len).unwrap_or(u32::MAX).min(record.queued_bytes);
        record.queued_bytes -= counted;
        self.behind_bytes -= u64::from(counted);
        self.writable(socket);
    }

    fn block(&mut self, socket: Socket) {
        let record = self.table.record(socket);
        record.is_blocked = true;
        record.was_backlogged = true;
        record.queue.settle_to_wait();
        self.blocked.insert(socket);
        self.behind_bytes += u64::from(record.queued_bytes);
    }

    pub(super) fn writable(&mut self, socket: Socket) {
        let Some(record) = self.table.get(socket) else { return };
        if std::mem::take(&mut record.is_blocked) {
            self.blocked.remove(&socket);
            if self.blocked.is_empty() {
                self.blocked.shrink_to(BLOCKED_PLACES_MIN);
            }
            self.behind_bytes -= u64::from(record.queued_bytes);
        }
        if record.closing == Some(CloseWhen::Now) {
            self.close_if_quiet(socket);
        } else if !record.is_dirty {
            record.is_dirty = true;
            self.dirty.push_back(socket);
        }
    }

    pub(super) fn drop_queue(&mut self, socket: Socket) {
        let record = self.table.record(socket);
        if record.is_blocked {
            self.behind_bytes -= u64::from(record.queued_bytes);
        }
        record.queue = Queue::Empty;
        record.queued_bytes = 0;
    }
}
