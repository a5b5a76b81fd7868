//! Clock: the one place where a shard reads the time.
//!
//! In:  nothing.
//! Out: [`Tick`]s since the shard began.
//!
//! Everything else is told what time it is.

use std::time::{Duration, Instant, SystemTime};

/// The length of a tick: how exactly timeouts are kept.
pub(crate) const TICK_MS: u64 = 50;

/// A point in time, in ticks since a clock began. 32 bits last for 6.8 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tick(pub(crate) u32);

impl Tick {
    /// The tick that is `ms` later, rounded up: a timeout is never too short.
    #[must_use]
    pub(crate) fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(u32::try_from(ms.div_ceil(TICK_MS)).unwrap_or(u32::MAX)))
    }
}

/// A monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Instant,
    began_wall: Duration,
}

impl Clock {
    /// A clock that begins now.
    #[must_use]
    pub(crate) fn start() -> Self {
        let began_wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), began_wall }
    }

    /// When it began, since 1970.
    #[must_use]
    pub(crate) fn began_wall(&self) -> Duration {
        self.began_wall
    }

    /// How long ago it began.
    #[must_use]
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }
}

/// The tick that has begun `elapsed` after the clock.
#[must_use]
pub(crate) fn tick_at(elapsed: Duration) -> Tick {
    Tick(u32::try_from(elapsed.as_millis() / u128::from(TICK_MS)).unwrap_or(u32::MAX))
}

/// How long it takes from `elapsed` to the beginning of `tick`; zero where that has passed.
#[must_use]
pub(crate) fn until(tick: Tick, elapsed: Duration) -> Duration {
    Duration::from_millis(u64::from(tick.0) * TICK_MS).saturating_sub(elapsed)
}
