//! Nemesis: everything that may go wrong goes wrong at once, while a daemon is in use.
//!
//! In:  a seed; a real daemon on real sockets with several shards; publishers, and subscribers of every transport.
//! Out: nothing that was acknowledged is lost in silence, nobody is sent away without a reason, the control port answers,
//! memory stays within its budgets, and what is told to stop stops.
//!
//! A seed decides when what goes wrong (`schedule`). The oracle (`oracle`) judges all the time, and once more when
//! everything has come to rest. What a subscriber may be told is exact; for how long it waits for it is not.
//!
//! `NEMESIS_SEED` runs one seed again, `NEMESIS_SECONDS` says how long all of them take together.
#![forbid(unsafe_code)]

mod api;
mod history;
mod nemeses;
mod oracle;
mod publisher;
mod schedule;
mod subscriber;
mod transport;
mod watch;
mod world;

use std::{env, time::Duration};

use self::{schedule::Schedule, world::World};

/// What `make test` runs.
const SEEDS: [u64; 3] = [1, 2, 3];
const SECONDS: u64 = 45;

#[test]
fn whatever_goes_wrong_at_once_nothing_acknowledged_is_lost_in_silence() {
    let seconds = number("NEMESIS_SECONDS").unwrap_or(SECONDS);
    let seeds = number("NEMESIS_SEED").map_or(SEEDS.to_vec(), |seed| vec![seed]);
    let each = Duration::from_secs(seconds) / u32::try_from(seeds.len()).expect("they are few");
    let broken: Vec<String> = seeds.into_iter().flat_map(|seed| run(seed, each)).collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Lets a seed's schedule happen to a daemon. Answers with the promises that it broke.
fn run(seed: u64, lasts: Duration) -> Vec<String> {
    println!("NEMESIS_SEED={seed} NEMESIS_SECONDS={}", lasts.as_secs());
    let schedule = Schedule::new(seed, lasts);
    let world = World::start();
    let broken = world.live(&schedule);
    broken.into_iter().map(|promise| format!("NEMESIS_SEED={seed}: {promise}")).collect()
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}
