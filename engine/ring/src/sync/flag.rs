//! Flag: loom's `AtomicBool` for tests that try every order of threads' steps.
//!
//! A store is a swap here. loom orders a plain store among other writes by what happened before alone, so it lets one that
//! comes after a swap take its place before that, though the swap did not read it: no processor does. What is said to be
//! relaxed stays so.

use loom::sync::atomic::Ordering;

#[derive(Debug)]
pub(crate) struct AtomicBool(loom::sync::atomic::AtomicBool);

impl AtomicBool {
    pub(crate) fn new(is_set: bool) -> Self {
        Self(loom::sync::atomic::AtomicBool::new(is_set))
    }

    pub(crate) fn load(&self, order: Ordering) -> bool {
        self.0.load(order)
    }

    pub(crate) fn store(&self, is_set: bool, order: Ordering) {
        let _ = self.swap(is_set, order);
    }

    pub(crate) fn swap(&self, is_set: bool, order: Ordering) -> bool {
        self.0.swap(is_set, order)
    }
}
