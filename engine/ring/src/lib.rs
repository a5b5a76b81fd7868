//! The kernel boundary: sockets over io_uring.
//!
//! [`Sockets`] is what the daemon and the load tool work with: connections that take bytes to send and give bytes that
//! came, one turn of the loop at a time. It asks a [`Kernel`] for single operations; [`Uring`] is the real one. Other
//! threads leave work in a [`Mailbox`] and ring its [`Doorbell`].
//!
//! All of Holdfast's unsafe code is in this crate, in `uring`, `doorbell`, `open`, `prefetch` and `steer`.

mod doorbell;
mod kernel;
mod mailbox;
mod open;
mod prefetch;
#[cfg(feature = "simulation")]
pub mod simulated;
mod socket_map;
mod sockets;
mod steer;
mod sync;
mod uring;

pub use crate::{
    doorbell::Doorbell,
    kernel::{
        AcceptMode, Armed, Completion, Descriptor, Errno, Kernel, KernelStatistics, LANE_SLOTS_MAX,
        LANES_MAX, Op, ReceiveEnd, Seen, Socket,
    },
    mailbox::Mailbox,
    open::{listener, stream},
    prefetch::{PREFETCH_AHEAD, prefetch},
    socket_map::{Cursor, SocketMap},
    sockets::{CloseWhen, Ended, Event, Sockets, SocketsConfig, SocketsStatistics},
    uring::{Buffer, Features, KERNEL_FLOOR, Probe, SetupError, Uring, UringConfig, descriptors_max, probe},
};
