//! Poll: HTTP long-polling, as docs/transports.md has it.
//!
//! In:  frames of commands.
//! Out: replies and pushes, each once, in order, whatever answers are lost.
//!
//! One request waits; a second one carries commands that come meanwhile. Each has all commands of which it is not known
//! that they have arrived, so that they are done in order.

use std::time::Duration;

use holdfast_protocol::{client::Format, websocket::MessageKind};
use holdfast_ring::simulated::StreamEnd;
use serde_json::{Value, value::RawValue};

use super::link::{Inbound, numbers};
use crate::simulation::{
    actor::StepContext,
    http::{Answer, Request},
    post::Post,
    wire::Heard,
};

/// Requests under way.
const REQUESTS_MAX: usize = 2;

/// The daemon's clock ticks no finer than this.
const TICK: Duration = Duration::from_millis(100);

/// A request, or a connection for the next one.
struct Asking {
    post: Post,
    /// The highest number of a command that it carries.
    commands: u32,
    at: Duration,
}

pub(super) struct Poll {
    /// Empty until it is known.
    session: String,
    /// The number of the last reply that has come.
    received: u64,
    /// Commands that are not known to have arrived.
    unsure: Vec<(u32, String)>,
    /// True exactly when some of them are not in any request that is under way.
    has_new: bool,
    askings: Vec<Asking>,
    /// When the last request was asked that has been answered.
    answered_at: Duration,
    /// True exactly when it does not ask for a while.
    is_away: bool,
    is_over: bool,
}

#[derive(serde::Deserialize)]
struct Body<'b> {
    session: String,
    sequence: u64,
    #[serde(borrow)]
    replies: Vec<&'b RawValue>,
}

impl Poll {
    pub(super) fn open(frame: &[u8], scene: &mut StepContext<'_>) -> Option<Self> {
        let mut poll = Self {
            session: String::new(),
            received: 0,
            unsure: Vec::new(),
            has_new: false,
            askings: Vec::new(),
            answered_at: scene.network.trace().now(),
            is_away: false,
            is_over: false,
        };
        poll.send(frame);
        poll.ask(scene);
        (!poll.askings.is_empty()).then_some(poll)
    }

    pub(super) fn send(&mut self, frame: &[u8]) {
        for line in frame.split(|&byte| byte == b'\n') {
            let number = *numbers(Format::Json, line).expect("a line is a command").start();
            self.unsure.push((number, String::from_utf8(line.to_vec()).expect("JSON is text")));
        }
        self.has_new = true;
    }

    /// Stays away, or comes back.
    pub(super) fn stall(&mut self) {
        self.is_away = !self.is_away;
    }

    /// Breaks a request off before its answer can be read.
    pub(super) fn lose_answer(&mut self) {
        for asking in &mut self.askings {
            asking.post.lose();
        }
    }

    pub(super) fn check_complete(&self) {
        assert!(!self.session.is_empty(), "a session has its name");
        assert!(self.unsure.is_empty(), "every command has arrived: {:?}", self.unsure);
    }

    pub(super) fn step(&mut self, scene: &mut StepContext<'_>, news: &mut Vec<Inbound>) {
        if self.is_over {
            return;
        }
        self.is_away &= !scene.is_ending;
        let mut askings = std::mem::take(&mut self.askings);
        askings.retain_mut(|asking| {
            match asking.post.step(scene) {
                None => {}
                Some(_) if self.is_over => {}
                Some(Ok(answer)) => self.answered(asking, &answer, scene, news),
                // Whoever does not know its session cannot ask again.
                Some(Err(_)) if self.session.is_empty() => self.end(news),
                Some(Err(_)) => self.has_new = true,
            }
            !asking.post.is_over()
        });
        self.askings = askings;
        let waiting = self.askings.iter().filter(|asking| asking.post.awaits()).count();
        let wants_more = waiting == 0 || (self.has_new && waiting < REQUESTS_MAX && self.can_say_more());
        if wants_more && !self.is_away && !self.is_over {
            self.ask(scene);
        }
    }

    fn can_say_more(&self) -> bool {
        !self.session.is_empty() && !self.unsure.is_empty()
    }

    fn ask(&mut self, scene: &mut StepContext<'_>) {
        let free = self.askings.iter().position(|asking| !asking.post.awaits());
        let at = match (free, self.askings.len()) {
            (Some(at), _) => at,
            (None, _) => {
                let Some(line) = scene.line() else { return };
                let at = scene.network.trace().now();
                self.askings.push(Asking { post: Post::new(line, at), commands: 0, at });
                self.askings.len() - 1
            }
        };
        let commands: Vec<&str> = self.unsure.iter().map(|(_, command)| command.as_str()).collect();
        let (session, received) = (Value::from(&*self.session), self.received);
        let commands = commands.join(",");
        let body = format!(r#"{{"session":{session},"received":{received},"commands":[{commands}]}}"#);
        let request = Request {
            method: "POST",
            target: "/connection/poll",
            content_type: "text/plain",
            body: body.as_bytes(),
        };
        let asking = &mut self.askings[at];
        asking.commands = self.unsure.last().map_or(0, |(number, _)| *number);
        asking.at = scene.network.trace().now();
        asking.post.ask(&request, scene);
        self.has_new = false;
    }

    fn answered(
        &mut self,
        asking: &Asking,
        answer: &Answer,
        scene: &mut StepContext<'_>,
        news: &mut Vec<Inbound>,
    ) {
        match answer.status {
            200 => {}
            404 => {
                let age = scene.network.trace().now() - self.answered_at;
                let is_explained =
                    age + TICK >= scene.terms.poll_session_ttl() || scene.ledger.stop.is_some();
                assert!(is_explained, "a session is known: it was asked for {age:?} ago");
                return self.end(news);
            }
            // No room. Nothing has been done, or nobody knows: the same is asked again.
            408 | 503 if !self.session.is_empty() && !scene.is_ending => {
                self.has_new = true;
                return;
            }
            status => {
                news.push(Inbound::Heard(Heard::Refused(status)));
                return self.end(news);
            }
        }
        let body: Body<'_> = serde_json::from_slice(&answer.body).expect("an answer is JSON");
        if self.session.is_empty() {
            self.session = body.session.clone();
            news.push(Inbound::Heard(Heard::Open));
        }
        assert_eq!(self.session, body.session, "an answer is about its session");
        self.answered_at = self.answered_at.max(asking.at);
        self.unsure.retain(|(number, _)| *number > asking.commands);
        let before = body.sequence - body.replies.len() as u64;
        if body.replies.is_empty() {
            return;
        }
        assert!(before <= self.received, "replies after {} come, {before} are named", self.received);
        for (number, reply) in (before + 1..).zip(body.replies) {
            // What another answer has brought meanwhile is known.
            if number > self.received {
                self.received = number;
                let reply = reply.get().as_bytes().to_vec();
                news.push(Inbound::Heard(Heard::Message(MessageKind::Text, reply)));
            }
        }
    }

    fn end(&mut self, news: &mut Vec<Inbound>) {
        if !std::mem::replace(&mut self.is_over, true) {
            news.push(Inbound::Heard(Heard::Ended(StreamEnd::Finished)));
        }
    }
}
