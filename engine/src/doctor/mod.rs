//! Doctor: whether this machine can hold the planned connections, and what mends it where not.
//!
//! In:  the configuration, a profile, and the machine (`findings`).
//! Out: checks (`judge`), as text or JSON (`report`), and for `serve` a refusal before it starts.
//!
//! The road: `findings` (looks) and `plan` (calculates) → `judge` (compares) → `report`. Nothing on the
//! machine is changed, but for this process's own descriptor limit when `serve` asks for it.

mod findings;
mod judge;
mod plan;
mod preflight;
mod profile;
mod report;
#[cfg(test)]
mod tests;

pub use findings::{Cgroup, Findings, IoUring, Limit, sysctl};
pub use judge::judge;
pub use plan::{KERNEL_BYTES_PER_CONNECTION, Plan, USER_BYTES_PER_CONNECTION};
pub use preflight::{Faults, Prepared};
pub use profile::{Better, Profile, Setting};
pub use report::{json, line, text};

use crate::config::{Config, Warning};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No table of descriptors is ever larger than this: what a connection's address has bits for.
const NOFILE_USEFUL_MAX: u64 = 1 << 24;

/// One line of the doctor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// How it stands.
    pub status: Status,
    /// What was looked at: `kernel`, `RLIMIT_NOFILE`, a sysctl key, …
    pub what: String,
    /// What is there.
    pub found: String,
    /// What should be there.
    pub needs: String,
    /// The command that mends it; `None` exactly when it is ok.
    pub mend: Option<String>,
}

/// How a check stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Ok,
    /// It will serve, but not well, or not at the full load.
    Warn,
    /// It cannot serve.
    Fail,
}

impl Status {
    /// `ok`, `warn` or `fail`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Check {
    fn new(what: &str, found: String, needs: impl Into<String>) -> Self {
        Self { status: Status::Ok, what: what.to_owned(), found, needs: needs.into(), mend: None }
    }

    fn warn(self, mend: &str) -> Self {
        Self { status: Status::Warn, mend: Some(mend.to_owned()), ..self }
    }

    fn fail(self, mend: &str) -> Self {
        Self { status: Status::Fail, mend: Some(mend.to_owned()), ..self }
    }

    /// Adds the command where the status is not ok.
    fn or_mend(self, mend: &str) -> Self {
        let mend = (self.status != Status::Ok).then(|| mend.to_owned());
        Self { mend, ..self }
    }
}

impl Check {
    /// What keeps `serve` from starting, of what the configuration names.
    pub fn of_fault(fault: &str) -> Self {
        Self::new("configuration", fault.to_owned(), "what `serve` can start with")
            .fail("put the right files in place; `holdfast config check` says whether they are")
    }
}

impl From<&Warning> for Check {
    fn from(warning: &Warning) -> Self {
        let found = format!("{}: {}", warning.key, warning.found);
        Self::new("configuration", found, "no warning").warn(&warning.advice)
    }
}

/// True exactly when no check failed.
pub fn can_serve(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.status != Status::Fail)
}

/// What `serve` makes sure of before it starts: kernel, io_uring, descriptors for the planned connections.
///
/// # Errors
/// The checks that failed, to be shown with `line`.
pub fn essentials(config: &Config) -> Result<(), Vec<Check>> {
    let checks = judge::judge_essentials(&Findings::gather_essentials(), &Plan::new(config, None, None));
    let failed: Vec<_> = checks.into_iter().filter(|check| check.status == Status::Fail).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed) }
}

/// Raises this process's RLIMIT_NOFILE to its hard limit, as far as it is of use; returns what holds then.
/// Where the kernel refuses, what held before holds on, and the rings follow from that.
pub fn raise_descriptor_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(NOFILE_USEFUL_MAX);
    if current >= wanted {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
        Ok(()) => wanted,
        Err(_) => current,
    }
}
