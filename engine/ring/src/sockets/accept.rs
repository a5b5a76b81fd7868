//! Accept: which lane takes the next connections.
//!
//! In:  how full each lane is; accepts that ended.
//! Out: accept operations, on one lane at a time.
//!
//! A connection that is accepted while the table is full would be closed by the kernel. So a multishot accept is
//! ended while a reserve is still free, the next lane takes over, and when all lanes are that full, connections are
//! accepted one by one, as many as there are descriptors. Beyond that they wait in the listener's backlog.
//!
//! Where connections' addresses are wanted, they are accepted one by one from the beginning, several at a time: a multishot
//! accept does not tell whose its connections are.

use std::net::SocketAddr;

use super::{Event, Sockets, SocketsConfig};
use crate::kernel::{AcceptMode, Armed, Descriptor, Errno, Kernel, Op};

/// Single accepts that are in the kernel at one time, and so the connections that one turn takes in. A lane never has more
/// than it has free descriptors.
const SINGLES_MAX: u32 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Off,
    Multishot,
    /// So many single accepts are in the kernel.
    Singles(u32),
    /// So many accepts of either kind are in the kernel, each with a request to end.
    Cancelling(u32),
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    open: u32,
    mode: Mode,
}

#[derive(Debug)]
pub(super) struct Acceptor {
    lanes: Vec<Lane>,
    lane_slots: u32,
    reserve: u32,
    wants_addresses: bool,
    wanted: bool,
    /// True exactly when the listening socket is open.
    listening: bool,
    /// True exactly when an error of the whole system's holds accepting up until the next tick.
    held: bool,
}

impl Acceptor {
    pub(super) fn new(lanes: usize, lane_slots: u32, config: &SocketsConfig) -> Self {
        Self {
            lanes: vec![Lane { open: 0, mode: Mode::Off }; lanes],
            lane_slots,
            reserve: config.accept_reserve,
            wants_addresses: config.peer_addresses,
            wanted: false,
            listening: false,
            held: false,
        }
    }

    pub(super) fn start(&mut self) {
        self.wanted = true;
        self.listening = true;
    }

    pub(super) fn stop(&mut self) {
        self.wanted = false;
    }

    pub(super) fn go_on(&mut self) {
        self.held = false;
    }

    pub(super) fn freed(&mut self, lane: usize) {
        // Sockets that were connected, not accepted, are not counted here.
        self.lanes[lane].open = self.lanes[lane].open.saturating_sub(1);
    }

    pub(super) fn is_listening(&self) -> bool {
        self.listening
    }

    pub(super) fn is_accepting(&self) -> bool {
        self.wanted && self.lanes.iter().any(|lane| self.free(lane) > 0)
    }

    fn free(&self, lane: &Lane) -> u32 {
        self.lane_slots - lane.open
    }

    fn is_quiet(&self) -> bool {
        self.lanes.iter().all(|lane| lane.mode == Mode::Off)
    }

    /// How many single accepts are to be added to those of `lane`, which has so many free descriptors and is the one that
    /// takes the next connections.
    fn singles_wanted(&self, lane: usize, free: u32) -> u32 {
        let in_kernel = match self.lanes[lane].mode {
            Mode::Off if self.is_quiet() => 0,
            Mode::Singles(in_kernel) => in_kernel,
            _ => return 0,
        };
        free.min(SINGLES_MAX).saturating_sub(in_kernel)
    }

    /// The lane that takes the next connections, and how many descriptors it has free: the first one with more than
    /// the reserve, because the thread sleeps in its first lane and is woken for the others in a round-about way; else
    /// the one with the most.
    fn next_lane(&self) -> (usize, u32) {
        let mut free = self.lanes.iter().map(|lane| self.free(lane)).enumerate();
        let roomy = free.clone().find(|&(_, free)| free > self.reserve);
        roomy.or_else(|| free.by_ref().max_by_key(|&(_, free)| free)).expect("there is at least one lane")
    }
}

impl<K: Kernel> Sockets<K> {
    /// Arms, moves or ends accepting, as the lanes' fill asks for.
    pub(super) fn steer_accept(&mut self) {
        let acceptor = &mut self.acceptor;
        for number in 0..acceptor.lanes.len() {
            let lane = acceptor.lanes[number];
            let crowded = acceptor.free(&lane) <= acceptor.reserve;
            let to_end = match lane.mode {
                Mode::Multishot if crowded || !acceptor.wanted => 1,
                Mode::Singles(count) if !acceptor.wanted => count,
                _ => continue,
            };
            acceptor.lanes[number].mode = Mode::Cancelling(to_end);
            self.kernel.push(Op::CancelAccepts { lane: number });
        }
        if !acceptor.wanted {
            if acceptor.listening && acceptor.is_quiet() {
                acceptor.listening = false;
                self.kernel.stop_listening();
            }
            return;
        }
        if acceptor.held {
            return;
        }
        let (lane, free) = acceptor.next_lane();
        if free > acceptor.reserve && !acceptor.wants_addresses {
            if acceptor.is_quiet() {
                acceptor.lanes[lane].mode = Mode::Multishot;
                self.kernel.push(Op::Accept { lane, mode: AcceptMode::Multishot });
            }
            return;
        }
        let count = acceptor.singles_wanted(lane, free);
        if count > 0 {
            let before = if let Mode::Singles(before) = acceptor.lanes[lane].mode { before } else { 0 };
            acceptor.lanes[lane].mode = Mode::Singles(before + count);
            let mode =
                if acceptor.wants_addresses { AcceptMode::SingleWithAddress } else { AcceptMode::Single };
            for _ in 0..count {
                self.kernel.push(Op::Accept { lane, mode });
            }
        }
    }

    pub(super) fn accepted(
        &mut self,
        descriptor: Descriptor,
        from: Option<Box<SocketAddr>>,
        events: &mut Vec<Event<K::Buffer>>,
    ) {
        if let Some(last) = self.table.socket_at(descriptor) {
            self.closed(last, events);
        }
        self.acceptor.lanes[descriptor.lane()].open += 1;
        let socket = self.table.open(descriptor);
        events.push(Event::Accepted(socket, from));
        // A request is likely to be there already, or to come soon.
        self.arm(socket, Armed::Once);
    }

    pub(super) fn accept_ended(
        &mut self,
        lane: usize,
        error: Option<Errno>,
        events: &mut Vec<Event<K::Buffer>>,
    ) {
        let mode = &mut self.acceptor.lanes[lane].mode;
        *mode = match *mode {
            Mode::Singles(count) if count > 1 => Mode::Singles(count - 1),
            Mode::Cancelling(count) if count > 1 => Mode::Cancelling(count - 1),
            _ => Mode::Off,
        };
        let Some(error) = error else { return };
        if is_one_connections_fault(error) {
            return;
        }
        if error.0 == libc::ENFILE {
            self.statistics.accepts_lost += 1;
        }
        // All single accepts fail for the same reason.
        if !std::mem::replace(&mut self.acceptor.held, true) {
            events.push(Event::AcceptFailed(error));
        }
    }
}

/// accept(2), "Error handling": network errors of the new connection are reported by accept itself.
fn is_one_connections_fault(error: Errno) -> bool {
    matches!(
        error.0,
        libc::ECONNABORTED
            | libc::EINTR
            | libc::EAGAIN
            | libc::EPROTO
            | libc::ENETDOWN
            | libc::ENOPROTOOPT
            | libc::EHOSTDOWN
            | libc::ENONET
            | libc::EHOSTUNREACH
            | libc::EOPNOTSUPP
            | libc::ENETUNREACH
    )
}
