//! Faults: how often a simulated kernel does what a real one seldom does.
//!
//! In:  a source of chance.
//! Out: probabilities, in thousandths.

use rand::{Rng, rngs::SmallRng};

/// Probabilities, in thousandths. All of them may be 0; only those that say so may be 1000, or nothing moves on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// What is due comes in a later turn.
    pub late: u32,
    /// A receive gives less than there is. May be 1000.
    pub short_read: u32,
    /// A send takes less than there is room for.
    pub short_write: u32,
    /// A poll reports, or a bell rings, for nothing.
    pub spurious: u32,
    /// A multishot operation ends by itself, or a receive without a reason.
    pub ended: u32,
    /// A receive finds no buffer, though some are free.
    pub no_buffers: u32,
    /// A connection breaks, asked once a turn.
    pub reset: u32,
    /// Accepting fails: for the connection's sake, or for the system's.
    pub accept_error: u32,
    /// Completions of what is done at once come after others of the same turn; so a descriptor may be given out again
    /// before the word that it is free. May be 1000.
    pub overtaken: u32,
    /// A connection that we open is refused.
    pub refused: u32,
    /// A turn hands over only a part of what is queued, or nothing.
    pub held: u32,
}

impl Faults {
    /// Some kinds of faults, at random rates: a run in which everything goes wrong all the time gets nowhere.
    #[must_use]
    pub fn any(random: &mut SmallRng) -> Self {
        let mut rate = |max: u32| if random.random_bool(0.5) { random.random_range(0..=max) } else { 0 };
        Self {
            late: rate(600),
            short_read: rate(1000),
            short_write: rate(600),
            spurious: rate(100),
            ended: rate(200),
            no_buffers: rate(200),
            reset: rate(6),
            accept_error: rate(200),
            overtaken: rate(1000),
            refused: rate(300),
            held: rate(300),
        }
    }

    /// The same, but no connection breaks and none is refused: what was begun can be ended.
    #[must_use]
    pub fn without_losses(self) -> Self {
        Self { reset: 0, accept_error: 0, refused: 0, ..self }
    }
}

/// True with a probability of `thousandths`.
pub(super) fn chance(random: &mut SmallRng, thousandths: u32) -> bool {
    thousandths > 0 && random.random_range(0..1000) < thousandths
}
