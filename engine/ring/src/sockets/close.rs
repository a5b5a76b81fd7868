//! Close: the way out.
//!
//! In:  the owner's wish.
//! Out: [`Event::Closed`], when the descriptor is free.
//!
//! A descriptor that is closed while an operation of its socket is still in the kernel would leave the connection
//! alive behind our back. So what is in the kernel is ended first, and the close goes out when all of it has answered.

use super::{
    CloseWhen, Event, Sockets,
    record::{Look, Reading},
};
use crate::kernel::{Kernel, Op, Socket};

impl<K: Kernel> Sockets<K> {
    /// Closes a socket; see [`CloseWhen`]. From now on it gives no bytes and takes none.
    pub fn close(&mut self, socket: Socket, when: CloseWhen) {
        let Some(record) = self.table.get(socket) else { return };
        if record.closing == Some(CloseWhen::Now) {
            return;
        }
        record.closing = Some(when);
        if let Reading::Armed(armed) = record.reading {
            record.reading = Reading::Cancelling;
            self.kernel.push(Op::CancelReceive(socket, armed));
        }
        match when {
            CloseWhen::Flushed => {
                if !record.is_dirty && !record.is_blocked {
                    record.is_dirty = true;
                    self.dirty.push_back(socket);
                }
            }
            CloseWhen::Now => {
                if record.is_blocked {
                    self.kernel.push(Op::CancelWritable(socket));
                }
                self.drop_queue(socket);
                self.close_if_quiet(socket);
            }
        }
    }

    /// The descriptor is free: the kernel has said so, or has given it out again already.
    pub(super) fn closed(&mut self, socket: Socket, events: &mut Vec<Event<K::Buffer>>) {
        let Some(record) = self.table.get(socket) else { return };
        assert!(record.is_close_pushed, "a descriptor becomes free when we close it");
        self.acceptor.freed(socket.lane());
        self.table.close(socket);
        events.push(Event::Closed(socket));
    }

    /// Pushes the close of a closing socket once nothing of it is in the kernel.
    pub(super) fn close_if_quiet(&mut self, socket: Socket) {
        let Some(record) = self.table.get(socket) else { return };
        let is_quiet = !record.is_blocked
            && record.look != Look::Asked
            && !matches!(record.reading, Reading::Armed(_) | Reading::Cancelling);
        if record.closing == Some(CloseWhen::Now) && is_quiet && !record.is_close_pushed {
            record.is_close_pushed = true;
            self.kernel.push(Op::Close(socket));
        }
    }
}
