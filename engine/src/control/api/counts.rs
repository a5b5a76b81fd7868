//! Counts: counts calls and failures per method.
//!
//! In:  the outcome of each call.
//! Out: counters for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::control::connection::Denied;

/// Counters of all methods. Each command of a batch counts.
#[derive(Debug)]
pub(in crate::control) struct ApiCounts {
    /// The name, the calls and the failures of each method.
    methods: Vec<(&'static str, AtomicU64, AtomicU64)>,
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

    /// The reason, and what would allow the call, for the log.
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
    pub(in crate::control) fn new(methods: &[&'static str]) -> Self {
        let methods = methods.iter().map(|name| (*name, AtomicU64::new(0), AtomicU64::new(0))).collect();
        Self { methods, denials: Default::default() }
    }

    /// Counts a finished call of the method with this index.
    pub(super) fn ended(&self, method: usize, is_error: bool) {
        let (_, calls, errors) = &self.methods[method];
        calls.fetch_add(1, Ordering::Relaxed);
        errors.fetch_add(u64::from(is_error), Ordering::Relaxed);
    }

    pub(super) fn denied(&self, denial: Denial) {
        self.denials[denial as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The number of rejected calls for each reason.
    pub(in crate::control) fn denials(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Denial::ALL
            .iter()
            .map(|(denial, name)| (*name, self.denials[*denial as usize].load(Ordering::Relaxed)))
    }

    /// The number of calls and of failed calls for each method.
    pub(in crate::control) fn all(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.methods.iter().map(move |(name, calls, errors)| (*name, count(calls), count(errors)))
    }
}
