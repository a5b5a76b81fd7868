//! Storm: all connections drop, and all come back at once.
//!
//! In:  the ramp; then the moment of the drop.
//! Out: for each connection how long it took until it was back; and with `--recover`, the check that each got every
//! message that it had missed, once and in order.
//!
//! Nobody waits for anybody: each member reconnects when its old descriptor is free, as clients do when a network
//! returns. A worker begins so many at a time that those who are faster are not held up by its own work. Only where
//! there is something to recover, all stay away until [`OfflinePublisher`] has published it.

use std::borrow::Cow;

use holdfast_protocol::client::StreamPosition;
use holdfast_protocol::client::reply::SubscribeResult;
use holdfast_ring::Socket;

use super::Play;
use super::absence::OfflinePublisher;
use super::link::Link;
use super::ramp::Ramp;
use super::session::Subscription;
use super::shared::{Phase, Shared};
use crate::latency::histogram;
use crate::plan::Plan;
use crate::sequence::{Arrival, Sequences};

/// Connections begun in one turn. Newer kernels run at most 20 pieces of deferred work in a turn, and a connection needs
/// four until it is back (connected, readable, received, sent): with more, those on their way would wait behind new ones.
const RETURNS_A_TURN: usize = 4;

pub(super) struct Storm<'r> {
    shared: &'r Shared,
    ramp: Ramp,
    stage: Stage,
    /// How many are to come back.
    awaited: u64,
    /// Failed connections before the storm.
    failed_before: u64,
    /// Members whose descriptor is free and who are to come back.
    waiting: Vec<u32>,
    /// Members who were let go to come back, each once.
    has_tried: Vec<bool>,
    /// Messages in each channel that members are to recover.
    recover: u32,
    /// Where each member stood at the drop; none where there is nothing to recover.
    positions: Vec<Option<(u64, Box<str>)>>,
    /// What each member recovered.
    sequences: Sequences,
}

/// How far the storm is: without something to recover, there is no `Away`.
enum Stage {
    Calm,
    Away(OfflinePublisher),
    /// Since this moment, from which the time of each return counts.
    Returning(u64),
}

impl<'r> Storm<'r> {
    pub(super) fn new(plan: &Plan, shared: &'r Shared, thread: u32, recover: u32) -> Self {
        let members = plan.share(plan.connections, thread) as usize;
        let recovering = if recover > 0 { members } else { 0 };
        Self {
            shared,
            ramp: Ramp::new(plan, thread),
            stage: Stage::Calm,
            awaited: 0,
            failed_before: 0,
            waiting: Vec::new(),
            has_tried: vec![false; members],
            recover,
            positions: vec![None; recovering],
            sequences: Sequences::new(recovering),
        }
    }

    fn drop_all(&mut self, link: &mut Link<'_>) {
        self.awaited = link.connections.open();
        // What is told of handshakes is told of the storm.
        link.tally.handshakes = histogram();
        link.patience_ns = link.plan.duration_ns;
        link.drop_all();
        if self.recover == 0 {
            return self.begin_return(link);
        }
        let publisher = u32::try_from(self.has_tried.len()).expect("members are numbered by u32");
        self.stage = Stage::Away(OfflinePublisher::new(publisher, self.recover));
    }

    fn begin_return(&mut self, link: &Link<'_>) {
        self.failed_before = link.tally.connects.failed;
        self.stage = Stage::Returning(link.now_ns);
    }

    /// How many neither are back nor have failed.
    fn missing(&self, link: &Link<'_>) -> u64 {
        let failed = link.tally.connects.failed - self.failed_before;
        self.awaited.saturating_sub(link.tally.returns.len() + failed)
    }
}

impl Play for Storm<'_> {
    fn act(&mut self, link: &mut Link<'_>, phase: Phase) -> u64 {
        let Phase::Run { start_ns, .. } = phase else { return self.ramp.act(link) };
        if link.now_ns < start_ns {
            return start_ns;
        }
        match &mut self.stage {
            Stage::Calm => {
                self.drop_all(link);
                link.now_ns
            }
            Stage::Away(absence) => {
                let are_ours_away = self.waiting.len() as u64 >= self.awaited;
                if are_ours_away && absence.act(link, self.shared) {
                    self.begin_return(link);
                }
                link.now_ns
            }
            Stage::Returning(_) => {
                let from = self.waiting.len().saturating_sub(RETURNS_A_TURN);
                for member in self.waiting.drain(from..) {
                    link.connect(member, link.now_ns);
                }
                if self.waiting.is_empty() { u64::MAX } else { link.now_ns }
            }
        }
    }

    fn is_settled(&self, link: &Link<'_>) -> bool {
        self.ramp.is_settled(link)
    }

    fn is_drained(&mut self, link: &mut Link<'_>, _: Phase) -> bool {
        matches!(self.stage, Stage::Returning(_)) && self.missing(link) == 0
    }

    fn subscription(&self, link: &Link<'_>, member: u32) -> Option<Subscription<'_>> {
        if member as usize == self.has_tried.len() {
            return None;
        }
        let position = self.positions.get(member as usize).and_then(Option::as_ref);
        let since =
            position.map(|(offset, epoch)| StreamPosition { offset: *offset, epoch: Cow::Borrowed(epoch) });
        Some(Subscription { channel: link.plan.channel(link.id(member)), since })
    }

    fn subscribed(&mut self, link: &mut Link<'_>, member: u32, result: &SubscribeResult<'_>) {
        let Some(position) = self.positions.get_mut(member as usize) else { return };
        if position.is_none() {
            *position = Some((result.offset, result.epoch.as_ref().into()));
        } else if !result.recovered {
            link.tally.reason("the server did not recover what was missed".to_owned(), 1);
        }
    }

    fn answered(&mut self, _: &mut Link<'_>, _: u32) {
        if let Stage::Away(absence) = &mut self.stage {
            absence.answered();
        }
    }

    fn opened(&mut self, link: &mut Link<'_>, socket: Socket, _: u32) {
        match &mut self.stage {
            Stage::Calm => {}
            Stage::Away(absence) => absence.opened(socket),
            Stage::Returning(since_ns) => link.tally.returns.saturating_record(link.now_ns - *since_ns),
        }
    }

    /// What a member had missed; or whatever else a server says to those who come back.
    fn message(&mut self, link: &mut Link<'_>, _: Socket, member: u32, payload: &[u8]) {
        if self.recover == 0 {
            link.tally.messages.foreign += 1;
            return;
        }
        let Some(stamp) = link.read(payload) else { return };
        if stamp.publisher != link.plan.channel(link.id(member)) || stamp.sequence >= self.recover {
            link.tally.messages.corrupt += 1;
            return;
        }
        match self.sequences.arrive(member as usize, stamp.sequence) {
            Arrival::InOrder | Arrival::AfterGap => {}
            Arrival::Late => link.tally.messages.reordered += 1,
            Arrival::Repeated => {
                link.tally.messages.repeated += 1;
                return;
            }
        }
        // How long ago it was published says nothing about the server.
        link.tally.messages.received += 1;
        link.tally.last_message_ns = link.now_ns;
    }

    fn lost(&mut self, _: &mut Link<'_>, _: u32) {}

    fn vacated(&mut self, _: &mut Link<'_>, member: u32) {
        match &mut self.stage {
            Stage::Calm => return,
            Stage::Away(absence) if member as usize == self.has_tried.len() => return absence.vacated(),
            Stage::Away(_) | Stage::Returning(_) => {}
        }
        let is_first =
            self.has_tried.get_mut(member as usize).is_some_and(|tried| !std::mem::replace(tried, true));
        if is_first {
            self.waiting.push(member);
        }
    }

    /// Who is not back by now did not come back in time; who is, has what there was to recover.
    fn finish(&mut self, link: &mut Link<'_>) {
        let missing = self.missing(link);
        if missing > 0 {
            link.tally.connects.failed += missing;
            link.tally.reason("not back in time".to_owned(), missing);
        }
        if self.recover > 0 {
            let due = link.tally.returns.len() * u64::from(self.recover);
            link.tally.messages.lost += due.saturating_sub(link.tally.messages.received);
        }
    }
}
