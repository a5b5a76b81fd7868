//! Actor: what clients of all kinds have in common.
//!
//! In:  chances to act.
//! Out: bytes on their lines, and judgment of what they hear.

use std::time::Duration;

use holdfast_ring::simulated::{Network, Peer};
use rand::{Rng, rngs::SmallRng};

use super::{
    config::SimConfig,
    deflate::any_offer,
    line::PeerStream,
    oracle::{Hearing, Oracle},
    wire::{Heard, WebSocketPeer},
};

/// Connections that may wait to be accepted: as few as a listener's backlog is smaller than the reserve of places.
const BACKLOG_MAX: usize = 8;

/// What an actor acts with.
pub(super) struct StepContext<'s> {
    pub(super) network: &'s Network,
    pub(super) terms: &'s SimConfig,
    pub(super) random: &'s mut SmallRng,
    pub(super) ledger: &'s mut Oracle,
    /// True exactly when things come to their end: nobody begins anything, and all read.
    pub(super) is_ending: bool,
}

/// A client.
pub(super) trait Actor {
    /// Does something, and hears what has come.
    fn act(&mut self, scene: &mut StepContext<'_>);

    /// Everything has come to rest: what was to come must have come.
    fn check_complete(&self, ledger: &Oracle, hearings: &[(&str, &Hearing)]);

    /// Whose connection it is, if it lives and users have names.
    fn user(&self) -> Option<&'static str> {
        None
    }

    /// True exactly when it has a session that lives from poll to poll.
    fn polls(&self) -> bool {
        false
    }

    /// What a steady one has asked was asked no longer ago than this.
    fn check_prompt(&self, _now: Duration, _longest: Duration) {}

    /// Everything has come to rest, and since then nothing has jumped, all have had their turns and have read: nothing is
    /// left that has expired.
    fn check_overdue(&self, _calm_since: Duration, _scene: &StepContext<'_>) {}

    /// What it has heard in channels without history, if it lives.
    fn hearings(&self) -> Vec<(&str, &Hearing)> {
        Vec::new()
    }
}

impl StepContext<'_> {
    /// A connection to some shard, if one takes it now.
    pub(super) fn line(&mut self) -> Option<PeerStream> {
        let to = self.random.random_range(0..self.terms.hosts);
        if self.network.backlog(to) >= BACKLOG_MAX {
            return None;
        }
        let peer = self.network.connect(to)?;
        let tls = self.terms.secrets.as_ref().map(|secrets| secrets.connect());
        Some(PeerStream::new(peer, tls))
    }

    /// The same for WebSocket.
    pub(super) fn connect(&mut self, path: &str) -> Option<WebSocketPeer> {
        let line = self.line()?;
        let offer = if self.terms.compresses() { any_offer(self.random) } else { None };
        Some(WebSocketPeer::open(line, path, offer))
    }

    pub(super) fn now(&self) -> Duration {
        self.network.trace().now()
    }

    /// The time of day, in seconds since 1970.
    pub(super) fn wall_s(&self) -> u64 {
        self.ledger.clock.wall_s(self.now())
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }
}

/// What a client knows of its connection's end, for the judgment whether it was right.
#[derive(Debug, Default)]
pub(super) struct EndExpectation {
    /// True exactly when the client did something that may end it.
    pub(super) is_our_doing: bool,
    /// True exactly when a request was lost, which may have had the answer to a ping in it.
    pub(super) has_lost_words: bool,
    /// Why the daemon may close it, where its client knows more of that than others.
    pub(super) excuse: Option<u16>,
    /// True exactly when it may end with last words that could not go out in the time that they have.
    pub(super) may_end_mute: bool,
    is_open: bool,
    was_told: bool,
    pub(super) is_over: bool,
}

impl EndExpectation {
    /// True exactly when all that was begun on the connection is to be brought to its end.
    pub(super) fn is_sound(&self) -> bool {
        !self.is_our_doing && !self.was_told && !self.is_over
    }

    /// One step of a connection. Answers with what was heard, which is judged already.
    pub(super) fn step(&mut self, wire: &mut WebSocketPeer, scene: &mut StepContext<'_>) -> Vec<Heard> {
        let mut heard = Vec::new();
        wire.line.reads |= scene.is_ending;
        wire.step(scene.random, &mut heard);
        heard.iter().for_each(|heard| self.hear(heard, Some(&wire.line.peer), scene));
        heard
    }

    /// Judges something that was heard. A session without a connection of its own judges its end itself.
    pub(super) fn hear(&mut self, heard: &Heard, peer: Option<&Peer>, scene: &mut StepContext<'_>) {
        let StepContext { ledger, network, terms, .. } = scene;
        let was_cut = peer.is_none_or(Peer::was_cut);
        match heard {
            Heard::Refused(status) => {
                let is_explained = match status {
                    // No room.
                    503 => true,
                    _ => false,
                };
                assert!(is_explained || self.is_our_doing, "a good request is refused with {status}");
                self.was_told = true;
            }
            Heard::Closed(code) => {
                assert!(!self.was_told, "last words come once");
                self.was_told = true;
                let is_explained = match code {
                    Some(code) if self.excuse == Some(*code) => true,
                    Some(1001 | 3001) => ledger.stop.is_some(),
                    // Slow.
                    Some(3008) => true,
                    // One connection of its user too many.
                    Some(3504) => terms.user_connections_max() > 0,
                    // No pong in time.
                    Some(3012) => self.has_lost_words,
                    _ => false,
                };
                assert!(is_explained || self.is_our_doing || was_cut, "closed with {code:?}");
            }
            Heard::Ended(_) => {
                self.is_over = true;
                // Who has no session yet is not sent away with words; who has, is told before the deadline.
                let is_stopped = ledger
                    .stop
                    .as_ref()
                    .is_some_and(|stop| !self.is_open || network.trace().now() >= stop.cuts_from);
                let is_explained =
                    self.was_told || self.is_our_doing || was_cut || is_stopped || self.may_end_mute;
                if !is_explained {
                    network.trace().note("an end without a word", peer.map_or(0, Peer::number), 0);
                    ledger.unexplained += 1;
                }
            }
            Heard::Open => {
                assert!(!self.was_told, "nothing follows last words");
                self.is_open = true;
            }
            Heard::Message(_, message) => {
                assert!(
                    !self.was_told,
                    "nothing follows last words, but {:?}",
                    String::from_utf8_lossy(message)
                );
            }
        }
    }
}
