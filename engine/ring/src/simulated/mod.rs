//! Simulated: a kernel whose every chance comes from a seed, for tests.
//!
//! In:  the same operations as the real one takes; [`Peer`]s that a test plays.
//! Out: completions that keep the promises of [`Kernel`] and no others: late, short, in any order that a real one may
//! choose, with errors, multishots that end, and connections that break at any point.
//!
//! It also holds its caller to the other side of those promises, and panics where one is broken: no two reads of a
//! socket in the kernel, and no look beside one; no two writes in a turn, no close with something armed, no key of a socket that is gone.
//!
//! The same seed and the same calls give the same completions. A `turn` never sleeps: it gives what is due and returns,
//! as if woken for nothing, and the test lets time pass between turns.

mod buffers;
mod faults;
mod network;
mod place;
mod seeds;
mod trace;

use std::{collections::VecDeque, fs::File, io, ops::Range, os::fd::OwnedFd, sync::Arc, time::Duration};

use bytes::Bytes;
use rand::{
    Rng,
    seq::{IndexedRandom, SliceRandom},
};

pub use self::{
    buffers::Buffer as SimulatedBuffer,
    faults::Faults,
    network::{Network, Peer, StreamEnd},
    seeds::{Watch, with_seeds},
    trace::Trace,
};
use self::{buffers::Pool, network::State, place::Place};
use crate::{
    doorbell::Doorbell,
    kernel::{AcceptMode, Completion, Descriptor, Errno, Kernel, KernelStatistics, Op, Socket},
};

/// Completions of one multishot operation in a turn.
const MULTISHOT_MAX: u32 = 8;

/// The sizes of a simulated kernel.
#[derive(Clone, Debug)]
pub struct SimulatedConfig {
    /// Descriptor tables.
    pub lanes: usize,
    /// Descriptors of each.
    pub slots_per_lane: u32,
    /// Receive buffers of all lanes together.
    pub buffers: u32,
    /// Bytes of each.
    pub buffer_bytes: usize,
}

/// See the file's head.
pub struct Simulated {
    network: Network,
    /// Which one of the network's kernels this is.
    host: usize,
    lanes: Vec<Lane>,
    slots_per_lane: u32,
    buffer_bytes: usize,
    pool: Pool,
    queue: VecDeque<Op>,
    /// Of these, so many were there in an earlier turn.
    held: usize,
    /// True exactly when there is a listening socket.
    listener: Option<OwnedFd>,
    bell: Arc<Doorbell>,
    statistics: KernelStatistics,
}

#[derive(Debug, Default)]
struct Lane {
    places: Vec<Place>,
    accepting: Accepting,
}

/// Accepts that are in the kernel.
#[derive(Debug, Default)]
struct Accepting {
    multishot: bool,
    singles: u32,
    /// True exactly when the single ones are told the address.
    with_addresses: bool,
    /// Of these, so many are to end.
    cancelled: u32,
}

type Stream = VecDeque<Completion<SimulatedBuffer>>;

/// Something to give to [`Kernel::listen`]: what is listened to is the simulated network.
///
/// # Panics
/// Where no file descriptor is left.
#[must_use]
pub fn listener() -> OwnedFd {
    File::open("/dev/null").expect("there is always /dev/null").into()
}

impl Simulated {
    /// A kernel on `network`.
    ///
    /// # Panics
    /// Where no file descriptor is left for its bell.
    #[must_use]
    pub fn new(network: &Network, config: &SimulatedConfig) -> Self {
        let places = || (0..config.slots_per_lane).map(|_| Place::default()).collect();
        let pool = Pool::new(config.buffers);
        Self {
            host: network.add_host(pool.clone()),
            network: network.clone(),
            lanes: (0..config.lanes).map(|_| Lane { places: places(), ..Lane::default() }).collect(),
            slots_per_lane: config.slots_per_lane,
            buffer_bytes: config.buffer_bytes,
            pool,
            queue: VecDeque::new(),
            held: 0,
            listener: None,
            bell: Arc::new(Doorbell::new(None).expect("a file descriptor for a bell")),
            statistics: KernelStatistics::default(),
        }
    }

    /// Hands over what is queued, or a part of it. Returns what is done at once.
    fn hand_over(&mut self) -> Stream {
        let mut at_once = Stream::new();
        let taken = self.network.state().how_many_are_taken(self.queue.len());
        for number in 0..taken {
            let op = self.queue.pop_front().expect("no more are taken than are queued");
            let taken = match &op {
                &Op::Send(socket, ref bytes) if number < self.held => {
                    Some(Completion::SendTaken { socket, len: bytes.len() })
                }
                _ => None,
            };
            self.submit(op, &mut at_once);
            at_once.extend(taken);
        }
        for op in self.queue.iter().skip(self.held.saturating_sub(taken)) {
            if let &Op::Send(socket, ref bytes) = op {
                at_once.push_back(Completion::SendHeld { socket, len: bytes.len() });
            }
        }
        self.held = self.queue.len();
        self.statistics.held += self.held as u64;
        self.statistics.submitted += taken as u64;
        at_once
    }

    /// Does what is done at once, and takes in what waits.
    fn submit(&mut self, op: Op, at_once: &mut Stream) {
        let state = &mut *self.network.state();
        match op {
            Op::Accept { lane, mode } => {
                assert!(self.listener.is_some(), "accepting goes with a listener");
                let held = self.lanes[lane].places.iter().filter(|place| place.is_held()).count();
                let accepting = &mut self.lanes[lane].accepting;
                assert!(!accepting.multishot, "one multishot accept a lane");
                let with_addresses = mode == AcceptMode::SingleWithAddress;
                if accepting.singles == 0 {
                    accepting.with_addresses = with_addresses;
                }
                assert!(accepting.with_addresses == with_addresses, "accepts of two kinds do not mix");
                if mode == AcceptMode::Multishot {
                    assert!(accepting.singles == 0, "singles and a multishot do not mix");
                    accepting.multishot = true;
                } else {
                    accepting.singles += 1;
                    let free = self.slots_per_lane as usize - held;
                    assert!(
                        accepting.singles as usize <= free,
                        "each accept has a descriptor to accept into"
                    );
                }
            }
            Op::CancelAccepts { lane } => {
                let accepting = &mut self.lanes[lane].accepting;
                accepting.cancelled = accepting.singles + u32::from(accepting.multishot);
            }
            Op::Wake(bell) => bell.ring_now(),
            Op::Send(socket, bytes) => {
                if let Some(short) = place(&mut self.lanes, socket).send(state, socket, bytes) {
                    at_once.push_back(short);
                }
            }
            Op::Close(socket) => {
                let place = place(&mut self.lanes, socket);
                place.close(state);
                state.let_go(self.host);
                at_once.push_back(Completion::Closed(socket));
            }
            Op::Connect(socket, _) => place(&mut self.lanes, socket).arm(socket, crate::Armed::Connect),
            Op::PollReadable(socket) => place(&mut self.lanes, socket).arm(socket, crate::Armed::Poll),
            Op::Receive(socket) => place(&mut self.lanes, socket).arm(socket, crate::Armed::Once),
            Op::ReceiveMany(socket) => place(&mut self.lanes, socket).arm(socket, crate::Armed::Many),
            Op::Look(socket) => {
                let (pool, bytes_max) = (&self.pool, self.buffer_bytes);
                at_once.push_back(place(&mut self.lanes, socket).look(state, socket, pool, bytes_max));
            }
            Op::PeerAddress(socket) => at_once.push_back(Completion::PeerAddress(socket, None)),
            Op::CancelReceive(socket, armed) => place(&mut self.lanes, socket).cancel(armed),
            Op::PollWritable(socket) => place(&mut self.lanes, socket).arm_writable(socket),
            Op::CancelWritable(socket) => place(&mut self.lanes, socket).cancel_writable(),
        }
    }

    /// Whatever else is due, or a part of it: one stream for each side of each socket, and for each lane's accepts.
    fn due(&mut self) -> (Vec<Stream>, Vec<Stream>) {
        let state = &mut *self.network.state();
        let mut sockets = Vec::new();
        let mut accepts = Vec::new();
        let mut order: Vec<(usize, usize)> = Vec::new();
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            order.extend(
                (0..lane.places.len()).filter(|&slot| lane.places[slot].is_held()).map(|slot| (number, slot)),
            );
        }
        // Buffers go to whom they go: the order matters where there are few.
        order.shuffle(&mut state.random);
        for (lane, slot) in order {
            let place = &mut self.lanes[lane].places[slot];
            if let Some(connection) = place.connection()
                && state.chance(state.faults.reset)
            {
                state.cut(connection);
            }
            for stream in [place.writable(state), place.read(state, &self.pool, self.buffer_bytes)] {
                if !stream.is_empty() {
                    sockets.push(stream);
                }
            }
        }
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            let mut stream = Stream::new();
            lane.accept(number, self.host, state, &mut stream);
            if !stream.is_empty() {
                accepts.push(stream);
            }
        }
        (sockets, accepts)
    }
}

/// The place of a socket's descriptor.
fn place(lanes: &mut [Lane], socket: Socket) -> &mut Place {
    &mut lanes[socket.lane()].places[socket.slot()]
}

impl Lane {
    /// Accepts what waits. A cancel takes effect in its own turn, so that no more comes after it than the backlog held.
    fn accept(&mut self, number: usize, host: usize, state: &mut State, out: &mut Stream) {
        self.accept_some(number, host, state, out);
        while self.accepting.cancelled > 0 {
            self.accepting.cancelled -= 1;
            self.end_accept(number, None, state, out);
        }
    }

    fn accept_some(&mut self, number: usize, host: usize, state: &mut State, out: &mut Stream) {
        for _ in 0..MULTISHOT_MAX {
            let armed = self.accepting.singles + u32::from(self.accepting.multishot);
            let is_cancelled = self.accepting.cancelled > 0;
            if armed == 0 || (!is_cancelled && state.chance(state.faults.late)) {
                return;
            }
            // What is there when a cancel comes may still come before it.
            if is_cancelled && (state.backlog(host) == 0 || state.random.random_bool(0.5)) {
                self.accepting.cancelled -= 1;
                self.end_accept(number, None, state, out);
                continue;
            }
            if state.chance(state.faults.ended) && state.random.random_bool(0.2) {
                self.end_accept(number, None, state, out);
                continue;
            }
            if state.backlog(host) == 0 {
                return;
            }
            if state.chance(state.faults.accept_error) {
                let error = self.fail_accept(host, state);
                self.end_accept(number, Some(error), state, out);
                continue;
            }
            let connection = state.next_in_backlog(host).expect("it is not empty");
            let free: Vec<usize> =
                (0..self.places.len()).filter(|&slot| !self.places[slot].is_held()).collect();
            let Some(&slot) = free.choose(&mut state.random) else {
                // Accepted, and no place for it: closed again.
                state.trace.note("accept is lost", connection as u64, number as u64);
                state.break_off(connection, libc::ECONNRESET);
                self.end_accept(number, Some(Errno(libc::ENFILE)), state, out);
                continue;
            };
            self.places[slot].accept(connection);
            state.hold(host);
            state.trace.note("accepted", connection as u64, slot as u64);
            let slot = u32::try_from(slot).expect("below slots_per_lane, a u32");
            let from = self.accepting.with_addresses.then(|| Box::new(network::address(connection)));
            out.push_back(Completion::Accepted(Descriptor::new(number, slot), from));
            if !self.accepting.multishot {
                self.end_accept(number, None, state, out);
            }
        }
    }

    fn end_accept(&mut self, lane: usize, error: Option<Errno>, state: &mut State, out: &mut Stream) {
        state.trace.note(
            "accept ends",
            lane as u64,
            error.map_or(0, |error| u64::from(error.0.unsigned_abs())),
        );
        if self.accepting.multishot {
            self.accepting.multishot = false;
        } else {
            self.accepting.singles -= 1;
        }
        let armed = self.accepting.singles + u32::from(self.accepting.multishot);
        self.accepting.cancelled = self.accepting.cancelled.min(armed);
        out.push_back(Completion::AcceptEnded { lane, error });
    }

    /// A fault of the connection that was next, which is then gone, or one of the system's, which leaves it.
    fn fail_accept(&mut self, host: usize, state: &mut State) -> Errno {
        if state.random.random_bool(0.5) && state.cut_in_backlog(host) {
            Errno([libc::ECONNABORTED, libc::EPROTO][state.random.random_range(0..2)])
        } else {
            Errno([libc::EMFILE, libc::ENOMEM, libc::ENOBUFS][state.random.random_range(0..3)])
        }
    }
}

impl Kernel for Simulated {
    type Buffer = SimulatedBuffer;

    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn lane_slots(&self) -> u32 {
        self.slots_per_lane
    }

    fn listen(&mut self, listener: OwnedFd) {
        self.listener = Some(listener);
        self.network.state().listen(self.host, true);
    }

    fn stop_listening(&mut self) {
        let is_quiet = self.lanes.iter().all(|lane| !lane.accepting.multishot && lane.accepting.singles == 0);
        assert!(is_quiet, "accepts end before the listening socket closes");
        self.listener = None;
        self.network.state().listen(self.host, false);
    }

    /// Each simulated shard listens at a place of its own: there is nothing to choose.
    fn steer_new_connections(&mut self, _: Range<u32>) -> io::Result<()> {
        Ok(())
    }

    fn push(&mut self, op: Op) {
        self.queue.push_back(op);
    }

    fn turn(
        &mut self,
        _wait: Option<Duration>,
        out: &mut Vec<Completion<SimulatedBuffer>>,
    ) -> io::Result<()> {
        let before = out.len();
        self.statistics.enters += 1;
        let at_once = self.hand_over();
        self.lanes.iter_mut().flat_map(|lane| &mut lane.places).for_each(Place::begin_turn);
        let (mut streams, accepts) = self.due();
        if self.bell.was_rung() || self.network.state().chance_of_spurious() {
            streams.push(Stream::from([Completion::Woken]));
        }
        let state = &mut *self.network.state();
        if state.chance(state.faults.overtaken) {
            streams.push(at_once);
        } else {
            out.extend(at_once);
        }
        streams.extend(accepts);
        merge(streams, state, out);
        self.statistics.completed += (out.len() - before) as u64;
        Ok(())
    }

    fn is_drained(&mut self) -> bool {
        let state = &mut *self.network.state();
        let is_due = |place: &Place| place.is_due(state);
        let has_more = self.lanes.iter().flat_map(|lane| &lane.places).any(is_due);
        self.queue.is_empty() && !has_more
    }

    fn attach(&mut self, at: Descriptor, socket: OwnedFd) -> io::Result<()> {
        // What is connected is the simulated network; the real socket is not needed.
        drop(socket);
        self.network.state().hold(self.host);
        self.lanes[at.lane()].places[at.slot() as usize].attach();
        Ok(())
    }

    fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.bell)
    }

    fn statistics(&self) -> KernelStatistics {
        self.statistics
    }
}

/// Any order that keeps each stream's own.
fn merge(mut streams: Vec<Stream>, state: &mut State, out: &mut Vec<Completion<SimulatedBuffer>>) {
    streams.retain(|stream| !stream.is_empty());
    while !streams.is_empty() {
        let at = state.random.random_range(0..streams.len());
        out.extend(streams[at].pop_front());
        if streams[at].is_empty() {
            streams.swap_remove(at);
        }
    }
}

/// A write that was not taken whole.
fn short(socket: Socket, rest: Bytes, error: Option<Errno>) -> Completion<SimulatedBuffer> {
    Completion::SendShort { socket, rest, error }
}
