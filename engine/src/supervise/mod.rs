//! Supervise: what becomes of the daemon when a part of it fails, and how it is known that its parts go on.
//!
//! In:  panics of any thread; threads and tasks that end though nobody told them to; beats.
//! Out: the end of the process within a second, with the exit code 70 (`failure::FAILED`) and a line that names the part; which parts
//! stand still, for `/health/ready`, the metrics, the log and the service manager.
//!
//! One rule holds for all parts (docs/decisions/0013-one-failure-ends-the-process.md): the process ends. The files:
//! `beats` (what parts tell), `failure` (how the process ends), `watch` (what is seen of that), `guard` (what is done about it), `manager` (systemd), and
//! `fault` (failures on purpose, in debug builds alone).

mod beats;
mod failure;
#[cfg(debug_assertions)]
mod fault;
mod guard;
mod manager;
mod watch;

pub use self::failure::{end_at_panics, watch_log};
pub(crate) use self::{
    beats::{Beats, Part, State},
    failure::{Sentinel, endless, fail, fail_for, is_shard, request, request_work, strike, supervise, task},
    guard::{Guard, tell},
    manager::Manager,
    watch::Watch,
};
