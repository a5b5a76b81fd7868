//! Wire: publications and clients as nodes write them for each other.
//!
//! In:  a Protobuf message of another node; a request to publish, with the channel's options.
//! Out: what the hub keeps of the message, in memory of its own: a message shares the buffer of a whole read; the message
//!      that other nodes read, and how Redis keeps it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::client::{ClientInfo, Publication};
use holdfast_redis::publication::encode_publication;

use super::{
    broker::{Keep, Outbound, ToBroker},
    message::Publish,
    owner::ChannelPolicy,
    publication::{Data, Info, StoredPublication, tags},
};

/// Room for what is beside the data.
const FIELDS_BYTES: usize = 64;

/// A publication at an offset.
pub(crate) fn stored(publication: &Publication<'_>, offset: u64, sequence: u64) -> StoredPublication {
    let pairs = publication.tags.0.iter().map(|(key, value)| (key.as_ref().into(), value.as_ref().into()));
    StoredPublication {
        data: data(publication.data.bytes()),
        info: publication.info.as_ref().map(|info| Arc::new(client(info))),
        tags: tags(pairs),
        offset,
        sequence,
    }
}

/// A client.
pub(crate) fn client(info: &ClientInfo<'_>) -> Info {
    Info {
        user: info.user.as_ref().into(),
        client: info.client.as_ref().into(),
        conn_info: data(info.conn_info.bytes()),
        chan_info: data(info.chan_info.bytes()),
    }
}

fn data(bytes: &[u8]) -> Data {
    Data::checked(Bytes::copy_from_slice(bytes))
}

/// A publication on its way to all nodes.
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
