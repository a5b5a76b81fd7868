//! Wire: publications and clients as other nodes write them.
//!
//! In:  a Protobuf message.
//! Out: what the hub keeps of it, in memory of its own: a message shares the buffer of a whole read.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::client::{ClientInfo, Publication};

use crate::hub::publication::{Data, Info, StoredPublication, tags};

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
