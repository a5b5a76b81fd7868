//! Counts: calls and failures per method.
//!
//! In:  calls, as they end.
//! Out: counters for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Method;
use crate::control::connection::Denied;

/// The counters of all methods; the commands of a batch count one by one.
#[derive(Debug, Default)]
pub(in crate::control) struct ApiCounts {
    calls: [AtomicU64; Method::ALL.len()],
    errors: [AtomicU64; Method::ALL.len()],
    denials: [AtomicU64; Denial::ALL.len()],
}

/// Why a call was not authorized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    NoKey,
    WrongKey,
    Host,
    Origin,
    ContentType,
    Body,
}

impl Denial {
    const ALL: [(Self, &str); 6] = [
        (Self::NoKey, "no_key"),
        (Self::WrongKey, "wrong_key"),
        (Self::Host, "host"),
        (Self::Origin, "origin"),
        (Self::ContentType, "content_type"),
        (Self::Body, "body"),
    ];

    /// For the log.
    pub(super) const fn told(self) -> Denied {
        let allow = match self {
            Self::NoKey => "a key of http_api.key or http_api.keys in the field X-API-Key",
            Self::WrongKey => "a key of http_api.key or http_api.keys",
            Self::Host => "http_api.allowed_hosts with this host, or a key",
            Self::Origin => "a key: http_api.insecure = false",
            Self::ContentType => "Content-Type: application/json, or a key",
            Self::Body => "http_api.request_body_limit",
        };
        Denied { reason: Self::ALL[self as usize].1, allow }
    }
}

impl ApiCounts {
    pub(super) fn ended(&self, method: Method, is_error: bool) {
        self.calls[method as usize].fetch_add(1, Ordering::Relaxed);
        if is_error {
            self.errors[method as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn denied(&self, denial: Denial) {
        self.denials[denial as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Each reason with its number of rejected calls.
    pub(in crate::control) fn denials(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Denial::ALL
            .iter()
            .map(|(denial, name)| (*name, self.denials[*denial as usize].load(Ordering::Relaxed)))
    }

    /// Each method with its calls, and how many of them failed.
    pub(in crate::control) fn all(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        Method::ALL.iter().map(|(name, method)| {
            let count = |counts: &[AtomicU64]| counts[*method as usize].load(Ordering::Relaxed);
            (*name, count(&self.calls), count(&self.errors))
        })
    }
}
