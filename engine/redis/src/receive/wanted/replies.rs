//! Replies: what a server's answers say of the channels that were asked for.
//!
//! In:  replies, in the order of the commands.
//! Out: changed states; notes of what is confirmed, refused, lost.
//!
//! A server answers one connection's commands in their order, so a refusal, which names no channel, belongs to the oldest
//! command that has no answer. A refused command of several channels is cut in two until the right channels are found.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use rand::Rng as _;

use super::{Asked, Command, Entry, Note, State, Wanted};
use crate::receive::{
    cause::{Cause, printable},
    reader::Reply,
    refusal::Refusal,
};

impl Wanted {
    /// Takes a reply of the server.
    ///
    /// # Errors
    ///
    /// It answers no command of ours, so the replies that follow cannot be told whose they are; or the server counts
    /// otherwise than it confirmed.
    pub(in crate::receive) fn reply(
        &mut self,
        reply: &Reply,
        now: Instant,
        notes: &mut Vec<Note>,
    ) -> Result<(), Cause> {
        match reply {
            Reply::Subscribed { channel, count } => self.subscribed(channel, *count, now, notes)?,
            Reply::Unsubscribed { channel: Some(channel) } => self.unsubscribed(channel, now, notes),
            Reply::Error(error) => self.refused(error, now, notes)?,
            Reply::Pong => match self.asked.pop_front() {
                Some(Asked { command: Command::Ping, .. }) => {}
                _ => return Err(Cause::Unasked("PONG".to_owned())),
            },
            Reply::Unsubscribed { channel: None } | Reply::Push => return Ok(()),
            Reply::Text(text) | Reply::Array(Some(text)) => return Err(Cause::Unasked(printable(text))),
            Reply::Array(None) | Reply::Other => return Err(Cause::Unasked(format!("{reply:?}"))),
        }
        self.answered_at = Some(now);
        Ok(())
    }

    fn subscribed(
        &mut self,
        channel: &Bytes,
        count: i64,
        now: Instant,
        notes: &mut Vec<Note>,
    ) -> Result<(), Cause> {
        let unasked = || Cause::Unasked(format!("subscribe {}", printable(channel)));
        let Some(Asked { command, .. }) = self.asked.front_mut() else { return Err(unasked()) };
        let (name, is_last, is_count) = match command {
            Command::Subscribe(channels, answered) => {
                let name = channels[*answered].clone();
                *answered += 1;
                (name, *answered == channels.len(), false)
            }
            Command::Count(channel) => (channel.clone(), true, true),
            Command::Unsubscribe(..) | Command::Ping => return Err(unasked()),
        };
        if name.as_bytes() != channel {
            return Err(unasked());
        }
        self.asked_channels -= 1;
        if is_last {
            self.asked.pop_front();
        }
        let leaves_at = now + self.random.random_range(self.options.linger.clone());
        // What was counted may have been lost, and even forgotten, meanwhile: then it is subscribed to now.
        let entry = self.channels.entry(name.clone()).or_insert(Entry {
            state: State::Due,
            is_wanted: false,
            is_counted: false,
            timed_at: None,
        });
        self.counted += usize::from(!std::mem::replace(&mut entry.is_counted, true));
        match entry.state {
            State::Asked if is_count => {}
            State::Asked | State::Due | State::Waiting { .. } => self.hear(name, leaves_at, notes),
            State::Idle | State::Heard { .. } | State::LeaveDue | State::LeaveAsked => {}
        }
        if is_count && usize::try_from(count) != Ok(self.counted) {
            return Err(Cause::Miscounted { ours: self.counted, theirs: count });
        }
        Ok(())
    }

    /// A channel is heard: until then, where it is not wanted.
    fn hear(&mut self, channel: Arc<str>, leaves_at: Instant, notes: &mut Vec<Note>) {
        let Some(entry) = self.channels.get_mut(&channel) else { return };
        if entry.is_wanted {
            entry.state = State::Heard { leaves_at: None };
            notes.push(Note::Confirmed(channel));
        } else {
            entry.state = State::Heard { leaves_at: Some(leaves_at) };
            self.time(channel, leaves_at);
        }
    }

    fn unsubscribed(&mut self, channel: &Bytes, now: Instant, notes: &mut Vec<Note>) {
        let is_asked = match self.asked.front_mut().map(|asked| &mut asked.command) {
            Some(Command::Unsubscribe(channels, answered)) if channels[*answered].as_bytes() == channel => {
                *answered += 1;
                let is_last = *answered == channels.len();
                self.asked_channels -= 1;
                if is_last {
                    self.asked.pop_front();
                }
                true
            }
            _ => false,
        };
        let again_at = now + self.random.random_range(self.options.unavailable_again.clone());
        let Some(name) = self.name(channel).cloned() else { return };
        let Some(entry) = self.channels.get_mut(&name) else { return };
        self.counted -= usize::from(std::mem::replace(&mut entry.is_counted, false));
        match entry.state {
            State::LeaveAsked if is_asked && entry.is_wanted => {
                entry.state = State::Due;
                self.due.push(self.options.slot(&name), name);
            }
            State::LeaveAsked if is_asked => {
                // Its place among the timers, if it has one, is found empty.
                self.channels.remove(&name);
            }
            State::Heard { .. } | State::LeaveDue => {
                entry.state = State::Waiting { until: again_at };
                if entry.is_wanted {
                    notes.push(Note::Lost(name.clone()));
                }
                self.time(name, again_at);
            }
            // An answer is on its way, or it will be asked for anyway.
            State::LeaveAsked | State::Idle | State::Due | State::Asked | State::Waiting { .. } => {}
        }
    }

    fn refused(&mut self, error: &Bytes, now: Instant, notes: &mut Vec<Note>) -> Result<(), Cause> {
        let unasked = || Cause::Unasked(printable(error));
        let Some(Asked { command, .. }) = self.asked.pop_front() else { return Err(unasked()) };
        match command {
            // A whole command is refused or none of it.
            Command::Subscribe(_, 1..) | Command::Unsubscribe(_, 1..) => return Err(unasked()),
            Command::Subscribe(mut channels, 0) => {
                self.asked_channels -= channels.len();
                let refusal = Refusal::of(error);
                if channels.len() == 1 || refusal.concerns_all() {
                    channels.into_iter().for_each(|channel| self.refuse(channel, &refusal, now, notes));
                } else {
                    for channel in &channels {
                        if let Some(entry) = self.channels.get_mut(channel) {
                            entry.state = State::Due;
                        }
                    }
                    let half = channels.split_off(channels.len() / 2);
                    self.halves.push_back(channels);
                    self.halves.push_back(half);
                }
            }
            Command::Unsubscribe(channels, 0) => {
                self.asked_channels -= channels.len();
                // The slot is elsewhere, and with it our subscription is gone; otherwise it stays.
                let is_gone = matches!(Refusal::of(error), Refusal::Moved { .. });
                channels.into_iter().for_each(|channel| self.stay(channel, is_gone, now, notes));
            }
            // An answer is all that was wanted: Redis that cannot save refuses even PING.
            Command::Ping => {}
            Command::Count(_) => self.asked_channels -= 1,
        }
        Ok(())
    }

    fn refuse(&mut self, channel: Arc<str>, refusal: &Refusal, now: Instant, notes: &mut Vec<Note>) {
        let again = match refusal {
            Refusal::Unavailable(_) => &self.options.unavailable_again,
            _ => &self.options.refused_again,
        };
        let until = now + self.random.random_range(again.clone());
        let Some(entry) = self.channels.get_mut(&channel) else { return };
        if entry.is_counted {
            self.hear(channel, until, notes);
        } else {
            entry.state = State::Waiting { until };
            if entry.is_wanted {
                notes.push(Note::Refused(channel.clone(), refusal.clone()));
            }
            self.time(channel, until);
        }
    }

    /// A channel could not leave.
    fn stay(&mut self, channel: Arc<str>, is_gone: bool, now: Instant, notes: &mut Vec<Note>) {
        let at = now + self.random.random_range(self.options.refused_again.clone());
        let Some(entry) = self.channels.get_mut(&channel) else { return };
        if is_gone {
            self.counted -= usize::from(std::mem::replace(&mut entry.is_counted, false));
        }
        if entry.is_counted {
            self.hear(channel, at, notes);
        } else {
            entry.state = State::Waiting { until: now };
            if entry.is_wanted {
                notes.push(Note::Lost(channel.clone()));
            }
            self.time(channel, now);
        }
    }
}
