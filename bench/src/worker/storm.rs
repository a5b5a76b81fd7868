//! Storm: all connections drop, and all come back at once.
//!
//! In:  the ramp; then the moment of the drop.
//! Out: for each connection how long it took until it was back.
//!
//! Nobody waits for anybody: each member reconnects when its old descriptor is free, as clients do when a network
//! returns. A worker begins so many at a time that those who are faster are not held up by its own work.

use holdfast_ring::Socket;

use super::Play;
use super::link::Link;
use super::ramp::Ramp;
use super::shared::Phase;
use crate::latency::histogram;
use crate::plan::Plan;

/// Connections begun in one turn. Newer kernels run at most 20 pieces of deferred work in a turn, and a connection needs
/// four until it is back (connected, readable, received, sent): with more, those on their way would wait behind new ones.
const RETURNS_A_TURN: usize = 4;

pub(super) struct Storm {
    ramp: Ramp,
    /// When all were dropped.
    dropped_ns: Option<u64>,
    /// How many are to come back.
    awaited: u64,
    /// Failed connections before the storm.
    failed_before: u64,
    /// Members whose descriptor is free and who are to come back.
    waiting: Vec<u32>,
    /// Members who were let go to come back, each once.
    has_tried: Vec<bool>,
}

impl Storm {
    pub(super) fn new(plan: &Plan, thread: u32) -> Self {
        let members = plan.share(plan.connections, thread) as usize;
        let has_tried = vec![false; members];
        let ramp = Ramp::new(plan, thread);
        Self { ramp, dropped_ns: None, awaited: 0, failed_before: 0, waiting: Vec::new(), has_tried }
    }

    /// How many neither are back nor have failed.
    fn missing(&self, link: &Link<'_>) -> u64 {
        let failed = link.tally.connects.failed - self.failed_before;
        self.awaited.saturating_sub(link.tally.returns.len() + failed)
    }
}

impl Play for Storm {
    fn act(&mut self, link: &mut Link<'_>, phase: Phase) -> u64 {
        let Phase::Run { start_ns, .. } = phase else { return self.ramp.act(link) };
        if link.now_ns < start_ns {
            return start_ns;
        }
        if self.dropped_ns.is_none() {
            self.dropped_ns = Some(link.now_ns);
            self.awaited = link.connections.open();
            self.failed_before = link.tally.connects.failed;
            // What is told of handshakes is told of the storm.
            link.tally.handshakes = histogram();
            link.patience_ns = link.plan.duration_ns;
            link.drop_all();
        }
        for member in self.waiting.drain(self.waiting.len().saturating_sub(RETURNS_A_TURN)..) {
            link.connect(member, link.now_ns);
        }
        if self.waiting.is_empty() { u64::MAX } else { link.now_ns }
    }

    fn is_settled(&self, link: &Link<'_>) -> bool {
        self.ramp.is_settled(link)
    }

    fn is_drained(&mut self, link: &mut Link<'_>, _: Phase) -> bool {
        self.dropped_ns.is_some() && self.missing(link) == 0
    }

    fn opened(&mut self, link: &mut Link<'_>, _: Socket, _: u32) {
        if let Some(dropped_ns) = self.dropped_ns {
            link.tally.returns.saturating_record(link.now_ns - dropped_ns);
        }
    }

    /// Whatever a server says to those who come back.
    fn message(&mut self, link: &mut Link<'_>, _: Socket, _: u32, _: &[u8]) {
        link.tally.messages.foreign += 1;
    }

    fn lost(&mut self, _: &mut Link<'_>, _: u32) {}

    fn vacated(&mut self, _: &mut Link<'_>, member: u32) {
        if self.dropped_ns.is_some() && !std::mem::replace(&mut self.has_tried[member as usize], true) {
            self.waiting.push(member);
        }
    }

    /// Who is not back by now did not come back in time.
    fn finish(&mut self, link: &mut Link<'_>) {
        let missing = self.missing(link);
        if missing > 0 {
            link.tally.connects.failed += missing;
            link.tally.reason("not back in time".to_owned(), missing);
        }
    }
}
