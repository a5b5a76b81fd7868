//! Connections: all connections of a shard and their shared state.
//!
//! In:  the shard's sockets; the policy for connections.
//! Out: the value that the files of this folder work on; numbers for the metrics.

use holdfast_ring::{Kernel, Socket, SocketMap, Sockets};

use super::{Commands, Conn, deflate::Deflating, lag::Lags, pace::Pace};
use crate::{
    conn::{OutBuffer, TlsListener, lag::LongQueue, pace::Pings, policy::ConnPolicy},
    memory::Holders,
    metrics::{Counters, Metric},
    refusals::Untold,
    time::Wheel,
};

/// The connections of a shard.
pub(crate) struct Connections<K: Kernel> {
    pub(crate) sockets: Sockets<K>,
    pub(crate) table: SocketMap<Conn>,
    /// `None` where clients connect without TLS.
    pub(crate) tls: Option<TlsListener>,
    pub(crate) wheel: Wheel<Socket>,
    pub(crate) pings: Pings,
    pub(crate) pace: Pace,
    pub(crate) deflating: Deflating,
    /// Connections that count against the limit: all except rejected ones.
    pub(crate) places_taken: u64,
    /// Connections whose handshake is complete.
    pub(crate) open: u64,
    /// Bytes being written for one connection.
    pub(crate) out: OutBuffer,
    /// True exactly while a channel's subscribers are being iterated.
    pub(crate) is_fanning_out: bool,
    /// Connections whose queue grew long during that iteration.
    pub(crate) long_queues: Vec<LongQueue>,
    /// For connections with long queues: the part of the queue that counts against the limit.
    pub(crate) lags: Lags,
    /// Connections with partial input.
    pub(crate) partial: Holders<Socket>,
    /// The rest of the current message if its session has used up its part of the turn.
    pub(crate) cut: Option<Commands>,
    pub(crate) policy: ConnPolicy,
    /// Log lines about refusals that wait for an address.
    pub(crate) untold: Untold,
}

impl<K: Kernel> Connections<K> {
    pub(crate) fn new(sockets: Sockets<K>, tls: Option<TlsListener>, policy: ConnPolicy) -> Self {
        Self {
            table: SocketMap::with_room(sockets.lanes(), sockets.lane_slots()),
            sockets,
            tls,
            wheel: Wheel::new(),
            pings: Pings::new(),
            pace: Pace::default(),
            deflating: Deflating::new(policy.deflate),
            places_taken: 0,
            open: 0,
            out: OutBuffer::new(),
            is_fanning_out: false,
            long_queues: Vec::new(),
            lags: Lags::default(),
            partial: Holders::default(),
            cut: None,
            policy,
            untold: Untold::default(),
        }
    }

    /// Reports the numbers of connections and of their traffic.
    pub(crate) fn report(&self, counters: &mut Counters) {
        let sockets = self.sockets.statistics();
        let deflated = self.deflating.statistics();
        for (metric, value) in [
            (Metric::Connections, self.sockets.open_sockets() as u64),
            (Metric::PlacesTaken, self.places_taken),
            (Metric::Sessions, self.open),
            (Metric::PingStretch, u64::from(self.pace.stretch())),
            (Metric::BytesIn, sockets.received_bytes),
            (Metric::BytesOut, sockets.written_bytes),
            (Metric::BuffersExhausted, sockets.buffers_exhausted),
            (Metric::Writes, sockets.writes),
            (Metric::ShortWrites, sockets.short_writes),
            (Metric::RingEnters, sockets.kernel.enters),
            (Metric::RingSubmissions, sockets.kernel.submitted),
            (Metric::RingCompletions, sockets.kernel.completed),
            (Metric::RingOverflows, sockets.kernel.overflows),
            (Metric::RingHeld, sockets.kernel.held),
            (Metric::DeflatePlainBytes, deflated.plain_bytes),
            (Metric::DeflateBytes, deflated.deflated_bytes),
        ] {
            counters.set(metric, value);
        }
    }
}
