//! Counts: what metrics tell of the broker, beside what each Redis is known by.
//!
//! In:  what the broker's tasks did and could not do.
//! Out: the same numbers, for the control thread.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use holdfast_redis::{frame::Frame, publication::decode_publication};
use prometheus_client::metrics::histogram::Histogram;

use super::queue::Waiting;
use crate::{ids::ShardId, metrics::broker::LAG_BUCKETS_S};

const MS_PER_S: f64 = 1e3;

/// The broker's counts.
#[derive(Debug)]
pub(crate) struct Counts {
    /// What waits for the broker.
    queue: Arc<Waiting>,
    /// Bytes of publications that wait for each shard.
    outlets: Box<[AtomicUsize]>,
    dropped_kept: AtomicU64,
    dropped_lost: AtomicU64,
    control_dropped: AtomicU64,
    lag: Histogram,
}

impl Counts {
    pub(super) fn new(shards: usize, queue: Arc<Waiting>) -> Self {
        Self {
            queue,
            outlets: (0..shards).map(|_| AtomicUsize::new(0)).collect(),
            dropped_kept: AtomicU64::new(0),
            dropped_lost: AtomicU64::new(0),
            control_dropped: AtomicU64::new(0),
            lag: Histogram::new(LAG_BUCKETS_S),
        }
    }

    /// So many bytes wait for a shard.
    pub(super) fn waits(&self, shard: ShardId, bytes: usize) {
        self.outlets[shard.index()].store(bytes, Relaxed);
    }

    /// A frame found no room. What is in a history will be read from there.
    pub(super) fn dropped(&self, frame: &[u8]) {
        match Frame::decode(frame) {
            Ok(Frame::Positioned { .. } | Frame::Delta { .. }) => &self.dropped_kept,
            Ok(Frame::Plain { .. } | Frame::Join { .. } | Frame::Leave { .. }) | Err(_) => &self.dropped_lost,
        }
        .fetch_add(1, Relaxed);
    }

    /// A message of another node found no room.
    pub(super) fn control_dropped(&self) {
        self.control_dropped.fetch_add(1, Relaxed);
    }

    /// A frame was read at a time, in milliseconds since 1970: if it has the time when it was sent, it tells how long it was
    /// on its way.
    pub(super) fn read(&self, frame: &[u8], now_ms: i64) {
        let Ok(
            Frame::Plain { publication }
            | Frame::Positioned { publication, .. }
            | Frame::Delta { publication, .. },
        ) = Frame::decode(frame)
        else {
            return;
        };
        if let Ok(publication) = decode_publication(publication)
            && publication.time > 0
        {
            let lag_ms = u32::try_from(now_ms.saturating_sub(publication.time).max(0)).unwrap_or(u32::MAX);
            self.lag.observe(f64::from(lag_ms) / MS_PER_S);
        }
    }

    /// How long publications were on their way.
    pub(crate) fn lag(&self) -> &Histogram {
        &self.lag
    }

    /// Bytes of publications that wait for each shard.
    pub(crate) fn outlet_bytes(&self) -> impl Iterator<Item = u64> {
        self.outlets.iter().map(|bytes| bytes.load(Relaxed) as u64)
    }

    /// Publications that found no room, by what is left of them.
    pub(crate) fn dropped_publications(&self) -> [(&'static str, u64); 2] {
        [("kept", self.dropped_kept.load(Relaxed)), ("none", self.dropped_lost.load(Relaxed))]
    }

    /// Messages of other nodes that found no room.
    pub(crate) fn control_dropped_messages(&self) -> u64 {
        self.control_dropped.load(Relaxed)
    }

    /// Messages that wait for the broker, and their bytes.
    pub(crate) fn queue(&self) -> (u64, u64) {
        let Waiting { messages, bytes, .. } = &*self.queue;
        (messages.load(Relaxed) as u64, bytes.load(Relaxed) as u64)
    }

    /// Messages that came back, because too much waited.
    pub(crate) fn queue_refusals(&self) -> u64 {
        self.queue.refused.load(Relaxed)
    }
}

/// Milliseconds since 1970, as they are in publications.
pub(super) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use holdfast_redis::{
        frame::Position,
        publication::{append_time, encode_publication},
    };

    use super::*;

    fn frame(time_ms: i64, offset: Option<u64>) -> BytesMut {
        let (mut payload, mut frame) = (BytesMut::new(), BytesMut::new());
        encode_publication(&holdfast_protocol::client::Publication::default(), &mut payload);
        append_time(time_ms, &mut payload);
        match offset {
            None => Frame::Plain { publication: &payload },
            Some(offset) => {
                Frame::Positioned { position: Position { offset, epoch: "e" }, publication: &payload }
            }
        }
        .encode(&mut frame);
        frame
    }

    #[test]
    fn what_is_dropped_is_lost_unless_a_history_has_it() {
        let counts = Counts::new(1, Arc::default());
        counts.dropped(&frame(1, None));
        counts.dropped(&frame(1, Some(7)));
        counts.dropped(&frame(1, Some(8)));
        counts.dropped(b"__j__x");
        assert_eq!(counts.dropped_publications(), [("kept", 2), ("none", 2)]);
    }

    #[test]
    fn the_lag_is_counted_where_the_time_is_known_and_is_never_less_than_nothing() {
        use prometheus_client::{encoding::text::encode, registry::Registry};
        let counts = Counts::new(1, Arc::default());
        for (sent_ms, read_ms) in [(1_000, 1_004), (1_000, 1_300), (2_000, 1_000), (0, 1_000)] {
            counts.read(&frame(sent_ms, Some(1)), read_ms);
        }
        counts.read(b"__l__x", 1_000);
        let (mut registry, mut text) = (Registry::default(), String::new());
        registry.register("lag", "Lag", counts.lag().clone());
        encode(&mut text, &registry).unwrap();
        for line in ["lag_count 3", "lag_sum 0.304", "le=\"0.001\"} 1", "le=\"0.005\"} 2", "le=\"0.5\"} 3"] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
