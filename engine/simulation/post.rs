//! Post: requests, each of which must be answered, on a connection that lives from one to the next.
//!
//! In:  requests.
//! Out: their answers; or that one is lost, for a reason that is held against the daemon where it is not known.

use std::time::Duration;

use super::{
    actor::StepContext,
    http::{Answer, Came, Http, Request},
    line::PeerStream,
};

/// How long the daemon waits for a client to read a refusal (`conn/write.rs`).
const LINGER: Duration = Duration::from_secs(1);

/// No answer will come to what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost;

pub(super) struct Post {
    http: Http,
    /// When the connection was begun.
    since: Duration,
    /// True exactly when nothing has been answered on it.
    is_fresh: bool,
    /// True exactly when the client broke it off.
    is_our_doing: bool,
    is_over: bool,
}

impl Post {
    pub(super) fn new(line: PeerStream, since: Duration) -> Self {
        Self { http: Http::new(line), since, is_fresh: true, is_our_doing: false, is_over: false }
    }

    pub(super) fn awaits(&self) -> bool {
        self.http.awaits()
    }

    /// True exactly when no other request can follow.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn ask(&mut self, request: &Request<'_>, scene: &mut StepContext<'_>) {
        self.http.ask(request, scene.random);
    }

    /// Breaks off what is under way. False where nothing is.
    pub(super) fn lose(&mut self) -> bool {
        if self.awaits() {
            self.is_our_doing = true;
            self.http.line.peer.reset();
        }
        self.awaits()
    }

    /// Writes and reads some. Answers with what came of the request.
    pub(super) fn step(&mut self, scene: &mut StepContext<'_>) -> Option<Result<Answer, Lost>> {
        let asked = self.awaits();
        let mut came = Vec::new();
        self.http.step(scene.random, &mut came);
        let mut outcome = None;
        for came in came {
            match came {
                Came::Answer(answer) => {
                    self.is_fresh = false;
                    self.is_over |= !answer.keeps_alive || answer.status >= 400;
                    if asked {
                        outcome = Some(Ok(answer));
                    }
                }
                Came::Ended(_) => {
                    self.is_over = true;
                    if self.awaits() {
                        self.judge_end(scene);
                        outcome = Some(Err(Lost));
                    }
                }
                Came::Begun | Came::Piece(_) => panic!("an answer to a request has an end"),
            }
        }
        outcome
    }

    fn judge_end(&self, scene: &StepContext<'_>) {
        let peer = &self.http.line.peer;
        // Who is refused before it asked may learn of the end alone, when it is slow.
        let is_late_refusal = self.is_fresh && scene.network.trace().now() - self.since > LINGER;
        // Under TLS, nothing can be said to who has only just come: there may be no room.
        let is_mute_refusal = self.is_fresh && scene.terms.secrets.is_some();
        let is_explained = self.is_our_doing
            || is_mute_refusal
            || peer.was_cut()
            || is_late_refusal
            || scene.ledger.stop.is_some();
        assert!(is_explained, "connection {} ends without its answer", peer.number());
    }
}
