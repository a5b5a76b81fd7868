//! Sync: what threads share.
//!
//! Out: the standard library's atomics and crossbeam's queue; where a test tries every order of threads' steps
//! (`make loom`), loom's atomics and a queue made of them, which promises no more than crossbeam's does.

#[cfg(all(test, loom))]
mod flag;
#[cfg(all(test, loom))]
mod queue;

#[cfg(not(all(test, loom)))]
pub(crate) use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering, fence},
};

#[cfg(not(all(test, loom)))]
pub(crate) use crossbeam::queue::ArrayQueue;
#[cfg(all(test, loom))]
pub(crate) use loom::sync::{
    Arc,
    atomic::{Ordering, fence},
};

#[cfg(all(test, loom))]
pub(crate) use self::{flag::AtomicBool, queue::ArrayQueue};
