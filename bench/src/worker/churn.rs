//! Churn: connections that come, say one thing, and go.
//!
//! In:  a rate of arrivals; how many in all, or until when.
//! Out: visits: a connection, an echo unless it is left out, a proper close.
//!
//! At most the planned number of connections is open at a time; an arrival that finds no place waits for one, and its
//! handshake counts from when it was due.

use holdfast_ring::Socket;

use super::Play;
use super::link::Link;
use super::shared::Phase;
use crate::message::Stamp;
use crate::plan::Plan;
use crate::schedule::Schedule;

/// Arrivals are begun in groups of this length at least, so that a fast rate does not wake up for each.
const GROUP_NS: u64 = 200_000;

pub(super) struct Churn {
    rate_per_s: f64,
    echo: bool,
    schedule: Option<Schedule>,
    /// Places without a connection.
    free: Vec<u32>,
    /// How many visits each place has seen: the sequence number of its next message.
    visits: Vec<u32>,
    /// How many visits may still begin.
    left: u64,
}

impl Churn {
    pub(super) fn new(plan: &Plan, thread: u32, rate_per_s: f64, total: Option<u32>, echo: bool) -> Self {
        let places = plan.share(plan.connections, thread);
        Self {
            rate_per_s,
            echo,
            schedule: None,
            free: (0..places).rev().collect(),
            visits: vec![0; places as usize],
            left: total.map_or(u64::MAX, |total| u64::from(plan.share(total, thread))),
        }
    }

    fn leave_place(&mut self, member: u32) {
        self.visits[member as usize] += 1;
        self.free.push(member);
    }
}

impl Play for Churn {
    fn act(&mut self, link: &mut Link<'_>, phase: Phase) -> u64 {
        let Phase::Run { start_ns, end_ns } = phase else { return u64::MAX };
        let plan = link.plan;
        let schedule = self.schedule.get_or_insert_with(|| {
            Schedule::new(start_ns, self.rate_per_s, plan.threads, link.thread, plan.threads)
        });
        let mut refused = Vec::new();
        while self.left > 0
            && let Some(&member) = self.free.last()
            && let Some(due) = schedule.take_due(link.now_ns, end_ns)
        {
            self.free.pop();
            self.left -= 1;
            if !link.connect(member, due.at_ns) {
                refused.push(member);
            }
        }
        let due_ns = schedule.peek().map_or(u64::MAX, |due| due.at_ns);
        let is_waiting = self.free.is_empty() || self.left == 0;
        refused.into_iter().for_each(|member| self.leave_place(member));
        // Without a place, the next visit begins when one is vacated.
        if is_waiting { u64::MAX } else { due_ns.max(link.now_ns + GROUP_NS) }
    }

    fn is_settled(&self, _: &Link<'_>) -> bool {
        true
    }

    fn is_drained(&mut self, link: &mut Link<'_>, phase: Phase) -> bool {
        let Phase::Run { end_ns, .. } = phase else { return false };
        let is_over = self.left == 0 || link.now_ns >= end_ns;
        is_over && self.free.len() == self.visits.len()
    }

    fn opened(&mut self, link: &mut Link<'_>, socket: Socket, member: u32) {
        if !self.echo {
            return link.leave(socket);
        }
        let (publisher, sequence) = (link.id(member), self.visits[member as usize]);
        let channel = link.plan.channel(publisher);
        link.publish(socket, channel, Stamp { publisher, sequence, intended_ns: link.now_ns }, 1);
        link.watch(socket);
    }

    fn message(&mut self, link: &mut Link<'_>, socket: Socket, member: u32, payload: &[u8]) {
        let Some(stamp) = link.read(payload) else { return };
        if (stamp.publisher, stamp.sequence) != (link.id(member), self.visits[member as usize]) {
            link.tally.messages.corrupt += 1;
            return;
        }
        if link.is_leaving(socket) {
            link.tally.messages.repeated += 1;
            return;
        }
        link.arrived(stamp);
        link.leave(socket);
    }

    fn lost(&mut self, link: &mut Link<'_>, _: u32) {
        link.tally.messages.lost += u64::from(self.echo);
    }

    fn vacated(&mut self, _: &mut Link<'_>, member: u32) {
        self.leave_place(member);
    }

    fn finish(&mut self, link: &mut Link<'_>) {
        link.tally.messages.lost += if self.echo { link.connections.open() } else { 0 };
    }
}
