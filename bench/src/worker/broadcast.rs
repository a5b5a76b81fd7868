//! Broadcast: messages that the server sends to all.
//!
//! In:  a rate, publishers, a burst.
//! Out: messages, and for each connection the check that every publisher's messages came, once and in order; for each
//! message how long it took to its receivers.
//!
//! What one publisher says in one channel is a stream, with sequence numbers of its own; messages name their stream. Stream
//! `s` speaks in channel `s % channels`, and streams are dealt to publishers in turn. Without channels, all are in one, and
//! stream and publisher are the same. Where the messages are published through the server API, no worker has a stream, and
//! where each of them goes to every channel, all channels are as one.
//!
//! A connection keeps four bytes for each stream that it hears. A connection that is lost counts as lost, and what it would have
//! received does not: the server told it that it is over. What it had skipped before counts. Nothing is expected of those
//! that stop reading.

use std::sync::atomic::Ordering;

use holdfast_ring::Socket;

use super::Play;
use super::link::Link;
use super::ramp::Ramp;
use super::shared::{Phase, Shared, WorkerReport};
use crate::message::Stamp;
use crate::plan::Plan;
use crate::scenario::Scenario;
use crate::schedule::Schedule;
use crate::sequence::{Arrival, Sequences};
use crate::spread::Window;

/// How often it is asked, after the end, whether all have everything.
const LOOK_NS: u64 = 20_000_000;

pub(super) struct Broadcast<'r> {
    shared: &'r Shared,
    ramp: Ramp,
    channels: u32,
    streams: u32,
    /// Threads that have publishers.
    publishing_threads: u32,
    burst: u32,
    rate_per_s: f64,
    sender_excluded: bool,
    publishers: u32,
    stalled: f64,
    schedule: Option<Schedule>,
    /// This worker's publishers.
    publisher_sockets: Vec<Option<Socket>>,
    /// How many messages each of their streams has sent.
    sent: Vec<u32>,
    is_open: Vec<bool>,
    sequences: Sequences,
    window: Window,
    stage: Stage,
    look_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Waiting,
    Publishing { end_ns: u64 },
    Listening,
    Drained,
}

impl<'r> Broadcast<'r> {
    pub(super) fn new(plan: &Plan, shared: &'r Shared, thread: u32) -> Self {
        let Scenario::Broadcast { publishers, rate_per_s, burst, sender_excluded, stalled } = plan.scenario
        else {
            unreachable!("the worker chooses by the scenario")
        };
        let members = plan.share(plan.connections, thread) as usize;
        let streams = plan.streams();
        let channels = plan.channel_groups();
        let publishers = if plan.publish_api.is_some() { 0 } else { publishers };
        let publishing_threads = plan.threads.min(publishers);
        let mine =
            if thread < publishing_threads { (streams - thread).div_ceil(publishing_threads) } else { 0 };
        Self {
            shared,
            ramp: Ramp::new(plan, thread),
            channels,
            streams,
            publishing_threads,
            burst,
            rate_per_s,
            sender_excluded,
            publishers,
            stalled,
            schedule: None,
            publisher_sockets: vec![None; plan.share(publishers, thread) as usize],
            sent: vec![0; mine as usize],
            is_open: vec![false; members],
            sequences: Sequences::new(members * streams.div_ceil(channels) as usize),
            window: Window::new(Vec::new()),
            stage: Stage::Waiting,
            look_ns: 0,
        }
    }

    fn begin(&mut self, link: &Link<'_>, start_ns: u64, end_ns: u64) {
        let bursts_per_s = self.rate_per_s / f64::from(self.burst);
        self.schedule = (link.thread < self.publishing_threads).then(|| {
            Schedule::new(start_ns, bursts_per_s, self.streams, link.thread, self.publishing_threads)
        });
        // Where a message has one receiver, its latency says it all.
        if self.channels < link.plan.connections || self.channels == 1 {
            self.window = Window::new(self.receivers(link));
        }
        self.stage = Stage::Publishing { end_ns };
    }

    fn publish_due(&mut self, link: &mut Link<'_>, end_ns: u64) {
        while let Some(due) =
            self.schedule.as_mut().and_then(|schedule| schedule.take_due(link.now_ns, end_ns))
        {
            let stream_index = due.member as usize;
            let Some(socket) = self.publisher_sockets[stream_index % self.publisher_sockets.len()] else {
                continue;
            };
            let stream = self.stream(link, due.member);
            let stamp =
                Stamp { publisher: stream, sequence: self.sent[stream_index], intended_ns: due.at_ns };
            if link.publish(socket, stream % self.channels, stamp, self.burst) {
                self.sent[stream_index] += self.burst;
                link.sent_late(due.at_ns);
            }
        }
    }

    /// Tells all workers how much this one's publishers sent.
    fn end_publishing(&mut self, link: &Link<'_>) {
        for (sent, stream_index) in self.sent.iter().zip(0..) {
            self.shared.published[self.stream(link, stream_index) as usize].store(*sent, Ordering::Relaxed);
        }
        self.shared.publishing.fetch_sub(1, Ordering::Release);
        self.stage = Stage::Listening;
    }

    /// The number that this worker's stream has among the streams of all workers.
    fn stream(&self, link: &Link<'_>, stream_index: u32) -> u32 {
        stream_index * self.publishing_threads + link.thread
    }

    /// For each stream, how many connections of this worker hear it.
    fn receivers(&self, link: &Link<'_>) -> Vec<usize> {
        let mut open = vec![0; self.channels as usize];
        for (_, member) in self.is_open.iter().zip(0..).filter(|(is_open, _)| **is_open) {
            open[self.channel(link, member) as usize] += 1;
        }
        let is_mine = |stream: u32| stream % link.plan.threads == link.thread;
        let receivers = |stream| {
            let open: usize = open[(stream % self.channels) as usize];
            open - usize::from(self.sender_excluded && is_mine(stream) && open > 0)
        };
        (0..self.streams).map(receivers).collect()
    }

    /// Where a member listens.
    fn channel(&self, link: &Link<'_>, member: u32) -> u32 {
        link.plan.channel(link.id(member)) % self.channels
    }

    /// True exactly when this connection stops reading. They are spread evenly, and none of them publishes.
    fn stalls(&self, id: u32) -> bool {
        let up_to = |id: u32| (f64::from(id) * self.stalled).floor();
        id >= self.publishers && up_to(id + 1) > up_to(id)
    }

    /// The place of the sequence numbers that a member has heard of a stream.
    fn sequence_at(&self, member: usize, stream: u32) -> usize {
        member * self.streams.div_ceil(self.channels) as usize + (stream / self.channels) as usize
    }

    /// The streams that are heard in a channel.
    fn streams_in(&self, channel: u32) -> impl Iterator<Item = u32> + use<> {
        (channel..self.streams).step_by(self.channels as usize)
    }

    /// What open connections still lack; for each of them in turn.
    fn missing(&self, link: &Link<'_>) -> impl Iterator<Item = u64> {
        let open = (0..self.is_open.len()).filter(|member| self.is_open[*member]);
        open.flat_map(move |member| {
            let number = u32::try_from(member).expect("members are numbered by u32");
            let id = link.id(number);
            let heard = self.streams_in(self.channel(link, number));
            heard.filter(move |stream| !(self.sender_excluded && *stream == id)).map(move |stream| {
                let sent = self.shared.published[stream as usize].load(Ordering::Relaxed);
                self.sequences.outstanding(self.sequence_at(member, stream), sent)
            })
        })
    }
}

impl Play for Broadcast<'_> {
    fn act(&mut self, link: &mut Link<'_>, phase: Phase) -> u64 {
        let Phase::Run { start_ns, end_ns } = phase else { return self.ramp.act(link) };
        if self.stage == Stage::Waiting {
            self.begin(link, start_ns, end_ns);
        }
        let Stage::Publishing { end_ns } = self.stage else { return u64::MAX };
        self.publish_due(link, end_ns);
        if link.now_ns >= end_ns {
            self.end_publishing(link);
        }
        self.schedule.as_ref().and_then(Schedule::peek).map_or(end_ns, |due| due.at_ns.min(end_ns))
    }

    fn is_settled(&self, link: &Link<'_>) -> bool {
        self.ramp.is_settled(link)
    }

    fn is_drained(&mut self, link: &mut Link<'_>, _: Phase) -> bool {
        let may_look = self.stage == Stage::Listening && link.now_ns >= self.look_ns;
        if may_look && self.shared.publishing.load(Ordering::Acquire) == 0 {
            self.look_ns = link.now_ns + LOOK_NS;
            if self.missing(link).all(|missing| missing == 0) {
                self.stage = Stage::Drained;
            }
        }
        self.stage == Stage::Drained
    }

    fn opened(&mut self, link: &mut Link<'_>, socket: Socket, member: u32) {
        if self.stalls(link.id(member)) {
            // From here on nothing is expected of it.
            return link.sockets.pause_receive(socket);
        }
        self.is_open[member as usize] = true;
        if let Some(mouth) = self.publisher_sockets.get_mut(member as usize) {
            *mouth = Some(socket);
        }
    }

    fn message(&mut self, link: &mut Link<'_>, _: Socket, member: u32, payload: &[u8]) {
        if self.stalls(link.id(member)) {
            return;
        }
        let Some(stamp) = link.read(payload) else { return };
        let stream = stamp.publisher;
        if stream >= self.streams || stream % self.channels != self.channel(link, member) {
            link.tally.messages.corrupt += 1;
            return;
        }
        let at = self.sequence_at(member as usize, stream);
        match self.sequences.arrive(at, stamp.sequence) {
            Arrival::InOrder | Arrival::AfterGap => {}
            Arrival::Late => link.tally.messages.reordered += 1,
            Arrival::Repeated => {
                link.tally.messages.repeated += 1;
                return;
            }
        }
        let latency_ns = link.arrived(stamp);
        if let Some(spread) = self.window.deliver(stream, stamp.sequence, latency_ns) {
            // A full queue leaves this message out of the per-message summary, and out of nothing else.
            let _ = self.shared.parcels.push(WorkerReport::DeliveryLatencies(spread));
        }
    }

    fn lost(&mut self, link: &mut Link<'_>, member: u32) {
        if self.stalls(link.id(member)) {
            return;
        }
        self.is_open[member as usize] = false;
        if let Some(mouth) = self.publisher_sockets.get_mut(member as usize) {
            *mouth = None;
        }
        for stream in self.streams_in(self.channel(link, member)) {
            link.tally.messages.lost += self.sequences.end(self.sequence_at(member as usize, stream));
        }
    }

    fn vacated(&mut self, _: &mut Link<'_>, _: u32) {}

    fn finish(&mut self, link: &mut Link<'_>) {
        link.tally.messages.lost += self.missing(link).sum::<u64>() + self.sequences.lost_at_once();
        for spread in self.window.drain() {
            let _ = self.shared.parcels.push(WorkerReport::DeliveryLatencies(spread));
        }
    }
}
