//! Weight: what shards hold in the middle of anything, to the byte, against what their ledgers say.
//!
//! In:  a seed.
//! Out: a failed test, where more is alive than the ledgers, the connections and a fixed part account for.
//!
//! Shards are weighed by what is freed when they are dropped. What they hold before anybody comes is the fixed part.

use allocation_counter::measure;
use holdfast_ring::simulated::{Faults, Network, Watch};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{cluster::Cluster, config::SimConfig, reluctance, world::World};

/// What a connection may take beside what the ledger says of it: its record, its socket, its entries in the wheel.
const CONNECTION_BYTES: u64 = 600;

/// What a shard may keep for the next turn of what it has used in an earlier one: buffers for events, answers, what is due.
const SCRATCH_BYTES: u64 = 40 * 1024;

/// What it keeps beside that where connections are encrypted: the plaintext of one receive, and a block for ciphertexts that
/// is used up in part.
const TLS_SCRATCH_BYTES: u64 = 48 * 1024;

/// What is held at some moment.
#[derive(Debug)]
pub(super) struct Weight {
    pub(super) alive: u64,
    pub(super) fixed: u64,
    pub(super) charged: u64,
    pub(super) connections: u64,
    pub(super) shards: u64,
    /// What a shard may keep for its next turn.
    scratch: u64,
}

impl Weight {
    /// Of the shards of a seed, after some steps.
    pub(super) fn of(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let faults = Faults::any(&mut random);
        let (network_seed, pipe_bytes) = (random.random(), random.random_range(64..8192));
        let empty = {
            let mut random = random.clone();
            let network = Network::new(network_seed, faults, pipe_bytes);
            let mut terms = SimConfig::new(&mut random);
            terms.compress_nothing();
            reluctance::any(&terms, &network, &mut random).0
        };
        let fixed = freed_by(empty);
        let network = Network::new(network_seed, faults, pipe_bytes);
        let _watch = Watch::new(seed, network.trace());
        let mut world = World::new(random, network, SimConfig::compress_nothing);
        world.bring_in_the_witness();
        world.gather();
        for _ in 0..world.random.random_range(10..3_000) {
            world.step();
        }
        let scratch = SCRATCH_BYTES + if world.terms.secrets.is_some() { TLS_SCRATCH_BYTES } else { 0 };
        let mut cluster = world.cluster;
        let (charged, connections) = cluster.accounts();
        let shards = cluster.len() as u64;
        Self { alive: freed_by(cluster), fixed, charged, connections, shards, scratch }
    }

    /// What may be alive.
    pub(super) fn most(&self) -> u64 {
        self.fixed + self.charged + self.connections * CONNECTION_BYTES + self.shards * self.scratch
    }
}

fn freed_by(cluster: Cluster) -> u64 {
    let freed = measure(move || drop(cluster)).bytes_current;
    u64::try_from(-freed).expect("dropping frees")
}
