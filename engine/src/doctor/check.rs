//! Check: one finding of the doctor.
//!
//! In:  what was looked at, what is there, and what should be.
//! Out: how it stands, and the command that mends it.

use crate::config::Warning;

/// One line of the doctor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
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

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// As it should be.
    Ok,
    /// The daemon will serve, but not well or not at full load.
    Warn,
    /// The daemon cannot serve.
    Fail,
}

impl Status {
    /// `ok`, `warn` or `fail`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Check {
    pub(super) fn new(what: &str, found: String, needs: impl Into<String>) -> Self {
        Self { status: Status::Ok, what: what.to_owned(), found, needs: needs.into(), mend: None }
    }

    pub(super) fn warn(self, mend: &str) -> Self {
        Self { status: Status::Warn, mend: Some(mend.to_owned()), ..self }
    }

    pub(super) fn fail(self, mend: &str) -> Self {
        Self { status: Status::Fail, mend: Some(mend.to_owned()), ..self }
    }

    /// Adds the command where the status is not ok.
    pub(super) fn or_mend(self, mend: &str) -> Self {
        let mend = (self.status != Status::Ok).then(|| mend.to_owned());
        Self { mend, ..self }
    }
}

impl Check {
    /// What keeps `serve` from starting, of what the configuration names.
    pub(crate) fn of_fault(fault: &str) -> Self {
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
