//! Cores: starting a child process on one of them.
//!
//! In:  a core's number and a command.
//! Out: a child whose every thread is bound to that core from its first instruction.
//!
//! A child inherits the affinity of the thread that starts it, so that thread visits the core for the moment of
//! starting. No `taskset`, no code between fork and exec, and no race with threads that the child starts.

use std::fmt;
use std::io;
use std::process::{Child, Command};
use std::str::FromStr;

use anyhow::{Context, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The number of a core, as in `/proc/cpuinfo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Core(usize);

impl FromStr for Core {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if number < CpuSet::MAX_CPU => Ok(Self(number)),
            _ => Err(format!("expected a core's number, 0 to {}", CpuSet::MAX_CPU - 1)),
        }
    }
}

impl fmt::Display for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Refuses cores that this process may not use.
pub(crate) fn must_exist(cores: &[Core]) -> anyhow::Result<()> {
    let allowed = sched_getaffinity(None)?;
    for core in cores {
        ensure!(
            allowed.is_set(core.0),
            "core {core} is not there or not allowed to this process: choose others with --server-core and \
             --load-core (a comparison needs two)"
        );
    }
    Ok(())
}

/// Starts `command` on `core`.
pub(crate) fn spawn_on(core: Core, command: &mut Command) -> anyhow::Result<Child> {
    let program = command.get_program().to_string_lossy().into_owned();
    visiting(core, || command.spawn())
        .with_context(|| format!("cannot run on core {core}"))?
        .with_context(|| format!("cannot start {program}"))
}

fn visiting<T>(core: Core, action: impl FnOnce() -> T) -> io::Result<T> {
    let home = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(core.0);
    sched_setaffinity(None, &only)?;
    let result = action();
    sched_setaffinity(None, &home)?;
    Ok(result)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Stdio;

    use super::*;

    /// Some core that the tests may run on.
    pub(crate) fn some_core() -> Core {
        let allowed = sched_getaffinity(None).unwrap();
        Core((0..CpuSet::MAX_CPU).find(|&number| allowed.is_set(number)).unwrap())
    }

    #[test]
    fn child_is_bound_to_the_core_and_the_parent_is_not() {
        let before = sched_getaffinity(None).unwrap();
        let core = some_core();
        let mut command = Command::new("grep");
        command.args(["Cpus_allowed_list", "/proc/self/status"]).stdout(Stdio::piped());
        let output = spawn_on(core, &mut command).unwrap().wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("Cpus_allowed_list:\t{core}\n"));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
    }

    #[test]
    fn core_that_is_not_there_is_refused_by_number() {
        let absent = Core::from_str("1023").unwrap();
        assert!(must_exist(&[absent]).unwrap_err().to_string().contains("core 1023"));
        assert!(Core::from_str("1024").is_err());
        assert!(Core::from_str("first").is_err());
    }
}
