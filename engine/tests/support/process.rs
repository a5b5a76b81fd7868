//! Process: what the kernel tells about a process (proc(5)).
//!
//! In:  a process id.
//! Out: its memory, its descriptors.

use std::fs;

/// `RssAnon` of /proc/PID/status (proc_pid_status(5)): memory that the process itself has touched, without files.
pub(crate) fn user_memory_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    kilobytes(&status, "RssAnon:").expect("the kernel tells RssAnon") * 1024
}

/// Entries of its table of file descriptors.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}

/// The number behind `key` in a text of lines like `MemAvailable:   1024 kB`.
pub(crate) fn kilobytes(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
