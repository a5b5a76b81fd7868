//! Network: connections between simulated kernels and the peers that a test plays.
//!
//! In:  what a peer does: connect, write, read, finish, reset.
//! Out: streams of bytes, each with a bounded buffer, that a [`super::Simulated`] sees through its descriptors.
//!
//! A connection has two ends: the kernel's and the peer's. What breaks it loses bytes that were on their way, as TCP
//! does: a tail of the stream, never a piece out of its middle.

use std::{
    cell::{RefCell, RefMut},
    collections::VecDeque,
    net::SocketAddr,
    rc::Rc,
};

use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    buffers::Pool,
    faults::{Faults, chance},
    trace::Trace,
};
use crate::kernel::Errno;

/// Everything between kernels and peers. Its clones are the same one.
#[derive(Clone)]
pub struct Network(Rc<RefCell<State>>);

pub(super) struct State {
    pub(super) random: SmallRng,
    pub(super) faults: Faults,
    pub(super) trace: Trace,
    hosts: Vec<Host>,
    connections: Vec<Connection>,
    /// Connections that kernels opened and no test has taken yet.
    opened: Vec<usize>,
    pipe_bytes: usize,
}

/// A kernel, as others find it.
struct Host {
    is_listening: bool,
    backlog: VecDeque<usize>,
    pool: Pool,
    held: u32,
}

/// Bytes on their way in one direction.
#[derive(Default)]
pub(super) struct Pipe {
    bytes: VecDeque<u8>,
    /// Bytes that were ever put in.
    written: u64,
    /// True exactly when no more will be put in (FIN).
    is_finished: bool,
}

#[derive(Default)]
pub(super) struct Connection {
    /// From the peer to the kernel.
    pub(super) inward: Pipe,
    pub(super) outward: Pipe,
    /// What an operation of the kernel's end is to meet, once.
    error: Option<Errno>,
    is_broken: bool,
    /// True exactly when the peer reads no more.
    peer_is_gone: bool,
    /// True exactly when it breaks only by a hand of its ends, and holds whatever is written to the peer.
    is_safe: bool,
    /// True exactly when the network broke it.
    was_cut: bool,
}

/// How a stream ended for a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// All that was sent has been read.
    Finished,
    /// It broke, and a tail of what was sent may be lost.
    Reset,
}

/// The peer's end of a connection, for a test to play.
#[derive(Clone)]
pub struct Peer {
    network: Network,
    connection: usize,
}

impl Network {
    /// A network whose chances all come from `seed`. Each direction of a connection holds up to `pipe_bytes`.
    #[must_use]
    pub fn new(seed: u64, faults: Faults, pipe_bytes: usize) -> Self {
        Self(Rc::new(RefCell::new(State {
            random: SmallRng::seed_from_u64(seed),
            faults,
            trace: Trace::new(),
            hosts: Vec::new(),
            connections: Vec::new(),
            opened: Vec::new(),
            pipe_bytes,
        })))
    }

    /// What has happened, and the clock.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.0.borrow().trace.clone()
    }

    /// What each direction of a connection holds.
    #[must_use]
    pub fn pipe_bytes(&self) -> usize {
        self.0.borrow().pipe_bytes
    }

    /// Other faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// Asks host `to` for a connection; hosts are numbered in the order in which their kernels were made. `None` where
    /// it does not listen.
    #[must_use]
    pub fn connect(&self, to: usize) -> Option<Peer> {
        let mut state = self.state();
        if !state.hosts[to].is_listening {
            return None;
        }
        let connection = state.open();
        state.hosts[to].backlog.push_back(connection);
        state.trace.note("peer connects", connection as u64, to as u64);
        Some(Peer { network: self.clone(), connection })
    }

    /// How many connections wait for host `to` to accept them.
    #[must_use]
    pub fn backlog(&self, to: usize) -> usize {
        self.0.borrow().hosts[to].backlog.len()
    }

    /// The far ends of connections that kernels have opened since the last call.
    #[must_use]
    pub fn take_opened(&self) -> Vec<Peer> {
        let opened = std::mem::take(&mut self.state().opened);
        opened.into_iter().map(|connection| Peer { network: self.clone(), connection }).collect()
    }

    pub(super) fn state(&self) -> RefMut<'_, State> {
        self.0.borrow_mut()
    }

    /// Descriptors that host `host` holds.
    #[must_use]
    pub fn descriptors_held(&self, host: usize) -> u32 {
        self.0.borrow().hosts[host].held
    }

    /// Buffers that host `host` has free.
    #[must_use]
    pub fn buffers_free(&self, host: usize) -> u32 {
        self.0.borrow().hosts[host].pool.free()
    }

    pub(super) fn add_host(&self, pool: Pool) -> usize {
        let hosts = &mut self.state().hosts;
        hosts.push(Host { is_listening: false, backlog: VecDeque::new(), pool, held: 0 });
        hosts.len() - 1
    }
}

impl State {
    pub(super) fn chance(&mut self, thousandths: u32) -> bool {
        chance(&mut self.random, thousandths)
    }

    /// Of operations that are handed over.
    pub(super) fn how_many_are_taken(&mut self, queued: usize) -> usize {
        if queued == 0 || !self.chance(self.faults.held) {
            return queued;
        }
        let taken = self.random.random_range(0..queued);
        self.trace.note("held", taken as u64, (queued - taken) as u64);
        taken
    }

    pub(super) fn chance_of_spurious(&mut self) -> bool {
        self.chance(self.faults.spurious)
    }

    pub(super) fn connection(&mut self, connection: usize) -> &mut Connection {
        &mut self.connections[connection]
    }

    pub(super) fn listen(&mut self, host: usize, is_listening: bool) {
        self.hosts[host].is_listening = is_listening;
        // Who waits is sent away with a reset.
        for connection in std::mem::take(&mut self.hosts[host].backlog) {
            self.break_off(connection, libc::ECONNRESET);
        }
    }

    pub(super) fn next_in_backlog(&mut self, host: usize) -> Option<usize> {
        self.hosts[host].backlog.pop_front()
    }

    /// Breaks the connection that would be accepted next. False where that one is not to break.
    pub(super) fn cut_in_backlog(&mut self, host: usize) -> bool {
        let Some(&next) = self.hosts[host].backlog.front() else { return false };
        let is_cut = !self.connections[next].is_safe;
        if is_cut {
            self.hosts[host].backlog.pop_front();
            self.cut(next);
        }
        is_cut
    }

    pub(super) fn backlog(&self, host: usize) -> usize {
        self.hosts[host].backlog.len()
    }

    pub(super) fn hold(&mut self, host: usize) {
        self.hosts[host].held += 1;
    }

    pub(super) fn let_go(&mut self, host: usize) {
        self.hosts[host].held -= 1;
    }

    fn open(&mut self) -> usize {
        self.connections.push(Connection::default());
        self.connections.len() - 1
    }

    /// A connection that a kernel opens.
    pub(super) fn open_from_kernel(&mut self) -> usize {
        let connection = self.open();
        self.opened.push(connection);
        connection
    }

    /// A connection that comes to nothing: to its socket, like one that broke.
    pub(super) fn open_in_vain(&mut self) -> usize {
        let connection = self.open();
        self.connections[connection].is_broken = true;
        connection
    }

    /// The network's own fault: both ends meet an error.
    pub(super) fn cut(&mut self, connection: usize) {
        if self.connections[connection].is_safe || self.connections[connection].is_broken {
            return;
        }
        self.connections[connection].was_cut = true;
        let error = [libc::ECONNRESET, libc::ETIMEDOUT, libc::EHOSTUNREACH][self.random.random_range(0..3)];
        self.trace.note("network cuts", connection as u64, u64::from(error.unsigned_abs()));
        self.break_off(connection, error);
    }

    /// Ends a connection for both ends. A tail of what was on its way is lost.
    pub(super) fn break_off(&mut self, connection: usize, error: i32) {
        let Self { connections, random, .. } = self;
        let broken = &mut connections[connection];
        if broken.is_broken {
            return;
        }
        broken.is_broken = true;
        broken.error = Some(Errno(error));
        for pipe in [&mut broken.inward, &mut broken.outward] {
            let kept = random.random_range(0..=pipe.bytes.len());
            pipe.bytes.truncate(kept);
        }
    }

    /// Takes bytes of the kernel's; as many as go in, or the error.
    pub(super) fn send(&mut self, connection: usize, bytes: &[u8]) -> Result<usize, Errno> {
        let is_safe = self.connections[connection].is_safe;
        let is_shortened = !is_safe && self.chance(self.faults.short_write);
        let room_max = if is_safe { usize::MAX } else { self.pipe_bytes };
        let (sent, is_in_vain) = {
            let Self { connections, random, .. } = self;
            let connection = &mut connections[connection];
            if let Some(error) = connection.error.take() {
                return Err(error);
            }
            if connection.is_broken || connection.outward.is_finished {
                return Err(Errno(libc::EPIPE));
            }
            let mut sent = bytes.len().min(connection.outward.room(room_max));
            if is_shortened {
                sent = random.random_range(0..=sent);
            }
            connection.outward.put(&bytes[..sent]);
            (sent, connection.peer_is_gone)
        };
        if is_in_vain {
            // Nobody is there any more: the answer is a reset.
            self.break_off(connection, libc::ECONNRESET);
        }
        Ok(sent)
    }

    pub(super) fn has_room(&self, connection: usize) -> bool {
        let connection = &self.connections[connection];
        connection.is_broken || connection.is_safe || connection.outward.room(self.pipe_bytes) > 0
    }

    /// The kernel lets go of its end. Bytes that it has not read make that a reset (RFC 1122 §4.2.2.13).
    pub(super) fn close(&mut self, connection: usize) {
        if self.connections[connection].inward.bytes.is_empty() {
            self.connections[connection].outward.is_finished = true;
        } else {
            self.break_off(connection, libc::ECONNRESET);
        }
        self.connections[connection].inward.bytes = VecDeque::new();
    }
}

impl Connection {
    /// What a read of the kernel's meets.
    pub(super) fn readable(&self) -> Readable {
        if !self.inward.bytes.is_empty() {
            Readable::Bytes(self.inward.bytes.len())
        } else if let Some(error) = self.error {
            Readable::Error(error)
        } else if self.is_broken || self.inward.is_finished {
            Readable::End
        } else {
            Readable::Nothing
        }
    }

    /// The error has been told.
    pub(super) fn take_error(&mut self) {
        self.error = None;
    }
}

/// See [`Connection::readable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    Nothing,
    Bytes(usize),
    End,
    Error(Errno),
}

impl Pipe {
    fn room(&self, max: usize) -> usize {
        max.saturating_sub(self.bytes.len())
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        self.written += bytes.len() as u64;
    }

    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        self.bytes.drain(..count).collect()
    }
}

impl Peer {
    /// A number for traces.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.connection as u64
    }

    /// Its address, as the kernel's end sees it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        address(self.connection)
    }

    /// What has happened in its network.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.network.trace()
    }

    /// Keeps the network from breaking this connection, and lets it hold whatever the kernel's end writes.
    pub fn keep_safe(&self) {
        self.network.state().connection(self.connection).is_safe = true;
    }

    /// Writes as much as there is room for; how much that was. Writing to a broken connection takes everything and
    /// does nothing.
    pub fn write(&self, bytes: &[u8]) -> usize {
        let mut state = self.network.state();
        let max = state.pipe_bytes;
        let connection = state.connection(self.connection);
        if connection.is_broken || connection.inward.is_finished || connection.outward.is_finished {
            return bytes.len();
        }
        let written = bytes.len().min(connection.inward.room(max));
        connection.inward.put(&bytes[..written]);
        if written > 0 {
            state.trace.note("peer writes", self.number(), written as u64);
        }
        written
    }

    /// Appends up to `max` bytes that have come; how many those were.
    pub fn read(&self, max: usize, out: &mut Vec<u8>) -> usize {
        let mut state = self.network.state();
        let bytes = &mut state.connection(self.connection).outward.bytes;
        let read = max.min(bytes.len());
        out.extend(bytes.drain(..read));
        if read > 0 {
            state.trace.note("peer reads", self.number(), read as u64);
        }
        read
    }

    /// How the stream has ended, once all that came has been read.
    #[must_use]
    pub fn end(&self) -> Option<StreamEnd> {
        let mut state = self.network.state();
        let connection = state.connection(self.connection);
        if !connection.outward.bytes.is_empty() {
            None
        } else if connection.is_broken {
            Some(StreamEnd::Reset)
        } else {
            connection.outward.is_finished.then_some(StreamEnd::Finished)
        }
    }

    /// Sends no more (FIN), but still reads.
    pub fn finish(&self) {
        let mut state = self.network.state();
        state.connection(self.connection).inward.is_finished = true;
        state.trace.note("peer finishes", self.number(), 0);
    }

    /// Goes away: whatever is still sent to it is answered with a reset.
    pub fn close(&self) {
        let mut state = self.network.state();
        state.trace.note("peer closes", self.number(), 0);
        let connection = state.connection(self.connection);
        connection.inward.is_finished = true;
        connection.peer_is_gone = true;
        if !connection.outward.bytes.is_empty() {
            state.break_off(self.connection, libc::ECONNRESET);
        }
    }

    /// Breaks the connection (RST).
    pub fn reset(&self) {
        let mut state = self.network.state();
        state.trace.note("peer resets", self.number(), 0);
        state.break_off(self.connection, libc::ECONNRESET);
    }

    /// True exactly when the network broke the connection, of its own accord.
    #[must_use]
    pub fn was_cut(&self) -> bool {
        self.network.state().connection(self.connection).was_cut
    }

    /// True exactly when the connection is broken, whether or not its ends have noticed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.network.state().connection(self.connection).is_broken
    }

    /// Bytes that the kernel's end has put on their way, since the beginning.
    #[must_use]
    pub fn taken_bytes(&self) -> u64 {
        self.network.state().connection(self.connection).outward.written
    }

    /// Bytes on their way to the kernel's end, which it has not read.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        self.network.state().connection(self.connection).inward.bytes.len()
    }
}

/// The address of a connection's far end: a host of its own for every 50,000.
pub(super) fn address(connection: usize) -> SocketAddr {
    let host = u8::try_from(connection / 50_000).unwrap_or(u8::MAX);
    let port = u16::try_from(connection % 50_000).expect("below 50,000") + 10_000;
    SocketAddr::from(([10, 0, 0, host], port))
}
