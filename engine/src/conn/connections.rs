//! Connections: all of a shard's, with what they have in common.
//!
//! In:  the shard's sockets; what the configuration says of connections.
//! Out: one value that the files of this folder work on; numbers for the metrics.

use std::sync::Arc;

use bytes::BytesMut;
use holdfast_ring::{Kernel, Socket, Sockets};

use super::{
    Commands, Conns, deflate::Deflating, heartbeat::Pings, http::HttpRules, lag::Lags, pace::Pace,
    tls::TlsListener, write::LongQueue,
};
use crate::{
    context::DeflateRules,
    memory::Holders,
    metrics::{Counters, Metric},
    refusals::Untold,
    time::Wheel,
};

/// The buffer that answers are written into, one after the other; hundreds of small ones share it. An answer that
/// waits for a slow reader keeps at most this much alive.
pub(crate) const OUT_BYTES: usize = 16 * 1024;

/// With less than this left, the next answers get a new buffer.
pub(crate) const OUT_BYTES_LEFT_MIN: usize = 512;

/// The connections of a shard.
pub(crate) struct Connections<K: Kernel> {
    pub(crate) sockets: Sockets<K>,
    pub(crate) table: Conns,
    /// `None` where clients connect without TLS.
    pub(crate) secure: Option<TlsListener>,
    pub(crate) wheel: Wheel<Socket>,
    pub(crate) pings: Pings,
    pub(crate) pace: Pace,
    pub(crate) deflating: Deflating,
    /// Those that count against the limit: all but those that have been refused.
    pub(crate) places_taken: u64,
    /// Those whose handshake is done.
    pub(crate) open: u64,
    /// Bytes that are being written for one of them.
    pub(crate) out: BytesMut,
    /// True exactly when the subscribers of a channel are walked.
    pub(crate) is_fanning_out: bool,
    /// Who had a long queue meanwhile.
    pub(crate) long_queues: Vec<LongQueue>,
    /// What of all that waits for one of them counts, where much does.
    pub(crate) lags: Lags,
    /// Those of which something has come in part.
    pub(crate) partial: Holders<Socket>,
    /// What is left of a message in hand whose session has used up its part of the turn.
    pub(crate) cut: Option<Commands>,
    pub(crate) http: Arc<HttpRules>,
    /// Lines about refusals that wait for an address.
    pub(crate) untold: Untold,
}

impl<K: Kernel> Connections<K> {
    pub(crate) fn new(sockets: Sockets<K>, deflate: Option<DeflateRules>, http: Arc<HttpRules>) -> Self {
        Self {
            table: Conns::new(sockets.lanes(), sockets.lane_slots()),
            sockets,
            secure: None,
            wheel: Wheel::new(),
            pings: Pings::new(),
            pace: Pace::default(),
            deflating: Deflating::new(deflate),
            places_taken: 0,
            open: 0,
            out: BytesMut::with_capacity(OUT_BYTES),
            is_fanning_out: false,
            long_queues: Vec::new(),
            lags: Lags::default(),
            partial: Holders::default(),
            cut: None,
            http,
            untold: Untold::default(),
        }
    }

    /// Tells what there is of them, and what they have done.
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
