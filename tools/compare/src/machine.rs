//! Machine: where the figures come from.
//!
//! In:  `/proc`.
//! Out: kernel, processor, cores, memory.
//!
//! Nothing that names the machine or its owner.

use std::fs;
use std::thread;

use serde::Serialize;

/// What a reader needs to know to place the figures.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
}

/// Describes this machine; what cannot be found is `unknown` or 0.
pub(crate) fn describe() -> Machine {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let unknown = || "unknown".to_owned();
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    let memory_kib = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<u64>().ok())
        .unwrap_or(0);
    Machine {
        kernel: if kernel.is_empty() { unknown() } else { kernel },
        processor: field(&read("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
        cores: thread::available_parallelism().map_or(0, usize::from),
        memory_gib: memory_kib.div_ceil(1024 * 1024),
    }
}

/// The value of the first line `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_field_of_that_name_is_found() {
        let text = "processor\t: 0\nmodel name\t: Fast One\nmodel name\t: Slow One\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Fast One"));
        assert_eq!(field(text, "model"), None);
    }
}
