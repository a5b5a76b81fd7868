//! Plan: how many rings each shard needs, and of which size.
//!
//! In:  the configuration, the number of shards, RLIMIT_NOFILE.
//! Out: lanes and slots, and the resulting number of connections.
//!
//! A ring's table of direct descriptors holds up to RLIMIT_NOFILE entries, but is separate from the process's own table:
//! several rings hold several times as many.

use holdfast_ring::{LANE_SLOTS_MAX, LANES_MAX, UringConfig};

use crate::config::Config;

/// The kernel spreads connections over the shards' listeners by a hash, not evenly: room for this multiple of the mean.
const SHARE_PERCENT: u64 = 125;

/// Room beyond that multiple: small numbers of connections are spread least evenly.
const SHARE_EXTRA: u64 = 256;

/// Descriptors of the process itself that no table of connections may use.
pub(crate) const DESCRIPTORS_RESERVED: u64 = 64;

/// The least backlog of a listener, however small its tables: below it bursts lose handshakes.
const LISTEN_BACKLOG: u32 = 4096;

/// The assumed value if the kernel's setting cannot be read.
pub(crate) const SOMAXCONN_DEFAULT: u32 = 4096;

/// Descriptors that each of `shards` needs for its part of `connections`.
pub(crate) const fn slots_for(connections: u64, shards: u64) -> u64 {
    connections.div_ceil(shards) * SHARE_PERCENT / 100 + SHARE_EXTRA
}

/// How many rings hold `slots` connections if each table may have `nofile` entries. `None` if there is no room at all.
pub(crate) fn lanes_for(slots: u64, nofile: u64) -> Option<u64> {
    let per_lane = nofile.saturating_sub(DESCRIPTORS_RESERVED);
    (per_lane > 0).then(|| slots.div_ceil(per_lane).max(1))
}

/// Initial receive buffers of a lane, whatever the number of lanes.
const FIRST_BUFFERS_MIN: u32 = 32;

/// The rings of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Rings.
    pub(crate) lanes: usize,
    /// Descriptors of each ring.
    pub(crate) slots_per_lane: u32,
}

impl Plan {
    /// The plan for `config` if a table holds `nofile` descriptors.
    #[must_use]
    pub(crate) fn new(config: &Config, nofile: u64) -> Self {
        let wanted = slots_for(u64::from(config.planned_connections()), config.cores.len() as u64);
        let lane_max = nofile.saturating_sub(DESCRIPTORS_RESERVED).clamp(64, u64::from(LANE_SLOTS_MAX));
        let lanes = match u64::from(config.engine.lanes) {
            // If not even one descriptor is left, creating the rings fails.
            0 => lanes_for(wanted, nofile).unwrap_or(1),
            lanes => lanes,
        };
        let lanes = lanes.clamp(1, LANES_MAX as u64);
        let slots = wanted.div_ceil(lanes).min(lane_max);
        Self {
            lanes: usize::try_from(lanes).expect("at most 256"),
            slots_per_lane: u32::try_from(slots).expect("at most 2^24"),
        }
    }

    /// Descriptors of a shard.
    #[must_use]
    pub(crate) fn slots(self) -> u64 {
        self.lanes as u64 * u64::from(self.slots_per_lane)
    }

    /// The listen backlog, at most `somaxconn`. A ring keeps as many descriptors free during multishot accept, so a large
    /// backlog is at most a quarter of its table.
    #[must_use]
    pub(crate) fn listen_backlog(self, config: &Config, somaxconn: u32) -> u32 {
        let wanted = match config.engine.listen_backlog {
            0 => somaxconn,
            asked => asked.min(somaxconn),
        };
        wanted.min((self.slots_per_lane / 4).max(LISTEN_BACKLOG))
    }

    /// The sizes of the rings. Lanes start with their part of the shard's receive buffers: all connections may be in one
    /// lane, which then gets as many as it needs.
    #[must_use]
    pub(crate) fn uring(self, config: &Config) -> UringConfig {
        let lanes = u32::try_from(self.lanes).expect("at most 256");
        let buffers_max = config.engine.receive_buffers;
        UringConfig {
            lanes: self.lanes,
            slots_per_lane: self.slots_per_lane,
            submission_entries: config.engine.submission_entries,
            receive_buffers: (buffers_max / lanes).max(FIRST_BUFFERS_MIN).min(buffers_max),
            receive_buffers_max: buffers_max,
            receive_buffer_bytes: config.engine.receive_buffer_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(connections: u32, shards: u32) -> Config {
        let mut config = Config::default();
        config.client.connection_limit = connections;
        config.cores = crate::config::cores::CoreSet::of((0..shards as usize).collect());
        config
    }

    #[test]
    fn one_lane_is_enough_where_the_limit_is_high() {
        let plan = Plan::new(&config(1_000_000, 8), 1 << 20);
        assert_eq!(plan.lanes, 1);
        assert_eq!(plan.slots(), 125_000 * 125 / 100 + 256);
    }

    #[test]
    fn a_low_limit_is_met_with_more_lanes() {
        let plan = Plan::new(&config(100_000, 2), 20_000);
        assert_eq!(plan.lanes, 4);
        assert!(plan.slots() >= 62_500);
        assert!(plan.slots_per_lane <= 20_000 - 64);
    }

    #[test]
    fn a_lane_that_has_all_the_connections_gets_as_many_buffers_as_there_may_be() {
        let mut config = config(100_000, 1);
        let uring = Plan::new(&config, 20_000).uring(&config);
        assert_eq!((uring.lanes, uring.receive_buffers, uring.receive_buffers_max), (7, 146, 1024));
        config.client.connection_limit = 1_000_000;
        let uring = Plan::new(&config, 20_000).uring(&config);
        assert_eq!((uring.receive_buffers, uring.receive_buffers_max), (32, 1024));
        config.engine.receive_buffers = 16;
        let uring = Plan::new(&config, 20_000).uring(&config);
        assert_eq!((uring.receive_buffers, uring.receive_buffers_max), (16, 16));
    }

    #[test]
    fn the_backlog_is_the_kernels_unless_it_is_asked_for_or_the_tables_are_small() {
        let plan = Plan::new(&config(1_000_000, 2), 1 << 20);
        let with = |listen_backlog, somaxconn| {
            let mut config = config(1_000_000, 2);
            config.engine.listen_backlog = listen_backlog;
            plan.listen_backlog(&config, somaxconn)
        };
        assert_eq!(with(0, 4096), 4096);
        assert_eq!(with(0, 65_535), 65_535);
        assert_eq!(with(512, 65_535), 512);
        assert_eq!(with(8192, 4096), 4096);
        let small = Plan { lanes: 1, slots_per_lane: 400 };
        assert_eq!(small.listen_backlog(&config(1, 1), 65_535), 4096);
        assert_eq!(small.listen_backlog(&config(1, 1), 128), 128);
    }

    #[test]
    fn lanes_that_are_asked_for_are_kept_and_their_tables_stay_within_the_limit() {
        let mut config = config(100_000, 1);
        config.engine.lanes = 2;
        assert_eq!(Plan::new(&config, 20_000), Plan { lanes: 2, slots_per_lane: 19_936 });
    }
}
