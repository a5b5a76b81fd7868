//! Gathered: the publications of a turn, before their fan-out.
//!
//! In:  publications, with their number of receivers on this shard.
//! Out: whether they must go out before more is published.

/// Limit of bytes between two fan-outs, for few receivers.
const GATHERED_BYTES_MAX: usize = 64 * 1024;

/// The same, times the receivers on this shard: what the kernel copies in some 15 ms.
const COPIED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Always allowed, unless that is a large part of a receiver's queue.
const GATHERED_BYTES_MIN: usize = 4 * 1024;

/// The limit is this fraction of a receiver's queue, so that no burst of a single turn fills a queue.
const QUEUE_PARTS: usize = 4;

/// The bytes gathered for this shard's members and subscribers.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// The upper limit, and the amount that is always allowed.
    bytes_max: usize,
    bytes_min: usize,
    /// Of channels; the hub counts those of `/broadcast`.
    pub(crate) channel_bytes: usize,
    /// The largest number of receivers among the channels.
    pub(crate) receivers: usize,
    /// The position after the writes of the last fan-out.
    pub(crate) mark: u64,
    pub(crate) more_writes: u32,
    /// True exactly when the last turn left nothing to write.
    pub(crate) is_all_written: bool,
}

impl Gathered {
    /// Counts so many bytes of a channel, for so many subscribers.
    pub(crate) fn add(&mut self, bytes: usize, receivers: usize) {
        self.channel_bytes += bytes;
        self.receivers = self.receivers.max(receivers);
    }

    /// Empty. The receivers' queues hold at most `queue_bytes_max`, of which one write takes `write_bytes_max`.
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

impl Gathered {
    /// True exactly when so many bytes, of channels and of `/broadcast`, for so many receivers must go out before more is
    /// published.
    pub(super) fn is_enough(&self, bytes: usize, receivers: impl FnOnce() -> usize) -> bool {
        // The usual case: too little for the receivers to be counted.
        if bytes < self.bytes_min || bytes == 0 {
            return false;
        }
        let receivers = self.receivers.max(receivers());
        bytes >= (COPIED_BYTES_MAX / receivers.max(1)).clamp(self.bytes_min, self.bytes_max)
    }
}
