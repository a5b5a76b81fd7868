//! Record: what is kept for each socket, and the tables that hold it.
//!
//! In:  descriptors.
//! Out: records, found by key; a key of an earlier generation finds nothing.
//!
//! An idle socket's record owns no memory beyond its place in the table.

use super::{CloseWhen, queue::Queue};
use crate::{
    kernel::{Armed, Descriptor, Socket},
    socket_map::SocketMap,
};

/// The reading side.
///
/// ```text
///            ┌────────────── bytes, and quiet ─────────────┐
///            v                                             │
/// Idle ─> Armed(Poll) ── readable ──> Armed(Once) ── bytes ┤
///            │                                             │
///            └── readable again soon ──────> Armed(Many) ┘ quiet for some ticks: Cancelling
///
/// Armed(_) ── paused or closing ──> Cancelling ── ended ──> Idle
/// Armed(Once | Many) ── no buffers ──> Starved ── next turn ──> Armed(_)
/// any ── end or error ──> Over
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Nothing is in the kernel.
    Idle,
    /// This is in the kernel.
    Armed(Armed),
    /// It is still in the kernel, with a request to end.
    Cancelling,
    /// Nothing is in the kernel, for want of a buffer.
    Starved,
    /// There is no more to read, ever.
    Over,
}

/// A look for something unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// There is none.
    None,
    /// It waits for the end of a receive.
    Wanted,
    /// It is in the kernel.
    Asked,
}

#[derive(Debug)]
pub(super) struct Record {
    /// Bytes in `queue`.
    pub(super) queued_bytes: u32,
    pub(super) queue: Queue,
    pub(super) reading: Reading,
    pub(super) look: Look,
    pub(super) closing: Option<CloseWhen>,
    /// How often there was something to read in tick `wakes_tick`.
    pub(super) wakes: u8,
    pub(super) wakes_tick: u8,
    /// True exactly when the owner wants to be given bytes.
    pub(super) wants_bytes: bool,
    /// True exactly when the owner has been told of the end.
    pub(super) has_ended: bool,
    /// True exactly when the socket is on the list of those with a multishot receive.
    pub(super) is_streaming: bool,
    /// True exactly when the socket is on the list of those to be flushed.
    pub(super) is_dirty: bool,
    /// True exactly when a poll for room is in the kernel, or a send that the kernel has not taken yet.
    pub(super) is_blocked: bool,
    /// True exactly when the owner is to be told of an empty queue: not all of it went out in one turn, or the socket
    /// was paused meanwhile.
    pub(super) was_backlogged: bool,
    /// True exactly when the descriptor's close has been asked for.
    pub(super) is_close_pushed: bool,
}

impl Record {
    /// The record of a socket that opens.
    fn new() -> Self {
        Self {
            queued_bytes: 0,
            queue: Queue::Empty,
            reading: Reading::Idle,
            look: Look::None,
            closing: None,
            wakes: 0,
            wakes_tick: 0,
            wants_bytes: true,
            has_ended: false,
            is_streaming: false,
            is_dirty: false,
            is_blocked: false,
            was_backlogged: false,
            is_close_pushed: false,
        }
    }
}

/// The records of all lanes.
#[derive(Debug)]
pub(super) struct Table {
    records: SocketMap<Record>,
    lanes: usize,
    lane_slots: usize,
    /// Descriptors that [`Table::free_descriptor`] gave out and got back.
    free: Vec<Descriptor>,
    /// The first descriptor that it never gave out, counted over all lanes.
    fresh: usize,
}

impl Table {
    pub(super) fn new(lanes: usize, lane_slots: u32) -> Self {
        let lane_slots = lane_slots as usize;
        let records = SocketMap::with_room(lanes, lane_slots);
        Self { records, lanes, lane_slots, free: Vec::new(), fresh: 0 }
    }

    pub(super) fn open_sockets(&self) -> usize {
        self.records.len()
    }

    /// A descriptor for a socket of our own making. Not to be mixed with accepting, where the kernel chooses.
    pub(super) fn free_descriptor(&mut self) -> Option<Descriptor> {
        if let Some(descriptor) = self.free.pop() {
            return Some(descriptor);
        }
        let (lane, slot) = (self.fresh / self.lane_slots, self.fresh % self.lane_slots);
        if lane >= self.lanes {
            return None;
        }
        self.fresh += 1;
        Some(Descriptor::new(lane, u32::try_from(slot).expect("below lane_slots, a u32")))
    }

    /// Takes back a descriptor that was not used.
    pub(super) fn give_back(&mut self, descriptor: Descriptor) {
        self.free.push(descriptor);
    }

    /// Begins the life of a socket in `descriptor`.
    pub(super) fn open(&mut self, descriptor: Descriptor) -> Socket {
        self.records.open(descriptor, Record::new())
    }

    /// The socket that is open in `descriptor`.
    pub(super) fn socket_at(&self, descriptor: Descriptor) -> Option<Socket> {
        self.records.socket_at(descriptor)
    }

    /// Has the record of a socket fetched, for one who asks for it soon.
    pub(super) fn prefetch(&self, socket: Socket) {
        self.records.prefetch(socket);
    }

    /// The record of a socket that is open, however late the caller comes.
    pub(super) fn get(&mut self, socket: Socket) -> Option<&mut Record> {
        self.records.get_mut(socket)
    }

    /// The record of a socket that is known to be open.
    pub(super) fn record(&mut self, socket: Socket) -> &mut Record {
        self.get(socket).expect("the socket is open")
    }

    /// Ends a socket's life.
    pub(super) fn close(&mut self, socket: Socket) {
        self.records.remove(socket).expect("the socket is open");
        if socket.lane() * self.lane_slots + socket.slot() < self.fresh {
            self.free.push(socket.descriptor());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_an_earlier_socket_finds_nobody() {
        let mut table = Table::new(2, 4);
        let descriptor = Descriptor::new(1, 3);
        let first = table.open(descriptor);
        assert!(table.get(first).is_some());
        table.close(first);
        assert!(table.get(first).is_none());
        let second = table.open(descriptor);
        assert!(table.get(first).is_none());
        assert!(table.get(second).is_some());
        assert_eq!(table.open_sockets(), 1);
    }

    #[test]
    fn descriptors_of_our_own_fill_all_lanes_and_come_back() {
        let mut table = Table::new(2, 2);
        let sockets: Vec<_> = std::iter::from_fn(|| {
            let descriptor = table.free_descriptor()?;
            Some(table.open(descriptor))
        })
        .collect();
        assert_eq!(sockets.len(), 4);
        table.close(sockets[2]);
        assert_eq!(table.free_descriptor(), Some(sockets[2].descriptor()));
        assert_eq!(table.free_descriptor(), None);
    }

    #[test]
    fn a_record_is_small() {
        let bytes = SocketMap::<Record>::SLOT_BYTES;
        assert!(bytes <= 64, "{bytes} bytes");
    }
}
