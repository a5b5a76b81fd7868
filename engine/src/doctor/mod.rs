//! Doctor: whether this machine can hold the planned connections, and Redis what nodes need; what to mend if not.
//!
//! In:  the configuration, a profile, and the machine (`findings`).
//! Out: checks (`judge`), as text or JSON (`report`), and for `serve` a refusal before it starts.
//!
//! The road: `findings` (looks) and `plan` (calculates) → `judge` (compares) → `report`; `redis` has the same steps for the
//! servers of `engine.redis`. Nothing on the machine or a server is changed, except this process's own descriptor limit when `serve` asks for it.

mod check;
mod findings;
mod judge;
mod plan;
mod preflight;
mod profile;
mod redis;
mod report;
#[cfg(test)]
mod tests;

pub(crate) use check::{Check, Status};
pub(crate) use findings::Findings;
pub use findings::sysctl;
pub(crate) use judge::judge;
pub(crate) use plan::Plan;
pub(crate) use preflight::Prepared;
pub use profile::{Better, Profile, Setting};
pub(crate) use redis::examine as examine_redis;
pub(crate) use report::{json, line, text};

use crate::config::Config;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The largest useful table of descriptors: connection keys have 24 bits for the slot.
const NOFILE_USEFUL_MAX: u64 = 1 << 24;

/// True exactly when no check failed.
pub(crate) fn can_serve(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.status != Status::Fail)
}

/// What `serve` makes sure of before it starts: kernel, io_uring, descriptors for the planned connections.
///
/// # Errors
/// The checks that failed, to be shown with `line`.
pub(crate) fn essentials(config: &Config) -> Result<(), Vec<Check>> {
    let checks = judge::judge_essentials(&Findings::gather_essentials(), &Plan::new(config, None, None));
    let failed: Vec<_> = checks.into_iter().filter(|check| check.status == Status::Fail).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed) }
}

/// Raises this process's RLIMIT_NOFILE to its hard limit, as far as it is of use; returns what holds then.
/// Where the kernel refuses, what held before holds on, and the rings follow from that.
pub(crate) fn raise_descriptor_limit() -> u64 {
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
