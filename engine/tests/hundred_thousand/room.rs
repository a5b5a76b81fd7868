//! Room: how many connections this machine can hold both ends of.
//!
//! In:  how many are wanted; what the kernel tells of its limits (proc(5)).
//! Out: as many, or fewer, with the reason on standard output.

use std::fs;

/// Memory for both ends of a connection, the kernel's and the processes', with a broadcast on its way: twice what was
/// measured.
const CONNECTION_BYTES: u64 = 20 * 1024;

/// What must stay for everything else.
const RESERVE_BYTES: u64 = 1 << 30;

/// Descriptors, or entries in the table of tracked connections, that must stay for everything else.
const RESERVE_ENTRIES: u64 = 1_000;

/// The number of connections to hold: `wanted`, where there is room for them.
pub(crate) fn for_connections(wanted: usize) -> usize {
    let mut count = wanted;
    for (what, room) in [("memory", memory()), ("open files", files()), ("tracked connections", tracked())] {
        if let Some(room) = room.and_then(|room| usize::try_from(room).ok())
            && room < count
        {
            println!("holding {room} connections instead of {wanted}: not enough {what} for more");
            count = room;
        }
    }
    assert!(count > 0, "there is no room for a single connection");
    count
}

fn memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((available * 1024).saturating_sub(RESERVE_BYTES) / CONNECTION_BYTES)
}

fn files() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/fs/file-nr").ok()?;
    let mut numbers = text.split_whitespace().map(str::parse);
    let in_use: u64 = numbers.next()?.ok()?;
    let most: u64 = numbers.nth(1)?.ok()?;
    Some(most.saturating_sub(in_use + RESERVE_ENTRIES) / 2)
}

fn tracked() -> Option<u64> {
    let read = |name| fs::read_to_string(format!("/proc/sys/net/netfilter/nf_conntrack_{name}")).ok();
    let most: u64 = read("max")?.trim().parse().ok()?;
    let in_use: u64 = read("count")?.trim().parse().ok()?;
    Some(most.saturating_sub(in_use + RESERVE_ENTRIES))
}
