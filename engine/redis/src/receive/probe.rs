//! Probe: does what is published arrive?
//!
//! In:  what the connection brought, the time.
//! Out: when to ask, and when not to believe in the connection any more.
//!
//! A connection can answer PING and be deaf all the same: a demoted master, a moved slot. So the owner publishes to the
//! link's service channel, by a connection of his own. A probe that he could not publish proves nothing.
//! No I/O, no clock.

use std::time::{Duration, Instant};

use super::cause::Cause;

/// When a connection is doubted.
#[derive(Debug, Clone, Copy)]
pub struct ProbeOptions {
    /// After so long without a message it is asked. 5 s.
    pub idle_after: Duration,
    /// It has so long to answer. 5 s.
    pub answer_within: Duration,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { idle_after: Duration::from_secs(5), answer_within: Duration::from_secs(5) }
    }
}

/// Whether a probe was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Published {
    /// Nobody was asked to, or he could not.
    No,
    /// The owner was asked to.
    Maybe,
    Yes {
        at: Instant,
    },
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Messages came, or nothing was to be heard for a short time only.
    Idle,
    /// PING was sent.
    Waiting { since: Instant, is_answered: bool, published: Published },
}

/// The doubts about one connection.
#[derive(Debug)]
pub(super) struct Probe {
    options: ProbeOptions,
    /// When it last proved itself.
    proved_at: Instant,
    state: State,
}

impl Probe {
    pub(super) fn new(options: ProbeOptions, now: Instant) -> Self {
        Self { options, proved_at: now, state: State::Idle }
    }

    /// A message came: nothing proves more.
    pub(super) fn message(&mut self, now: Instant) {
        (self.proved_at, self.state) = (now, State::Idle);
    }

    /// Bytes came. A long message is no silence.
    pub(super) fn bytes(&mut self, now: Instant) {
        if let State::Waiting { since, is_answered: false, .. } = &mut self.state {
            *since = now;
        }
    }

    /// PING was answered.
    pub(super) fn pong(&mut self, now: Instant) {
        if let State::Waiting { is_answered, .. } = &mut self.state {
            *is_answered = true;
        }
        self.settle(now);
    }

    /// The owner published the probe, or could not.
    pub(super) fn published(&mut self, is_published: bool, now: Instant) {
        if let State::Waiting { published, .. } = &mut self.state {
            *published = if is_published { Published::Yes { at: now } } else { Published::No };
        }
        self.settle(now);
    }

    /// This process stood still: deadlines would blame the server for it.
    pub(super) fn forgive(&mut self, now: Instant) {
        if let State::Waiting { since, published, .. } = &mut self.state {
            *since = now;
            if let Published::Yes { at } = published {
                *at = now;
            }
        }
    }

    /// With no probe on its way to us, an answered PING is all that there is to know.
    fn settle(&mut self, now: Instant) {
        if let State::Waiting { is_answered: true, published: Published::No, .. } = self.state {
            self.message(now);
        }
    }

    /// True exactly when PING is to be sent now, and where `may_publish`, a probe be published.
    pub(super) fn is_due(&mut self, may_publish: bool, now: Instant) -> bool {
        let is_due = matches!(self.state, State::Idle) && now - self.proved_at >= self.options.idle_after;
        if is_due {
            let published = if may_publish { Published::Maybe } else { Published::No };
            self.state = State::Waiting { since: now, is_answered: false, published };
        }
        is_due
    }

    /// Why the connection is not believed in any more.
    ///
    /// # Errors
    ///
    /// It is silent, or deaf.
    pub(super) fn check(&mut self, now: Instant) -> Result<(), Cause> {
        let within = self.options.answer_within;
        match self.state {
            State::Waiting { since, is_answered: false, .. } if now - since >= within => Err(Cause::Silent),
            State::Waiting { is_answered: true, published: Published::Yes { at }, .. }
                if now - at >= within =>
            {
                Err(Cause::Deaf)
            }
            // Nobody knows whether it was published: this probe proves nothing.
            State::Waiting { since, is_answered: true, published: Published::Maybe }
                if now - since >= 2 * within =>
            {
                self.message(now);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn due(may_publish: bool) -> (Probe, Instant) {
        let start = Instant::now();
        let mut probe = Probe::new(ProbeOptions::default(), start);
        assert!(!probe.is_due(may_publish, start + 4 * SECOND));
        assert!(probe.is_due(may_publish, start + 5 * SECOND));
        assert!(!probe.is_due(may_publish, start + 6 * SECOND), "once");
        (probe, start + 5 * SECOND)
    }

    #[test]
    fn a_connection_that_does_not_answer_is_silent() {
        let (mut probe, asked) = due(true);
        probe.published(true, asked);
        assert!(probe.check(asked + 4 * SECOND).is_ok());
        assert!(matches!(probe.check(asked + 5 * SECOND), Err(Cause::Silent)));
    }

    #[test]
    fn a_connection_that_answers_and_delivers_nothing_is_deaf() {
        let (mut probe, asked) = due(true);
        probe.pong(asked + SECOND);
        probe.published(true, asked + 2 * SECOND);
        assert!(probe.check(asked + 6 * SECOND).is_ok());
        assert!(matches!(probe.check(asked + 7 * SECOND), Err(Cause::Deaf)));
    }

    #[test]
    fn a_probe_that_was_not_published_proves_nothing() {
        let (mut probe, asked) = due(true);
        probe.published(false, asked + SECOND);
        probe.pong(asked + 2 * SECOND);
        assert!(probe.check(asked + 60 * SECOND).is_ok());
        assert!(probe.is_due(true, asked + 60 * SECOND), "and the next one follows");

        let (mut probe, asked) = due(true);
        probe.pong(asked + SECOND);
        assert!(probe.check(asked + 60 * SECOND).is_ok(), "an owner who does not say");
    }

    #[test]
    fn without_a_publisher_the_answer_to_ping_is_enough() {
        let (mut probe, asked) = due(false);
        probe.pong(asked + SECOND);
        assert!(probe.check(asked + 60 * SECOND).is_ok());
        assert!(!probe.is_due(false, asked + 5 * SECOND));
        assert!(probe.is_due(false, asked + 6 * SECOND));
    }

    #[test]
    fn a_message_ends_all_doubts_and_bytes_of_one_postpone_them() {
        let (mut probe, asked) = due(true);
        probe.bytes(asked + 4 * SECOND);
        assert!(probe.check(asked + 8 * SECOND).is_ok());
        probe.message(asked + 8 * SECOND);
        assert!(probe.check(asked + 60 * SECOND).is_ok());
    }

    #[test]
    fn a_process_that_stood_still_does_not_blame_the_server() {
        let (mut probe, asked) = due(true);
        probe.forgive(asked + 60 * SECOND);
        assert!(probe.check(asked + 64 * SECOND).is_ok());
        assert!(probe.check(asked + 65 * SECOND).is_err());
    }
}
