//! Stage: what phase a measurement is in, for all its threads.

use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// So many rounds has each client done, on average, before it is measured.
const ROUNDS_BEFORE: usize = 3;

/// A phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Clients come.
    Coming,
    /// Clients are alone.
    Quiet,
    /// Attackers are there too.
    Attacked,
    /// Clients go.
    Over,
}

const PHASES: [Phase; 4] = [Phase::Coming, Phase::Quiet, Phase::Attacked, Phase::Over];

/// The phase, and how far the clients are.
#[derive(Debug)]
pub(crate) struct Stage {
    phase: AtomicU8,
    served: AtomicUsize,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { phase: AtomicU8::new(Phase::Coming as u8), served: AtomicUsize::new(0) }
    }

    pub(crate) fn phase(&self) -> Phase {
        PHASES[usize::from(self.phase.load(Ordering::Acquire))]
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    pub(crate) fn served_once(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
    }

    /// True exactly when so many clients have been served a few times.
    pub(crate) fn all_are_served(&self, clients: usize) -> bool {
        self.served.load(Ordering::Relaxed) >= clients * ROUNDS_BEFORE
    }

    /// Enters the last phase when it is dropped.
    pub(crate) fn over_at_the_end(&self) -> Over<'_> {
        Over(self)
    }
}

/// Ends the last phase but one.
#[derive(Debug)]
pub(crate) struct Over<'s>(&'s Stage);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.enter(Phase::Over);
    }
}
