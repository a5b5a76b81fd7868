//! Look: is there something unread?
//!
//! In:  the owner's wish to know, before it ends a connection for its silence.
//! Out: [`Event::Received`] for what there is, then [`Event::Looked`].
//!
//! Whatever else the kernel has to hand out first, and however late this thread is: the kernel reads the socket once more,
//! at once. So that bytes keep their order, no receive is in the kernel meanwhile; a poll, which takes no bytes, may be.

use super::{
    Ended, Event, Sockets,
    record::{Look, Reading},
};
use crate::kernel::{Armed, Kernel, Op, ReceiveEnd, Seen, Socket};

impl<K: Kernel> Sockets<K> {
    /// Reads what a socket has, to the end, and tells so. False where nothing of it is read, and nothing will be told: it
    /// is paused, has ended, is closing or gone.
    pub fn look(&mut self, socket: Socket) -> bool {
        let Some(record) = self.table.get(socket) else { return false };
        if !record.wants_bytes || record.closing.is_some() || record.has_ended {
            return false;
        }
        match record.reading {
            Reading::Over | Reading::Armed(Armed::Connect) => return false,
            Reading::Armed(armed @ (Armed::Once | Armed::Many)) if record.look == Look::None => {
                record.look = Look::Wanted;
                record.reading = Reading::Cancelling;
                self.kernel.push(Op::CancelReceive(socket, armed));
            }
            Reading::Cancelling if record.look == Look::None => record.look = Look::Wanted,
            Reading::Idle | Reading::Starved | Reading::Armed(Armed::Poll) if record.look == Look::None => {
                self.ask(socket);
            }
            // It is under way.
            _ => {}
        }
        true
    }

    /// True exactly when a socket is paused, so that it may have something unread that nobody is told of.
    pub fn is_paused(&mut self, socket: Socket) -> bool {
        self.table.get(socket).is_some_and(|record| !record.wants_bytes)
    }

    /// What is armed next waits for a look. True exactly when there is one.
    pub(super) fn looks_first(&mut self, socket: Socket) -> bool {
        let look = self.table.record(socket).look;
        if look == Look::Wanted {
            self.ask(socket);
        }
        look != Look::None
    }

    fn ask(&mut self, socket: Socket) {
        self.table.record(socket).look = Look::Asked;
        self.has_more_to_read = true;
        self.kernel.push(Op::Look(socket));
    }

    pub(super) fn looked(
        &mut self,
        socket: Socket,
        seen: Seen<K::Buffer>,
        events: &mut Vec<Event<K::Buffer>>,
    ) {
        let Some(record) = self.table.get(socket) else { return };
        record.look = Look::None;
        if record.closing.is_some() {
            return self.close_if_quiet(socket);
        }
        match seen {
            Seen::Bytes { buffer, more_to_read } => {
                self.statistics.received_bytes += buffer.len() as u64;
                events.push(Event::Received(socket, buffer));
                if more_to_read {
                    return self.look_again(socket);
                }
                self.tell_looked(socket, events);
            }
            Seen::Nothing => self.tell_looked(socket, events),
            Seen::Ended(ReceiveEnd::NoBuffers) => {
                self.statistics.buffers_exhausted += 1;
                return self.look_again(socket);
            }
            Seen::Ended(ReceiveEnd::Stopped) => return self.look_again(socket),
            Seen::Ended(ReceiveEnd::EndOfStream) => self.ended(socket, Ended::ByPeer, events),
            Seen::Ended(ReceiveEnd::Failed(error)) => self.ended(socket, Ended::Failed(error), events),
        }
        self.arm_next(socket, false);
    }

    /// Not of one that has ended because a write failed: its owner knows already.
    fn tell_looked(&mut self, socket: Socket, events: &mut Vec<Event<K::Buffer>>) {
        if !self.table.record(socket).has_ended {
            events.push(Event::Looked(socket));
        }
    }

    /// There may be more. Who was paused meanwhile is read from later.
    fn look_again(&mut self, socket: Socket) {
        let record = self.table.record(socket);
        if record.wants_bytes {
            self.ask(socket);
        } else {
            record.look = Look::Wanted;
        }
    }
}
