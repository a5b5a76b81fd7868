//! Time: ticks of the uptime, and a timer wheel.
//!
//! In:  durations since the daemon started.
//! Out: ticks (`tick`); keys whose tick has been reached (`wheel`).

mod tick;
mod wheel;

pub(crate) use self::{
    tick::{Clock, TICK_MS, Tick, tick_at, until},
    wheel::Wheel,
};
