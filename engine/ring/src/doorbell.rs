//! Doorbell: how one thread ends another's sleep, at no cost while that one is awake.
//!
//! In:  a thread that is about to sleep says so; others ring after they left something for it.
//! Out: at most one wake-up a sleep.
//!
//! The order that makes it safe (Dekker's): the sleeper stores `asleep`, then looks at its queues once more; the
//! other one fills a queue, then loads `asleep`. With both stores and loads sequentially consistent, one of the two
//! must see the other.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
};

use crate::sync::{AtomicBool, Ordering, fence};

/// One thread's bell. Shared by all who may wake it.
#[derive(Debug)]
pub struct Doorbell {
    asleep: AtomicBool,
    eventfd: File,
    /// A descriptor of its own for the ring, so that a message can never reach a stranger who got the number later.
    ring: Option<OwnedFd>,
}

impl Doorbell {
    /// A bell with an eventfd, and the ring to which other rings may send messages.
    ///
    /// # Errors
    /// Where no file descriptor is left.
    pub fn new(ring: Option<OwnedFd>) -> io::Result<Self> {
        // SAFETY: eventfd takes two integers and touches no memory of ours.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call above succeeded, so `fd` is open, and nobody else knows it yet.
        let eventfd = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self { asleep: AtomicBool::new(false), eventfd, ring })
    }

    /// Says that the caller is about to sleep. It must look at its queues once more after this, and call
    /// [`Doorbell::awake`] when it has slept, or need not.
    pub fn about_to_sleep(&self) {
        self.asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Says that the caller no longer sleeps.
    pub fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    /// True exactly when the caller, who has just left something for this thread, must wake it. Answers true once a
    /// sleep.
    #[must_use]
    pub fn needs_ringing(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst)
    }

    /// Wakes the thread if it sleeps. For threads that have no ring of their own; costs a system call only then.
    pub fn ring(&self) {
        if self.needs_ringing() {
            self.ring_now();
        }
    }

    /// Wakes the thread, asleep or not.
    pub(crate) fn ring_now(&self) {
        // A full counter (EAGAIN) means that it rings already; nothing else can fail on an eventfd of ours.
        let _ = (&self.eventfd).write(&1u64.to_ne_bytes());
    }

    /// True exactly when it was rung since the last call.
    #[cfg(feature = "simulation")]
    pub(crate) fn was_rung(&self) -> bool {
        let mut count = [0; 8];
        io::Read::read(&mut &self.eventfd, &mut count).is_ok()
    }

    pub(crate) fn eventfd(&self) -> RawFd {
        self.eventfd.as_fd().as_raw_fd()
    }

    pub(crate) fn ring_fd(&self) -> Option<RawFd> {
        self.ring.as_ref().map(AsRawFd::as_raw_fd)
    }
}
