//! Recover: what a client that comes back has missed.
//!
//! In:  a history; where the client was, and how it wants to be told.
//! Out: the publications and where they begin; or that nobody can tell.

use std::sync::Arc;

use crate::hub::{history::History, message::Recover, publication::StoredPublication};

/// What comes of a wish to recover.
pub(super) enum Recovered {
    /// Nobody can tell what was missed, or it is more than may be told.
    Lost,
    These(Vec<Arc<StoredPublication>>),
    /// It is too long to be told beside others.
    TooLongNow,
}

impl Recovered {
    pub(super) fn from(history: &History, recover: &Recover) -> Self {
        let Recover { offset, ref epoch, limit, .. } = *recover;
        let part = if recover.cache {
            history.recover_newest(offset, epoch, limit, |publication| recover.wants(publication))
        } else {
            history.recover(offset, epoch, limit, recover.bytes.max)
        };
        match part {
            None => Self::Lost,
            Some(part) if part.bytes > recover.bytes.now_max => Self::TooLongNow,
            Some(part) => Self::These(part.publications),
        }
    }
}

impl Recover {
    fn wants(&self, publication: &StoredPublication) -> bool {
        self.filter.as_ref().is_none_or(|filter| publication.passes(filter))
    }

    /// The offset that the client is told to have been at before what is recovered: its own one, where that is a place in
    /// this history.
    pub(super) fn begins_at(&self, publications: &[Arc<StoredPublication>], history: &History) -> u64 {
        let position = history.position();
        let is_of_epoch = self.epoch.is_empty() || *self.epoch == *position.epoch;
        match publications.first() {
            Some(first) if !is_of_epoch || self.offset > position.offset => first.offset - 1,
            _ => self.offset,
        }
    }
}
