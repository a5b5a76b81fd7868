//! Supervise: ends the daemon when a part of it fails, and detects parts that stall.
//!
//! In:  panics of any thread; threads and tasks that end unexpectedly; beats.
//! Out: the end of the process within a second, with the exit code 70 and a line that names the part; the stalled parts,
//! for `/health/ready`, the metrics, the log and the service manager.
//!
//! One rule holds for all parts (docs/decisions/0013-one-failure-ends-the-process.md): the process ends. The files:
//! `part` (their names), `beats` (what parts report), `watch` (which parts are stalled), `guard` (the response to it),
//! `manager` (systemd), `running` (starting threads and tasks), `failure` (the end), and `fault` (deliberate failures, in
//! debug builds only).

mod beats;
mod failure;
#[cfg(debug_assertions)]
mod fault;
mod guard;
mod manager;
mod watch;

pub(crate) use self::failure::{end_at_panics, watch_log};
pub(crate) use self::{
    beats::{Beats, Part, State},
    failure::{Sentinel, endless, fail, fail_for, is_shard, request, request_work, strike, supervise, task},
    guard::{Guard, tell},
    manager::Manager,
    watch::Watch,
};
