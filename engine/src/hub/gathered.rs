//! Gathered: what is published in a turn, until it goes out.
//!
//! In:  publications, with how many receive them on this core.
//! Out: whether so much has gathered that it has to go out before more is published.

use super::Hub;

/// What may gather between two fan-outs, in bytes, where few receive it.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// The same, times the receivers on this core: what the kernel copies in some 15 ms.
const COPIED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What may gather in any case, unless that is much for one receiver's queue.
const GATHERED_BYTES_MIN: usize = 4 * 1024;

/// No more gathers than this part of a receiver's queue: nobody's queue is full because of what came at once.
const QUEUE_PARTS: usize = 4;

/// What gathers for the members and subscribers of this core.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// What may gather at most and in any case.
    bytes_max: usize,
    bytes_min: usize,
    /// Of channels; that of `/broadcast` is with the hub.
    pub(crate) channel_bytes: usize,
    /// The most that one of them has to be sent to.
    pub(crate) receivers: usize,
    /// Behind the writes of the last fan-out.
    pub(crate) mark: u64,
    pub(crate) more_writes: u32,
    /// True exactly when the last turn left nothing to be written.
    pub(crate) is_all_written: bool,
}

impl Gathered {
    /// A channel has so many bytes for so many subscribers.
    pub(crate) fn add(&mut self, bytes: usize, receivers: usize) {
        self.channel_bytes += bytes;
        self.receivers = self.receivers.max(receivers);
    }

    /// Nothing, for receivers whose queues may have so many bytes, of which one write takes so many.
    pub(crate) fn new(queue_bytes_max: usize, write_bytes_max: usize) -> Self {
        let part = write_bytes_max.min(queue_bytes_max / QUEUE_PARTS);
        Self {
            bytes_max: GATHERED_BYTES_MAX.min(part),
            bytes_min: GATHERED_BYTES_MIN.min(part),
            channel_bytes: 0,
            receivers: 0,
            mark: 0,
            more_writes: 0,
            is_all_written: true,
        }
    }
}

impl Hub {
    fn gathered_bytes(&self) -> usize {
        self.gathered.channel_bytes + self.broadcast.local_bytes()
    }

    /// True exactly when so much has gathered that it has to go out before more is published.
    pub(crate) fn has_gathered_enough(&self) -> bool {
        let bytes = self.gathered_bytes();
        // Nearly always there is little, and nobody has to be counted.
        if bytes < self.gathered.bytes_min || bytes == 0 {
            return false;
        }
        let receivers = self.gathered.receivers.max(self.broadcast.receivers());
        bytes >= (COPIED_BYTES_MAX / receivers.max(1)).clamp(self.gathered.bytes_min, self.gathered.bytes_max)
    }

    /// True exactly when something has gathered that waits for the writes of the last fan-out.
    pub(crate) fn is_gathering(&self) -> bool {
        self.gathered_bytes() > 0
    }
}
