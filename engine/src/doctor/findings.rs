//! Findings: the facts about this machine.
//!
//! In:  `/proc`, `/sys/fs/cgroup`, and a small io_uring that is set up as a probe.
//! Out: plain values, so that tests can describe any machine.
//!
//! Nothing is changed on the machine, and nothing is judged.

use super::Profile;
pub(crate) use crate::memory::cgroup::Cgroup;
use holdfast_ring::SetupError;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The facts.
#[derive(Debug, Clone)]
pub(crate) struct Findings {
    /// The kernel's release: `6.18.44-generic`.
    pub kernel: String,
    /// Whether a ring can be had.
    pub io_uring: IoUring,
    /// RLIMIT_NOFILE, in descriptors.
    pub nofile: Limit,
    /// RLIMIT_MEMLOCK, in bytes.
    pub memlock: Limit,
    /// Memory that can be had without swapping (MemAvailable), in bytes; `None` when unknown.
    pub memory_available_bytes: Option<u64>,
    /// All memory (MemTotal), in bytes; `None` when unknown.
    pub memory_bytes: Option<u64>,
    /// What the control group leaves; `None` when it sets no limit.
    pub cgroup: Option<Cgroup>,
    /// Running values of the profile's keys; absent keys are missing.
    pub sysctls: BTreeMap<String, String>,
}

/// Whether a ring can be set up.
#[derive(Debug, Clone)]
pub(crate) enum IoUring {
    /// Yes, with these features.
    Works(String),
    /// `kernel.io_uring_disabled` has this value.
    Disabled(u8),
    /// The system call is refused: a seccomp filter of a container or a service manager.
    Forbidden,
    /// The kernel's io_uring is missing or too old; the kernel's error.
    TooOld(String),
    /// Another error of the kernel.
    Failed(String),
}

/// A resource limit; `u64::MAX` is "unlimited".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    /// What holds now.
    pub soft: u64,
    /// How far a process may raise it by itself.
    pub hard: u64,
}

impl Findings {
    /// Looks at this machine, with the running values of `profile`'s keys.
    pub(crate) fn gather(profile: Profile) -> Self {
        let keys = profile.settings().into_iter().map(|setting| setting.key);
        let sysctls = keys.filter_map(|key| sysctl(&key).map(|value| (key, value))).collect();
        Self { sysctls, ..Self::gather_essentials() }
    }

    /// The part that `serve` looks at when it starts: all but the profile's keys.
    pub(crate) fn gather_essentials() -> Self {
        let probe = holdfast_ring::probe();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let memory = |name| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(first_number).map(|kib| kib * 1024)
        };
        Self {
            kernel: probe.kernel,
            io_uring: probe.setup.map_or_else(IoUring::from, |features| IoUring::Works(features.to_string())),
            nofile: limit(&limits, "Max open files"),
            memlock: limit(&limits, "Max locked memory"),
            memory_available_bytes: memory("MemAvailable:"),
            memory_bytes: memory("MemTotal:"),
            cgroup: Cgroup::tightest(),
            sysctls: BTreeMap::new(),
        }
    }
}

impl From<SetupError> for IoUring {
    fn from(error: SetupError) -> Self {
        match error {
            SetupError::TooOld(answer) => Self::TooOld(answer.to_string()),
            SetupError::Disabled(value) => Self::Disabled(value),
            SetupError::Forbidden => Self::Forbidden,
            other => Self::Failed(other.to_string()),
        }
    }
}

/// The running value of a sysctl key; `None` if the key does not exist or cannot be read.
pub fn sysctl(key: &str) -> Option<String> {
    let value = fs::read_to_string(Path::new("/proc/sys").join(key.replace('.', "/"))).ok()?;
    Some(value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A line of `/proc/self/limits`, proc_pid_limits(5). A limit that cannot be read counts as 0.
fn limit(limits: &str, name: &str) -> Limit {
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let mut values = line.split_whitespace().map(|value| match value {
        "unlimited" => u64::MAX,
        number => number.parse().unwrap_or(0),
    });
    Limit { soft: values.next().unwrap_or(0), hard: values.next().unwrap_or(0) }
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_from_their_own_line() {
        let text = "Limit                     Soft Limit           Hard Limit           Units\n\
                    Max locked memory         8388608              unlimited            bytes\n\
                    Max open files            1024                 20000                files\n";
        assert_eq!(limit(text, "Max open files"), Limit { soft: 1024, hard: 20_000 });
        assert_eq!(limit(text, "Max locked memory"), Limit { soft: 8_388_608, hard: u64::MAX });
        assert_eq!(limit("", "Max open files"), Limit { soft: 0, hard: 0 });
    }

    #[test]
    fn this_machine_has_a_kernel_limits_and_memory() {
        let findings = Findings::gather(Profile::TenThousand);
        assert!(!findings.kernel.is_empty());
        assert!(findings.nofile.soft > 0 && findings.nofile.hard >= findings.nofile.soft);
        assert!(findings.memory_available_bytes.unwrap() > 0);
        assert!(findings.memory_bytes > findings.memory_available_bytes);
        assert!(findings.sysctls.contains_key("net.ipv4.tcp_fin_timeout"));
    }
}
