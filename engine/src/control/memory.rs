//! Memory: whether there is enough for more connections.
//!
//! In:  this process's resident memory, once a second.
//! Out: one flag, which shards look at before they keep a new connection.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crate::peers::Shared;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches until the runtime ends.
pub(super) async fn watch(shared: Arc<Shared>, limit_bytes: u64) {
    let mut was_short = false;
    loop {
        let resident_bytes = resident_bytes().unwrap_or(0);
        let is_short = resident_bytes >= limit_bytes;
        shared.memory_short.store(is_short, Ordering::Relaxed);
        if is_short != was_short {
            tracing::warn!(resident_bytes, limit_bytes, refusing = is_short, "engine.memory_limit");
        }
        was_short = is_short;
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// `VmRSS` of /proc/self/status (proc_pid_status(5)), which is in kB.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
