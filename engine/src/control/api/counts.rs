//! Counts: how often each method was called, and how often in vain.
//!
//! In:  calls, as they end.
//! Out: numbers for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Method;

/// The numbers of all methods; those of a batch are counted one by one.
#[derive(Debug, Default)]
pub(in crate::control) struct ApiCounts {
    calls: [AtomicU64; Method::ALL.len()],
    errors: [AtomicU64; Method::ALL.len()],
}

impl ApiCounts {
    pub(super) fn ended(&self, method: Method, is_error: bool) {
        self.calls[method as usize].fetch_add(1, Ordering::Relaxed);
        if is_error {
            self.errors[method as usize].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each method with its calls, and how many of them ended with an error.
    pub(in crate::control) fn all(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        Method::ALL.iter().map(|(name, method)| {
            let count = |counts: &[AtomicU64]| counts[*method as usize].load(Ordering::Relaxed);
            (*name, count(&self.calls), count(&self.errors))
        })
    }
}
