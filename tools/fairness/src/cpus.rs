//! CPUs: one for the daemon, another one for the tool; and who goes first on the tool's.
//!
//! In:  the CPUs that this process may run on.
//! Out: threads and children that are bound to them.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Where the daemon and the tool run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cpus {
    pub(crate) daemon: usize,
    tool: Option<usize>,
}

impl Cpus {
    /// The first CPU for the daemon, the last one for the tool. With one CPU alone the two share it.
    pub(crate) fn choose() -> io::Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut all = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
        let daemon = all.next().unwrap_or(0);
        Ok(Self { daemon, tool: all.next_back() })
    }

    /// Starts something that is bound to the daemon's CPU from its first instruction: it inherits what this thread is
    /// bound to.
    pub(crate) fn at_the_daemons<T>(&self, start: impl FnOnce() -> T) -> io::Result<T> {
        visiting(self.daemon, start)
    }

    /// Binds this thread, and those that it starts, to the tool's CPU, while `act` goes on.
    pub(crate) fn at_the_tools<T>(&self, act: impl FnOnce() -> T) -> io::Result<T> {
        match self.tool {
            Some(tool) => visiting(tool, act),
            None => Ok(act()),
        }
    }
}

fn visiting<T>(cpu: usize, act: impl FnOnce() -> T) -> io::Result<T> {
    let home = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only)?;
    let result = act();
    sched_setaffinity(None, &home)?;
    Ok(result)
}

/// This thread goes last of all from now on. In Linux a nice value is the thread's own (nice(2), NOTES).
pub(crate) fn go_last() {
    // That it goes first all the same makes the attack harder, not the measurement wrong.
    let _ = rustix::process::nice(19);
}
