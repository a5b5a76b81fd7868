//! Simulation: whole shards on a simulated kernel, with clients that know what must come.
//!
//! In:  seeds.
//! Out: nothing, or a panic that names what does not hold, with the seed and the last steps.
//!
//! One to four shards are driven in one thread, turn by turn, under a clock that the simulation moves. Their kernels are
//! those of [`holdfast_ring::simulated`]; all else is the daemon's own code. The files: `world` (the course of a
//! simulation), `terms` (how its daemon is configured), `house` (its shards). A client's end of a connection: `line` (bytes,
//! under TLS with `secrets`), on it `wire` (WebSocket, with `deflate`) or `http` and `post` (requests). Who connects, and what
//! each one checks: `actor` with `echo`, `member`, `client`, `caller` and `nuisance`. What all of them know together:
//! `ledger` and `order`. What a shard must keep between two turns is in `shard/audit`.
//!
//! `make sim SEED=…` runs one seed again.

mod actor;
mod caller;
mod client;
mod deflate;
mod echo;
mod house;
mod http;
mod ledger;
mod line;
mod member;
mod nuisance;
mod order;
mod post;
mod secrets;
mod terms;
mod wire;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use holdfast_ring::simulated::with_seeds;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 2_000;

#[test]
fn no_message_is_lost_or_repeated_whatever_the_kernel_does() {
    let heard = AtomicU64::new(0);
    with_seeds(SEEDS, |seed| {
        heard.fetch_add(world::run(seed).1, Ordering::Relaxed);
    });
    println!("{} messages were heard", heard.into_inner());
}

#[test]
fn who_publishes_waits_for_a_core_that_does_not_keep_up() {
    (0..20).for_each(world::flood);
}

#[test]
fn a_shard_that_has_nobody_left_serves_the_others_until_they_have_gone() {
    (0..20).for_each(world::drain);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..5 {
        assert_eq!(world::run(seed), world::run(seed), "seed {seed}");
    }
    assert_ne!(world::run(1).0, world::run(2).0);
}
