//! Uring: the real kernel.
//!
//! In:  operations, turned into submission entries of the lane that holds the socket.
//! Out: completion entries of all lanes, turned into [`Completion`]s.
//!
//! A thread sleeps in its first lane. The other lanes each ring an eventfd when they have something, and the first
//! lane polls those; so does it poll the thread's own [`Doorbell`].

mod buffers;
mod lane;
mod peer_addresses;
mod sends;
mod setup;
#[cfg(test)]
mod shortage;
mod token;

use std::{
    io,
    ops::Range,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use io_uring::cqueue;

pub use self::{
    buffers::Buffer,
    setup::{Features, KERNEL_FLOOR, Probe, SetupError, descriptors_max, probe},
};
use self::{
    lane::{Entry, HELD_SLEEP_MAX, Lane},
    sends::SendOutcome,
    token::{Kind, Token},
};
use crate::{
    doorbell::Doorbell,
    kernel::{Completion, Descriptor, Errno, Kernel, KernelStatistics, Op, ReceiveEnd, Seen},
    steer,
};

/// The shortest sleep. Virtual machines were seen to lose a timer of some tens of microseconds, and to sleep until the
/// next packet; what is due sooner is waited for awake.
const SLEEP_MIN: Duration = Duration::from_micros(100);

/// Completions of one lane after which a turn goes on with what it has.
const TURN_COMPLETIONS_MAX: usize = 512;

/// The sizes of a thread's rings. Worst-case memory: `lanes × (receive_buffers_max × receive_buffer_bytes +
/// submission_entries × 128 bytes)` of user memory, and in the kernel 8 bytes a slot and 128 bytes a submission entry.
/// A receive buffer that was never in use is not resident.
#[derive(Clone, Debug)]
pub struct UringConfig {
    /// Rings of this thread. More than one only where `RLIMIT_NOFILE` is smaller than the connections planned for it.
    pub lanes: usize,
    /// Descriptors of each lane's table; at most `RLIMIT_NOFILE`.
    pub slots_per_lane: u32,
    /// Submission queue entries of each lane, a power of two. The completion queue holds 8 times as many.
    pub submission_entries: u32,
    /// Receive buffers of each lane at first. Each time that one is missing there is one more.
    pub receive_buffers: u32,
    /// Receive buffers of each lane at last, a power of two up to 32,768.
    pub receive_buffers_max: u32,
    /// Bytes of a receive buffer.
    pub receive_buffer_bytes: u32,
}

impl Default for UringConfig {
    fn default() -> Self {
        Self {
            lanes: 1,
            slots_per_lane: 1024,
            submission_entries: 1024,
            receive_buffers: 1024,
            receive_buffers_max: 1024,
            receive_buffer_bytes: 2048,
        }
    }
}

/// This thread's rings.
pub struct Uring {
    lanes: Vec<Lane>,
    slots_per_lane: u32,
    listener: Option<OwnedFd>,
    bell: Arc<Doorbell>,
    /// What the lanes after the first ring when they have something; `other_bells[n]` is lane `n + 1`'s.
    other_bells: Vec<Doorbell>,
    /// The bells of all threads that were ever sent a message.
    woken: Vec<Arc<Doorbell>>,
    entries: Vec<Entry>,
}

impl Uring {
    /// Makes the rings. They belong to the thread that calls this (`IORING_SETUP_SINGLE_ISSUER`).
    ///
    /// # Errors
    /// Where the kernel lacks or forbids io_uring, or a limit is too small: in words an operator can act on.
    pub fn new(config: &UringConfig) -> Result<Self, SetupError> {
        let lanes = (0..config.lanes).map(|_| setup::lane(config)).collect::<Result<Vec<_>, _>>()?;
        let ring = lanes[0].as_fd().try_clone_to_owned().map_err(SetupError::descriptors)?;
        let bell = Arc::new(Doorbell::new(Some(ring)).map_err(SetupError::descriptors)?);
        let mut uring = Self {
            lanes,
            slots_per_lane: config.slots_per_lane,
            listener: None,
            bell,
            other_bells: Vec::new(),
            woken: Vec::new(),
            entries: Vec::new(),
        };
        uring.lanes[0].watch(uring.bell.eventfd(), Token::plain(Kind::Bell));
        for number in 1..config.lanes {
            let bell = Doorbell::new(None).map_err(SetupError::descriptors)?;
            uring.lanes[number].notify(bell.eventfd()).map_err(SetupError::Other)?;
            uring.other_bells.push(bell);
            uring.watch_lane(number);
        }
        Ok(uring)
    }

    /// Lane `number` is not the first; the first one watches its bell.
    fn watch_lane(&mut self, number: usize) {
        let slot = u32::try_from(number).expect("at most 256 lanes");
        let eventfd = self.other_bells[number - 1].eventfd();
        self.lanes[0].watch(eventfd, Token::indexed(Kind::OtherLane, slot));
    }

    fn complete(&mut self, lane: usize, entry: Entry, out: &mut Vec<Completion<Buffer>>) {
        let Some(kind) = entry.token.kind() else { unreachable!("completions carry tokens of ours") };
        let armed = cqueue::more(entry.flags);
        let result = outcome(entry.result);
        let socket = entry.token.socket(lane);
        match kind {
            Kind::Accept | Kind::AcceptWithAddress => {
                let from = match kind {
                    Kind::AcceptWithAddress => self.lanes[lane].accepted_from(entry.token, result.is_ok()),
                    _ => None,
                };
                match result {
                    Ok(slot) => {
                        out.push(Completion::Accepted(Descriptor::new(lane, slot), from.map(Box::new)));
                    }
                    Err(Errno(libc::ECANCELED)) => {}
                    Err(error) => return out.push(Completion::AcceptEnded { lane, error: Some(error) }),
                }
                if !armed {
                    out.push(Completion::AcceptEnded { lane, error: None });
                }
            }
            Kind::Connect => out.push(Completion::Connected(socket, result.map(drop))),
            Kind::PollReadable => out.push(Completion::Readable(socket)),
            Kind::PollWritable => out.push(Completion::Writable(socket)),
            Kind::Receive | Kind::ReceiveMany => {
                let buffer = self.buffer(lane, entry, result);
                match (result, buffer) {
                    (Ok(1..), Some(buffer)) => {
                        let more_to_read = cqueue::sock_nonempty(entry.flags);
                        out.push(Completion::Received { socket, buffer, armed, more_to_read });
                    }
                    (Ok(_), _) => out.push(Completion::ReceiveEnded(socket, ReceiveEnd::EndOfStream)),
                    (Err(error), _) => {
                        let end = self.receive_end(lane, error);
                        out.push(Completion::ReceiveEnded(socket, end));
                    }
                }
            }
            Kind::Look => {
                let buffer = self.buffer(lane, entry, result);
                let seen = match (result, buffer) {
                    (Ok(1..), Some(buffer)) => {
                        Seen::Bytes { buffer, more_to_read: cqueue::sock_nonempty(entry.flags) }
                    }
                    (Ok(_), _) => Seen::Ended(ReceiveEnd::EndOfStream),
                    (Err(Errno(libc::EAGAIN)), _) => Seen::Nothing,
                    (Err(error), _) => Seen::Ended(self.receive_end(lane, error)),
                };
                out.push(Completion::Looked(socket, seen));
            }
            Kind::PeerAddress => {
                let address = result.ok().and_then(peer_addresses::of_descriptor);
                out.push(Completion::PeerAddress(socket, address.map(Box::new)));
            }
            Kind::Send => {
                let (socket, mut rest) = self.lanes[lane].sent(entry.token);
                let error = match result {
                    Ok(taken) => {
                        drop(rest.split_to(taken as usize));
                        None
                    }
                    Err(Errno(libc::EAGAIN)) => None,
                    Err(error) => Some(error),
                };
                out.push(Completion::SendShort { socket, rest, error });
            }
            Kind::Close => out.push(Completion::Closed(socket)),
            Kind::Bell => {
                out.push(Completion::Woken);
                if !armed {
                    self.lanes[0].watch(self.bell.eventfd(), Token::plain(Kind::Bell));
                }
            }
            Kind::Rung => out.push(Completion::Woken),
            // Only a failure comes back: the other ring could not take the message, so wake it the other way.
            Kind::Wake => {
                if let Some(bell) = self.woken.get(entry.token.slot() as usize) {
                    bell.ring_now();
                }
            }
            Kind::OtherLane => {
                if !armed {
                    self.watch_lane(entry.token.slot() as usize);
                }
            }
            Kind::Ignored => {}
        }
    }

    /// The buffer that the kernel has filled for a completion, if it has. To be called once for each.
    fn buffer(&self, lane: usize, entry: Entry, result: Result<u32, Errno>) -> Option<Buffer> {
        cqueue::buffer_select(entry.flags).map(|id| {
            // SAFETY: the buffer number of a completion of this lane's ring; the caller takes it once.
            unsafe { self.lanes[lane].pool().take(id, result.unwrap_or(0)) }
        })
    }

    /// Why a receive ended. Where that is for want of a buffer, there is one more from now on, up to the lane's maximum.
    fn receive_end(&self, lane: usize, error: Errno) -> ReceiveEnd {
        match error.0 {
            libc::ENOBUFS => {
                self.lanes[lane].pool().give_one_more();
                ReceiveEnd::NoBuffers
            }
            libc::ECANCELED | libc::EAGAIN | libc::EINTR => ReceiveEnd::Stopped,
            _ => ReceiveEnd::Failed(error),
        }
    }

    /// The place of a thread's bell among those that were sent a message: as many as there are threads.
    fn place_of(&mut self, bell: Arc<Doorbell>) -> u32 {
        let known = self.woken.iter().position(|known| Arc::ptr_eq(known, &bell));
        let place = known.unwrap_or_else(|| {
            self.woken.push(bell);
            self.woken.len() - 1
        });
        u32::try_from(place).expect("fewer threads than 2^24")
    }

    /// Enters the kernel for a lane, and ends the lane's turn.
    fn enter(
        &mut self,
        lane: usize,
        wait: Option<Duration>,
        out: &mut Vec<Completion<Buffer>>,
    ) -> io::Result<()> {
        let before = out.len();
        self.lanes[lane].enter(wait)?;
        while self.take_completions(lane, out)?
            && out.len() - before < TURN_COMPLETIONS_MAX
            && self.lanes[lane].has_task_work()
        {
            // Linux 6.13 and newer run about twenty pieces of such work at a time, which would make small turns of a large
            // load. The flag that tells of it may be stale, where nothing came: the kernel sets it after it has left the
            // work, which may be done by then, and clears it only with the next work.
            self.lanes[lane].enter(None)?;
        }
        self.lanes[lane].end_turn(|socket, len, fate| {
            out.push(match fate {
                SendOutcome::Held => Completion::SendHeld { socket, len },
                SendOutcome::Taken => Completion::SendTaken { socket, len },
            });
        });
        Ok(())
    }

    /// Returns true exactly when there were some.
    fn take_completions(&mut self, lane: usize, out: &mut Vec<Completion<Buffer>>) -> io::Result<bool> {
        let mut entries = std::mem::take(&mut self.entries);
        let drained = self.lanes[lane].drain(&mut entries);
        let came = !entries.is_empty();
        for entry in entries.drain(..) {
            self.complete(lane, entry, out);
        }
        self.entries = entries;
        drained.map(|()| came)
    }
}

impl Kernel for Uring {
    type Buffer = Buffer;

    fn lanes(&self) -> usize {
        self.lanes.len()
    }

    fn lane_slots(&self) -> u32 {
        self.slots_per_lane
    }

    fn listen(&mut self, listener: OwnedFd) {
        self.listener = Some(listener);
    }

    fn stop_listening(&mut self) {
        self.listener = None;
    }

    fn steer_new_connections(&mut self, places: Range<u32>) -> io::Result<()> {
        let listener = self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        steer::steer(listener.as_fd(), places)
    }

    fn push(&mut self, op: Op) {
        match op {
            Op::Accept { lane, mode } => {
                let listener = self.listener.as_ref().expect("accepting goes with a listener");
                self.lanes[lane].accept(listener.as_fd(), mode);
            }
            Op::CancelAccepts { lane } => self.lanes[lane].cancel_accepts(),
            Op::Connect(socket, address) => self.lanes[socket.lane()].connect(socket, address),
            Op::PollReadable(socket) => {
                self.lanes[socket.lane()].poll(socket, libc::POLLIN | libc::POLLRDHUP, Kind::PollReadable);
            }
            Op::PollWritable(socket) => {
                self.lanes[socket.lane()].poll(socket, libc::POLLOUT, Kind::PollWritable);
            }
            Op::Receive(socket) => self.lanes[socket.lane()].receive(socket),
            Op::ReceiveMany(socket) => self.lanes[socket.lane()].receive_many(socket),
            Op::Look(socket) => self.lanes[socket.lane()].look(socket),
            Op::PeerAddress(socket) => self.lanes[socket.lane()].peer_address(socket),
            Op::CancelReceive(socket, armed) => self.lanes[socket.lane()].cancel(Token::armed(armed, socket)),
            Op::CancelWritable(socket) => {
                self.lanes[socket.lane()].cancel(Token::of(Kind::PollWritable, socket));
            }
            Op::Send(socket, bytes) => self.lanes[socket.lane()].send(socket, bytes),
            Op::Close(socket) => self.lanes[socket.lane()].close(socket),
            Op::Wake(bell) => match bell.ring_fd() {
                Some(ring) => {
                    let place = self.place_of(Arc::clone(&bell));
                    self.lanes[0].message(ring, place);
                }
                None => bell.ring_now(),
            },
        }
    }

    fn turn(&mut self, wait: Option<Duration>, out: &mut Vec<Completion<Buffer>>) -> io::Result<()> {
        // Others first: the first lane is where this thread may sleep, so nothing may be left undone elsewhere.
        let mut found = false;
        for lane in 1..self.lanes.len() {
            if self.lanes[lane].is_due() {
                let before = out.len();
                self.enter(lane, None, out)?;
                found |= out.len() > before;
            }
        }
        let mut wait = wait.filter(|&wait| !found && wait >= SLEEP_MIN);
        if self.lanes[1..].iter_mut().any(Lane::is_holding) {
            wait = wait.map(|wait| wait.min(HELD_SLEEP_MAX));
        }
        if wait.is_some() || self.lanes[0].is_due() {
            self.enter(0, wait, out)?;
        }
        if wait.is_some() {
            // The sleep may have ended because another lane has something: bring it now.
            for lane in 1..self.lanes.len() {
                if self.lanes[lane].is_due() {
                    self.enter(lane, None, out)?;
                }
            }
        }
        Ok(())
    }

    fn is_drained(&mut self) -> bool {
        !self.lanes.iter_mut().any(Lane::is_due)
    }

    fn attach(&mut self, at: Descriptor, socket: OwnedFd) -> io::Result<()> {
        self.lanes[at.lane()].attach(at.slot(), socket.as_fd())
    }

    fn doorbell(&self) -> Arc<Doorbell> {
        Arc::clone(&self.bell)
    }

    fn statistics(&self) -> KernelStatistics {
        self.lanes.iter().map(Lane::statistics).fold(KernelStatistics::default(), |sum, lane| {
            KernelStatistics {
                enters: sum.enters + lane.enters,
                submitted: sum.submitted + lane.submitted,
                completed: sum.completed + lane.completed,
                overflows: sum.overflows + lane.overflows,
                held: sum.held + lane.held,
            }
        })
    }
}

fn outcome(result: i32) -> Result<u32, Errno> {
    u32::try_from(result).map_err(|_| Errno(-result))
}
