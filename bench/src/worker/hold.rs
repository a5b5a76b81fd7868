//! Hold: connections that are kept, and do nothing but answer pings.
//!
//! In:  the ramp.
//! Out: losses, which the link counts.

use holdfast_ring::Socket;

use super::Play;
use super::link::Link;
use super::ramp::Ramp;
use super::shared::Phase;
use crate::plan::Plan;

pub(super) struct Hold {
    ramp: Ramp,
}

impl Hold {
    pub(super) fn new(plan: &Plan, thread: u32) -> Self {
        Self { ramp: Ramp::new(plan, thread) }
    }
}

impl Play for Hold {
    fn act(&mut self, link: &mut Link<'_>, phase: Phase) -> u64 {
        if phase == Phase::Ramp { self.ramp.act(link) } else { u64::MAX }
    }

    fn is_settled(&self, link: &Link<'_>) -> bool {
        self.ramp.is_settled(link)
    }

    fn is_drained(&mut self, link: &mut Link<'_>, phase: Phase) -> bool {
        matches!(phase, Phase::Run { end_ns, .. } if link.now_ns >= end_ns)
    }

    fn opened(&mut self, _: &mut Link<'_>, _: Socket, _: u32) {}

    /// Whatever a server says to clients that only listen.
    fn message(&mut self, link: &mut Link<'_>, _: Socket, _: u32, _: &[u8]) {
        link.tally.messages.foreign += 1;
    }

    fn lost(&mut self, _: &mut Link<'_>, _: u32) {}

    fn vacated(&mut self, _: &mut Link<'_>, _: u32) {}

    fn finish(&mut self, _: &mut Link<'_>) {}
}
