//! Lease: until when a session or a subscription lasts, as its client's token has it, and who ends it too early or too late.
//!
//! In:  what a token says; what the daemon says of it; its end.
//! Out: when to ask for the next one; a panic, where an end has no reason or does not come.

use std::time::Duration;

use rand::Rng as _;

use crate::simulation::{actor::StepContext, config::Term};

/// The times of day that shards know have this much of a second less than there is of one.
const ROUNDING: Duration = Duration::from_millis(100);

/// What passes between the time at which something may be ended and the turn in which it is, beside the time to the next
/// look at it: ticks and turns.
const LATE_MAX: Duration = Duration::from_millis(600);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lease {
    pub(super) term: Term,
    /// When it was asked for.
    pub(super) since: Duration,
    /// At which time of day its client asks for the next one, in seconds since 1970; `None` where it lets it expire.
    renewed_at_s: Option<u64>,
    /// True exactly when another one may apply.
    pub(super) is_unsure: bool,
}

impl Lease {
    /// What a client may begin with: something that never ends, where these terms know nothing else.
    pub(super) fn any(scene: &mut StepContext<'_>) -> Self {
        if scene.terms.expires && scene.chance(0.5) { Self::short(scene) } else { Self::default() }
    }

    /// From the server, for which nobody asks again.
    pub(super) fn given(until_s: u64, since: Duration, is_unsure: bool) -> Self {
        let term = Term { until_s, is_accepted_for_ever: false };
        Self { term, since, renewed_at_s: None, is_unsure }
    }

    /// What follows it.
    pub(super) fn next(scene: &mut StepContext<'_>) -> Self {
        if scene.chance(0.1) { Self::default() } else { Self::short(scene) }
    }

    fn short(scene: &mut StepContext<'_>) -> Self {
        let now_s = scene.wall_s();
        let until_s = match scene.random.random_range(0..10) {
            // Too late, or about to be.
            0 => now_s - scene.random.random_range(0..100),
            _ => now_s + scene.random.random_range(1..6),
        };
        // Some are late, but within the shortest grace that there is beside none.
        let early_s = scene.random.random_range(0..2);
        let renewed_at_s = scene.chance(0.6).then_some(until_s - early_s);
        let term = Term { until_s, is_accepted_for_ever: scene.chance(0.5) };
        Self { term, since: scene.now(), renewed_at_s, is_unsure: false }
    }

    pub(super) fn is_due(&self, scene: &StepContext<'_>) -> bool {
        self.renewed_at_s.is_some_and(|at_s| at_s <= scene.wall_s())
    }

    /// True exactly when it ends some time.
    pub(super) fn ends(&self) -> bool {
        self.term.until_s > 0
    }

    /// True exactly when it may have ended before it was looked at.
    pub(super) fn may_be_late(&self, scene: &StepContext<'_>) -> bool {
        let walls_s = scene.ledger.clock.walls_s(self.since, scene.now());
        self.ends() && self.term.until_s <= *walls_s.end()
    }

    /// Something began with it: it had not ended already.
    pub(super) fn check_begun(&self, scene: &StepContext<'_>) {
        let walls_s = scene.ledger.clock.walls_s(self.since, scene.now());
        assert!(
            !self.ends() || self.term.until_s >= *walls_s.start(),
            "nothing begins with {self:?}, at {walls_s:?}"
        );
    }

    /// True exactly when the daemon says rightly how long it lasts.
    pub(super) fn is_told(&self, expires: bool, ttl: u32, scene: &StepContext<'_>) -> bool {
        if !self.ends() {
            return !expires && ttl == 0;
        }
        let walls_s = scene.ledger.clock.walls_s(self.since, scene.now());
        let left_s = |wall_s: &u64| self.term.until_s.saturating_sub(*wall_s).max(1);
        expires && (left_s(walls_s.end())..=left_s(walls_s.start())).contains(&u64::from(ttl))
    }

    /// True exactly when it may be over, and its grace with it: of that, only time counts in which the daemon had its turns.
    pub(super) fn may_be_over(&self, grace_s: u64, scene: &StepContext<'_>) -> bool {
        if !self.ends() {
            return false;
        }
        let (clock, now) = (&scene.ledger.clock, scene.now());
        let needed = Duration::from_secs(if grace_s == 0 { 0 } else { grace_s + 1 }).saturating_sub(ROUNDING);
        let has_come = *clock.walls_s(self.since, now).end() > self.term.until_s + grace_s;
        let over = clock.over_for(self.term.until_s, self.since, now);
        has_come && over.is_some_and(|over| over >= needed)
    }

    /// True exactly when it ought to be over: nothing has jumped since `calm_since`, all has had its turns and is read, and
    /// the daemon looks at it every `interval`.
    pub(super) fn is_overdue(
        &self,
        grace_s: u64,
        interval: Duration,
        calm_since: Duration,
        scene: &StepContext<'_>,
    ) -> bool {
        let over = scene.ledger.clock.over_in_peace(self.term.until_s, calm_since, scene.now());
        let longest = Duration::from_secs(grace_s + 1) + interval + LATE_MAX;
        self.ends() && !self.is_unsure && over.is_some_and(|over| over > longest)
    }
}
