//! Lateness: clients are not blamed for time in which this shard did not read.
//!
//! In:  when each turn returned from the kernel, how long it meant to sleep there, and the time of day.
//! Out: two clocks in ticks, one that always runs and one that pauses while the shard does not read; and how much of a span
//! of the time of day was lost in pauses.
//!
//! ```text
//! uptime   ├──────┼──────┼──────┼── stopped, suspended, starved ──┼──────┼──────┤
//! served   ├──────┼──────┼──────┤                                 ├──────┼──────┤
//! ```
//!
//! Deadlines for clients use the second clock: a stall moves them all by its length. Work that this shard owes others, and
//! data kept for a time, use the first.

use std::{collections::VecDeque, time::Duration};

use crate::{
    metrics::{Counters, Metric},
    time::{TICK_MS, Tick, UnixSeconds, tick_at},
};

/// A turn that begins this much later than planned is late; smaller delays are part of every load.
const STALL_MIN: Duration = Duration::from_millis(100);

/// The time of day counts as set if it moves this much against the uptime. Time daemons correct smaller errors gradually.
const STEP_MS_MIN: u64 = 1_000;

/// After a longer stall, rates count as after this one (60 s).
const UNREAD_MAX: Duration = Duration::from_secs(60);

/// The most spans remembered. Worst case: this × 24 bytes. An older span is forgotten: what expired before it has had its
/// grace since.
const LOST_SPANS_MAX: usize = 64;

/// Spans as close as this are merged into one.
const LOST_SPANS_APART_MS: u64 = 10_000;

/// The lateness record of a shard.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    /// When the last turn returned from the kernel; `None` before the first.
    began: Option<Duration>,
    /// Ticks in which the shard did not read.
    granted: u32,
    wall_ms: u64,
    /// Spans of the time of day, newest last.
    lost: VecDeque<LostSpan>,
    wall_steps: u64,
    /// How late turns have been since the last time everything readable was read, less the time that there was to read it.
    unread: Duration,
}

/// A span of the time of day in which some or all clients could not be heard.
#[derive(Clone, Copy, Debug)]
struct LostSpan {
    to_ms: u64,
    lost_ms: u64,
}

impl Lateness {
    /// A turn has returned from the kernel at `now`; it meant to sleep for at most `wait`.
    pub(crate) fn turn_began(&mut self, now: Duration, wait: Duration, wall: Duration) {
        let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
        let Some(before) = self.began.replace(now) else {
            self.wall_ms = wall_ms;
            return;
        };
        let passed = now.saturating_sub(before);
        let is_late = passed.saturating_sub(wait) >= STALL_MIN;
        if is_late {
            // One tick of it counts: otherwise silence would never end if all turns were late.
            self.granted += tick_at(now).since(tick_at(before)).saturating_sub(1);
            self.unread = (self.unread + passed).min(UNREAD_MAX);
        } else {
            self.unread = self.unread.saturating_sub(passed);
        }
        let passed_ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        let expected_ms = self.wall_ms.saturating_add(passed_ms);
        let was_set = wall_ms.abs_diff(expected_ms) >= STEP_MS_MIN;
        if was_set {
            self.wall_steps += 1;
        }
        if is_late || was_set {
            self.lose(self.wall_ms, wall_ms);
        }
        self.wall_ms = wall_ms;
    }

    fn lose(&mut self, from_ms: u64, to_ms: u64) {
        // When the time of day goes back, it repeats what it had skipped.
        for span in &mut self.lost {
            let ahead_ms = span.to_ms.saturating_sub(to_ms);
            span.to_ms -= ahead_ms;
            span.lost_ms = span.lost_ms.saturating_sub(ahead_ms);
        }
        self.lost.retain(|span| span.lost_ms > 0);
        let Some(lost_ms) = to_ms.checked_sub(from_ms) else { return };
        match self.lost.back_mut() {
            Some(last) if from_ms.saturating_sub(last.to_ms) <= LOST_SPANS_APART_MS => {
                last.to_ms = to_ms;
                last.lost_ms = last.lost_ms.saturating_add(lost_ms);
            }
            _ => self.lost.push_back(LostSpan { to_ms, lost_ms }),
        }
        if self.lost.len() > LOST_SPANS_MAX {
            self.lost.pop_front();
        }
    }

    /// The tick on the clock that pauses while the shard does not read.
    pub(crate) fn served(&self, uptime: Tick) -> Tick {
        Tick(uptime.since(Tick(self.granted)))
    }

    /// The uptime tick at which that clock reaches `served`, if nothing more is lost.
    pub(crate) fn uptime_at(&self, served: Tick) -> Tick {
        served.after(self.granted)
    }

    /// Total grace granted so far.
    pub(crate) fn granted_ms(&self) -> u64 {
        u64::from(self.granted) * TICK_MS
    }

    /// How often the time of day was set.
    pub(crate) fn wall_steps(&self) -> u64 {
        self.wall_steps
    }

    /// The time of day, in milliseconds since 1970.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.wall_ms
    }

    /// How much one event counts against a rate per second: after a stall of some seconds, the input of all of them is read
    /// in one.
    pub(crate) fn rate_weight(&self) -> f32 {
        1.0 / (1.0 + self.unread.as_secs_f32())
    }

    /// Everything readable has been read.
    pub(crate) fn caught_up(&mut self) {
        self.unread = Duration::ZERO;
    }

    /// True exactly when what expires then, by the time of day, has expired; what never expires has not and its grace is over.
    /// Only time in which the client could be heard counts as grace, and none that the time of day has skipped.
    pub(crate) fn has_expired(&self, at: Option<UnixSeconds>, grace_s: u64) -> bool {
        let Some(at) = at else { return false };
        let at_ms = at.get().saturating_mul(1000);
        let passed_ms = self.wall_ms.saturating_sub(at_ms);
        if passed_ms / 1000 <= grace_s {
            return false;
        }
        let lost = self.lost.iter().map(|span| span.lost_since(at_ms));
        let lost_ms = if grace_s == 0 { 0 } else { lost.fold(0, u64::saturating_add) };
        passed_ms.saturating_sub(lost_ms) / 1000 > grace_s
    }

    /// Reports how much grace was granted.
    pub(crate) fn report(&self, counters: &mut Counters) {
        counters.set(Metric::LatenessGrantedMs, self.granted_ms());
        counters.set(Metric::WallSteps, self.wall_steps());
    }
}

impl LostSpan {
    fn lost_since(self, since_ms: u64) -> u64 {
        self.to_ms.saturating_sub(since_ms).min(self.lost_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON_S: u64 = 1_700_000_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Turns that begin at these times, each after a sleep of at most 250 ms; `wall_s` is the time of day at the first.
    fn after(turns_ms: &[u64]) -> Lateness {
        let mut lateness = Lateness::default();
        for &turn_ms in turns_ms {
            lateness.turn_began(ms(turn_ms), ms(250), ms(NOON_S * 1000 + turn_ms));
        }
        lateness
    }

    #[test]
    fn sleep_and_work_count_and_a_stall_does_not() {
        let lateness = after(&[1_000, 1_250, 1_290, 1_540, 1_880]);
        assert_eq!(lateness.granted_ms(), 0);
        assert!(lateness.rate_weight() >= 1.0);
        let mut lateness = after(&[1_000, 1_250, 25_250, 25_500]);
        // All but the one tick that every turn counts.
        assert_eq!(lateness.granted_ms(), 23_950);
        assert_eq!(lateness.served(Tick(510)), Tick(510 - 479));
        assert_eq!(lateness.uptime_at(Tick(510 - 479)), Tick(510));
        assert!(lateness.rate_weight() < 1.0 / 24.0);
        lateness.caught_up();
        assert!(lateness.rate_weight() >= 1.0);
    }

    #[test]
    fn where_every_turn_is_late_time_goes_on_by_a_tick_a_turn() {
        let turns: Vec<u64> = (0..100).map(|turn| turn * 2_000).collect();
        let lateness = after(&turns);
        assert_eq!(lateness.served(tick_at(ms(99 * 2_000))), Tick(99));
    }

    #[test]
    fn the_grace_of_what_has_expired_counts_only_time_in_which_somebody_read() {
        let expired = UnixSeconds::new(NOON_S + 10);
        let turns: Vec<u64> = (0..200).map(|turn| turn * 200).collect();
        assert!(after(&turns).has_expired(expired, 25), "forty seconds less ten");
        // It expired during an hour's stall.
        let mut stalled: Vec<u64> = (0..25).map(|turn| turn * 200).collect();
        stalled.extend((0..200).map(|turn| 3_605_000 + turn * 200));
        assert!(!after(&stalled[..26]).has_expired(expired, 25), "the stall is just over");
        assert!(!after(&stalled[..145]).has_expired(expired, 25), "for 23.8 s");
        assert!(after(&stalled[..160]).has_expired(expired, 25), "for 26.8 s");
        // It expired five seconds before.
        let before = UnixSeconds::new(NOON_S);
        assert!(!after(&stalled[..120]).has_expired(before, 25), "for 18.8 s");
        assert!(after(&stalled[..140]).has_expired(before, 25), "for 22.8 s");
    }

    #[test]
    fn what_the_time_of_day_has_skipped_stays_known_where_it_goes_back_into_it() {
        let mut lateness = Lateness::default();
        let mut uptime_ms = 0;
        let mut turn = |wall_s: u64, tenths: u64| {
            uptime_ms += 100;
            lateness.turn_began(ms(uptime_ms), ms(250), ms(wall_s * 1000 + tenths * 100));
            lateness.has_expired(UnixSeconds::new(NOON_S + 3_600), 25)
        };
        assert!(!turn(NOON_S, 0));
        // Forward by a day, and back by half of it: what expired in the first hour has its grace from there.
        assert!(!turn(NOON_S + 86_400, 0));
        for tenth in 0..=300 {
            assert_eq!(turn(NOON_S + 43_200, tenth), tenth >= 260, "after {tenth} tenths");
        }
    }

    #[test]
    fn the_time_of_day_may_be_set_forward_and_back() {
        let mut lateness = Lateness::default();
        let mut uptime_ms = 0;
        let mut turn = |wall_ms: u64| {
            uptime_ms += 200;
            lateness.turn_began(ms(uptime_ms), ms(250), ms(wall_ms));
            (
                lateness.wall_steps(),
                lateness.granted_ms(),
                lateness.has_expired(UnixSeconds::new(NOON_S + 60), 25),
            )
        };
        assert_eq!(turn(NOON_S * 1000), (0, 0, false));
        assert_eq!(turn(NOON_S * 1000 + 200), (0, 0, false));
        // Forward by a day: what expired in it has its grace from now.
        let day_ms = (NOON_S + 86_400) * 1000;
        assert_eq!(turn(day_ms), (1, 0, false));
        for tenth in 1..=300 {
            assert_eq!(turn(day_ms + 100 * tenth).2, 100 * tenth >= 26_000, "after {tenth} tenths");
        }
        // Back again, and then to where it was before 1970, and back to now.
        assert!(!turn(NOON_S * 1000 + 60_000).2);
        assert!(!turn(0).2);
        assert!(!turn(0).2);
        assert!(!turn(u64::MAX).2);
        assert!(!turn(NOON_S * 1000 + 70_000).2);
    }

    #[test]
    fn what_is_remembered_of_lost_time_is_bounded() {
        let mut lateness = Lateness::default();
        for turn in 0..10_000 {
            lateness.turn_began(ms(turn * 30_000), ms(0), ms(NOON_S * 1000 + turn * 30_000));
            lateness.turn_began(ms(turn * 30_000 + 1), ms(0), ms(NOON_S * 1000 + turn * 30_000 + 1));
        }
        assert!(lateness.lost.len() <= LOST_SPANS_MAX);
        let mut close = Lateness::default();
        for turn in 0..10_000 {
            close.turn_began(ms(turn * 2_000), ms(0), ms(NOON_S * 1000 + turn * 2_000));
        }
        assert_eq!(close.lost.len(), 1);
    }
}
