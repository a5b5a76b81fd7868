//! Nemeses: what may go wrong, each for a while.

pub(crate) mod backend;
mod burst;
pub(crate) mod clock;
mod flood;
mod slow;

use std::{thread::sleep, time::Duration};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use rustix::process::Signal;

use crate::world::World;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nemesis {
    /// Clients use one path of the daemon as hard as they can.
    Flood,
    /// The application publishes as much as it can.
    Burst,
    /// Subscribers stop reading.
    SlowReaders,
    /// The application's backend does not answer in time.
    SlowBackend,
    /// The daemon stands still.
    Stall,
    /// The machine's time of day changes.
    ClockStep,
    /// The daemon is stopped and started.
    Restart,
    /// Another daemon takes over.
    Handover,
    /// The daemon is killed.
    Crash,
    /// A shard fails.
    DeadShard,
}

impl Nemesis {
    pub(crate) const ALL: [Self; 10] = [
        Self::Flood,
        Self::Burst,
        Self::SlowReaders,
        Self::SlowBackend,
        Self::Stall,
        Self::ClockStep,
        Self::Restart,
        Self::Handover,
        Self::Crash,
        Self::DeadShard,
    ];

    /// True exactly when both may be there at the same time: a daemon has one end, and one that stands still has none.
    pub(crate) fn goes_along_with(self, other: Self) -> bool {
        let is_about_life = |nemesis| {
            matches!(nemesis, Self::Stall | Self::Restart | Self::Handover | Self::Crash | Self::DeadShard)
        };
        self != other && !(is_about_life(self) && is_about_life(other))
    }

    /// Its name, with what its seed makes of it.
    pub(crate) fn name(self, seed: u64) -> String {
        match self {
            Self::Flood => format!("Flood({})", flood::attack(seed)),
            other => format!("{other:?}"),
        }
    }

    /// Comes, and goes again.
    pub(crate) fn come(self, world: &World, seed: u64, lasts: Duration) {
        let mut random = StdRng::seed_from_u64(seed);
        match self {
            Self::Flood => flood::come(world, seed, lasts),
            Self::Burst => burst::come(world, seed, lasts),
            Self::SlowReaders => slow::come(world, &mut random, lasts),
            Self::SlowBackend => backend::come(world, lasts),
            Self::Stall => {
                world.signal(Signal::STOP);
                // Longer than the daemon waits for a pong.
                sleep(lasts + Duration::from_secs(2));
                world.signal(Signal::CONT);
            }
            Self::ClockStep => clock::come(world, &mut random, lasts),
            _ => {
                // Somewhere among what else is there.
                sleep(lasts.mul_f64(random.random_range(0.0..0.5)));
                match self {
                    Self::Restart => world.restart(),
                    Self::Handover => world.hand_over(),
                    Self::Crash => world.crash(),
                    _ => world.lose_a_shard(),
                }
            }
        }
    }
}
