//! Decaying: a sum that decays exponentially.
//!
//! In:  amounts and their times.
//! Out: the decayed sum: each amount falls by a factor of e per fade time.
//!
//! The sum is linear: the sums of several shards add up to the sum over all of them, whichever shard counted an amount.
//! It therefore replaces the usual token bucket, which admits the same load.

use crate::time::{TICK_MS, Tick};

/// A time on the common clock of all shards, in ticks. It wraps after 6.8 years; a time more than half of that ahead
/// counts as past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WallTick(pub(crate) u32);

impl WallTick {
    /// The time at which the daemon's uptime is `uptime`.
    pub(crate) fn at(uptime: Tick) -> Self {
        Self(uptime.0)
    }

    /// The time `ms` milliseconds later.
    pub(crate) fn after_ms(self, ms: u64) -> Self {
        Self(self.0.wrapping_add(u32::try_from(ms.div_ceil(TICK_MS)).unwrap_or(u32::MAX / 2)))
    }

    /// Milliseconds since `earlier`; 0 if `earlier` is later.
    pub(crate) fn ms_since(self, earlier: Self) -> u64 {
        let ticks = self.0.wrapping_sub(earlier.0);
        if ticks > u32::MAX / 2 { 0 } else { u64::from(ticks) * TICK_MS }
    }
}

/// A sum that decays exponentially.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct DecayingCounter {
    level: f32,
    at: WallTick,
}

impl DecayingCounter {
    /// The sum at `now`. An amount falls to 1/e in `fade_ms`.
    pub(crate) fn level(self, now: WallTick, fade_ms: f32) -> f32 {
        match now.ms_since(self.at) {
            0 => self.level,
            #[expect(clippy::cast_precision_loss, reason = "an exponent needs no more digits")]
            ms => self.level * (-(ms as f32) / fade_ms).exp(),
        }
    }

    pub(crate) fn add(&mut self, amount: f32, now: WallTick, fade_ms: f32) {
        self.level = self.level(now, fade_ms) + amount;
        self.at = now;
    }

    /// Packs both numbers into one word.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.level.to_bits()) << 32 | u64::from(self.at.0)
    }

    pub(crate) fn from_bits(bits: u64) -> Self {
        let low = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).expect("the low 32 bits fit a u32");
        Self { level: f32::from_bits(low(bits >> 32)), at: WallTick(low(bits)) }
    }
}

/// The fade time of all limits per second.
pub(crate) const RATE_FADE_MS: f32 = 1_000.0;

/// A limit per second. After a pause, one second's amount may arrive at once. In any time t, at most limit × (1 s + t)
/// arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// One more is admitted at or below this level.
    level_max: f32,
}

impl Rate {
    /// `None` for 0, which means no limit.
    pub(crate) fn new(per_s: u32) -> Option<Self> {
        // At one event every 1/r s, the level just before each event settles at l, where (l + 1)·e^(-1/r) = l.
        let level_max = 1.0 / (1.0 / f64::from(per_s)).exp_m1();
        #[expect(clippy::cast_possible_truncation, reason = "a level needs no more digits")]
        (per_s > 0).then_some(Self { level_max: level_max as f32 })
    }

    pub(crate) fn admits(self, level: f32) -> bool {
        // The resolution of times is one tick.
        level <= self.level_max * 1.01
    }

    /// Seconds until one more is admitted if nothing else arrives; at least 1.
    pub(crate) fn wait_s(self, level: f32) -> u32 {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 1 and 3,600")]
        let wait_s = (level / self.level_max).ln().ceil().clamp(1.0, 3_600.0) as u32;
        wait_s
    }

    pub(crate) fn level_max(self) -> f32 {
        self.level_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how many are admitted in `seconds`, with `tries` in every tick.
    fn admitted(per_s: u32, tries: u32, seconds: u32) -> u32 {
        let rate = Rate::new(per_s).unwrap();
        let (mut level, mut admitted) = (DecayingCounter::default(), 0);
        for tick in 0..seconds * 20 {
            let now = WallTick(u32::MAX - 30).after_ms(u64::from(tick) * TICK_MS);
            for _ in 0..tries {
                if rate.admits(level.level(now, RATE_FADE_MS)) {
                    level.add(1.0, now, RATE_FADE_MS);
                    admitted += 1;
                }
            }
        }
        admitted
    }

    #[test]
    fn a_burst_of_a_seconds_worth_gets_through_and_then_the_rate() {
        for per_s in [1, 2, 5, 10, 100, 1_000] {
            assert_eq!(admitted(per_s, 10 * per_s, 1).min(per_s), per_s, "{per_s}: the burst");
            let most = per_s * 31;
            let got = admitted(per_s, 10 * per_s, 30);
            assert!(got <= most + most / 20 && got >= per_s * 28, "{per_s}: {got} in 30 s");
        }
    }

    #[test]
    fn sums_of_several_cores_are_the_sum_of_all() {
        let (mut all, mut parts) = (DecayingCounter::default(), [DecayingCounter::default(); 3]);
        for event in 0..100_u32 {
            let now = WallTick(event * 3);
            all.add(2.0, now, 700.0);
            parts[(event % 3) as usize].add(2.0, now, 700.0);
        }
        let now = WallTick(310);
        let sum: f32 = parts.iter().map(|part| part.level(now, 700.0)).sum();
        assert!((sum - all.level(now, 700.0)).abs() < 0.001, "{sum}");
    }

    #[test]
    fn a_word_holds_both_numbers() {
        let mut decayed = DecayingCounter::default();
        decayed.add(12.5, WallTick(u32::MAX), 1_000.0);
        assert_eq!(DecayingCounter::from_bits(decayed.to_bits()), decayed);
        assert_eq!(DecayingCounter::from_bits(0), DecayingCounter::default());
        assert_eq!(WallTick(5).ms_since(WallTick(u32::MAX)), 6 * TICK_MS, "over the wrap");
        assert_eq!(WallTick(5).ms_since(WallTick(6)), 0, "from the future");
    }
}
