//! Outbound: a publication on its way to all nodes.
//!
//! In:  a request to publish; the channel's options.
//! Out: the Protobuf message that other nodes read, and how Redis keeps it.

use bytes::BytesMut;
use holdfast_redis::publication::encode_publication;

use crate::hub::{
    broker::{Keep, Outbound, ToBroker},
    message::Publish,
    owner::ChannelPolicy,
    publication::StoredPublication,
};

/// Room for what is beside the data.
const FIELDS_BYTES: usize = 64;

pub(super) fn publish(mut publish: Publish, policy: ChannelPolicy) -> ToBroker {
    let answer_to = publish.answer_to.take();
    let is_kept = policy.keeps_history() && !publish.skip_history;
    let local = (policy.stays_local && !is_kept).then(|| Box::new(publish.copy()));
    let Publish { channel, data, info, tags, delta, idempotency_key, version, .. } = publish;
    let keep = is_kept.then(|| Keep {
        size: policy.history_size,
        ttl_ms: policy.history_ttl_ms,
        meta_ttl_ms: policy.position_ttl_ms(),
        // What the channel's options say, other nodes know.
        is_delta: delta && !policy.delta_publish,
        version,
    });
    let stored = StoredPublication { data, info, tags, offset: 0, sequence: 0 };
    let mut publication = stored.publication();
    publication.delta = delta && !is_kept;
    let mut payload = BytesMut::with_capacity(stored.data.bytes.len() + FIELDS_BYTES);
    encode_publication(&publication, &mut payload);
    ToBroker::Publish(Box::new(Outbound { channel, payload, keep, idempotency_key, answer_to, local }))
}
