//! Time: ticks of the uptime, and a wheel of what is due in them.
//!
//! In:  durations since the daemon began.
//! Out: ticks (`tick`); keys whose tick has come (`wheel`).

mod tick;
mod wheel;

pub(crate) use self::{
    tick::{Clock, TICK_MS, Tick, tick_at, until},
    wheel::Wheel,
};
