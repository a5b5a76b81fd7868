//! Kernel: the one seam between Holdfast and the operating system's sockets.
//!
//! In:  operations ([`Op`]), pushed in any number, handed over by [`Kernel::turn`].
//! Out: completions, in the order in which the kernel finished them.
//!
//! [`crate::Uring`] is the real one. Anything that keeps this page's promises can stand in for it, a seeded
//! simulation above all. No policy lives here: when to arm, retry or close is decided in [`crate::Sockets`].

use std::{
    fmt, io,
    net::SocketAddr,
    ops::{DerefMut, Range},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use crate::doorbell::Doorbell;

/// The largest number of descriptors in one lane: a slot number has 24 bits.
pub const LANE_SLOTS_MAX: u32 = 1 << 24;

/// The largest number of lanes of one kernel: a lane number has 8 bits.
pub const LANES_MAX: usize = 256;

/// A direct descriptor: the place of a socket in one lane's descriptor table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Descriptor(u32);

impl Descriptor {
    /// The descriptor `slot` of lane `lane`.
    ///
    /// # Panics
    /// Where either is out of range: descriptors come from tables that are smaller than that.
    #[must_use]
    pub fn new(lane: usize, slot: u32) -> Self {
        assert!(lane < LANES_MAX && slot < LANE_SLOTS_MAX, "a descriptor has 8 bits of lane and 24 of slot");
        #[expect(clippy::cast_possible_truncation, reason = "asserted above")]
        Self((lane as u32) << 24 | slot)
    }

    /// Which ring of this thread holds it.
    #[must_use]
    pub fn lane(self) -> usize {
        (self.0 >> 24) as usize
    }

    /// Its index in that ring's descriptor table.
    #[must_use]
    pub fn slot(self) -> u32 {
        self.0 & (LANE_SLOTS_MAX - 1)
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.lane(), self.slot())
    }
}

/// A socket's key. The generation tells a slot's present socket from its earlier ones, so that a completion that
/// comes late finds nobody rather than somebody else.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Socket {
    pub(crate) descriptor: Descriptor,
    pub(crate) generation: u32,
}

impl Socket {
    /// The key of generation `generation` in `descriptor`.
    #[must_use]
    pub fn new(descriptor: Descriptor, generation: u32) -> Self {
        Self { descriptor, generation }
    }

    /// The descriptor, which a later socket may hold again.
    #[must_use]
    pub fn descriptor(self) -> Descriptor {
        self.descriptor
    }

    /// Which lane holds it: with [`Socket::slot`] an index into a slab of the caller's.
    #[must_use]
    pub fn lane(self) -> usize {
        self.descriptor.lane()
    }

    /// Its place in the lane's table.
    #[must_use]
    pub fn slot(self) -> usize {
        self.descriptor.slot() as usize
    }

    /// How many sockets held this descriptor before.
    #[must_use]
    pub fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}#{}", self.descriptor, self.generation)
    }
}

/// An error number of the kernel's, as `errno(3)` names them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Errno(pub i32);

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from_raw_os_error(self.0).fmt(f)
    }
}

/// What can be asked of the kernel. Nothing happens before the next [`Kernel::turn`].
#[derive(Debug)]
pub enum Op {
    /// Accept connections into free descriptors of `lane`.
    Accept {
        /// Where the new descriptors come from.
        lane: usize,
        /// How many, and what is told of them.
        mode: AcceptMode,
    },
    /// End all of the lane's accepts. Each one's own completion tells that it has ended.
    CancelAccepts {
        /// The lane whose accepts end.
        lane: usize,
    },
    /// Connect an attached socket to an address.
    Connect(Socket, SocketAddr),
    /// Report once when bytes, an end or an error can be read.
    PollReadable(Socket),
    /// Report once when the socket takes bytes again.
    PollWritable(Socket),
    /// Receive once into a buffer of the kernel's choice.
    Receive(Socket),
    /// Receive again and again.
    ReceiveMany(Socket),
    /// Receive what is there, and wait for nothing: [`Completion::Looked`] comes in the turn that hands it over. Of the
    /// socket's reading side, nothing but an [`Op::PollReadable`] may be in the kernel.
    Look(Socket),
    /// Tell the address of a socket's other end: [`Completion::PeerAddress`] comes in the turn that hands it over. It costs
    /// three system calls, so it is for what happens seldom.
    PeerAddress(Socket),
    /// End whatever [`Op::PollReadable`], [`Op::Receive`], [`Op::ReceiveMany`] or [`Op::Connect`] of this socket is
    /// still in the kernel. That operation's own completion tells that it has ended.
    CancelReceive(Socket, Armed),
    /// End the socket's [`Op::PollWritable`].
    CancelWritable(Socket),
    /// Write bytes. See [`Completion::SendShort`]; at most one a socket in a turn, and none while one is held.
    Send(Socket, Bytes),
    /// Close the descriptor. Nothing else of this socket may be in the kernel.
    Close(Socket),
    /// Wake another ring's thread out of its sleep.
    Wake(Arc<Doorbell>),
}

/// How connections are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptMode {
    /// Until told otherwise. Whose they are is not told.
    Multishot,
    /// Exactly one.
    Single,
    /// Exactly one, with the address of its other end.
    SingleWithAddress,
}

/// Which operation of a socket's reading side is in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// [`Op::PollReadable`].
    Poll,
    /// [`Op::Receive`].
    Once,
    /// [`Op::ReceiveMany`].
    Many,
    /// [`Op::Connect`].
    Connect,
}

/// What the kernel has done.
#[derive(Debug)]
pub enum Completion<B> {
    /// A connection was accepted into this descriptor. The address of its other end comes with it exactly where it was asked
    /// for; it is boxed, so that other completions do not grow by it. Where the descriptor was closed in the same turn, this may come before the
    /// [`Completion::Closed`] of the socket that was in it: a multishot's completions may pass those of operations that
    /// are done at once (Linux before 6.15).
    Accepted(Descriptor, Option<Box<SocketAddr>>),
    /// The lane accepts no more: cancelled, single, or failed with an error.
    AcceptEnded {
        /// The lane.
        lane: usize,
        /// Why, where it was not asked for.
        error: Option<Errno>,
    },
    /// The answer to [`Op::Connect`].
    Connected(Socket, Result<(), Errno>),
    /// Bytes came. An empty buffer never comes: the end of the stream is [`Completion::ReceiveEnded`].
    Received {
        /// From whom.
        socket: Socket,
        /// What came.
        buffer: B,
        /// True exactly when the operation that brought it is still in the kernel.
        armed: bool,
        /// True exactly when the kernel knows of more bytes to read now.
        more_to_read: bool,
    },
    /// A receive ended without bytes.
    ReceiveEnded(Socket, ReceiveEnd),
    /// The answer to [`Op::Look`].
    Looked(Socket, Seen<B>),
    /// The answer to [`Op::PeerAddress`]; `None` where the connection is broken, or the kernel is too old to tell (Linux before
    /// 6.8). It is boxed, so that other completions do not grow by it.
    PeerAddress(Socket, Option<Box<SocketAddr>>),
    /// [`Op::PollReadable`] is over: something is there to read, or it was cancelled.
    Readable(Socket),
    /// [`Op::PollWritable`] is over: there is room, or it was cancelled.
    Writable(Socket),
    /// A send did not take all of its bytes. Sends never wait in the kernel: whatever a send did is done when the turn
    /// that handed it over returns, a send that took all says nothing, and one that did not says so in that turn.
    SendShort {
        /// To whom.
        socket: Socket,
        /// What was not taken.
        rest: Bytes,
        /// Why, where it was not for want of room.
        error: Option<Errno>,
    },
    /// The turn could not hand over a send, for want of the kernel's memory: a later turn will. Comes in the turn that was
    /// to do it. Until [`Completion::SendTaken`] the send counts as being in the kernel.
    SendHeld {
        /// Whose it is.
        socket: Socket,
        /// Its bytes.
        len: usize,
    },
    /// A send that was held has been handed over. Where it did not take all, [`Completion::SendShort`] came before.
    SendTaken {
        /// Whose it was.
        socket: Socket,
        /// All of its bytes.
        len: usize,
    },
    /// The descriptor is free.
    Closed(Socket),
    /// Somebody rang this thread's [`Doorbell`].
    Woken,
}

impl<B> Completion<B> {
    /// The socket that it is about, if there was one before.
    pub(crate) fn socket(&self) -> Option<Socket> {
        match *self {
            Self::Connected(socket, _)
            | Self::Received { socket, .. }
            | Self::ReceiveEnded(socket, _)
            | Self::Looked(socket, _)
            | Self::PeerAddress(socket, _)
            | Self::Readable(socket)
            | Self::Writable(socket)
            | Self::SendShort { socket, .. }
            | Self::SendHeld { socket, .. }
            | Self::SendTaken { socket, .. }
            | Self::Closed(socket) => Some(socket),
            Self::Accepted(..) | Self::AcceptEnded { .. } | Self::Woken => None,
        }
    }
}

/// How a receive ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveEnd {
    /// The peer sends no more (FIN).
    EndOfStream,
    /// No buffer was free: arm it again when some are.
    NoBuffers,
    /// It was cancelled, or the kernel ended a multishot for reasons of its own: nothing is wrong.
    Stopped,
    /// The connection is broken.
    Failed(Errno),
}

/// What there was to read.
#[derive(Debug)]
pub enum Seen<B> {
    /// These bytes.
    Bytes {
        /// What came.
        buffer: B,
        /// True exactly when the kernel knows of more bytes to read now.
        more_to_read: bool,
    },
    /// Nothing.
    Nothing,
    /// The end; or no buffer was free for what may have been there.
    Ended(ReceiveEnd),
}

/// Sockets and their operations, as one thread sees them.
pub trait Kernel {
    /// Received bytes; the memory goes back to its pool on drop.
    type Buffer: DerefMut<Target = [u8]>;

    /// The number of descriptor tables; at least 1.
    fn lanes(&self) -> usize;

    /// The number of descriptors in each table.
    fn lane_slots(&self) -> u32;

    /// Sets the listening socket that [`Op::Accept`] takes connections from.
    fn listen(&mut self, listener: OwnedFd);

    /// Closes the listening socket. Accepts must have ended.
    fn stop_listening(&mut self);

    /// Has new connections to the listening socket's address go to some of the sockets that listen there, by their
    /// places in the order in which they began to. Does nothing where there is nothing to choose.
    ///
    /// # Errors
    /// Where the kernel refuses: all that listen there go on getting connections.
    fn steer_new_connections(&mut self, places: Range<u32>) -> io::Result<()>;

    /// Queues an operation for the next turn.
    fn push(&mut self, op: Op);

    /// Hands the queued operations over, runs what is due, and appends what is complete. With a `wait`, sleeps until
    /// something is complete, but no longer than that. What the kernel has no memory for stays queued, in order and first,
    /// and goes with the next turn; of sends, which the caller takes for done when a turn returns, this is reported.
    ///
    /// # Errors
    /// Only where the ring itself is broken; no socket's fate shows here.
    fn turn(&mut self, wait: Option<Duration>, out: &mut Vec<Completion<Self::Buffer>>) -> io::Result<()>;

    /// True exactly when the last turn has brought all that there was: no operation that is in the kernel could have
    /// completed when that turn returned.
    fn is_drained(&mut self) -> bool;

    /// Puts a socket into a free descriptor, for [`Op::Connect`].
    ///
    /// # Errors
    /// Where the kernel refuses the descriptor.
    fn attach(&mut self, at: Descriptor, socket: OwnedFd) -> io::Result<()>;

    /// What others ring to end this kernel's sleep.
    fn doorbell(&self) -> Arc<Doorbell>;

    /// Counters for metrics.
    fn statistics(&self) -> KernelStatistics;
}

/// What a kernel counts, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStatistics {
    /// System calls that entered the kernel.
    pub enters: u64,
    /// Operations handed over.
    pub submitted: u64,
    /// Completions taken.
    pub completed: u64,
    /// Times that the completion queue overflowed (the kernel keeps what does not fit).
    pub overflows: u64,
    /// Operations that a turn could not hand over, counted again in each turn.
    pub held: u64,
}
