//! Control groups: the memory limit of this process together with the other processes of its groups (cgroups(7)).
//!
//! In:  `/proc/self/cgroup` and the groups' files, in either version.
//! Out: the tightest limit and its current use.
//!
//! The kernel does not refuse memory to a full group: it kills in it. So the daemon itself stays below the limit.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The tightest memory limit of the control groups that this process is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cgroup {
    /// The limit, in bytes.
    pub limit_bytes: u64,
    /// Memory in use that the kernel cannot reclaim, in bytes.
    pub used_bytes: u64,
}

impl Cgroup {
    /// The tightest limit on the way from this process's group to the root; `None` where there is none.
    #[must_use]
    pub(crate) fn tightest() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut tightest: Option<Self> = None;
        for line in groups.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let path = Path::new(path.trim_start_matches('/'));
            let (root, files) = match controllers {
                "" => ("/sys/fs/cgroup", &VERSION_2),
                _ if controllers.split(',').any(|name| name == "memory") => {
                    ("/sys/fs/cgroup/memory", &VERSION_1)
                }
                _ => continue,
            };
            for group in path.ancestors() {
                let found = files.read(&Path::new(root).join(group));
                let is_tighter =
                    |found: Self| tightest.is_none_or(|tightest| found.free_bytes() < tightest.free_bytes());
                if found.is_some_and(is_tighter) {
                    tightest = found;
                }
            }
        }
        tightest
    }

    /// The remaining bytes of the group.
    #[must_use]
    pub(crate) const fn free_bytes(self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }
}

/// The file names and entries of one control group version.
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// Memory of files, in `memory.stat`: the kernel reclaims it before it kills.
    reclaimable: [&'static str; 2],
}

const VERSION_1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
};
const VERSION_2: Files =
    Files { limit: "memory.max", usage: "memory.current", reclaimable: ["inactive_file", "active_file"] };

impl Files {
    fn read(&self, group: &Path) -> Option<Cgroup> {
        let read = |name: &str| fs::read_to_string(PathBuf::from(group).join(name)).ok();
        // "max" in version 2, a number near i64::MAX in version 1: no limit.
        let limit_bytes = read(self.limit)?.trim().parse::<u64>().ok().filter(|limit| *limit < 1 << 60)?;
        let usage = read(self.usage).and_then(|usage| usage.trim().parse().ok()).unwrap_or(0);
        Some(Cgroup {
            limit_bytes,
            used_bytes: self.unreclaimable(usage, &read("memory.stat").unwrap_or_default()),
        })
    }

    /// `usage_bytes` without the reclaimable part according to `memory.stat`.
    fn unreclaimable(&self, usage_bytes: u64, stat: &str) -> u64 {
        let entries = stat.lines().filter_map(|line| line.split_once(' '));
        let reclaimable = entries.filter(|(name, _)| self.reclaimable.contains(name));
        reclaimable
            .filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok())
            .fold(usage_bytes, u64::saturating_sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_files_does_not_count_as_used() {
        let stat = "cache 90\ninactive_file 5\nactive_file 7\ntotal_inactive_file 20\ntotal_active_file 30\n";
        assert_eq!(VERSION_1.unreclaimable(100, stat), 50);
        assert_eq!(VERSION_2.unreclaimable(100, stat), 88);
        assert_eq!(VERSION_2.unreclaimable(100, ""), 100);
        assert_eq!(VERSION_2.unreclaimable(3, stat), 0);
    }
}
