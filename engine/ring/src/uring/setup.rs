//! Setup: whether this machine's kernel lets us work, and the making of a ring.
//!
//! In:  sizes, and the kernel's answers.
//! Out: a [`Lane`], or a [`SetupError`] whose words tell an operator what to do.

use std::{fmt, io};

use io_uring::{IoUring, opcode};

use super::{UringConfig, lane::Lane};

/// The oldest kernel that has all we need (`IORING_SETUP_DEFER_TASKRUN`, multishot receive, buffer rings).
pub const KERNEL_FLOOR: (u32, u32) = (6, 1);

/// Completion queue entries for each submission queue entry: multishot operations answer more often than they ask.
const COMPLETIONS_PER_SUBMISSION: u32 = 8;

/// Why a ring cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The kernel has no io_uring, or one that is too old.
    #[error(
        "this kernel's io_uring is missing or too old ({0}): Linux {major}.{minor} or newer is needed",
        major = KERNEL_FLOOR.0, minor = KERNEL_FLOOR.1
    )]
    TooOld(io::Error),
    /// The administrator has switched io_uring off.
    #[error(
        "io_uring is switched off on this machine (kernel.io_uring_disabled={0}): \
         allow it with `sysctl -w kernel.io_uring_disabled=0`"
    )]
    Disabled(u8),
    /// A container's or a service manager's filter forbids the system call.
    #[error(
        "io_uring is forbidden to this process (a seccomp filter refuses io_uring_setup): allow the system calls \
         io_uring_setup, io_uring_enter and io_uring_register, with a container engine's \
         `--security-opt seccomp=PROFILE`, or with @aio in the `SystemCallFilter=` of a systemd unit (an older systemd \
         needs the three calls by name)"
    )]
    Forbidden,
    /// A descriptor table or an eventfd cannot be had.
    #[error(
        "no file descriptors left for a ring with {slots} connections (RLIMIT_NOFILE is {limit}): raise it with \
         `ulimit -n` or LimitNOFILE=, or plan more lanes ({source})"
    )]
    Descriptors {
        /// What was wanted; 0 where it was about the ring's own descriptors.
        slots: u32,
        /// The limit in force.
        limit: u64,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Memory for the rings or the buffers cannot be had.
    #[error("no memory for a ring: {0} (RLIMIT_MEMLOCK or a memory limit is too small: raise LimitMEMLOCK=)")]
    Memory(io::Error),
    /// Anything else that the kernel says.
    #[error("io_uring failed: {0}")]
    Other(io::Error),
}

impl SetupError {
    pub(super) fn descriptors(source: io::Error) -> Self {
        Self::Descriptors { slots: 0, limit: descriptors_max(), source }
    }

    fn of(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSYS | libc::EINVAL) => Self::TooOld(error),
            Some(libc::EPERM | libc::EACCES) => match disabled() {
                0 => Self::Forbidden,
                value => Self::Disabled(value),
            },
            Some(libc::EMFILE | libc::ENFILE) => Self::descriptors(error),
            Some(libc::ENOMEM) => Self::Memory(error),
            _ => Self::Other(error),
        }
    }
}

/// What of io_uring is used where the kernel has it.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// Messages between rings (`IORING_OP_MSG_RING`).
    pub ring_messages: bool,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deferred task work, direct descriptors, multishot accept and receive, buffer rings")?;
        if self.ring_messages { f.write_str(", ring messages") } else { Ok(()) }
    }
}

/// What [`probe`] found.
#[derive(Debug)]
pub struct Probe {
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// What a ring can do here, or why none can be had.
    pub setup: Result<Features, SetupError>,
}

/// Asks the kernel by making a small ring with all that the real ones need.
#[must_use]
pub fn probe() -> Probe {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned();
    Probe { kernel, setup: features() }
}

/// RLIMIT_NOFILE: how many descriptors one lane can hold.
#[must_use]
pub fn descriptors_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes one rlimit to a place that holds one.
    let done = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    if done == 0 { limit.rlim_cur } else { 1024 }
}

pub(super) fn lane(config: &UringConfig) -> Result<Lane, SetupError> {
    let ring = ring(config.submission_entries).map_err(SetupError::of)?;
    ring.submitter().register_files_sparse(config.slots_per_lane).map_err(|source| {
        match source.raw_os_error() {
            Some(libc::EMFILE) => {
                SetupError::Descriptors { slots: config.slots_per_lane, limit: descriptors_max(), source }
            }
            _ => SetupError::of(source),
        }
    })?;
    Lane::new(ring, config).map_err(SetupError::of)
}

fn ring(submission_entries: u32) -> io::Result<IoUring> {
    IoUring::builder()
        .dontfork()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(submission_entries * COMPLETIONS_PER_SUBMISSION)
        .build(submission_entries)
}

fn features() -> Result<Features, SetupError> {
    let config = UringConfig {
        slots_per_lane: 8,
        submission_entries: 8,
        receive_buffers: 8,
        receive_buffers_max: 8,
        receive_buffer_bytes: 64,
        ..UringConfig::default()
    };
    drop(lane(&config)?);
    let ring = ring(config.submission_entries).map_err(SetupError::of)?;
    let mut operations = io_uring::Probe::new();
    ring.submitter().register_probe(&mut operations).map_err(SetupError::of)?;
    Ok(Features { ring_messages: operations.is_supported(opcode::MsgRingData::CODE) })
}

/// `kernel.io_uring_disabled`: 0 where it is allowed to all, or where the kernel has no such switch.
fn disabled() -> u8 {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}
