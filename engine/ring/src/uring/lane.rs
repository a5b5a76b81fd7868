//! Lane: one io_uring with its descriptor table, its receive buffers, and the memory that its operations point to.
//!
//! In:  submission entries; sends and connects with the memory they read.
//! Out: completion entries.
//!
//! What never happens here: an entry that points to memory which goes away before the kernel is done with it.

use std::{
    io,
    mem::ManuallyDrop,
    os::fd::{AsRawFd, BorrowedFd, RawFd},
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use io_uring::{IoUring, opcode, squeue, types};
use socket2::SockAddr;

use super::{
    buffers::{GROUP, Pool},
    token::{Kind, Token},
};
use crate::kernel::{KernelStatistics, Socket};

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
    /// The bytes of every send pushed since the last turn. A send's token holds its index.
    sends: Vec<(Socket, Bytes)>,
    /// The addresses of every connect pushed since the last turn.
    #[expect(clippy::vec_box, reason = "an address stays where it is while the list grows")]
    addresses: Vec<Box<SockAddr>>,
    /// Completions that were taken while looking for another one.
    stash: Vec<Entry>,
    statistics: KernelStatistics,
}

impl Lane {
    pub(crate) fn new(ring: IoUring, receive_buffers: u32, receive_buffer_bytes: u32) -> io::Result<Self> {
        let pool = ManuallyDrop::new(Pool::register(&ring, receive_buffers, receive_buffer_bytes)?);
        Ok(Self {
            ring,
            pool,
            sends: Vec::new(),
            addresses: Vec::new(),
            stash: Vec::new(),
            statistics: KernelStatistics::default(),
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
            !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
        };
        has_work || !self.stash.is_empty() || !self.ring.completion().is_empty()
    }

    /// True exactly when the kernel has work for this lane that only entering it does (`IORING_SQ_TASKRUN`).
    pub(crate) fn has_task_work(&mut self) -> bool {
        self.ring.submission().taskrun()
    }

    pub(crate) fn accept(&mut self, listener: BorrowedFd<'_>, multishot: bool) {
        let fd = types::Fd(listener.as_raw_fd());
        let entry = if multishot {
            opcode::AcceptMulti::new(fd).allocate_file_index(true).build()
        } else {
            opcode::Accept::new(fd, std::ptr::null_mut(), std::ptr::null_mut())
                .file_index(Some(types::DestinationSlot::auto_target()))
                .build()
        };
        self.push(&entry.user_data(Token::plain(Kind::Accept).0));
    }

    pub(crate) fn connect(&mut self, socket: Socket, address: std::net::SocketAddr) {
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
        if self.ring.submission().is_full() {
            self.submit();
        }
        let index = u32::try_from(self.sends.len()).expect("far fewer sends in a turn than 2^24");
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let entry = opcode::Send::new(fixed(socket), bytes.as_ptr(), len)
            .flags(libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL)
            .build()
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(Token::indexed(Kind::Send, index).0);
        // `Bytes` keeps its memory in place while it lives, and this one lives until the turn that submits it is over.
        self.sends.push((socket, bytes));
        self.push(&entry);
    }

    /// The send that a token of [`Kind::Send`] speaks of: to whom, and the bytes that it was to write.
    pub(crate) fn sent(&self, token: Token) -> (Socket, Bytes) {
        let (socket, bytes) = &self.sends[token.slot() as usize];
        (*socket, bytes.clone())
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

    /// Installs a direct descriptor as a file descriptor, at once. The completion's result is the descriptor.
    pub(crate) fn install(&mut self, slot: u32, token: Token) {
        let entry = opcode::FixedFdInstall::new(types::Fixed(slot), 0).build();
        self.push(&entry.user_data(token.0));
    }

    /// Hands everything over, and sleeps up to `wait` where there is nothing to take. Returns when the kernel has
    /// done all that a send will ever do.
    pub(crate) fn enter(&mut self, wait: Option<Duration>) -> io::Result<()> {
        self.statistics.submitted += self.ring.submission().len() as u64;
        self.statistics.enters += 1;
        let entered = match wait {
            Some(wait) if self.stash.is_empty() && self.ring.completion().is_empty() => {
                let timeout = types::Timespec::from(wait);
                self.ring.submitter().submit_with_args(1, &types::SubmitArgs::new().timespec(&timeout))
            }
            _ => self.ring.submit(),
        };
        match entered {
            Ok(_) => Ok(()),
            // ETIME: slept to the end. EINTR: a signal. EAGAIN and EBUSY: the kernel lacks memory or room for
            // completions now; what was not taken stays queued for the next turn.
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

    /// Takes the result of the one completion with this token, if it is there, and keeps all others for
    /// [`Lane::drain`].
    pub(crate) fn take_answer(&mut self, token: Token) -> Option<i32> {
        let mut stash = std::mem::take(&mut self.stash);
        self.drain(&mut stash);
        let answer = stash.iter().rposition(|entry| entry.token == token).map(|at| stash.remove(at).result);
        self.stash = stash;
        answer
    }

    /// Takes all completions.
    pub(crate) fn drain(&mut self, out: &mut Vec<Entry>) {
        out.append(&mut self.stash);
        loop {
            let before = out.len();
            out.extend(self.ring.completion().map(|entry| Entry {
                token: Token(entry.user_data()),
                result: entry.result(),
                flags: entry.flags(),
            }));
            self.statistics.completed += (out.len() - before) as u64;
            if !self.ring.submission().cq_overflow() {
                return;
            }
            // What did not fit is kept by the kernel; entering it moves that into the queue that was just emptied.
            self.statistics.overflows += 1;
            self.submit();
        }
    }

    /// Lets go of the memory of sends and connects. To be called when the completions of their turn are all taken.
    pub(crate) fn release(&mut self) {
        // Entries that the kernel did not take (it was out of memory) still point to that memory.
        if self.ring.submission().is_empty() {
            self.sends.clear();
            self.addresses.clear();
        }
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // What entries point to (send bytes, connect addresses) is owned by `self.sends` and `self.addresses` until
            // `release`, which runs only when no entry is queued. A connect's address is copied when the entry is taken. A
            // send never outlives the call that takes it (see `send`).
            // SAFETY: as above, whatever an entry points to lives until the kernel is done with it. All other entries
            // point to no memory: receives take a buffer of the registered ring.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            // Full: the kernel takes all entries at once, or, while it has no memory for them, as soon as it can.
            self.submit();
        }
    }

    fn submit(&mut self) {
        // An error leaves the entries queued; `enter` meets and reports it.
        self.statistics.enters += 1;
        self.statistics.submitted += self.ring.submission().len() as u64;
        let _ = self.ring.submit();
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
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
