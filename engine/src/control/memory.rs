//! Memory: detects a shortage of memory, and frees unused memory.
//!
//! In:  the resident memory of this process and of its control group, once a second; ten times a second if much is
//!      used.
//! Out: a flag that shards check before they accept a connection.

use std::{hint::black_box, sync::Arc, time::Duration};

use crate::{memory::cgroup::Cgroup, session::message::Shared};

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The interval of checks while more than half of a limit is used.
const LOOK_EVERY_WHEN_CLOSE: Duration = Duration::from_millis(100);

/// The percentage of a control group's limit above which memory counts as short. The rest is for existing connections,
/// including the kernel's buffers for them: over the limit, the kernel kills the process.
const GROUP_PERCENT: u64 = 90;

/// Larger than anything the allocator puts on a shared page.
const OWN_PAGE_BYTES: usize = 1 << 20;

/// Checks memory until the runtime ends. `limit_bytes` limits resident memory; 0: no limit.
pub(super) async fn watch(shared: Arc<Shared>, limit_bytes: u64) {
    let mut was_short = false;
    loop {
        have_free_memory_given_back();
        let used = Used::now(limit_bytes);
        let is_short = used.is_short();
        shared.set_memory_short(is_short);
        if is_short != was_short {
            tracing::warn!(
                resident_bytes = used.resident_bytes,
                memory_limit_bytes = limit_bytes,
                group_bytes = used.group.map(|group| group.used_bytes),
                group_limit_bytes = used.group.map(|group| group.limit_bytes),
                "{}",
                if is_short {
                    "memory is short: new connections get 503, and every budget is halved; lower the load or raise the memory limit"
                } else {
                    "memory is no longer short"
                }
            );
        }
        was_short = is_short;
        tokio::time::sleep(if used.is_close() { LOOK_EVERY_WHEN_CLOSE } else { LOOK_EVERY }).await;
    }
}

/// Current memory use, and the limits.
struct Used {
    resident_bytes: u64,
    limit_bytes: u64,
    group: Option<Cgroup>,
}

impl Used {
    fn now(limit_bytes: u64) -> Self {
        Self { resident_bytes: resident_bytes().unwrap_or(0), limit_bytes, group: Cgroup::tightest() }
    }

    fn is_short(&self) -> bool {
        self.is_at(100, GROUP_PERCENT)
    }

    fn is_close(&self) -> bool {
        self.is_at(50, GROUP_PERCENT / 2)
    }

    /// True exactly when either use has reached its percentage of the limit.
    fn is_at(&self, percent: u64, group_percent: u64) -> bool {
        let is_at = |used: u64, limit: u64, percent| used / percent >= limit / 100;
        (self.limit_bytes > 0 && is_at(self.resident_bytes, self.limit_bytes, percent))
            || self.group.is_some_and(|group| is_at(group.used_bytes, group.limit_bytes, group_percent))
    }
}

/// The allocator (mimalloc) returns free pages to the kernel one second after they became free, but checks only when a
/// thread frees a whole page. After a burst, all threads are idle and none frees a page, so this function does.
fn have_free_memory_given_back() {
    drop(black_box(Vec::<u8>::with_capacity(OWN_PAGE_BYTES)));
}

/// `VmRSS` of /proc/self/status (proc_pid_status(5)), converted from kB.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_short_at_the_limit_or_at_nine_tenths_of_the_groups() {
        const MIB: u64 = 1 << 20;
        let used = |resident, limit, group: Option<(u64, u64)>| Used {
            resident_bytes: resident * MIB,
            limit_bytes: limit * MIB,
            group: group.map(|(used, limit)| Cgroup { limit_bytes: limit * MIB, used_bytes: used * MIB }),
        };
        assert!(!used(1000, 0, None).is_close());
        assert!(!used(99, 100, None).is_short() && used(99, 100, None).is_close());
        assert!(used(100, 100, None).is_short());
        assert!(!used(1000, 0, Some((89, 100))).is_short());
        assert!(used(0, 0, Some((90, 100))).is_short());
        assert!(used(10, 20, Some((45, 100))).is_close());
        assert!(!used(9, 20, Some((44, 100))).is_close());
    }
}
