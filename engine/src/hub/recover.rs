//! Recover: the publications that a returning client has missed.
//!
//! In:  a history; the client's position and recovery options.
//! Out: the publications and their start; or that they are not available.

use std::sync::Arc;

use crate::hub::{
    history::History,
    message::{Recover, Subscribe, Subscribed},
    publication::StoredPublication,
};

/// The outcome of a recovery request.
enum Recovered {
    /// The missed publications are no longer available, or exceed the limit.
    Lost,
    These(Vec<Arc<StoredPublication>>),
    /// Too long to be given beside others.
    TooLongNow,
}

impl Recovered {
    fn from(history: &History, recover: &Recover) -> Self {
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

/// What becomes of a subscription that asks for its position.
pub(super) enum Resumed {
    Yes,
    /// It must be refused: not all can be recovered.
    Lost,
    /// The answer is too long to be given beside others.
    TooLongNow,
}

impl Subscribed {
    /// Adds the position, and what was missed.
    pub(super) fn resume(&mut self, subscribe: &Subscribe, history: &History) -> Resumed {
        self.position = Some(history.position());
        let Some(recover) = &subscribe.recover else { return Resumed::Yes };
        match Recovered::from(history, recover) {
            Recovered::These(publications) => {
                self.recovered_from = recover.begins_at(&publications, history);
                self.recovered = Some(publications);
                Resumed::Yes
            }
            Recovered::Lost if recover.rejects_loss && !recover.cache => Resumed::Lost,
            Recovered::Lost => Resumed::Yes,
            Recovered::TooLongNow => Resumed::TooLongNow,
        }
    }
}

impl Recover {
    pub(super) fn wants(&self, publication: &StoredPublication) -> bool {
        self.filter.as_ref().is_none_or(|filter| publication.passes(filter))
    }

    /// The offset to report as the client's position before the recovered publications: its own, if that lies in this
    /// history.
    fn begins_at(&self, publications: &[Arc<StoredPublication>], history: &History) -> u64 {
        let position = history.position();
        let is_of_epoch = self.epoch.is_empty() || *self.epoch == *position.epoch;
        match publications.first() {
            Some(first) if !is_of_epoch || self.offset > position.offset => first.offset - 1,
            _ => self.offset,
        }
    }
}
