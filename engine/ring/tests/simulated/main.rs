//! Sockets on a simulated kernel: random operations, random faults, and after every turn the promises of `Sockets`.
//!
//! `make sim SEED=…` runs one seed again.

mod owner;
mod stream;
mod world;

use holdfast_ring::simulated::with_seeds;

#[test]
fn sockets_keep_their_promises_whatever_the_kernel_does() {
    with_seeds(1_000, |seed| drop(world::run(seed)));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        assert_eq!(world::run(seed), world::run(seed), "seed {seed}");
    }
    assert_ne!(world::run(1), world::run(2));
}
