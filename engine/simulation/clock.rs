//! Clock: which times of day there were, and how long what has expired has been over.
//!
//! In:  when the simulated time jumped, and the time of day was set.
//! Out: the times of day at which something may have been done; time that passed without jumps.
//!
//! A jump is a stall of the daemon: of anybody's grace it counts for nothing (`context/lateness.rs`).

use std::{ops::RangeInclusive, time::Duration};

/// The time of day when a simulation begins, since 1970.
pub(super) const BEGAN: Duration = Duration::from_secs(1_700_000_000);

/// A shorter jump is no stall: a shard may sleep for so long.
const STALL_MIN: Duration = Duration::from_millis(500);

/// A time in which the time of day went with the simulated one.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    from: Duration,
    /// By how much the time of day was ahead.
    ahead: Duration,
    /// True exactly when nobody had a turn in it.
    is_stall: bool,
}

#[derive(Debug)]
pub(super) struct Clock {
    /// One after the other, the newest last.
    stretches: Vec<Stretch>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { stretches: vec![Stretch { from: Duration::ZERO, ahead: BEGAN, is_stall: false }] }
    }
}

impl Clock {
    /// The simulated time has jumped by `jump` to `now`, and the time of day is `ahead` of it from now on.
    pub(super) fn jumped(&mut self, jump: Duration, ahead: Duration, now: Duration) {
        let is_stall = jump >= STALL_MIN;
        self.stretches.push(Stretch { from: now - jump, ahead: self.newest().ahead, is_stall });
        self.stretches.push(Stretch { from: now, ahead, is_stall: false });
    }

    /// The time of day, in seconds since 1970.
    pub(super) fn wall_s(&self, now: Duration) -> u64 {
        (now + self.newest().ahead).as_secs()
    }

    /// The earliest and the latest time of day since then, in seconds.
    pub(super) fn walls_s(&self, since: Duration, now: Duration) -> RangeInclusive<u64> {
        let walls = || self.parts(since, now).flat_map(|(of, from, to)| [from, to].map(|at| at + of.ahead));
        let (earliest, latest) = (walls().min(), walls().max());
        earliest.expect("there is a newest").as_secs()..=latest.expect("there is a newest").as_secs()
    }

    /// How much time has passed without stalls since the time of day came to `at_s`, for the first time since then. `None`
    /// where it did not.
    pub(super) fn over_for(&self, at_s: u64, since: Duration, now: Duration) -> Option<Duration> {
        let at = Duration::from_secs(at_s);
        let (stretch, from, _) = self.parts(since, now).find(|(of, _, to)| *to + of.ahead >= at)?;
        let came = from.max(at.saturating_sub(stretch.ahead));
        Some(self.parts(came, now).filter(|(of, ..)| !of.is_stall).map(|(_, from, to)| to - from).sum())
    }

    /// How long a second of the time of day has been over, of the time since then in which nothing jumped.
    pub(super) fn over_in_peace(&self, at_s: u64, since: Duration, now: Duration) -> Option<Duration> {
        let at = Duration::from_secs(at_s).saturating_sub(self.newest().ahead);
        now.checked_sub(at.max(since).max(self.newest().from))
    }

    /// Stretches since then, with their beginnings and ends.
    fn parts(&self, since: Duration, now: Duration) -> impl Iterator<Item = (&Stretch, Duration, Duration)> {
        let ends = self.stretches.iter().skip(1).map(|next| next.from).chain([now]);
        let parts = self.stretches.iter().zip(ends).map(move |(of, to)| (of, of.from.max(since), to));
        parts.filter(|(_, from, to)| from <= to)
    }

    fn newest(&self) -> &Stretch {
        self.stretches.last().expect("there is one from the beginning")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn stalls_do_not_count_and_a_time_of_day_that_comes_twice_counts_from_the_first_time() {
        let mut clock = Clock::default();
        let began_s = BEGAN.as_secs();
        assert_eq!(clock.over_for(began_s + 10, s(0), s(9)), None);
        assert_eq!(clock.over_for(began_s + 10, s(0), s(12)), Some(s(2)));
        // A stall in which it expires, and in which the time of day is set back by an hour.
        clock.jumped(s(40), BEGAN - s(3_600), s(45));
        assert_eq!(clock.walls_s(s(0), s(46)), began_s - 3_555..=began_s + 45);
        assert_eq!(clock.walls_s(s(46), s(47)), began_s - 3_554..=began_s - 3_553);
        assert_eq!(clock.over_for(began_s - 3_553, s(46), s(50)), Some(s(3)));
        // By an hour and a day forward.
        clock.jumped(s(0), BEGAN + s(86_400), s(50));
        assert_eq!(clock.over_for(began_s + 100, s(46), s(51)), Some(s(1)));
        assert_eq!(clock.over_in_peace(began_s + 100, s(46), s(51)), Some(s(1)));
        assert_eq!(clock.over_in_peace(began_s + 86_451, s(46), s(51)), Some(s(0)));
        assert_eq!(clock.over_in_peace(began_s + 86_452, s(46), s(51)), None);
    }
}
