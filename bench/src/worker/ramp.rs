//! Ramp: opening a worker's connections at a rate.
//!
//! In:  the plan's rate and the worker's share.
//! Out: connections begun, for members 0, 1, 2, …
//!
//! A server that does not keep up slows the ramp down: at most `IN_PROGRESS_MAX` handshakes are under way for all
//! workers together, so that its listen queue does not overflow. How fast it went is in the report.

use super::link::Link;
use crate::plan::Plan;
use crate::schedule::Schedule;

/// Half of a usual listen queue (`net.core.somaxconn`: 4,096).
const IN_PROGRESS_MAX: u32 = 2048;
/// Connections are begun in groups of this length, so that a fast ramp does not wake up for each.
const GROUP_NS: u64 = 1_000_000;

pub(super) struct Ramp {
    schedule: Option<Schedule>,
    share: u32,
    begun: u32,
    in_progress_max: u64,
}

impl Ramp {
    pub(super) fn new(plan: &Plan, thread: u32) -> Self {
        Self {
            schedule: None,
            share: plan.share(plan.connections, thread),
            begun: 0,
            in_progress_max: u64::from((IN_PROGRESS_MAX / plan.threads).max(1)),
        }
    }

    /// Begins what is due; returns when more is.
    pub(super) fn act(&mut self, link: &mut Link<'_>) -> u64 {
        let plan = link.plan;
        let schedule = self.schedule.get_or_insert_with(|| {
            Schedule::new(link.now_ns, plan.ramp_per_s, plan.threads, link.thread, plan.threads)
        });
        while self.begun < self.share {
            let connects = &link.tally.connects;
            let in_progress = connects.attempted - connects.established - connects.failed;
            if in_progress >= self.in_progress_max || schedule.take_due(link.now_ns, u64::MAX).is_none() {
                break;
            }
            link.connect(self.begun, link.now_ns);
            self.begun += 1;
        }
        if self.begun == self.share { u64::MAX } else { link.now_ns + GROUP_NS }
    }

    pub(super) fn is_settled(&self, link: &Link<'_>) -> bool {
        let connects = &link.tally.connects;
        connects.established + connects.failed >= u64::from(self.share)
    }
}
