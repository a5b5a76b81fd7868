//! Time: ticks of the uptime, and a timer wheel.
//!
//! In:  durations since the daemon started.
//! Out: ticks (`tick`); points in time of the wall clock (`unix`); time limits of the control thread (`patience`); keys whose tick has been reached (`wheel`).

pub(crate) mod patience;
mod tick;
mod unix;
mod wheel;

pub(crate) use self::{
    tick::{Clock, TICK_MS, Tick, tick_at, until},
    unix::UnixSeconds,
    wheel::{Entry, Fired, Wheel},
};
