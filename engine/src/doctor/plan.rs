//! Plan: the resources that the daemon will need.
//!
//! In:  the configuration, and how many connections are planned.
//! Out: rings, descriptors and memory, by arithmetic alone.
//!
//! No I/O: the facts about the machine are in `findings`.

use super::Profile;
use crate::{
    config::Config,
    shard::plan::{DESCRIPTORS_RESERVED, lanes_for, slots_for},
};

pub(super) const LANES_MAX: u64 = holdfast_ring::LANES_MAX as u64;

/// Kernel memory of one idle connection: a TCP socket end (3.5 to 3.7 KB of slab), its file and its
/// armed receive, as measured with 100,000 of them on Linux 6.18.
pub(crate) const KERNEL_BYTES_PER_CONNECTION: u64 = 4_400;

/// User memory of one idle connection: the bound that `docs/benchmarks.md` checks.
pub(crate) const USER_BYTES_PER_CONNECTION: u64 = 270;

/// Descriptors that each ring takes from the process: the ring and the eventfd that reports it.
const DESCRIPTORS_PER_LANE: u64 = 2;

/// Descriptors that each shard takes beside its rings: the executor's own rings, listener, doorbell.
const DESCRIPTORS_PER_SHARD: u64 = 16;

/// Memory of a submission entry (64 bytes, and 4 of the index) and its 8 completion entries (16 bytes each).
const RING_BYTES_PER_ENTRY: u64 = 64 + 4 + 8 * 16;

/// Memory of one entry in a ring of provided buffers (`struct io_uring_buf`).
const BUFFER_RING_ENTRY_BYTES: u64 = 16;

/// Locked memory of a shard's executor: its own rings and 64 KiB of registered buffers, rounded up.
const EXECUTOR_LOCKED_BYTES: u64 = 512 << 10;

/// The plan.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Connections that the daemon shall hold.
    pub connections: u64,
    /// Shards that share them evenly.
    pub shards: u64,
    /// `engine.lanes`: 0 where the number follows from RLIMIT_NOFILE.
    pub lanes_configured: u64,
    /// `engine.submission_entries`.
    pub submission_entries: u64,
    /// `engine.receive_buffers`.
    pub receive_buffers: u64,
    /// `engine.receive_buffer_size`.
    pub receive_buffer_bytes: u64,
    /// The kernel settings to compare with.
    pub profile: Profile,
}

impl Plan {
    /// The plan of `config`; `profile` and `connections` are what the command line asked for.
    /// Connections not given are the profile's, then the configuration's.
    pub(crate) fn new(config: &Config, profile: Option<Profile>, connections: Option<u64>) -> Self {
        let connections = connections
            .or(profile.map(Profile::connections))
            .unwrap_or_else(|| u64::from(config.planned_connections()));
        Self {
            connections,
            shards: config.cores.len() as u64,
            lanes_configured: u64::from(config.engine.lanes),
            submission_entries: u64::from(config.engine.submission_entries),
            receive_buffers: u64::from(config.engine.receive_buffers),
            receive_buffer_bytes: u64::from(config.engine.receive_buffer_bytes),
            profile: profile.unwrap_or_else(|| Profile::for_connections(connections)),
        }
    }

    /// Descriptor-table entries that each shard makes, as far as its rings have room for them.
    pub(crate) const fn slots_per_shard(&self) -> u64 {
        slots_for(self.connections, self.shards)
    }

    /// Rings for each shard: as configured, or as many tables of `nofile` entries as hold the slots.
    /// `None` where no number of rings would do.
    pub(crate) fn lanes(&self, nofile: u64) -> Option<u64> {
        if self.lanes_configured > 0 {
            return Some(self.lanes_configured);
        }
        lanes_for(self.slots_per_shard(), nofile).filter(|lanes| *lanes <= LANES_MAX)
    }

    /// The smallest RLIMIT_NOFILE with which one ring a shard is enough.
    pub(crate) const fn nofile_for_one_lane(&self) -> u64 {
        self.slots_per_shard() + DESCRIPTORS_RESERVED
    }

    /// Descriptors of the process itself: connections are not among them.
    pub(crate) const fn process_descriptors(&self, lanes: u64) -> u64 {
        self.shards * (lanes * DESCRIPTORS_PER_LANE + DESCRIPTORS_PER_SHARD) + DESCRIPTORS_RESERVED
    }

    /// Memory that the kernel may count against RLIMIT_MEMLOCK (rings and buffer rings, since Linux 6.14).
    pub(crate) const fn locked_bytes(&self, lanes: u64) -> u64 {
        let rings = lanes * self.submission_entries * RING_BYTES_PER_ENTRY;
        self.shards * (rings + lanes * self.receive_buffers * BUFFER_RING_ENTRY_BYTES + EXECUTOR_LOCKED_BYTES)
    }

    /// Kernel and user memory with all connections idle, and every receive buffer in use.
    pub(crate) const fn memory_bytes(&self) -> u64 {
        self.connections * (KERNEL_BYTES_PER_CONNECTION + USER_BYTES_PER_CONNECTION)
            + self.shards * self.receive_buffers * self.receive_buffer_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(connections: u64, shards: u64) -> Plan {
        Plan {
            connections,
            shards,
            lanes_configured: 0,
            submission_entries: 1024,
            receive_buffers: 1024,
            receive_buffer_bytes: 4096,
            profile: Profile::for_connections(connections),
        }
    }

    #[test]
    fn a_large_limit_needs_one_ring_a_shard() {
        assert_eq!(plan(100_000, 2).lanes(1_048_576), Some(1));
        let plan = plan(100_000, 2);
        assert_eq!(plan.lanes(plan.nofile_for_one_lane()), Some(1));
        assert_eq!(plan.lanes(plan.nofile_for_one_lane() - 1), Some(2));
    }

    #[test]
    fn a_limit_of_20_000_needs_four_rings_a_shard_for_100_000_on_two_cores() {
        // 50,000 × 1.25 + 256 = 62,756 slots in tables of 19,936.
        assert_eq!(plan(100_000, 2).lanes(20_000), Some(4));
    }

    #[test]
    fn a_limit_too_small_for_256_rings_is_no_plan() {
        assert_eq!(plan(100_000, 2).lanes(256), None);
        assert_eq!(plan(100, 1).lanes(64), None);
    }

    #[test]
    fn configured_rings_are_taken_as_they_are() {
        assert_eq!(Plan { lanes_configured: 3, ..plan(100_000, 2) }.lanes(1024), Some(3));
    }

    #[test]
    fn the_doctor_plans_the_rings_that_the_shards_make() {
        for connection_limit in [1, 1_000, 100_000, 1_000_000] {
            for shards in [1, 2, 8] {
                for nofile in [4_096, 20_000, 62_820, 1_048_576] {
                    let mut config = Config::default();
                    config.client.connection_limit = connection_limit;
                    config.cores = crate::config::cores::CoreSet::of((0..shards).collect());
                    let planned = Plan::new(&config, None, None).lanes(nofile);
                    let made = crate::shard::Plan::new(&config, nofile).lanes as u64;
                    assert_eq!(planned.unwrap_or(LANES_MAX), made, "{connection_limit} {shards} {nofile}");
                }
            }
        }
    }
}
