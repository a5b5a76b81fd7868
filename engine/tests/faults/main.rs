//! Faults: what breaks around a daemon.
//!
//! In:  a real daemon under load, and something that goes wrong: a module each.
//! Out: nothing lost that was acknowledged, unless those whom it concerns are told; no leak; memory back to its base.
//!
//! A fault that this machine does not allow is not tested, and it is said on standard error; where CI=true, that is a
//! failure. Nothing of the machine itself is touched: what is mounted or wired is so in namespaces that end with the test.
#![forbid(unsafe_code)]

mod api;
mod base;
mod certificate;
mod chamber;
mod group;
mod wire;

mod attacks;
mod budgets;
mod churn;
mod disk;
mod kill;
mod memory;
mod network;
#[cfg(debug_assertions)]
mod parts;
mod soak;
mod stall;
#[cfg(debug_assertions)]
mod still;
