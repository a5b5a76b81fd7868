//! Echo: messages that the server sends back.
//!
//! In:  a rate (open loop) or none (closed loop), and how many connections talk.
//! Out: messages, each checked against what its own connection sent.
//!
//! In an open loop a message goes out when it is due, answered or not. In a closed loop a connection sends its next
//! message when the last one came back.

use holdfast_ring::Socket;

use super::Play;
use super::link::Link;
use super::ramp::Ramp;
use super::shared::Phase;
use crate::message::Stamp;
use crate::plan::Plan;
use crate::schedule::Schedule;
use crate::sequence::{Arrival, Sequences};

pub(super) struct Echo {
    ramp: Ramp,
    /// None in a closed loop.
    rate_per_s: Option<f64>,
    busy: u32,
    schedule: Option<Schedule>,
    /// The members that talk, and how many messages each has sent.
    talkers: Vec<(Option<Socket>, u32)>,
    sequences: Sequences,
    /// Sent, and neither back nor given up.
    under_way: u64,
    /// When sending ends; 0 while it has not begun.
    end_ns: u64,
}

impl Echo {
    pub(super) fn new(plan: &Plan, thread: u32, busy: u32, rate_per_s: Option<f64>) -> Self {
        let mine = plan.share(busy, thread) as usize;
        Self {
            ramp: Ramp::new(plan, thread),
            rate_per_s,
            busy,
            schedule: None,
            talkers: vec![(None, 0); mine],
            sequences: Sequences::new(mine),
            under_way: 0,
            end_ns: 0,
        }
    }

    /// Begins at `start_ns`: in a closed loop all talk at once, in an open one in turn.
    fn begin(&mut self, link: &mut Link<'_>, start_ns: u64, end_ns: u64) {
        self.end_ns = end_ns;
        let plan = link.plan;
        match self.rate_per_s {
            Some(per_s) => {
                self.schedule = Some(Schedule::new(start_ns, per_s, self.busy, link.thread, plan.threads));
            }
            None => (0..self.talkers.len()).for_each(|talker| self.send(link, talker, link.now_ns)),
        }
    }

    fn send(&mut self, link: &mut Link<'_>, talker: usize, intended_ns: u64) {
        let (Some(socket), sequence) = self.talkers[talker] else { return };
        let publisher = link.id(u32::try_from(talker).expect("members are numbered by u32"));
        let channel = link.plan.channel(publisher);
        if link.publish(socket, channel, Stamp { publisher, sequence, intended_ns }, 1) {
            self.talkers[talker].1 += 1;
            self.under_way += 1;
        }
    }
}

impl Play for Echo {
    fn act(&mut self, link: &mut Link<'_>, phase: Phase) -> u64 {
        let Phase::Run { start_ns, end_ns } = phase else { return self.ramp.act(link) };
        if self.end_ns == 0 {
            if link.now_ns < start_ns {
                return start_ns;
            }
            self.begin(link, start_ns, end_ns);
        }
        while let Some(due) =
            self.schedule.as_mut().and_then(|schedule| schedule.take_due(link.now_ns, self.end_ns))
        {
            self.send(link, due.member as usize, due.at_ns);
            link.sent_late(due.at_ns);
        }
        self.schedule.as_ref().and_then(Schedule::peek).map_or(u64::MAX, |due| due.at_ns)
    }

    fn is_settled(&self, link: &Link<'_>) -> bool {
        self.ramp.is_settled(link)
    }

    fn is_drained(&mut self, link: &mut Link<'_>, _: Phase) -> bool {
        self.end_ns != 0 && link.now_ns >= self.end_ns && self.under_way == 0
    }

    fn opened(&mut self, _: &mut Link<'_>, socket: Socket, member: u32) {
        if let Some(talker) = self.talkers.get_mut(member as usize) {
            talker.0 = Some(socket);
        }
    }

    fn message(&mut self, link: &mut Link<'_>, _: Socket, member: u32, payload: &[u8]) {
        let Some(stamp) = link.read(payload) else { return };
        let talker = member as usize;
        let sent = self.talkers.get(talker).map_or(0, |talker| talker.1);
        if stamp.publisher != link.id(member) || stamp.sequence >= sent {
            link.tally.messages.corrupt += 1;
            return;
        }
        match self.sequences.arrive(talker, stamp.sequence) {
            Arrival::InOrder | Arrival::AfterGap => {}
            Arrival::Late => link.tally.messages.reordered += 1,
            Arrival::Repeated => {
                link.tally.messages.repeated += 1;
                return;
            }
        }
        link.arrived(stamp);
        self.under_way -= 1;
        if self.rate_per_s.is_none() && link.now_ns < self.end_ns {
            self.send(link, talker, link.now_ns);
        }
    }

    fn lost(&mut self, link: &mut Link<'_>, member: u32) {
        let Some((socket, sent)) = self.talkers.get_mut(member as usize) else { return };
        *socket = None;
        let unanswered = self.sequences.outstanding(member as usize, *sent);
        self.sequences.end(member as usize);
        *sent = 0;
        self.under_way -= unanswered;
        link.tally.messages.lost += unanswered;
    }

    fn vacated(&mut self, _: &mut Link<'_>, _: u32) {}

    fn finish(&mut self, link: &mut Link<'_>) {
        link.tally.messages.lost += self.under_way;
    }
}
