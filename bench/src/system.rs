//! System: what the kernel tells about the server's processes and this machine's memory.
//!
//! In:  process ids.
//! Out: CPU time and anonymous memory of these processes together; memory that is left on the machine.
//!
//! Read from `/proc` (proc(5)); nothing is asked of the server itself.

use std::fs;

/// What the server's processes used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time of all their threads, in seconds.
    pub cpu_s: f64,
    /// Anonymous memory that is resident (`RssAnon`), in bytes: heap, stacks, maps without a file.
    pub rss_anon_bytes: u64,
}

/// Looks at the server from outside.
#[derive(Clone, Debug)]
pub struct Server {
    pids: Vec<u32>,
    ticks_per_s: f64,
}

impl Server {
    /// The server runs as these processes; none when it runs elsewhere.
    ///
    /// # Errors
    /// A sentence when one of them does not run, or is not ours to look at.
    pub fn new(pids: &[u32]) -> Result<Option<Self>, String> {
        if pids.is_empty() {
            return Ok(None);
        }
        let ticks_per_s = crate::units::real(rustix::param::clock_ticks_per_second());
        let server = Self { pids: pids.to_vec(), ticks_per_s };
        for pid in pids {
            server
                .usage_of(*pid)
                .ok_or_else(|| format!("--server-pid {pid}: there is no such process to look at"))?;
        }
        Ok(Some(server))
    }

    /// What all processes used; none when one of them has ended.
    pub fn usage(&self) -> Option<Usage> {
        self.pids.iter().try_fold(Usage::default(), |sum, pid| {
            let one = self.usage_of(*pid)?;
            Some(Usage {
                cpu_s: sum.cpu_s + one.cpu_s,
                rss_anon_bytes: sum.rss_anon_bytes + one.rss_anon_bytes,
            })
        })
    }

    fn usage_of(&self, pid: u32) -> Option<Usage> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Some(Usage {
            cpu_s: crate::units::real(cpu_ticks(&stat)?) / self.ticks_per_s,
            rss_anon_bytes: kib_field(&status, "RssAnon:")? * 1024,
        })
    }
}

/// Memory that programs can still have (`MemAvailable`), in bytes.
pub fn available_bytes() -> Option<u64> {
    Some(kib_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")? * 1024)
}

/// Memory of the machine (`MemTotal`), in bytes.
pub fn total_bytes() -> Option<u64> {
    Some(kib_field(&fs::read_to_string("/proc/meminfo").ok()?, "MemTotal:")? * 1024)
}

/// Fields 14 and 15 of `/proc/PID/stat`. The second is the program's name in parentheses and may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn kib_field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_an_odd_name_is_read_right() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 700 300 0 0 20 0 1 0 5 0 0";
        assert_eq!(cpu_ticks(stat), Some(1000));
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let server = Server::new(&[std::process::id()]).expect("we run").expect("one was named");
        assert!(server.usage().expect("we still run").rss_anon_bytes > 0);
        assert!(available_bytes() < total_bytes());
    }

    #[test]
    fn a_process_that_is_not_there_is_refused_by_its_number() {
        let refusal = Server::new(&[u32::MAX]).expect_err("no such process");
        assert!(refusal.contains("4294967295"), "{refusal}");
    }
}
