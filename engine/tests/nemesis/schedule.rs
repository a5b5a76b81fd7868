//! Schedule: when what goes wrong.
//!
//! In:  a seed, and how long all of it lasts.
//! Out: steps, each with one to three nemeses that are there at the same time, and for how long.
//!
//! Nemeses are drawn as cards from a shuffled deck, so that each of them comes before one comes again.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use crate::nemeses::Nemesis;

/// Nemeses at the same time.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// How long all is well before.
    pub(crate) after: Duration,
    /// Each with a seed of its own.
    pub(crate) nemeses: Vec<(Nemesis, u64)>,
    pub(crate) lasts: Duration,
}

/// All steps.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    pub(crate) steps: Vec<Step>,
}

impl Schedule {
    pub(crate) fn new(seed: u64, lasts: Duration) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut steps, mut deck, mut sum) = (Vec::new(), Vec::new(), Duration::ZERO);
        while sum < lasts {
            let count = random.random_range(1..=3);
            let mut nemeses: Vec<(Nemesis, u64)> = Vec::new();
            for _ in 0..count {
                if deck.is_empty() {
                    deck.extend(Nemesis::ALL);
                    deck.shuffle(&mut random);
                }
                let goes_along =
                    |card: &Nemesis| nemeses.iter().all(|(other, _)| card.goes_along_with(*other));
                if let Some(at) = deck.iter().rposition(goes_along) {
                    nemeses.push((deck.remove(at), random.random()));
                }
            }
            let after = Duration::from_millis(random.random_range(200..800));
            let step_lasts = Duration::from_millis(random.random_range(800..2_500));
            sum += after + step_lasts;
            steps.push(Step { after, nemeses, lasts: step_lasts });
        }
        Self { steps }
    }
}

#[test]
fn a_seed_is_always_the_same_schedule_and_every_nemesis_comes_in_time() {
    let names = |seed| -> Vec<Nemesis> {
        let schedule = Schedule::new(seed, Duration::from_secs(60));
        schedule.steps.iter().flat_map(|step| step.nemeses.iter().map(|(nemesis, _)| *nemesis)).collect()
    };
    for seed in 0..100 {
        assert_eq!(names(seed), names(seed));
        assert!(Nemesis::ALL.iter().all(|nemesis| names(seed).contains(nemesis)), "seed {seed}");
    }
    assert_ne!(names(1), names(2));
}
