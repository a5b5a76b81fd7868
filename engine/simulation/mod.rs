//! Simulation: whole shards on a simulated kernel, with clients that know what must come.
//!
//! In:  seeds.
//! Out: nothing, or a panic that names what does not hold, with the seed and the last steps.
//!
//! One to four shards are driven in one thread, turn by turn, under a clock that the simulation moves. Their kernels are
//! those of [`holdfast_ring::simulated`]; all else is the daemon's own code. The files:
//!
//! - `cluster` (shards, and one clock) with `scripted` (a client that says what it is told): tests of shards use them too;
//! - `course` (what happens), `world` (how), `config` (how the daemon is configured), `reluctance` (how unkind the cluster
//!   is), `clock` (the times of day);
//! - a client's end of a connection: `line` (bytes, under TLS with `secrets`), on it `wire` (WebSocket, with `deflate`), or
//!   `http` and `post` (requests);
//! - who connects, and what each one checks: `actor` with `echo`, `member`, `client`, `caller` and `nuisance`; beside them,
//!   the `operator`, who has the server API;
//! - what all of them know together: `oracle`, `order` and `wishes`; what came of the first seeds before: `frozen`.
//!
//! What a shard must keep between two turns is in `shard/audit`.
//!
//! `make sim SEED=…` runs one seed again.

mod actor;
mod caller;
mod client;
mod clock;
pub(crate) mod cluster;
mod config;
mod course;
mod deflate;
mod echo;
mod frozen;
mod http;
mod line;
mod member;
mod nuisance;
mod operator;
mod oracle;
mod order;
mod post;
mod reluctance;
pub(crate) mod scripted;
mod secrets;
mod weight;
mod wire;
mod wishes;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_ring::simulated::with_seeds;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 2_000;

#[test]
fn no_message_is_lost_or_repeated_whatever_the_kernel_does() {
    let (heard, patches) = (AtomicU64::new(0), AtomicU64::new(0));
    let frozen = frozen::Frozen::default();
    with_seeds(SEEDS, |seed| {
        let run = course::run(seed);
        frozen.compare(seed, run.hash);
        heard.fetch_add(run.heard, Ordering::Relaxed);
        patches.fetch_add(run.patches, Ordering::Relaxed);
    });
    println!("{} messages were heard, {} of them as patches", heard.into_inner(), patches.into_inner());
    frozen.finish();
}

#[test]
fn who_publishes_waits_for_a_core_that_does_not_keep_up() {
    (0..20).for_each(course::flood);
}

#[test]
fn a_shard_that_has_nobody_left_serves_the_others_until_they_have_gone() {
    (0..20).for_each(course::drain);
}

#[test]
fn who_stalls_is_told_how_much_was_left_out_and_stays_compressed_or_not() {
    for compresses in [false, true] {
        let left_out: u64 = (0..10).map(|seed| course::stall(seed, compresses)).sum();
        assert!(left_out > 0, "something is left out, compressed: {compresses}");
    }
}

#[test]
fn no_more_is_alive_in_shards_than_their_ledgers_say() {
    for seed in 0..200 {
        let weight = weight::Weight::of(seed);
        assert!(weight.alive <= weight.most(), "seed {seed}: {weight:?}, {} at most", weight.most());
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..60 {
        assert_eq!(course::run(seed), course::run(seed), "seed {seed}");
    }
    assert_ne!(course::run(1).hash, course::run(2).hash);
}
