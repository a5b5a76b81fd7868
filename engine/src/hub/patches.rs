//! Patches: a publication in its forms for subscribers that take patches.
//!
//! In:  a publication, and its predecessor.
//! Out: its frames, with all data as a JSON string; and the difference between the two, if that is shorter.

use std::{borrow::Cow, sync::Arc};

use holdfast_protocol::client::{Payload, delta};

use crate::{
    encoding::EncodedPush,
    hub::{
        message::{Delivery, DeltaFrames, Patch},
        publication::StoredPublication,
    },
};

impl Delivery {
    /// A publication in the forms that its subscribers take: with patches to `base`, if some take them.
    pub(super) fn of_publication(
        channel: Arc<str>,
        stored: &Arc<StoredPublication>,
        base: Option<&StoredPublication>,
        takes_patches: bool,
    ) -> Self {
        let for_delta = takes_patches.then(|| for_delta(&channel, stored, base));
        let frames = EncodedPush::of_publication(&channel, stored.publication());
        Self { channel, publication: Some(Arc::clone(stored)), frames, for_delta }
    }
}

/// The forms of a publication for subscribers that take patches: in JSON all data is then a string.
fn for_delta(channel: &str, stored: &StoredPublication, base: Option<&StoredPublication>) -> DeltaFrames {
    let text = stored.data.payload().json_text();
    let quoted = stored.with_data(Payload::quoted(&text), false);
    let json = EncodedPush::of_publication(channel, quoted);
    let whole = EncodedPush::of_publication(channel, stored.publication()).with_json_of(&json);
    let patch = base.and_then(|base| {
        let before = base.data.payload().json_text();
        let json_patch = delta::create(before.as_bytes(), text.as_bytes());
        let bytes_patch = delta::create(&base.data.bytes, &stored.data.bytes);
        let json_patch = std::str::from_utf8(&json_patch).ok().map(Cow::Borrowed)?;
        if json_patch.len() >= text.len() || bytes_patch.len() >= stored.data.bytes.len() {
            return None;
        }
        let protobuf =
            EncodedPush::of_publication(channel, stored.with_data(Payload::new(&bytes_patch), true));
        let json = EncodedPush::of_publication(channel, stored.with_data(Payload::quoted(&json_patch), true));
        Some(Patch { base: base.sequence, frames: protobuf.with_json_of(&json) })
    });
    DeltaFrames { whole, patch }
}
