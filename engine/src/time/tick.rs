//! Clock: the only place where a shard reads the time.
//!
//! Out: the uptime of the daemon, in [`Tick`]s where that is precise enough; and the time of day.
//!
//! The time is passed to all other code. The two never mix: timeouts and retention use the uptime, which nobody can set;
//! dates that others state (a token's `exp`) are compared with the time of day, which may be set at any time, forward or
//! back.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};

/// The length of a tick: the precision of timeouts.
pub(crate) const TICK_MS: u64 = 50;

/// A point in time, in ticks since a clock began. 32 bits last for 6.8 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tick(pub(crate) u32);

impl Tick {
    /// The tick that is `ms` later, rounded up: a timeout is never too short.
    #[must_use]
    pub(crate) fn after_ms(self, ms: u64) -> Self {
        self.after(u32::try_from(ms.div_ceil(TICK_MS)).unwrap_or(u32::MAX))
    }

    /// The tick that is `ticks` later.
    #[must_use]
    pub(crate) fn after(self, ticks: u32) -> Self {
        Self(self.0.saturating_add(ticks))
    }

    /// How many ticks it is later than `earlier`; 0 if it is not.
    #[must_use]
    pub(crate) fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The daemon's clock. Copies share the same start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    began: Duration,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub(crate) fn start() -> Self {
        Self { began: since_boot() }
    }

    /// The time since it started. Runs on while the machine is suspended.
    #[must_use]
    pub(crate) fn uptime(&self) -> Duration {
        since_boot().saturating_sub(self.began)
    }

    /// The time of day, since 1970; zero if it is set to an earlier date.
    #[must_use]
    pub(crate) fn wall(&self) -> Duration {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
    }
}

/// CLOCK_BOOTTIME rather than CLOCK_MONOTONIC, which stops in suspend (clock_gettime(2)): for data kept for a day, a
/// suspended night is a night; code that waits for others must know itself that they could not answer in it.
fn since_boot() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0))
}

/// The current tick at `uptime`.
#[must_use]
pub(crate) fn tick_at(uptime: Duration) -> Tick {
    Tick(u32::try_from(uptime.as_millis() / u128::from(TICK_MS)).unwrap_or(u32::MAX))
}

/// The time from `uptime` to the start of `tick`; zero if that has passed.
#[must_use]
pub(crate) fn until(tick: Tick, uptime: Duration) -> Duration {
    Duration::from_millis(u64::from(tick.0) * TICK_MS).saturating_sub(uptime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_of_a_clock_tell_the_same_time_and_it_does_not_go_back() {
        let clock = Clock::start();
        let copy = clock;
        let mut last = Duration::ZERO;
        for _ in 0..1_000 {
            for now in [clock.uptime(), copy.uptime()] {
                assert!(now >= last, "{now:?} after {last:?}");
                last = now;
            }
        }
    }

    #[test]
    fn the_time_of_day_is_the_systems() {
        let before = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
        let read = Clock::start().wall();
        let after = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
        assert!(before <= read && read <= after, "{before:?} {read:?} {after:?}");
    }

    #[test]
    fn ticks_are_rounded_so_that_no_timeout_is_too_short_and_never_overflow() {
        assert_eq!(Tick(1).after_ms(1), Tick(2));
        assert_eq!(Tick(1).after_ms(100), Tick(3));
        assert_eq!(Tick(u32::MAX - 1).after_ms(u64::MAX), Tick(u32::MAX));
        assert_eq!((Tick(7).since(Tick(3)), Tick(3).since(Tick(7))), (4, 0));
    }
}
