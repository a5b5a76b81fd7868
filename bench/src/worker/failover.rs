//! Failover: clients that keep their subscriptions while servers fail.
//!
//! In:  the ramp; what a publisher that does not give up has had acknowledged.
//! Out: for each client the check that it got every message once and in order, or was told that it did not; how long it
//! was cut off; how long the messages took that came in spite of it.
//!
//! A client that is cut off comes back as SDKs do: after a random part of a wait that doubles, with the position of the
//! last publication that it has. It counts publications itself: each is one further than the one before. Where the server
//! cannot say what it missed, the client goes on from where it is, and what it has not got is not lost in silence.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::Ordering;

use holdfast_protocol::client::StreamPosition;
use holdfast_protocol::client::reply::SubscribeResult;
use holdfast_ring::Socket;
use rand::Rng as _;

use super::Play;
use super::link::Link;
use super::ramp::Ramp;
use super::session::Subscription;
use super::shared::{Phase, Shared};
use crate::plan::Plan;

/// The first wait before a client comes back, and the longest.
const WAIT_NS_MIN: u64 = 100_000_000;
const WAIT_NS_MAX: u64 = 5_000_000_000;
/// Connections begun in one turn.
const RETURNS_A_TURN: usize = 64;
/// How often it is asked, after the end, whether all have everything.
const LOOK_NS: u64 = 20_000_000;

/// One client.
#[derive(Clone, Debug, Default)]
struct Member {
    /// The publication that it has got last, as the server counts; none before the first subscription.
    position: Option<(u64, EpochIndex)>,
    /// The message that it gets next; none where any may be the next.
    next: Option<u32>,
    is_open: bool,
    /// How often in a row it has tried to come back.
    attempts: u32,
    /// When it was cut off; 0 if it was never.
    cut_off_ns: u64,
}

type EpochIndex = u32;

/// Each epoch's text, once.
#[derive(Debug, Default)]
struct Epochs {
    texts: Vec<Box<str>>,
    indices: HashMap<Box<str>, EpochIndex>,
}

impl Epochs {
    fn index(&mut self, text: &str) -> EpochIndex {
        if let Some(index) = self.indices.get(text) {
            return *index;
        }
        let index = EpochIndex::try_from(self.texts.len()).expect("fewer epochs than 2^32");
        self.texts.push(text.into());
        self.indices.insert(text.into(), index);
        index
    }
}

pub(super) struct Failover<'r> {
    shared: &'r Shared,
    ramp: Ramp,
    members: Vec<Member>,
    epochs: Epochs,
    /// Who comes back when.
    returns: BinaryHeap<Reverse<(u64, u32)>>,
    /// True exactly when something may have been published.
    is_publishing: bool,
    is_drained: bool,
    look_ns: u64,
}

impl<'r> Failover<'r> {
    pub(super) fn new(plan: &Plan, shared: &'r Shared, thread: u32) -> Self {
        let members = plan.share(plan.connections, thread) as usize;
        Self {
            shared,
            ramp: Ramp::new(plan, thread),
            members: vec![Member { next: Some(0), ..Member::default() }; members],
            epochs: Epochs::default(),
            returns: BinaryHeap::new(),
            is_publishing: false,
            is_drained: false,
            look_ns: 0,
        }
    }

    /// Begins the connections that are due; returns when the next one is.
    fn come_back(&mut self, link: &mut Link<'_>) -> u64 {
        for _ in 0..RETURNS_A_TURN {
            match self.returns.peek() {
                Some(Reverse((due_ns, _))) if *due_ns > link.now_ns => return *due_ns,
                None => return u64::MAX,
                Some(_) => {}
            }
            if let Some(Reverse((_, member))) = self.returns.pop()
                && !link.connect(member, link.now_ns)
            {
                self.wait(link.now_ns, member);
            }
        }
        link.now_ns
    }

    fn wait(&mut self, now_ns: u64, number: u32) {
        let member = &mut self.members[number as usize];
        let longest_ns = (WAIT_NS_MIN << member.attempts.min(16)).min(WAIT_NS_MAX);
        member.attempts += 1;
        let wait_ns = rand::rng().random_range(longest_ns / 2..=longest_ns);
        self.returns.push(Reverse((now_ns + wait_ns, number)));
    }

    /// What a client still lacks.
    fn missing(&self, link: &Link<'_>, number: usize) -> u32 {
        let member = u32::try_from(number).expect("members are numbered by u32");
        let channel = link.plan.channel(link.id(member));
        let published = self.shared.published[channel as usize].load(Ordering::Relaxed);
        self.members[number].next.map_or(0, |next| published.saturating_sub(next))
    }
}

impl Play for Failover<'_> {
    fn act(&mut self, link: &mut Link<'_>, phase: Phase) -> u64 {
        self.is_publishing |= matches!(phase, Phase::Run { .. });
        let back_ns = self.come_back(link);
        match phase {
            Phase::Ramp => self.ramp.act(link).min(back_ns),
            Phase::Run { .. } | Phase::Stop => back_ns,
        }
    }

    fn is_settled(&self, link: &Link<'_>) -> bool {
        self.ramp.is_settled(link)
    }

    fn is_drained(&mut self, link: &mut Link<'_>, phase: Phase) -> bool {
        let may_look = matches!(phase, Phase::Run { .. }) && !self.is_drained && link.now_ns >= self.look_ns;
        if may_look && self.shared.publishing.load(Ordering::Acquire) == 0 {
            self.look_ns = link.now_ns + LOOK_NS;
            let has_all = |number: usize| self.members[number].is_open && self.missing(link, number) == 0;
            self.is_drained = (0..self.members.len()).all(has_all);
        }
        self.is_drained
    }

    fn subscription(&self, link: &Link<'_>, member: u32) -> Option<Subscription<'_>> {
        let since = self.members[member as usize].position.map(|(offset, epoch)| StreamPosition {
            offset,
            epoch: Cow::Borrowed(&*self.epochs.texts[epoch as usize]),
        });
        Some(Subscription { channel: link.plan.channel(link.id(member)), since })
    }

    fn subscribed(&mut self, link: &mut Link<'_>, member: u32, result: &SubscribeResult<'_>) {
        let recovered = result.publications.len() as u64;
        let epoch = self.epochs.index(&result.epoch);
        let member = &mut self.members[member as usize];
        if member.position.is_some() {
            if result.recovered {
                link.tally.recovery.recovered += 1;
                link.tally.recovery.recovered_messages += recovered;
            } else {
                link.tally.recovery.told += 1;
                member.next = None;
            }
        } else if self.is_publishing {
            // It is late: what was published before, nobody owes it.
            member.next = None;
        }
        // What is recovered comes as messages, each of which is one further. Some servers tell the position before, others
        // the one after; publications tell their own.
        let first = result.publications.first().map(|publication| publication.offset);
        let before = match first {
            Some(offset @ 1..) => offset - 1,
            Some(0) | None => result.offset.saturating_sub(recovered),
        };
        member.position = Some((before, epoch));
    }

    fn opened(&mut self, link: &mut Link<'_>, _: Socket, member: u32) {
        let member = &mut self.members[member as usize];
        (member.is_open, member.attempts) = (true, 0);
        let cut_off_ns = std::mem::take(&mut member.cut_off_ns);
        if cut_off_ns > 0 {
            link.tally.returns.saturating_record(link.now_ns - cut_off_ns);
        }
    }

    fn message(&mut self, link: &mut Link<'_>, _: Socket, member: u32, payload: &[u8]) {
        let Some(stamp) = link.read(payload) else { return };
        if stamp.publisher != link.plan.channel(link.id(member)) {
            link.tally.messages.corrupt += 1;
            return;
        }
        let member = &mut self.members[member as usize];
        if let Some((offset, _)) = &mut member.position {
            *offset += 1;
        }
        let next = member.next.unwrap_or(stamp.sequence);
        if stamp.sequence < next {
            link.tally.messages.repeated += 1;
            return;
        }
        link.tally.messages.lost += u64::from(stamp.sequence - next);
        member.next = Some(stamp.sequence + 1);
        link.arrived(stamp);
    }

    fn lost(&mut self, link: &mut Link<'_>, member: u32) {
        let member = &mut self.members[member as usize];
        (member.is_open, member.cut_off_ns) = (false, link.now_ns);
    }

    /// Its place is free: it comes back, however it went.
    fn vacated(&mut self, link: &mut Link<'_>, member: u32) {
        if !self.members[member as usize].is_open {
            self.wait(link.now_ns, member);
        }
    }

    fn finish(&mut self, link: &mut Link<'_>) {
        for number in 0..self.members.len() {
            if !self.members[number].is_open {
                link.tally.recovery.away += 1;
            } else {
                link.tally.messages.lost += u64::from(self.missing(link, number));
            }
        }
    }
}
