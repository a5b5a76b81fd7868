//! Broadcast: messages that the server sends to all.
//!
//! In:  a rate, publishers, a burst.
//! Out: messages, and for each connection the check that every publisher's messages came, once and in order; for each
//! message how long it took to its receivers.
//!
//! What one publisher says in one channel is a voice, with sequence numbers of its own; messages name their voice. Voice
//! `v` speaks in channel `v % channels`, and voices are dealt to publishers in turn. Without channels, all are in one, and
//! voice and publisher are the same. Where the messages are published through the server API, no worker has a voice, and
//! where each of them goes to every channel, all channels are as one.
//!
//! A connection keeps four bytes for each voice that it hears. A connection that is lost counts as lost, and what it would have
//! received does not: the server told it that it is over. What it had skipped before counts.

use std::sync::atomic::Ordering;

use holdfast_ring::Socket;

use super::Play;
use super::link::Link;
use super::ramp::Ramp;
use super::shared::{Parcel, Phase, Shared};
use crate::message::Stamp;
use crate::plan::{Plan, Scenario};
use crate::schedule::Schedule;
use crate::sequence::{Arrival, Sequences};
use crate::spread::Window;

/// How often it is asked, after the end, whether all have everything.
const LOOK_NS: u64 = 20_000_000;

pub(super) struct Broadcast<'r> {
    shared: &'r Shared,
    ramp: Ramp,
    channels: u32,
    voices: u32,
    /// Threads that have publishers.
    speakers: u32,
    burst: u32,
    rate_per_s: f64,
    sender_excluded: bool,
    schedule: Option<Schedule>,
    /// This worker's publishers.
    mouths: Vec<Option<Socket>>,
    /// How many messages each of their voices has sent.
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
        let Scenario::Broadcast { publishers, rate_per_s, burst, sender_excluded } = plan.scenario else {
            unreachable!("the worker chooses by the scenario")
        };
        let members = plan.share(plan.connections, thread) as usize;
        let voices = plan.voices();
        let channels = plan.audiences();
        let publishers = if plan.publish_api.is_some() { 0 } else { publishers };
        let speakers = plan.threads.min(publishers);
        let mine = if thread < speakers { (voices - thread).div_ceil(speakers) } else { 0 };
        Self {
            shared,
            ramp: Ramp::new(plan, thread),
            channels,
            voices,
            speakers,
            burst,
            rate_per_s,
            sender_excluded,
            schedule: None,
            mouths: vec![None; plan.share(publishers, thread) as usize],
            sent: vec![0; mine as usize],
            is_open: vec![false; members],
            sequences: Sequences::new(members * voices.div_ceil(channels) as usize),
            window: Window::new(Vec::new()),
            stage: Stage::Waiting,
            look_ns: 0,
        }
    }

    fn begin(&mut self, link: &Link<'_>, start_ns: u64, end_ns: u64) {
        let bursts_per_s = self.rate_per_s / f64::from(self.burst);
        self.schedule = (link.thread < self.speakers)
            .then(|| Schedule::new(start_ns, bursts_per_s, self.voices, link.thread, self.speakers));
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
            let spoken = due.member as usize;
            let Some(socket) = self.mouths[spoken % self.mouths.len()] else { continue };
            let voice = self.voice(link, due.member);
            let stamp = Stamp { publisher: voice, sequence: self.sent[spoken], intended_ns: due.at_ns };
            if link.publish(socket, voice % self.channels, stamp, self.burst) {
                self.sent[spoken] += self.burst;
                link.sent_late(due.at_ns);
            }
        }
    }

    /// Tells all workers how much this one's publishers sent.
    fn end_publishing(&mut self, link: &Link<'_>) {
        for (sent, spoken) in self.sent.iter().zip(0..) {
            self.shared.published[self.voice(link, spoken) as usize].store(*sent, Ordering::Relaxed);
        }
        self.shared.publishing.fetch_sub(1, Ordering::Release);
        self.stage = Stage::Listening;
    }

    /// The number that this worker's voice has among the voices of all workers.
    fn voice(&self, link: &Link<'_>, spoken: u32) -> u32 {
        spoken * self.speakers + link.thread
    }

    /// For each voice, how many connections of this worker hear it.
    fn receivers(&self, link: &Link<'_>) -> Vec<usize> {
        let mut open = vec![0; self.channels as usize];
        for (_, member) in self.is_open.iter().zip(0..).filter(|(is_open, _)| **is_open) {
            open[self.channel(link, member) as usize] += 1;
        }
        let is_mine = |voice: u32| voice % link.plan.threads == link.thread;
        let receivers = |voice| {
            let open: usize = open[(voice % self.channels) as usize];
            open - usize::from(self.sender_excluded && is_mine(voice) && open > 0)
        };
        (0..self.voices).map(receivers).collect()
    }

    /// Where a member listens.
    fn channel(&self, link: &Link<'_>, member: u32) -> u32 {
        link.plan.channel(link.id(member)) % self.channels
    }

    /// Of the voices in a member's channel, one.
    fn stream(&self, member: usize, voice: u32) -> usize {
        member * self.voices.div_ceil(self.channels) as usize + (voice / self.channels) as usize
    }

    /// The voices that are heard in a channel.
    fn voices_in(&self, channel: u32) -> impl Iterator<Item = u32> + use<> {
        (channel..self.voices).step_by(self.channels as usize)
    }

    /// What open connections still lack; for each of them in turn.
    fn missing(&self, link: &Link<'_>) -> impl Iterator<Item = u64> {
        let open = (0..self.is_open.len()).filter(|member| self.is_open[*member]);
        open.flat_map(move |member| {
            let number = u32::try_from(member).expect("members are numbered by u32");
            let id = link.id(number);
            let heard = self.voices_in(self.channel(link, number));
            heard.filter(move |voice| !(self.sender_excluded && *voice == id)).map(move |voice| {
                let sent = self.shared.published[voice as usize].load(Ordering::Relaxed);
                self.sequences.outstanding(self.stream(member, voice), sent)
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

    fn opened(&mut self, _: &mut Link<'_>, socket: Socket, member: u32) {
        self.is_open[member as usize] = true;
        if let Some(mouth) = self.mouths.get_mut(member as usize) {
            *mouth = Some(socket);
        }
    }

    fn message(&mut self, link: &mut Link<'_>, _: Socket, member: u32, payload: &[u8]) {
        let Some(stamp) = link.read(payload) else { return };
        let voice = stamp.publisher;
        if voice >= self.voices || voice % self.channels != self.channel(link, member) {
            link.tally.messages.corrupt += 1;
            return;
        }
        let stream = self.stream(member as usize, voice);
        match self.sequences.arrive(stream, stamp.sequence) {
            Arrival::InOrder | Arrival::AfterGap => {}
            Arrival::Late => link.tally.messages.reordered += 1,
            Arrival::Repeated => {
                link.tally.messages.repeated += 1;
                return;
            }
        }
        let latency_ns = link.arrived(stamp);
        if let Some(spread) = self.window.deliver(voice, stamp.sequence, latency_ns) {
            // A full queue leaves this message out of the per-message summary, and out of nothing else.
            let _ = self.shared.parcels.push(Parcel::Spread(spread));
        }
    }

    fn lost(&mut self, link: &mut Link<'_>, member: u32) {
        self.is_open[member as usize] = false;
        if let Some(mouth) = self.mouths.get_mut(member as usize) {
            *mouth = None;
        }
        for voice in self.voices_in(self.channel(link, member)) {
            link.tally.messages.lost += self.sequences.end(self.stream(member as usize, voice));
        }
    }

    fn vacated(&mut self, _: &mut Link<'_>, _: u32) {}

    fn finish(&mut self, link: &mut Link<'_>) {
        link.tally.messages.lost += self.missing(link).sum::<u64>() + self.sequences.lost_at_once();
        for spread in self.window.drain() {
            let _ = self.shared.parcels.push(Parcel::Spread(spread));
        }
    }
}
