//! Sockets: connections on top of single kernel operations.
//!
//! In:  bytes to send, sockets to connect or close; a turn of the loop.
//! Out: [`Event`]s: who came, what came, who went. Every socket that came is reported closed exactly once.
//!
//! What a socket is given to send goes out in order, each byte once, joined to one write a turn. No clock, no unsafe,
//! no system call of its own: it talks to a [`Kernel`].
//!
//! The parts: `accept` (which lane takes connections), `receive` (the reading side), `transmit` (the writing side),
//! `close` (the way out), `look` (is there something unread?), `record` (what is kept a socket).

mod accept;
mod close;
mod look;
mod queue;
mod receive;
mod record;
mod transmit;

use std::{
    collections::{HashSet, VecDeque},
    io,
    net::{IpAddr, SocketAddr},
    ops::Range,
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use self::{
    accept::Acceptor,
    record::{Reading, Table},
};
use crate::{
    doorbell::Doorbell,
    kernel::{Armed, Completion, Errno, Kernel, KernelStatistics, Op, Socket},
    open,
    prefetch::PREFETCH_AHEAD,
};

/// What has happened. `B` is the kernel's buffer type.
#[derive(Debug)]
pub enum Event<B> {
    /// A connection came in; from this address, where [`SocketsConfig::peer_addresses`] asks for it.
    Accepted(Socket, Option<Box<SocketAddr>>),
    /// Accepting met an error that is not a connection's (no memory, no descriptors). It goes on by itself.
    AcceptFailed(Errno),
    /// A [`Sockets::connect`] is done.
    Connected(Socket),
    /// Bytes came. The buffer goes back to the kernel when it is dropped; do not keep it.
    Received(Socket, B),
    /// All that was queued has gone out, after it took more than one turn or [`Sockets::pause_receive`] was called.
    Drained(Socket),
    /// The connection is over as far as the other side is concerned; it is for the owner to close it. Comes at most
    /// once a socket.
    Ended(Socket, Ended),
    /// The answer to [`Sockets::look`]: there was nothing to read any more. What there was came before.
    Looked(Socket),
    /// The answer to [`Sockets::ask_peer_address`]; the socket may be gone by now. `None` where it cannot be told.
    PeerAddress(Socket, Option<Box<SocketAddr>>),
    /// The descriptor is free again, and this key will never be seen again.
    Closed(Socket),
    /// This thread's [`Doorbell`] rang.
    Woken,
}

impl<B> Event<B> {
    /// The socket that it is about.
    #[must_use]
    pub fn socket(&self) -> Option<Socket> {
        match *self {
            Self::Accepted(socket, _)
            | Self::Connected(socket)
            | Self::Received(socket, _)
            | Self::Drained(socket)
            | Self::Ended(socket, _)
            | Self::Looked(socket)
            | Self::PeerAddress(socket, _)
            | Self::Closed(socket) => Some(socket),
            Self::AcceptFailed(_) | Self::Woken => None,
        }
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The peer sends no more (FIN).
    ByPeer,
    /// It broke: reset, timed out, refused.
    Failed(Errno),
}

/// When a close takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseWhen {
    /// At once; what is queued is dropped.
    Now,
    /// When all that is queued has gone out. A peer that does not read delays it for ever: the owner has a timer, and
    /// closes [`CloseWhen::Now`] when it fires.
    Flushed,
}

/// Limits of a [`Sockets`].
#[derive(Clone, Debug)]
pub struct SocketsConfig {
    /// Queued sends of one socket are joined into one write up to this many bytes; a longer single one goes alone,
    /// uncopied.
    pub joined_bytes_max: usize,
    /// Writes of one turn. What is more waits for the next one, so that a message to very many does not hold up who
    /// else has something to say; each write takes the kernel about 4 µs.
    pub turn_writes_max: usize,
    /// Bytes of one turn's writes, and at most one write more: the kernel copies two to four of them a nanosecond.
    pub turn_bytes_max: usize,
    /// Descriptors of each lane that a multishot accept leaves free, because it can bring as many connections in one
    /// turn as the listener's backlog holds. The last ones are accepted one by one, so none is accepted and lost.
    pub accept_reserve: u32,
    /// True exactly when the address of each connection's other end is told with it. Connections are then accepted one by
    /// one, each accept with room for an address of its own, which costs an operation a connection.
    pub peer_addresses: bool,
}

impl Default for SocketsConfig {
    fn default() -> Self {
        Self {
            joined_bytes_max: 64 * 1024,
            turn_writes_max: 1024,
            turn_bytes_max: 8 * 1024 * 1024,
            accept_reserve: 4096 + 64,
            peer_addresses: false,
        }
    }
}

/// Counters for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketsStatistics {
    /// Receives that found no free buffer and had to be armed again.
    pub buffers_exhausted: u64,
    /// Writes that the kernel took only in part, or not at all, for want of room.
    pub short_writes: u64,
    /// Writes handed over.
    pub writes: u64,
    /// Bytes handed over.
    pub written_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Connections that were accepted but found no free descriptor.
    pub accepts_lost: u64,
    /// The kernel's own counters.
    pub kernel: KernelStatistics,
}

/// All sockets of one thread.
pub struct Sockets<K: Kernel> {
    kernel: K,
    config: SocketsConfig,
    table: Table,
    acceptor: Acceptor,
    /// Sockets with something to send.
    dirty: VecDeque<Socket>,
    /// How many sockets were ever taken from there.
    flushed: u64,
    /// Sockets whose write of this turn is to be looked at after it.
    flushing: Vec<Socket>,
    /// Sockets whose receive found no buffer.
    starved: Vec<Socket>,
    /// Sockets with a multishot receive.
    streaming: Vec<Socket>,
    /// True exactly when a socket that had something to read has an operation for it in the next turn.
    has_more_to_read: bool,
    /// Counts [`Sockets::tick`]s, to tell whether a socket woke twice within one.
    ticks: u8,
    /// Sockets that the kernel takes no more for, and the bytes in their queues.
    blocked: HashSet<Socket>,
    behind_bytes: u64,
    completions: Vec<Completion<K::Buffer>>,
    statistics: SocketsStatistics,
}

impl<K: Kernel> Sockets<K> {
    /// Sockets over `kernel`.
    #[must_use]
    pub fn new(kernel: K, config: SocketsConfig) -> Self {
        let table = Table::new(kernel.lanes(), kernel.lane_slots());
        let acceptor = Acceptor::new(kernel.lanes(), kernel.lane_slots(), &config);
        Self {
            kernel,
            config,
            table,
            acceptor,
            dirty: VecDeque::new(),
            flushed: 0,
            flushing: Vec::new(),
            starved: Vec::new(),
            streaming: Vec::new(),
            has_more_to_read: false,
            ticks: 0,
            blocked: HashSet::new(),
            behind_bytes: 0,
            completions: Vec::new(),
            statistics: SocketsStatistics::default(),
        }
    }

    /// Begins to accept connections.
    pub fn listen(&mut self, listener: OwnedFd) {
        self.kernel.listen(listener);
        self.acceptor.start();
    }

    /// Accepts no more and closes the listening socket, within this turn or the next.
    pub fn stop_listening(&mut self) {
        self.acceptor.stop();
    }

    /// As [`Kernel::steer_new_connections`].
    ///
    /// # Errors
    /// As there.
    pub fn steer_new_connections(&mut self, places: Range<u32>) -> io::Result<()> {
        self.kernel.steer_new_connections(places)
    }

    /// True exactly when the listening socket is open.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.acceptor.is_listening()
    }

    /// True exactly when connections that ask can be taken: a descriptor is free and listening has not been stopped.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        self.acceptor.is_accepting()
    }

    /// Opens a connection. [`Event::Connected`] or [`Event::Ended`] follows.
    ///
    /// # Errors
    /// `StorageFull` where no descriptor is free; else what the system says of the local address or of its limits.
    pub fn connect(&mut self, local: Option<IpAddr>, remote: SocketAddr) -> io::Result<Socket> {
        let descriptor = self.table.free_descriptor().ok_or(io::ErrorKind::StorageFull)?;
        let attached = open::stream(local, remote).and_then(|fd| self.kernel.attach(descriptor, fd));
        if let Err(error) = attached {
            self.table.give_back(descriptor);
            return Err(error);
        }
        let socket = self.table.open(descriptor);
        self.table.record(socket).reading = Reading::Armed(Armed::Connect);
        self.kernel.push(Op::Connect(socket, remote));
        Ok(socket)
    }

    /// The number of sockets that are not yet reported closed.
    #[must_use]
    pub fn open_sockets(&self) -> usize {
        self.table.open_sockets()
    }

    /// The number of lanes.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.kernel.lanes()
    }

    /// The number of descriptors of each lane.
    #[must_use]
    pub fn lane_slots(&self) -> usize {
        self.kernel.lane_slots() as usize
    }

    /// The number of descriptors, open or free.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.lanes() * self.lane_slots()
    }

    /// Has what is known of a socket fetched from memory, for one who sends to it soon.
    pub fn prefetch(&self, socket: Socket) {
        self.table.prefetch(socket);
    }

    /// Asks for the address of a socket's other end: [`Event::PeerAddress`] follows, even if the socket is closed meanwhile. False
    /// where nothing will follow, because it is closed already.
    pub fn ask_peer_address(&mut self, socket: Socket) -> bool {
        let is_open = self.table.get(socket).is_some_and(|record| !record.is_close_pushed);
        if is_open {
            self.kernel.push(Op::PeerAddress(socket));
        }
        is_open
    }

    /// Wakes another thread when this turn's operations are handed over, if it sleeps.
    pub fn wake(&mut self, bell: &Arc<Doorbell>) {
        if bell.needs_ringing() {
            self.kernel.push(Op::Wake(Arc::clone(bell)));
        }
    }

    /// What others ring to end this thread's sleep.
    #[must_use]
    pub fn doorbell(&self) -> Arc<Doorbell> {
        self.kernel.doorbell()
    }

    /// Housekeeping, to be called about once a second: sockets that have been quiet for some of these ticks give up their multishot receive
    /// (in the kernel about 860 bytes) for a poll (256 bytes), and accepting goes on after an error.
    pub fn tick(&mut self) {
        self.ticks = self.ticks.wrapping_add(1);
        self.demote_quiet();
        self.acceptor.go_on();
    }

    /// True exactly when all that could be read when the last turn began has come, but for sockets that are paused.
    #[must_use]
    pub fn is_read_up(&mut self) -> bool {
        !self.has_more_to_read && self.starved.is_empty() && self.kernel.is_drained()
    }

    /// Counters since the beginning.
    #[must_use]
    pub fn statistics(&self) -> SocketsStatistics {
        SocketsStatistics { kernel: self.kernel.statistics(), ..self.statistics }
    }

    /// One turn: hands over what was asked for, sleeps up to `wait` if nothing is there, and appends what happened.
    ///
    /// # Errors
    /// Only where the ring itself is broken.
    pub fn turn(&mut self, wait: Duration, events: &mut Vec<Event<K::Buffer>>) -> io::Result<()> {
        self.feed_starved();
        self.has_more_to_read = false;
        self.flush();
        self.steer_accept();
        let wait = (!wait.is_zero() && self.flushing.is_empty() && self.dirty.is_empty()).then_some(wait);
        let mut completions = std::mem::take(&mut self.completions);
        self.kernel.turn(wait, &mut completions)?;
        let mut drain = completions.drain(..);
        while let Some(completion) = drain.next() {
            if let Some(socket) = drain.as_slice().get(PREFETCH_AHEAD).and_then(Completion::socket) {
                self.table.prefetch(socket);
            }
            self.complete(completion, events);
        }
        drop(drain);
        self.completions = completions;
        self.finish_flush(events);
        Ok(())
    }

    fn complete(&mut self, completion: Completion<K::Buffer>, events: &mut Vec<Event<K::Buffer>>) {
        match completion {
            Completion::Accepted(descriptor, from) => self.accepted(descriptor, from, events),
            Completion::AcceptEnded { lane, error } => self.accept_ended(lane, error, events),
            Completion::Connected(socket, result) => self.connected(socket, result, events),
            Completion::Received { socket, buffer, armed, more_to_read } => {
                self.received(socket, buffer, armed, more_to_read, events);
            }
            Completion::ReceiveEnded(socket, end) => self.receive_ended(socket, end, events),
            Completion::Looked(socket, seen) => self.looked(socket, seen, events),
            Completion::PeerAddress(socket, address) => events.push(Event::PeerAddress(socket, address)),
            Completion::Readable(socket) => self.readable(socket),
            Completion::Writable(socket) => self.writable(socket),
            Completion::SendShort { socket, rest, error } => self.send_short(socket, rest, error, events),
            Completion::SendHeld { socket, len } => self.send_held(socket, len),
            Completion::SendTaken { socket, len } => self.send_taken(socket, len),
            Completion::Closed(socket) => self.closed(socket, events),
            Completion::Woken => events.push(Event::Woken),
        }
    }
}
