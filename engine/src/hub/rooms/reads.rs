//! Reads: what a room asks Redis about its history, one question at a time.
//!
//! In:  what is to be read; answers.
//! Out: the next question.
//!
//! Answers of several questions might come in any order, and say different things of the same moment. So there is one at a
//! time; what is wanted meanwhile goes into the next one.
//!
//! ```text
//!            asked            answered, nothing wanted
//!   idle ───────────> asked ──────────────────────────> idle
//!                      │ ^ retried, or urgent
//!             no answer v │
//!                     failed
//! ```

use crate::time::Tick;

/// A question under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) what: What,
    /// The latest offset of the epoch that was known when it was asked.
    pub(super) known: u64,
    /// True exactly when no messages may have been missed since.
    pub(super) is_current: bool,
    /// True exactly when the channel was confirmed again since.
    pub(super) is_confirmed_since: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// The position, and the publications from an offset on; without one, the newest one.
    History { from: Option<u64> },
    /// The history has gone back: a new epoch.
    NewEpoch,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Idle,
    Asked(Question),
    Failed {
        retry_at: Tick,
    },
}

#[derive(Debug, Default)]
pub(super) struct Reads {
    state: State,
    /// What is to be read next: the position and what follows the one known, and perhaps the publications from an offset on.
    wanted: Option<Option<u64>>,
    /// True exactly when the history has gone back, and no new epoch is known yet.
    is_broken: bool,
    /// How many reads of the history were asked for, and the last one that was answered.
    asked: u64,
    answered: u64,
}

impl Reads {
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// When a question that failed is repeated.
    pub(super) fn retry_at(&self) -> Option<Tick> {
        match self.state {
            State::Failed { retry_at } => Some(retry_at),
            State::Idle | State::Asked(_) => None,
        }
    }

    /// Wants the position, and perhaps the publications from an offset on. Returns the number of the read that has them.
    pub(super) fn want(&mut self, from: Option<u64>) -> u64 {
        let before = self.wanted.flatten();
        self.wanted = Some(before.into_iter().chain(from).min());
        self.asked + 1
    }

    /// The number of the read under way, if it has all from an offset on.
    pub(super) fn under_way_from(&self, offset: u64) -> Option<u64> {
        let State::Asked(Question { what: What::History { from: Some(from) }, .. }) = self.state else {
            return None;
        };
        (from <= offset).then_some(self.asked)
    }

    /// Wants a new epoch, before anything else.
    pub(super) fn want_new_epoch(&mut self) {
        self.is_broken = true;
    }

    /// True exactly when the read with this number was answered.
    pub(super) fn has(&self, number: u64) -> bool {
        number <= self.answered
    }

    /// The next question, if one is due. One that failed waits, unless it `is_urgent`. `position` is the offset of the last
    /// publication known, if one is; `heard` the latest one heard.
    pub(super) fn next(&mut self, position: Option<u64>, heard: u64, is_urgent: bool) -> Option<What> {
        let is_free = self.is_idle() || (is_urgent && self.retry_at().is_some());
        let what = if self.is_broken {
            What::NewEpoch
        } else {
            let wanted = self.wanted?;
            // It may have been wanted in another epoch. What follows the position is always of interest; and the last
            // publication is, too: if another one has its offset now, the history has gone back.
            let last = position.map(|offset| offset.max(1));
            What::History { from: wanted.into_iter().chain(last).min() }
        };
        if !is_free {
            return None;
        }
        if what != What::NewEpoch {
            self.wanted = None;
            self.asked += 1;
        }
        let known = position.unwrap_or_default().max(heard);
        self.state = State::Asked(Question { what, known, is_current: true, is_confirmed_since: false });
        Some(what)
    }

    /// Messages may have been missed: the answer under way may be older than they are.
    pub(super) fn outdate(&mut self) {
        if let State::Asked(question) = &mut self.state {
            question.is_current = false;
        }
    }

    /// The channel was confirmed again.
    pub(super) fn confirmed(&mut self) {
        self.outdate();
        if let State::Asked(question) = &mut self.state {
            question.is_confirmed_since = true;
        }
    }

    /// Takes the question that is answered now.
    pub(super) fn answered(&mut self) -> Option<Question> {
        let State::Asked(question) = std::mem::take(&mut self.state) else { return None };
        self.answered = self.asked;
        Some(question)
    }

    /// There was no answer.
    pub(super) fn failed(&mut self, question: Question, retry_at: Tick) {
        if let What::History { from } = question.what {
            self.want(from);
        }
        self.state = State::Failed { retry_at };
    }

    /// A question that failed may be asked again.
    pub(super) fn retry(&mut self) {
        if self.retry_at().is_some() {
            self.state = State::Idle;
        }
    }

    /// There is a new epoch.
    pub(super) fn mended(&mut self) {
        self.is_broken = false;
    }
}
