//! Counts: calls and failures per method.
//!
//! In:  calls, as they end.
//! Out: counters for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::control::connection::Denied;

/// The counters of all methods; the commands of a batch count one by one.
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
    pub(in crate::control) fn new(methods: &[&'static str]) -> Self {
        let methods = methods.iter().map(|name| (*name, AtomicU64::new(0), AtomicU64::new(0))).collect();
        Self { methods, denials: Default::default() }
    }

    /// A call of the method with this number has ended.
    pub(super) fn ended(&self, method: usize, is_error: bool) {
        let (_, calls, errors) = &self.methods[method];
        calls.fetch_add(1, Ordering::Relaxed);
        errors.fetch_add(u64::from(is_error), Ordering::Relaxed);
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
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.methods.iter().map(move |(name, calls, errors)| (*name, count(calls), count(errors)))
    }
}
