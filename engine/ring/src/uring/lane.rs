//! Lane: one io_uring with its descriptor table, its receive buffers, and the memory that its operations point to.
//!
//! In:  submission entries; sends and connects with the memory they read.
//! Out: completion entries.
//!
//! Where the kernel is short of memory it takes a part of what it is given, or nothing. The rest stays queued, in order and
//! first, and goes with the next turn; whose send is among it is told so.
//!
//! What never happens here: an entry that points to memory which goes away before the kernel is done with it.

use std::{
    collections::VecDeque,
    io,
    mem::ManuallyDrop,
    net::SocketAddr,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use io_uring::{EnterFlags, IoUring, opcode, squeue, types};
use socket2::SockAddr;

use super::{
    UringConfig,
    buffers::{GROUP, Pool},
    peer_addresses::PeerAddresses,
    sends::{SendOutcome, Sends},
    token::{Kind, Token},
};
use crate::kernel::{AcceptMode, KernelStatistics, Socket};

/// Calls in a row of which the kernel takes nothing, after which what is queued waits for the next turn.
const STALLS_MAX: u32 = 3;

/// How long a turn may sleep while operations are held.
pub(crate) const HELD_SLEEP_MAX: Duration = Duration::from_millis(1);

/// How long the end of an accept is waited for when a lane ends.
const CANCEL_MAX: Duration = Duration::from_secs(1);

/// One completion entry, copied out of the queue.
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) token: Token,
    pub(crate) result: i32,
    pub(crate) flags: u32,
}

pub(crate) struct Lane {
    ring: IoUring,
    /// Dropped by hand, after the ring has forgotten its memory.
    pool: ManuallyDrop<Rc<Pool>>,
    /// Entries that found no room in the submission queue; they follow those that are in it.
    backlog: VecDeque<squeue::Entry>,
    /// Entries that were pushed since the lane was made.
    pushed: u64,
    /// The bytes of every send that is not done.
    sends: Sends,
    /// The addresses of every connect that may be queued.
    #[expect(clippy::vec_box, reason = "an address stays where it is while the list grows")]
    addresses: Vec<Box<SockAddr>>,
    /// Where accepts that are in the kernel write addresses.
    peer_addresses: PeerAddresses,
    /// Completions that were taken to make room for others.
    deferred_cqes: Vec<Entry>,
    statistics: KernelStatistics,
    /// How much less the kernel takes than it is given.
    #[cfg(test)]
    pub(super) shortage: super::shortage::Shortage,
}

impl Lane {
    pub(crate) fn new(ring: IoUring, config: &UringConfig) -> io::Result<Self> {
        let pool = Pool::register(
            &ring,
            config.receive_buffers,
            config.receive_buffers_max,
            config.receive_buffer_bytes,
        )?;
        let pool = ManuallyDrop::new(pool);
        Ok(Self {
            ring,
            pool,
            backlog: VecDeque::new(),
            pushed: 0,
            sends: Sends::default(),
            addresses: Vec::new(),
            peer_addresses: PeerAddresses::default(),
            deferred_cqes: Vec::new(),
            statistics: KernelStatistics::default(),
            #[cfg(test)]
            shortage: super::shortage::Shortage::default(),
        })
    }

    pub(crate) fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring's own descriptor, open as long as the ring, which `self` owns and the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }

    pub(crate) fn statistics(&self) -> KernelStatistics {
        self.statistics
    }

    /// True exactly when the kernel has something for this lane: completions to take, or work to do that only
    /// entering the kernel does (`IORING_SQ_TASKRUN`).
    pub(crate) fn is_due(&mut self) -> bool {
        let has_work = {
            let queue = self.ring.submission();
            queue.taskrun() || queue.cq_overflow()
        };
        has_work || self.is_holding() || !self.deferred_cqes.is_empty() || !self.ring.completion().is_empty()
    }

    /// True exactly when the kernel has not taken all that was pushed.
    pub(crate) fn is_holding(&mut self) -> bool {
        !self.backlog.is_empty() || self.queued() > 0
    }

    /// True exactly when the kernel has work for this lane that only entering it does (`IORING_SQ_TASKRUN`).
    pub(crate) fn has_task_work(&mut self) -> bool {
        self.ring.submission().taskrun()
    }

    pub(crate) fn accept(&mut self, listener: BorrowedFd<'_>, mode: AcceptMode) {
        let fd = types::Fd(listener.as_raw_fd());
        let single = |address, len| {
            let entry = opcode::Accept::new(fd, address, len);
            entry.file_index(Some(types::DestinationSlot::auto_target())).build()
        };
        let (entry, token) = match mode {
            AcceptMode::Multishot => {
                let entry = opcode::AcceptMulti::new(fd).allocate_file_index(true).build();
                (entry, Token::plain(Kind::Accept))
            }
            AcceptMode::Single => {
                (single(std::ptr::null_mut(), std::ptr::null_mut()), Token::plain(Kind::Accept))
            }
            AcceptMode::SingleWithAddress => {
                let (number, address, len) = self.peer_addresses.begin();
                (single(address, len), Token::indexed(Kind::AcceptWithAddress, number))
            }
        };
        self.push(&entry.user_data(token.0));
    }

    /// Ends all accepts that are in the kernel. Those without an address have one token: a cancellation that is to find one
    /// of them can find the same again and again, so it has to find all.
    pub(crate) fn cancel_accepts(&mut self) {
        for number in self.peer_addresses.in_kernel() {
            self.cancel(Token::indexed(Kind::AcceptWithAddress, number));
        }
        let all = types::CancelBuilder::user_data(Token::plain(Kind::Accept).0).all();
        let entry = opcode::AsyncCancel2::new(all).build().flags(squeue::Flags::SKIP_SUCCESS);
        self.push(&entry.user_data(Token::plain(Kind::Ignored).0));
    }

    /// An accept that was to be told the address has completed. The address, where it has accepted.
    pub(crate) fn accepted_from(&mut self, token: Token, is_accepted: bool) -> Option<SocketAddr> {
        self.peer_addresses.end(token.slot(), is_accepted)
    }

    pub(crate) fn connect(&mut self, socket: Socket, address: SocketAddr) {
        let address = Box::new(SockAddr::from(address));
        let entry = opcode::Connect::new(fixed(socket), address.as_ptr().cast(), address.len())
            .build()
            .user_data(Token::of(Kind::Connect, socket).0);
        // The kernel copies the address when it takes the entry, so it must live until the next turn's end: here.
        self.addresses.push(address);
        self.push(&entry);
    }

    pub(crate) fn poll(&mut self, socket: Socket, events: i16, kind: Kind) {
        let entry = opcode::PollAdd::new(fixed(socket), u32::from(events.cast_unsigned())).build();
        self.push(&entry.user_data(Token::of(kind, socket).0));
    }

    /// Polls a file descriptor again and again.
    pub(crate) fn watch(&mut self, fd: RawFd, token: Token) {
        let entry = opcode::PollAdd::new(types::Fd(fd), libc::POLLIN as u32).multi(true).build();
        self.push(&entry.user_data(token.0));
    }

    pub(crate) fn receive(&mut self, socket: Socket) {
        let entry = opcode::Recv::new(fixed(socket), std::ptr::null_mut(), 0)
            .buf_group(GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(&entry.user_data(Token::of(Kind::Receive, socket).0));
    }

    /// Receives what is there. `MSG_DONTWAIT` makes the kernel answer at submission, as it does for sends.
    pub(crate) fn look(&mut self, socket: Socket) {
        let entry = opcode::Recv::new(fixed(socket), std::ptr::null_mut(), 0)
            .flags(libc::MSG_DONTWAIT)
            .buf_group(GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT);
        self.push(&entry.user_data(Token::of(Kind::Look, socket).0));
    }

    /// Puts a socket into the process's own table too, at submission (Linux 6.8): only there a system call finds it.
    pub(crate) fn peer_address(&mut self, socket: Socket) {
        let entry = opcode::FixedFdInstall::new(fixed(socket), 0).build();
        self.push(&entry.user_data(Token::of(Kind::PeerAddress, socket).0));
    }

    pub(crate) fn receive_many(&mut self, socket: Socket) {
        let entry = opcode::RecvMulti::new(fixed(socket), GROUP).build();
        self.push(&entry.user_data(Token::of(Kind::ReceiveMany, socket).0));
    }

    pub(crate) fn cancel(&mut self, target: Token) {
        let entry = opcode::AsyncCancel::new(target.0).build().flags(squeue::Flags::SKIP_SUCCESS);
        self.push(&entry.user_data(Token::plain(Kind::Ignored).0));
    }

    /// Writes `bytes`. `MSG_DONTWAIT` makes the kernel do all that it will do at submission and never keep the
    /// request; `MSG_WAITALL` beside it makes a partial write an error with its count, which `SKIP_SUCCESS` alone
    /// would hide.
    pub(crate) fn send(&mut self, socket: Socket, bytes: Bytes) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let start = bytes.as_ptr();
        // `Bytes` keeps its memory in place while it lives, and this one lives until the turn that hands it over is done.
        let number = self.sends.push(socket, bytes, self.pushed);
        let entry = opcode::Send::new(fixed(socket), start, len)
            .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.push(&entry.user_data(Token::indexed(Kind::Send, number).0));
    }

    /// The send that a token of [`Kind::Send`] speaks of: to whom, and the bytes that it was to write.
    pub(crate) fn sent(&self, token: Token) -> (Socket, Bytes) {
        self.sends.get(token.slot())
    }

    pub(crate) fn close(&mut self, socket: Socket) {
        let entry = opcode::Close::new(fixed(socket)).build();
        self.push(&entry.user_data(Token::of(Kind::Close, socket).0));
    }

    /// Puts a completion into another ring, which ends its thread's sleep.
    pub(crate) fn message(&mut self, ring: RawFd, index: u32) {
        let entry = opcode::MsgRingData::new(types::Fd(ring), 0, Token::plain(Kind::Rung).0, None)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS);
        self.push(&entry.user_data(Token::indexed(Kind::Wake, index).0));
    }

    /// Puts an open file into a free place of the descriptor table; the table then holds it by itself.
    pub(crate) fn attach(&mut self, slot: u32, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.ring.submitter().register_files_update(slot, &[fd.as_raw_fd()]).map(drop)
    }

    /// Makes `wake` count up whenever this ring has something, so that another ring can watch it.
    pub(crate) fn notify(&self, eventfd: RawFd) -> io::Result<()> {
        self.ring.submitter().register_eventfd(eventfd)
    }

    /// Hands everything over, and sleeps up to `wait` where there is nothing to take. Returns when the kernel has
    /// done all that a send will ever do, but for those that [`Lane::end_turn`] reports as held.
    ///
    /// io_uring_enter(2): EAGAIN says that there is no memory for a request, EBUSY that there is no room for completions;
    /// where that happens in the middle, the call returns a count that is too small, and does not sleep. Either is cured
    /// by taking completions, so that is done, and what is left is given again, a few times. How much was taken is read
    /// off the queue's head, whatever the call returned.
    pub(crate) fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        let mut stalls = 0;
        loop {
            self.refill();
            let queued = self.queued();
            let may_sleep = self.backlog.is_empty() && self.has_nothing_to_take();
            self.call(queued, wait.filter(|_| may_sleep))?;
            if !self.is_holding() {
                return Ok(());
            }
            stalls = if self.queued() == queued { stalls + 1 } else { 0 };
            if stalls == STALLS_MAX {
                break;
            }
            self.stash_completions();
            self.call(0, None)?;
        }
        self.statistics.held += self.queued() as u64 + self.backlog.len() as u64;
        match wait {
            // Nothing that was not handed over is waited for, but for a moment, and for what is in the kernel already.
            Some(wait) if self.has_nothing_to_take() => self.call(0, Some(wait.min(HELD_SLEEP_MAX))),
            _ => Ok(()),
        }
    }

    /// Takes all completions.
    pub(crate) fn drain(&mut self, out: &mut Vec<Entry>) -> io::Result<()> {
        out.append(&mut self.deferred_cqes);
        loop {
            let before = self.statistics.completed;
            self.take_completions(out);
            let came = self.statistics.completed > before;
            if !self.has_overflow() {
                return Ok(());
            }
            // What did not fit is kept by the kernel; entering it moves that into the queue that was just emptied.
            self.statistics.overflows += 1;
            self.call(0, None)?;
            if !came && self.ring.completion().is_empty() {
                return Ok(());
            }
        }
    }

    /// Lets go of the memory of what the kernel is done with, and tells which sends it has not taken. To be called when
    /// the completions of a turn are all taken.
    pub(crate) fn end_turn(&mut self, tell: impl FnMut(Socket, usize, SendOutcome)) {
        // What a send did may be among completions that overflowed: then it is not known to be done.
        let left =
            if self.has_overflow() { u64::MAX } else { self.queued() as u64 + self.backlog.len() as u64 };
        self.sends.end_turn(self.pushed.saturating_sub(left), tell);
        if left == 0 {
            self.addresses.clear();
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        self.pushed += 1;
        if self.backlog.is_empty() && self.queue(entry) {
            return;
        }
        // Full: the kernel takes all entries at once, or, while it has no memory for them, as soon as it can. An error is
        // met again, and reported, by `enter`.
        let queued = self.queued();
        let _ = self.call(queued, None);
        self.backlog.push_back(entry.clone());
        self.refill();
    }

    /// Moves as much of the backlog as fits into the submission queue.
    fn refill(&mut self) {
        while let Some(entry) = self.backlog.pop_front() {
            if !self.queue(&entry) {
                return self.backlog.push_front(entry);
            }
        }
    }

    /// Puts an entry into the submission queue. False where that is full.
    fn queue(&mut self, entry: &squeue::Entry) -> bool {
        // What entries point to (send bytes, connect addresses) is owned by `self.sends` and `self.addresses` until
        // `end_turn` has found that the kernel took them. A connect's address is copied then. A send never outlives the
        // call that takes it (see `send`). What an accept writes to is owned by `self.peer_addresses` until it has completed.
        // SAFETY: as above, whatever an entry points to lives until the kernel is done with it. All other entries point
        // to no memory: receives take a buffer of the registered ring.
        unsafe { self.ring.submission().push(entry) }.is_ok()
    }

    /// Entries in the submission queue.
    fn queued(&mut self) -> u32 {
        u32::try_from(self.ring.submission().len()).expect("at most 32,768 entries")
    }

    fn has_nothing_to_take(&mut self) -> bool {
        self.deferred_cqes.is_empty() && self.ring.completion().is_empty()
    }

    fn has_overflow(&mut self) -> bool {
        self.ring.submission().cq_overflow()
    }

    fn stash_completions(&mut self) {
        let mut deferred_cqes = std::mem::take(&mut self.deferred_cqes);
        self.take_completions(&mut deferred_cqes);
        self.deferred_cqes = deferred_cqes;
    }

    fn take_completions(&mut self, out: &mut Vec<Entry>) {
        let before = out.len();
        out.extend(self.ring.completion().map(|entry| Entry {
            token: Token(entry.user_data()),
            result: entry.result(),
            flags: entry.flags(),
        }));
        self.statistics.completed += (out.len() - before) as u64;
    }

    /// One system call: hands over the first `count` entries, runs what is pending, and sleeps up to `wait`. That the
    /// kernel was short of something is no error: `queued` tells what it did not take.
    fn call(&mut self, count: u32, wait: Option<Duration>) -> io::Result<()> {
        #[cfg(test)]
        let (count, wait) = self.shortage.of(count, wait);
        let queued = self.queued();
        let has_pending = self.has_task_work() || self.has_overflow();
        self.statistics.enters += 1;
        let submitter = self.ring.submitter();
        let entered = if let Some(wait) = wait {
            let timeout = types::Timespec::from(wait);
            let arguments = types::SubmitArgs::new().timespec(&timeout);
            let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
            // SAFETY: `arguments` is what EXT_ARG says that it is, and outlives the call; so does the time it points to.
            unsafe { submitter.enter(count, 1, flags.bits(), Some(&arguments)) }
        } else {
            // Pending work is run only for who asks for events.
            let flags = if count == 0 || has_pending { EnterFlags::GETEVENTS } else { EnterFlags::empty() };
            // SAFETY: without an argument nothing of ours is touched but the rings.
            unsafe { submitter.enter::<libc::sigset_t>(count, 0, flags.bits(), None) }
        };
        self.statistics.submitted += u64::from(queued - self.queued());
        match entered {
            Ok(_) => Ok(()),
            // ETIME: slept to the end. EINTR: a signal. EAGAIN, EBUSY: see `enter`.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ETIME | libc::EINTR | libc::EAGAIN | libc::EBUSY)
                ) =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        for number in self.peer_addresses.in_kernel() {
            let token = Token::indexed(Kind::AcceptWithAddress, number);
            let wanted = types::CancelBuilder::user_data(token.0);
            let ended = self.ring.submitter().register_sync_cancel(Some(CANCEL_MAX.into()), wanted);
            // Not found: it has completed, or the kernel never took it. Otherwise its place stays, for good.
            if ended.is_ok() || ended.is_err_and(|error| error.raw_os_error() == Some(libc::ENOENT)) {
                self.peer_addresses.end(number, false);
            }
        }
        // After this no receive can take a buffer. A lane that cannot be unregistered keeps its memory for good.
        if self.ring.submitter().unregister_buf_ring(GROUP).is_ok() {
            // SAFETY: dropped once, here; the ring no longer knows the memory.
            unsafe { ManuallyDrop::drop(&mut self.pool) };
        }
    }
}

fn fixed(socket: Socket) -> types::Fixed {
    types::Fixed(socket.descriptor().slot())
}
