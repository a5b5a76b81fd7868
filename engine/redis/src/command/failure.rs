//! Failure: why an ask has no reply, and whether it may have been done all the same.
//!
//! In:  errors of the client library, of Redis, of our own limits.
//! Out: one kind each, which is counted, and the words for an operator.

use fred::error::{Error, ErrorKind};

use super::breaker::Down;
use crate::{layout::Scattered, receive::cause::printable};

/// Why there is no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Our limits: asks or bytes that wait. Nothing was done.
    #[error("too much waits for Redis")]
    Full,
    /// [`payload_bytes_max`](super::CommandOptions::payload_bytes_max). Nothing was done.
    #[error("larger than a publication may be")]
    TooLarge,
    /// Nothing was done.
    #[error(transparent)]
    Scattered(#[from] Scattered),
    /// The breaker is open. Nothing was done.
    #[error("Redis is away: {0}")]
    Down(Down),
    /// It waited too long before it was sent. Nothing was done.
    #[error("Redis was too busy to be asked in time")]
    Expired,
    /// Redis says no. Nothing was done.
    #[error("Redis answered: {0}")]
    Denied(String),
    /// No reply in time. It may have been done, or be done later.
    #[error("Redis did not answer in time")]
    Late,
    /// The connection ended before the reply. It may have been done.
    #[error("the connection to Redis ended: {0}")]
    Lost(String),
    /// Fewer replicas have it in time than have to. It was done, and a failover may lose it.
    #[error("too few replicas of Redis have it")]
    Unreplicated,
    /// A reply of another shape than the script's, which a Redis does not give. It may have been done.
    #[error("Redis answered something else than what was asked")]
    Garbled,
}

/// The library's words, of no kind of their own, for a command that its task has dropped.
const ABANDONED: &str = "channel closed";

/// How many kinds of [`Failure`] there are.
pub(super) const FAILURES: usize = NAMES.len();

pub(super) const NAMES: [&str; 10] = [
    "full",
    "too_large",
    "scattered",
    "down",
    "expired",
    "denied",
    "late",
    "lost",
    "garbled",
    "unreplicated",
];

impl Failure {
    /// True exactly when what was asked may have been done all the same.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Late | Self::Lost(_) | Self::Garbled | Self::Unreplicated)
    }

    /// Its kind as a metric's label.
    pub fn name(&self) -> &'static str {
        NAMES[self.index()]
    }

    pub(super) const fn index(&self) -> usize {
        match self {
            Self::Full => 0,
            Self::TooLarge => 1,
            Self::Scattered(_) => 2,
            Self::Down(_) => 3,
            Self::Expired => 4,
            Self::Denied(_) => 5,
            Self::Late => 6,
            Self::Lost(_) => 7,
            Self::Garbled => 8,
            Self::Unreplicated => 9,
        }
    }

    /// True exactly when this Redis is the wrong one, or none at the moment, for whatever writes.
    pub(super) fn is_of_wrong_primary(&self) -> bool {
        let Self::Denied(answer) = self else { return false };
        ["READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN"].iter().any(|start| answer.starts_with(start))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let details = || printable(error.details().as_bytes());
        match error.kind() {
            ErrorKind::Timeout => Self::Late,
            ErrorKind::Backpressure => Self::Full,
            ErrorKind::IO
            | ErrorKind::Canceled
            | ErrorKind::Routing
            | ErrorKind::Tls
            | ErrorKind::Sentinel => Self::Lost(details()),
            // A command whose client ended before its answer came.
            ErrorKind::Unknown if error.details() == ABANDONED => Self::Lost(details()),
            ErrorKind::Protocol | ErrorKind::Parse => Self::Garbled,
            _ => Self::Denied(details()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_whether_it_may_have_been_done() {
        for (kind, name, is_unknown) in [
            (ErrorKind::Timeout, "late", true),
            (ErrorKind::IO, "lost", true),
            (ErrorKind::Canceled, "lost", true),
            (ErrorKind::Backpressure, "full", false),
            (ErrorKind::Auth, "denied", false),
            (ErrorKind::Cluster, "denied", false),
            (ErrorKind::Unknown, "denied", false),
        ] {
            let failure = Failure::from(Error::new(kind, "x"));
            assert_eq!((failure.name(), failure.is_unknown()), (name, is_unknown));
        }
        let abandoned = Failure::from(Error::new(ErrorKind::Unknown, "channel closed"));
        assert!(abandoned.name() == "lost" && abandoned.is_unknown());
        assert!(Failure::Denied("READONLY You can't".into()).is_of_wrong_primary());
        assert!(!Failure::Denied("ERR READONLY".into()).is_of_wrong_primary());
        assert!(!Failure::Late.is_of_wrong_primary());
    }
}
