//! Plan: fits the budgets into the available memory.
//!
//! In:  `engine.memory_limit`, the limit of the control group, the configured budgets.
//! Out: the same budgets, with a total limit and the assured amount of each.
//!
//! A fixed part of a limit is for the daemon itself. Part of a control group's limit also goes to the kernel, which
//! charges sockets and their queues to the group. The budgets share the rest.

use super::budget::{Budget, BudgetLimits};
use crate::{config::Config, memory::cgroup::Cgroup};

/// The part of a control group's limit that the daemon plans with, in percent; once it is used, memory is short.
const GROUP_PERCENT: u64 = 90;

/// The kernel's part of that: sockets of 4.4 KB each, and their queues.
const KERNEL_PERCENT: u64 = 25;

/// Memory of a daemon without clients: code, threads, the control plane.
const BASE_BYTES: u64 = 24 << 20;

/// The same for each shard, without its receive buffers: rings, tables, a mailbox.
const SHARD_BYTES: u64 = 4 << 20;

/// The minimum part of a limit for the budgets, in percent.
const BUDGETS_PERCENT_MIN: u64 = 40;

/// The memory that the budgets share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Room {
    /// Bytes for all budgets together; [`BudgetLimits::NONE`] without a limit.
    pub(crate) bytes: u64,
    /// Bytes of the tighter of both limits.
    pub(crate) limit_bytes: u64,
}

impl Room {
    /// The rest of `engine.memory_limit` and the group's limit.
    pub(crate) fn new(config: &Config, group: Option<Cgroup>) -> Self {
        let own = own_bytes(config);
        let of_daemon = match config.engine.memory_limit_bytes {
            0 => None,
            limit => Some((limit, rest(limit, own))),
        };
        let of_group = group.map(|group| {
            let limit = group.limit_bytes / 100 * GROUP_PERCENT;
            (limit, rest(limit, own + limit / 100 * KERNEL_PERCENT))
        });
        let tightest = of_daemon.into_iter().chain(of_group).min_by_key(|&(_, bytes)| bytes);
        let none = (BudgetLimits::NONE, BudgetLimits::NONE);
        let (limit_bytes, bytes) = tightest.unwrap_or(none);
        Self { bytes, limit_bytes }
    }
}

/// Memory of the daemon itself.
fn own_bytes(config: &Config) -> u64 {
    let engine = &config.engine;
    let buffers = u64::from(engine.receive_buffers) * u64::from(engine.receive_buffer_bytes);
    BASE_BYTES + config.cores.len() as u64 * (SHARD_BYTES + buffers)
}

fn rest(limit: u64, taken: u64) -> u64 {
    limit.saturating_sub(taken).max(limit / 100 * BUDGETS_PERCENT_MIN)
}

/// Fits the budgets into the room: none gets more than half of it, and each is assured of a share in proportion to its
/// configured size.
pub(crate) fn fit(mut limits: BudgetLimits, room: Room) -> BudgetLimits {
    if room.bytes == BudgetLimits::NONE {
        return limits;
    }
    limits.total = room.bytes;
    let most = Budget::ALL.map(|(budget, _)| limits.most(budget).min(room.bytes / 2));
    let sum: u128 = most.iter().map(|&bytes| u128::from(bytes)).sum();
    for ((budget, _), most) in Budget::ALL.into_iter().zip(most) {
        let share = u128::from(most) * u128::from(room.bytes) / sum.max(1);
        limits.set(budget, most, most.min(u64::try_from(share).unwrap_or(u64::MAX)));
    }
    limits
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn assured(limits: BudgetLimits) -> u64 {
        Budget::ALL.into_iter().map(|(budget, _)| limits.assured(budget)).sum()
    }

    fn config(memory_limit_bytes: u64) -> Config {
        let mut config = Config::default();
        config.cores = crate::config::cores::CoreSet::of(vec![0, 1]);
        config.engine.memory_limit_bytes = memory_limit_bytes;
        config
    }

    fn group(limit_bytes: u64) -> Option<Cgroup> {
        Some(Cgroup { limit_bytes, used_bytes: 0 })
    }

    #[test]
    fn without_a_limit_budgets_are_as_configured() {
        let config = config(0);
        let room = Room::new(&config, None);
        assert_eq!(fit(BudgetLimits::of(&config), room), BudgetLimits::of(&config));
    }

    #[test]
    fn in_a_group_all_budgets_together_leave_room_for_the_daemon_and_the_kernel() {
        for limit in [64 * MIB, 96 * MIB, 600 * MIB, 4096 * MIB] {
            let config = config(0);
            let room = Room::new(&config, group(limit));
            let limits = fit(BudgetLimits::of(&config), room);
            assert!(assured(limits) <= room.bytes && room.bytes < limit * 7 / 10, "{limit}");
            assert_eq!(limits.total(), room.bytes);
            for (budget, _) in Budget::ALL {
                assert!(limits.assured(budget) > 0 && limits.most(budget) <= room.bytes / 2, "{limit}");
            }
        }
    }

    #[test]
    fn the_tighter_of_the_two_limits_counts() {
        let own = Room::new(&config(400 * MIB), group(4096 * MIB));
        assert_eq!(own, Room::new(&config(400 * MIB), None));
        assert_eq!(own.limit_bytes, 400 * MIB);
        let of_group = Room::new(&config(4096 * MIB), group(400 * MIB));
        assert_eq!(of_group, Room::new(&config(0), group(400 * MIB)));
        assert!(of_group.bytes < own.bytes, "the kernel has its part of a group");
    }

    #[test]
    fn shares_are_as_large_beside_each_other_as_budgets_and_none_has_more_than_half() {
        let mut limits = BudgetLimits::all(100);
        limits.set(Budget::Receive, BudgetLimits::NONE, BudgetLimits::NONE);
        limits.set(Budget::Queues, 1 << 50, 1 << 50);
        let fitted = fit(limits, Room { bytes: 500, limit_bytes: 0 });
        assert_eq!((fitted.most(Budget::Receive), fitted.most(Budget::Api)), (250, 100));
        assert_eq!(fitted.assured(Budget::Receive), 250 * 500 / 1000);
        assert_eq!(fitted.assured(Budget::Queues), fitted.assured(Budget::Receive));
        assert_eq!(fitted.assured(Budget::Api), 500 * 100 / 1000);
    }

    #[test]
    fn budgets_that_fit_stay_as_they_are() {
        let limits = BudgetLimits::all(10);
        let fitted = fit(limits, Room { bytes: 500, limit_bytes: 0 });
        let is_same = |(budget, _)| fitted.most(budget) == 10 && fitted.assured(budget) == 10;
        assert!(Budget::ALL.into_iter().all(is_same));
    }
}
