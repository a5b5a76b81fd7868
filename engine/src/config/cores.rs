//! Cores: the CPUs that the shards run on.
//!
//! In:  `"0-3,6"` or a number of shards, and the CPUs that this process may use.
//! Out: one CPU for each shard, or a sentence that explains the error.
//!
//! This file pins nothing: each shard pins itself.

use std::fmt;
use std::fs;
use std::str::FromStr;

/// The highest accepted CPU number: the kernel's limit on x86-64 (`NR_CPUS`).
const CPU_MAX: usize = 8191;

/// A list of CPUs, parsed from a text such as `0-3,6`: ascending, without duplicates, not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CpuList(Vec<usize>);

impl CpuList {
    /// The CPU numbers, ascending.
    pub(crate) fn as_slice(&self) -> &[usize] {
        &self.0
    }
}

impl FromStr for CpuList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut cpus = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<usize>().ok().filter(|cpu| *cpu <= CPU_MAX);
            match (number(first), number(last)) {
                (Some(first), Some(last)) if first <= last => cpus.extend(first..=last),
                _ => return Err(format!("{part:?} is neither a CPU number nor a range like 0-3")),
            }
        }
        cpus.sort_unstable();
        if let Some(pair) = cpus.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(format!("CPU {} is named twice", pair[0]));
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self.0.chunk_by(|a, b| a + 1 == *b);
        let shown = runs.map(|run| match run {
            [] => String::new(),
            [one] => one.to_string(),
            [first, .., last] => format!("{first}-{last}"),
        });
        f.write_str(&shown.collect::<Vec<_>>().join(","))
    }
}

/// The CPUs of the shards, one for each: never empty, without duplicates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CoreSet(Vec<usize>);

impl CoreSet {
    /// The CPU of each shard.
    pub(crate) fn shards(&self) -> Vec<usize> {
        self.0.clone()
    }

    /// The number of shards.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// These CPUs, even if this machine does not have them: for tests that depend only on their number.
    #[cfg(test)]
    pub(crate) fn of(cpus: Vec<usize>) -> Self {
        Self(cpus)
    }

    /// Chooses CPUs from `usable`: exactly those of `list`, or the first `shards` (0 means all).
    pub(super) fn choose(list: Option<&CpuList>, shards: u32, usable: &[usize]) -> Result<Self, CoreError> {
        let usable_shown = || CpuList(usable.to_vec()).to_string();
        if let Some(list) = list {
            return match list.as_slice().iter().find(|cpu| !usable.contains(cpu)) {
                Some(cpu) => Err(CoreError::NotUsable { cpu: *cpu, usable: usable_shown() }),
                None => Ok(Self(list.0.clone())),
            };
        }
        let count = if shards == 0 { usable.len() } else { shards as usize };
        if count > usable.len() {
            return Err(CoreError::TooMany { shards, cores: usable.len(), usable: usable_shown() });
        }
        Ok(Self(usable[..count].to_vec()))
    }
}

/// Why the requested CPUs cannot be used. Always the operator's fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CoreError {
    #[error("this process may not run on CPU {cpu}; allowed: {usable}")]
    NotUsable { cpu: usize, usable: String },
    #[error(
        "found {shards} shards for {cores} cores (a shard owns a core); allowed: 0 to {cores} (CPUs {usable})"
    )]
    TooMany { shards: u32, cores: usize, usable: String },
}

/// The CPUs that this process may run on: its affinity mask, from `/proc/self/status` (sched_getaffinity(2)).
pub(crate) fn usable_cpus() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    line.and_then(|list| list.trim().parse::<CpuList>().ok()).map_or_else(|| vec![0], |list| list.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> CpuList {
        text.parse().unwrap()
    }

    #[test]
    fn ranges_and_single_cpus_mix_and_are_shown_as_written() {
        assert_eq!(list("0-3,6").as_slice(), [0, 1, 2, 3, 6]);
        assert_eq!(list("6, 0-3").to_string(), "0-3,6");
        assert_eq!(list("5").to_string(), "5");
    }

    #[test]
    fn repeats_reversed_ranges_and_huge_numbers_are_refused() {
        for text in ["", "a", "3-1", "0,0", "0-2,1", "-1", "0-99999999", "1,,2"] {
            assert!(text.parse::<CpuList>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn zero_shards_take_every_usable_cpu() {
        assert_eq!(CoreSet::choose(None, 0, &[2, 3, 5]).unwrap().shards(), [2, 3, 5]);
        assert_eq!(CoreSet::choose(None, 2, &[2, 3, 5]).unwrap().shards(), [2, 3]);
    }

    #[test]
    fn more_shards_than_cores_are_refused_with_both_numbers() {
        let error = CoreSet::choose(None, 4, &[0, 1]).unwrap_err().to_string();
        assert!(error.contains("4 shards for 2 cores"), "{error}");
    }

    #[test]
    fn a_cpu_outside_the_affinity_mask_is_refused_by_name() {
        let error = CoreSet::choose(Some(&list("0-2")), 0, &[0, 1]).unwrap_err().to_string();
        assert!(error.contains("CPU 2") && error.contains("0-1"), "{error}");
    }

    #[test]
    fn this_process_may_run_somewhere() {
        assert!(!usable_cpus().is_empty());
    }
}
