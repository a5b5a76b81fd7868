//! Publications: a channel's messages, as stored.
//!
//! In:  a payload, and its publisher.
//! Out: a [`StoredPublication`], with its length in answers and its memory.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use holdfast_protocol::client::{ClientInfo, Map, Payload, PayloadForm, Publication, filter::Filter};

/// Application bytes, with their checked properties.
#[derive(Clone, Debug, Default)]
pub(crate) struct Data {
    pub(crate) bytes: Bytes,
    form: PayloadForm,
}

impl Data {
    /// Checks the bytes once, so that no receiver's frame has to.
    pub(crate) fn checked(bytes: Bytes) -> Self {
        let form = Payload::new(&bytes).checked().form();
        Self { bytes, form }
    }

    /// Memory beside the value itself: the bytes, and their reference count.
    pub(crate) fn shared_bytes(&self) -> usize {
        const OWNERS: usize = 32;
        if self.bytes.is_empty() { 0 } else { OWNERS + self.bytes.len() }
    }

    pub(crate) fn payload(&self) -> Payload<'_> {
        Payload::with_form(&self.bytes, self.form)
    }
}

/// A client, as others see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Info {
    pub(crate) user: Arc<str>,
    pub(crate) client: Box<str>,
    pub(crate) conn_info: Data,
    pub(crate) chan_info: Data,
}

impl Info {
    /// Bytes of all its texts.
    pub(crate) fn text_bytes(&self) -> usize {
        self.user.len() + self.client.len() + self.conn_info.bytes.len() + self.chan_info.bytes.len()
    }

    /// Memory in use where it is shared, including what others hold of it.
    pub(crate) fn cost_bytes(&self) -> usize {
        const OWNERS: usize = 16;
        let texts = self.user.len() + OWNERS + self.client.len();
        OWNERS + size_of::<Self>() + texts + self.conn_info.shared_bytes() + self.chan_info.shared_bytes()
    }

    pub(crate) fn client_info(&self) -> ClientInfo<'_> {
        ClientInfo {
            user: Cow::Borrowed(&self.user),
            client: Cow::Borrowed(&self.client),
            conn_info: self.conn_info.payload(),
            chan_info: self.chan_info.payload(),
        }
    }
}

/// Labels of a publication, for filters. A broadcast shares them over all its channels.
pub(crate) type Tags = Arc<[(Box<str>, Box<str>)]>;

/// Builds tags. Allocates nothing if there are none.
pub(crate) fn tags(pairs: impl ExactSizeIterator<Item = (Box<str>, Box<str>)>) -> Tags {
    if pairs.len() == 0 { Tags::default() } else { pairs.collect() }
}

/// A publication as stored.
#[derive(Debug, Default)]
pub(crate) struct StoredPublication {
    pub(crate) data: Data,
    pub(crate) info: Option<Arc<Info>>,
    pub(crate) tags: Tags,
    /// Its offset in the history, from 1; 0 without a history.
    pub(crate) offset: u64,
    /// Its number among all publications of its owner: the age relative to those of other channels.
    pub(crate) sequence: u64,
}

impl StoredPublication {
    /// Memory of keeping it, including what it shares.
    pub(crate) fn cost_bytes(&self) -> usize {
        const OWNERS: usize = 16;
        let tag =
            |(key, value): &(Box<str>, Box<str>)| size_of::<(Box<str>, Box<str>)>() + key.len() + value.len();
        let tags = if self.tags.is_empty() { 0 } else { OWNERS + self.tags.iter().map(tag).sum::<usize>() };
        let info = self.info.as_ref().map_or(0, |info| info.cost_bytes());
        OWNERS + size_of::<Self>() + self.data.shared_bytes() + tags + info
    }

    /// Approximate length in an answer.
    pub(crate) fn answer_bytes(&self) -> usize {
        const NAMES: usize = 64;
        let tags: usize = self.tags.iter().map(|(key, value)| key.len() + value.len() + 6).sum();
        let info = self.info.as_ref().map_or(0, |info| NAMES + info.text_bytes());
        NAMES + self.data.bytes.len() + tags + info
    }

    /// True exactly when its tags match the filter.
    pub(crate) fn passes(&self, filter: &Filter) -> bool {
        filter.matches(|tag| self.tags.iter().find(|(key, _)| **key == *tag).map(|(_, value)| &**value))
    }

    pub(crate) fn publication(&self) -> Publication<'_> {
        self.with_data(self.data.payload(), false)
    }

    /// The same publication with other text as its data.
    pub(crate) fn with_data<'a>(&'a self, data: Payload<'a>, delta: bool) -> Publication<'a> {
        Publication {
            data,
            info: self.info.as_ref().map(|info| info.client_info()),
            offset: self.offset,
            tags: Map(self
                .tags
                .iter()
                .map(|(key, value)| (Cow::Borrowed(&**key), Cow::Borrowed(&**value)))
                .collect()),
            delta,
            time: 0,
            channel: Cow::Borrowed(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_publication_costs_has_all_its_parts_in_it() {
        // The parts, and their reference counts.
        let is_about =
            |bytes: usize, parts: usize| assert!((parts..parts + 128).contains(&bytes), "{bytes}, {parts}");
        let plain = StoredPublication {
            data: Data::checked(Bytes::from(vec![b'1'; 1_000])),
            ..StoredPublication::default()
        };
        let bytes = plain.cost_bytes();
        is_about(bytes, size_of::<StoredPublication>() + 1_000);
        let tags = Tags::from([("k".repeat(10).into(), "v".repeat(90).into())]);
        let tagged = StoredPublication { tags, ..plain };
        is_about(tagged.cost_bytes(), bytes + 100 + size_of::<(Box<str>, Box<str>)>());
        let bytes = tagged.cost_bytes();
        let info = Info { user: "u".repeat(50).into(), client: "c".repeat(50).into(), ..Info::default() };
        let told = StoredPublication { info: Some(Arc::new(info)), ..tagged };
        is_about(told.cost_bytes(), bytes + 100 + size_of::<Info>());
    }
}
