//! Watch: which parts are stalled, and for how long.
//!
//! In:  the counts of beats; the time.
//! Out: the changes since the last check.
//!
//! Only time in which the watch itself ran counts: after SIGSTOP, or on a suspended or overloaded machine, all beats are
//! old at once and no part is to blame. No I/O, no clock.

use std::{sync::Arc, time::Duration};

use super::beats::{Beats, Part};

/// The interval of checks.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The most time that counts between two checks.
const COUNTED_MAX: Duration = Duration::from_millis(500);

/// How often a stall is reported again.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Watches some parts.
#[derive(Debug)]
pub(crate) struct Watch {
    beats: Arc<Beats>,
    parts: Vec<Seen>,
    /// A part that has not beaten for longer is stalled.
    stall: Duration,
    looked: Duration,
}

#[derive(Debug)]
struct Seen {
    part: Part,
    count: u64,
    still: Duration,
    /// How long a stall lasts when it is reported next.
    tell: Duration,
}

/// A change to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The part has been stalled for this time.
    Stalled(Part, Duration),
    /// The part continues after this time.
    GoesOn(Part, Duration),
}

impl Watch {
    pub(crate) fn new(beats: Arc<Beats>, parts: Vec<Part>, stall: Duration) -> Self {
        let looked = beats.elapsed();
        let seen = |part| Seen { part, count: beats.count(part), still: Duration::ZERO, tell: stall };
        Self { parts: parts.into_iter().map(seen).collect(), beats, stall, looked }
    }

    /// Checks once. Returns the changes, and how much of the time since the last check does not count.
    pub(crate) fn look(&mut self, now: Duration) -> (Vec<Change>, Duration) {
        let passed = now.saturating_sub(self.looked);
        let counted = passed.min(COUNTED_MAX);
        self.looked = now;
        let mut changes = Vec::new();
        for seen in &mut self.parts {
            let count = self.beats.count(seen.part);
            if count != seen.count || self.beats.has_ended(seen.part) {
                if seen.still >= self.stall {
                    changes.push(Change::GoesOn(seen.part, seen.still));
                }
                (seen.count, seen.still, seen.tell) = (count, Duration::ZERO, self.stall);
            } else {
                seen.still += counted;
                if seen.still >= seen.tell {
                    changes.push(Change::Stalled(seen.part, seen.still));
                    seen.tell = seen.still + TELL_EVERY;
                }
            }
            self.beats.found(seen.part, seen.still, seen.still >= self.stall);
        }
        (changes, passed - counted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STALL: Duration = Duration::from_secs(2);
    const SHARDS: [Part; 2] = [Part::Shard(0), Part::Shard(1)];

    fn watch() -> (Arc<Beats>, Watch, Duration) {
        let beats = Arc::new(Beats::new(2));
        let watch = Watch::new(Arc::clone(&beats), SHARDS.to_vec(), STALL);
        let now = watch.looked;
        (beats, watch, now)
    }

    #[test]
    fn a_part_that_stands_still_is_told_of_once_in_a_while_and_when_it_goes_on() {
        let (beats, mut watch, mut now) = watch();
        let mut told = Vec::new();
        for look in 1..=100_u32 {
            now += LOOK_EVERY;
            beats.beat(Part::Shard(0));
            let (changes, lost) = watch.look(now);
            assert_eq!(lost, Duration::ZERO);
            told.extend(changes);
            let stalled = if look < 8 { vec![] } else { vec![Part::Shard(1)] };
            assert_eq!(beats.stalled(), stalled, "look {look}");
        }
        let at = |s| Change::Stalled(Part::Shard(1), Duration::from_secs(s));
        assert_eq!(told, [at(2), at(12), at(22)]);
        assert_eq!(beats.still(Part::Shard(1)), Duration::from_secs(25));

        beats.beat(Part::Shard(1));
        let (changes, _) = watch.look(now + LOOK_EVERY);
        assert_eq!(changes, [Change::GoesOn(Part::Shard(1), Duration::from_secs(25))]);
        assert_eq!((beats.stalled(), beats.still(Part::Shard(1))), (vec![], Duration::ZERO));
    }

    #[test]
    fn time_in_which_nobody_ran_counts_for_nobody() {
        let (beats, mut watch, now) = watch();
        // Stopped for an hour, and looked at before any shard has turned again.
        let hour = Duration::from_secs(3600);
        let (changes, lost) = watch.look(now + hour);
        assert_eq!((changes, lost, beats.stalled()), (vec![], hour - COUNTED_MAX, vec![]));
    }

    #[test]
    fn a_shard_that_has_come_to_its_end_need_not_beat() {
        let (beats, mut watch, mut now) = watch();
        beats.enter(0, super::super::beats::State::Ended);
        for _ in 0..100 {
            now += LOOK_EVERY;
            beats.beat(Part::Shard(1));
            assert_eq!(watch.look(now).0, []);
        }
    }
}
