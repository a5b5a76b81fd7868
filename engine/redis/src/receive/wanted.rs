//! Wanted: the channels that the owner wants, against those that the server confirmed.
//!
//! In:  wants, the server's replies, the time.
//! Out: commands to write; notes: what is confirmed, refused, lost.
//!
//! ```text
//!            want            written            subscribe
//!   (none) ───────> Due ───────────────> Asked ───────────> Heard <───────────────┐ want
//!                    ^                     │ refused          │ unwant            │
//!                    │ time                v                  v                   │
//!                    └───────────────── Waiting <── lost ── Heard, leaves at ─────┤
//!                    ^                                        │ time              │
//!                    │ wanted                                 v                   │
//!                    └── unsubscribe ── LeaveAsked <───── LeaveDue ───────────────┘
//! ```
//!
//! What the answers say is in `replies`.
//!
//! It holds [`WantedOptions::channels_max`] names, each of them once, with at most one place in each queue.
//! No I/O, no clock.

mod replies;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::BytesMut;
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::{
    by_slot::BySlot,
    options::{Kind, WantedOptions},
    refusal::Refusal,
    resp::append_command,
};

/// What became of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Note {
    /// The server says that we hear it.
    Confirmed(Arc<str>),
    /// It does not let us.
    Refused(Arc<str>, Refusal),
    /// It unsubscribed us unasked. Messages may be missing from here on.
    Lost(Arc<str>),
}

/// So many timers that nobody waits for are let be, beside as many as there are channels.
const STALE_TIMERS_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is no connection.
    Idle,
    /// In `due`, or in `halves`.
    Due,
    /// In a command that has no answer.
    Asked,
    /// Confirmed. It leaves at that time, unless it is wanted again.
    Heard { leaves_at: Option<Instant> },
    /// In `leaving`.
    LeaveDue,
    /// In a command that has no answer.
    LeaveAsked,
    /// Refused or lost, and asked for again at that time.
    Waiting { until: Instant },
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// True exactly when the owner wants it.
    is_wanted: bool,
    /// True exactly when the server counts it, by what it told us up to now.
    is_counted: bool,
    /// Its entry in `timers` that counts; others are stale.
    timed_at: Option<Instant>,
}

/// A command that has no answer, or not all of them.
#[derive(Debug)]
struct Asked {
    command: Command,
    at: Instant,
}

#[derive(Debug)]
enum Command {
    /// The first of these have their answers.
    Subscribe(Vec<Arc<str>>, usize),
    Unsubscribe(Vec<Arc<str>>, usize),
    Ping,
    /// Subscribes to what is subscribed to, because the answer has the server's number of subscriptions.
    Count(Arc<str>),
}

/// The channels of one link.
#[derive(Debug)]
pub(super) struct Wanted {
    options: WantedOptions,
    channels: HashMap<Arc<str>, Entry>,
    is_connected: bool,
    due: BySlot,
    /// Parts of commands that were refused as a whole.
    halves: VecDeque<Vec<Arc<str>>>,
    leaving: BySlot,
    timers: BinaryHeap<Reverse<(Instant, Arc<str>)>>,
    /// The oldest first.
    asked: VecDeque<Asked>,
    /// How many channels are in it.
    asked_channels: usize,
    /// When the last answer came.
    answered_at: Option<Instant>,
    /// How many channels the server counts, by what it told us.
    counted: usize,
    random: SmallRng,
}

impl Wanted {
    pub(super) fn new(options: WantedOptions, seed: u64) -> Self {
        Self {
            options,
            channels: HashMap::new(),
            is_connected: false,
            due: BySlot::default(),
            halves: VecDeque::new(),
            leaving: BySlot::default(),
            timers: BinaryHeap::new(),
            asked: VecDeque::new(),
            asked_channels: 0,
            answered_at: None,
            counted: 0,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// How many channels are known, those that are about to leave included.
    pub(super) fn len(&self) -> usize {
        self.channels.len()
    }

    /// How many channels the server confirmed.
    pub(super) fn confirmed(&self) -> usize {
        self.counted
    }

    /// True exactly when the server answered for all that is wanted: what is not confirmed was refused.
    pub(super) fn is_settled(&self) -> bool {
        let is_waiting = self.asked_channels > 0 || !self.halves.is_empty() || !self.due.is_empty();
        self.is_connected && !is_waiting
    }

    /// This process stood still: a deadline would blame the server for it.
    pub(super) fn forgive(&mut self, now: Instant) {
        self.answered_at = Some(now);
    }

    /// The name of a channel that is known, to be kept without a copy.
    pub(super) fn name(&self, channel: &[u8]) -> Option<&Arc<str>> {
        let channel = std::str::from_utf8(channel).ok()?;
        self.channels.get_key_value(channel).map(|(name, _)| name)
    }

    /// True exactly when the server confirmed this channel and did not take it back.
    pub(super) fn is_heard(&self, channel: &str) -> bool {
        self.channels.get(channel).is_some_and(|entry| entry.is_counted)
    }

    /// The owner wants a channel. It is told once more where it is heard already.
    pub(super) fn want(&mut self, channel: Arc<str>, notes: &mut Vec<Note>) {
        let state = if self.is_connected { State::Due } else { State::Idle };
        let Some(entry) = self.channels.get_mut(&channel) else {
            if self.channels.len() >= self.options.channels_max {
                notes.push(Note::Refused(channel, Refusal::TooMany));
                return;
            }
            let entry = Entry { state, is_wanted: true, is_counted: false, timed_at: None };
            self.channels.insert(channel.clone(), entry);
            if self.is_connected {
                self.due.push(self.options.slot(&channel), channel);
            }
            return;
        };
        entry.is_wanted = true;
        match entry.state {
            State::Heard { .. } | State::LeaveDue => {
                entry.state = State::Heard { leaves_at: None };
                notes.push(Note::Confirmed(channel));
            }
            State::Waiting { .. } => {
                entry.state = State::Due;
                self.due.push(self.options.slot(&channel), channel);
            }
            // The answer is on its way.
            State::Idle | State::Due | State::Asked | State::LeaveAsked => {}
        }
    }

    /// The owner does not want a channel any more.
    pub(super) fn unwant(&mut self, channel: &str, now: Instant) {
        let Some((name, entry)) = self.channels.get_key_value(channel) else { return };
        let (name, state) = (name.clone(), entry.state);
        if state == State::Idle {
            self.channels.remove(channel);
            return;
        }
        let leaves_at = now + self.random.random_range(self.options.linger.clone());
        let Some(entry) = self.channels.get_mut(channel) else { return };
        // What is in a queue or a command is looked at again when it comes out of it.
        if std::mem::replace(&mut entry.is_wanted, false) && matches!(state, State::Heard { .. }) {
            entry.state = State::Heard { leaves_at: Some(leaves_at) };
            self.time(name, leaves_at);
        }
    }

    /// There is a new connection, on which nothing is subscribed to.
    pub(super) fn connect(&mut self, now: Instant) {
        self.disconnect();
        self.is_connected = true;
        self.answered_at = Some(now);
        for (channel, entry) in &mut self.channels {
            entry.state = State::Due;
            self.due.push(self.options.slot(channel), channel.clone());
        }
    }

    /// There is none any more.
    pub(super) fn disconnect(&mut self) {
        self.channels.retain(|_, entry| {
            (entry.state, entry.is_counted, entry.timed_at) = (State::Idle, false, None);
            entry.is_wanted
        });
        self.is_connected = false;
        (self.due, self.leaving) = (BySlot::default(), BySlot::default());
        self.halves.clear();
        self.timers.clear();
        self.asked.clear();
        (self.asked_channels, self.counted) = (0, 0);
    }

    /// Appends commands, as many as may be without an answer, until `out` has `bytes_max`.
    pub(super) fn write(&mut self, now: Instant, out: &mut BytesMut, bytes_max: usize) {
        while self.is_connected && self.asked_channels < self.options.asked_max && out.len() < bytes_max {
            let batch = self.next_to_leave();
            if !batch.is_empty() {
                self.ask(Command::Unsubscribe(batch, 0), now, out);
                continue;
            }
            let batch = self.next_due();
            if batch.is_empty() {
                return;
            }
            self.ask(Command::Subscribe(batch, 0), now, out);
        }
    }

    fn next_to_leave(&mut self) -> Vec<Arc<str>> {
        let channels = &mut self.channels;
        self.leaving.pop(self.options.batch_max, |channel| match channels.get_mut(channel) {
            Some(entry) if entry.state == State::LeaveDue => {
                entry.state = State::LeaveAsked;
                true
            }
            _ => false,
        })
    }

    fn next_due(&mut self) -> Vec<Arc<str>> {
        let channels = &mut self.channels;
        let mut is_due = |channel: &Arc<str>| match channels.get_mut(channel) {
            Some(Entry { state: State::Due, is_wanted: false, .. }) => {
                channels.remove(channel);
                false
            }
            Some(entry) if entry.state == State::Due => {
                entry.state = State::Asked;
                true
            }
            _ => false,
        };
        while let Some(mut half) = self.halves.pop_front() {
            half.retain(&mut is_due);
            if !half.is_empty() {
                return half;
            }
        }
        self.due.pop(self.options.batch_max, is_due)
    }

    /// Appends a PING.
    pub(super) fn ping(&mut self, now: Instant, out: &mut BytesMut) {
        self.ask(Command::Ping, now, out);
    }

    /// Asks the server how many channels it counts. Nothing where none is heard.
    pub(super) fn count(&mut self, now: Instant, out: &mut BytesMut) {
        let is_heard = |entry: &Entry| entry.state == State::Heard { leaves_at: None };
        if let Some((channel, _)) = self.channels.iter().find(|(_, entry)| is_heard(entry)) {
            let channel = channel.clone();
            self.ask(Command::Count(channel), now, out);
        }
    }

    fn ask(&mut self, command: Command, now: Instant, out: &mut BytesMut) {
        let (subscribe, unsubscribe) = match self.options.kind {
            Kind::Classic => ("SUBSCRIBE", "UNSUBSCRIBE"),
            Kind::Sharded => ("SSUBSCRIBE", "SUNSUBSCRIBE"),
        };
        let (name, channels) = match &command {
            Command::Subscribe(channels, _) => (subscribe, &channels[..]),
            Command::Unsubscribe(channels, _) => (unsubscribe, &channels[..]),
            Command::Ping => ("PING", &[][..]),
            Command::Count(channel) => (subscribe, std::slice::from_ref(channel)),
        };
        let words: Vec<&[u8]> =
            [name.as_bytes()].into_iter().chain(channels.iter().map(|channel| channel.as_bytes())).collect();
        append_command(out, words.into_iter());
        self.asked_channels += channels.len();
        self.asked.push_back(Asked { command, at: now });
    }

    /// True exactly when the oldest command without an answer has waited for `within`, and nothing else was answered
    /// meanwhile.
    pub(super) fn is_overdue(&self, now: Instant, within: Duration) -> bool {
        let since = self.asked.front().map(|asked| self.answered_at.map_or(asked.at, |at| at.max(asked.at)));
        since.is_some_and(|since| now.saturating_duration_since(since) >= within)
    }

    /// What is due by time: channels leave, and are asked for again.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(Reverse((at, _))) = self.timers.peek()
            && *at <= now
            && let Some(Reverse((at, channel))) = self.timers.pop()
        {
            let Some(entry) = self.channels.get_mut(&channel) else { continue };
            if entry.timed_at != Some(at) {
                continue;
            }
            entry.timed_at = None;
            match entry.state {
                State::Heard { leaves_at: Some(at) } if at <= now => {
                    entry.state = State::LeaveDue;
                    self.leaving.push(self.options.slot(&channel), channel);
                }
                State::Waiting { until } if until <= now => {
                    entry.state = State::Due;
                    self.due.push(self.options.slot(&channel), channel);
                }
                State::Heard { leaves_at: Some(at) } | State::Waiting { until: at } => self.time(channel, at),
                _ => {}
            }
        }
    }

    /// Has the channel looked at by [`Self::expire`] at that time, or earlier.
    fn time(&mut self, channel: Arc<str>, at: Instant) {
        let Some(entry) = self.channels.get_mut(&channel) else { return };
        if entry.timed_at.is_some_and(|timed_at| timed_at <= at) {
            return;
        }
        entry.timed_at = Some(at);
        self.timers.push(Reverse((at, channel)));
        if self.timers.len() > 2 * self.channels.len() + STALE_TIMERS_MAX {
            let channels = &self.channels;
            self.timers.retain(|Reverse((at, channel))| {
                channels.get(channel).is_some_and(|entry| entry.timed_at == Some(*at))
            });
        }
    }
}
