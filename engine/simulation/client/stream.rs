//! Stream: an answer that does not end, and requests that carry commands.
//!
//! In:  frames of commands.
//! Out: what comes in the answer, message by message.
//!
//! One request with commands is under way at a time. Where its answer is lost, nobody knows whether they have been done:
//! they are not sent again, since they might be done twice.

use std::ops::RangeInclusive;

use bytes::BytesMut;
use holdfast_protocol::{
    client::{Format, emulation::EmulationRequest},
    websocket::MessageKind,
};
use holdfast_ring::simulated::Peer;

use super::link::{Inbound, join, numbers};
use crate::simulation::{
    actor::StepContext,
    http::{Answer, Came, Http, Request},
    post::Post,
    wire::Heard,
};

pub(super) struct Stream {
    http: Http,
    format: Format,
    is_events: bool,
    /// What has come of a message.
    part: Vec<u8>,
    /// Session and node.
    name: Option<(String, String)>,
    post: Option<Post>,
    /// What is under way.
    posted: BytesMut,
    /// What is to follow.
    waiting: BytesMut,
    /// True exactly when the daemon has said that it knows of no such session.
    is_unknown: bool,
}

impl Stream {
    /// Server-sent events.
    pub(super) fn open_events(frame: &[u8], scene: &mut StepContext<'_>) -> Option<Self> {
        let mut http = Http::new(scene.line()?);
        if scene.chance(0.5) {
            let query: String = form_urlencoded::byte_serialize(frame).collect();
            let target = format!("/connection/sse?cf_connect={query}");
            http.ask(&Request { method: "GET", target: &target, content_type: "", body: b"" }, scene.random);
        } else {
            let target = "/connection/sse";
            http.ask(&post(target, Format::Json, frame), scene.random);
        }
        Some(Self { is_events: true, ..Self::new(http, Format::Json) })
    }

    /// HTTP streaming.
    pub(super) fn open(format: Format, frame: &[u8], scene: &mut StepContext<'_>) -> Option<Self> {
        let mut http = Http::new(scene.line()?);
        http.ask(&post("/connection/http_stream", format, frame), scene.random);
        Some(Self::new(http, format))
    }

    fn new(http: Http, format: Format) -> Self {
        Self {
            http,
            format,
            is_events: false,
            part: Vec::new(),
            name: None,
            post: None,
            posted: BytesMut::new(),
            waiting: BytesMut::new(),
            is_unknown: false,
        }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.http.line.peer
    }

    pub(super) fn named(&mut self, session: &str, node: &str) {
        self.name = Some((session.to_owned(), node.to_owned()));
    }

    pub(super) fn has_name(&self) -> bool {
        self.name.is_some()
    }

    pub(super) fn stall(&mut self) {
        self.http.line.reads = !self.http.line.reads;
    }

    pub(super) fn send(&mut self, frame: &[u8]) {
        join(self.format, frame, &mut self.waiting);
    }

    /// Breaks the request with commands off. False where there is none.
    pub(super) fn lose_post(&mut self) -> bool {
        self.post.as_mut().is_some_and(Post::lose)
    }

    pub(super) fn check_complete(&self) {
        let number = self.peer().number();
        assert!(!self.is_unknown, "connection {number}: a session is known while its stream lives");
        assert!(self.posted.is_empty() && self.waiting.is_empty(), "connection {number}: all is posted");
    }

    pub(super) fn step(&mut self, scene: &mut StepContext<'_>, news: &mut Vec<Inbound>) {
        let mut came = Vec::new();
        self.http.line.reads |= scene.is_ending;
        self.http.step(scene.random, &mut came);
        for came in came {
            match came {
                Came::Begun => news.push(Inbound::Heard(Heard::Open)),
                Came::Piece(piece) => {
                    self.part.extend_from_slice(&piece);
                    while let Some(message) = self.next_message() {
                        news.push(Inbound::Heard(Heard::Message(self.kind(), message)));
                    }
                }
                Came::Answer(answer) => news.push(Inbound::Heard(Heard::Refused(answer.status))),
                Came::Ended(end) => news.push(Inbound::Heard(Heard::Ended(end))),
            }
        }
        self.step_posts(scene, news);
    }

    fn kind(&self) -> MessageKind {
        match self.format {
            Format::Json => MessageKind::Text,
            Format::Protobuf => MessageKind::Binary,
        }
    }

    /// The next message that has come whole.
    fn next_message(&mut self) -> Option<Vec<u8>> {
        let (skipped, len, end) = match (self.is_events, self.format) {
            // What only keeps the connection warm is an empty line.
            (true, _) if self.part.starts_with(b"\n") => {
                self.part.drain(..1);
                return self.next_message();
            }
            (true, _) => {
                let end = self.part.windows(2).position(|bytes| bytes == b"\n\n")?;
                assert!(self.part.starts_with(b"data: "), "an event is its data");
                (6, end - 6, 2)
            }
            (false, Format::Json) => (0, self.part.iter().position(|&byte| byte == b'\n')?, 1),
            (false, Format::Protobuf) => {
                let head = self.part.iter().position(|byte| byte & 0x80 == 0)? + 1;
                let bits = self.part[..head].iter().rev();
                let len = bits.fold(0, |len, byte| len << 7 | usize::from(byte & 0x7f));
                // The length is part of the message.
                (0, head + len, 0)
            }
        };
        if self.part.len() < skipped + len + end {
            return None;
        }
        let message = self.part[skipped..skipped + len].to_vec();
        self.part.drain(..skipped + len + end);
        Some(message)
    }

    fn step_posts(&mut self, scene: &mut StepContext<'_>, news: &mut Vec<Inbound>) {
        if self.posted.is_empty() && !self.waiting.is_empty() {
            self.post_commands(scene);
        }
        let Some(post) = &mut self.post else { return };
        let came = post.step(scene);
        let is_over = post.is_over();
        match came {
            None => {}
            Some(Ok(Answer { status: 204, .. })) => self.posted.clear(),
            Some(Ok(Answer { status: 404, .. })) => {
                self.is_unknown = true;
                news.push(Inbound::Lost(self.take_lost()));
            }
            // There was no room for the connection: nothing has been done. Or the answer took too long.
            Some(Ok(Answer { status: 408 | 503, .. })) if !scene.ledger.has_jumped && !scene.is_ending => {
                let mut again = self.posted.split();
                join(self.format, &self.waiting, &mut again);
                self.waiting = again;
            }
            Some(Ok(Answer { status: 408 | 503, .. }) | Err(_)) => {
                news.push(Inbound::Lost(self.take_lost()));
            }
            Some(Ok(answer)) => panic!("commands are answered with {}", answer.status),
        }
        if is_over || (self.posted.is_empty() && scene.chance(0.3)) {
            self.post = None;
        }
    }

    /// Gives up what is under way, and with it what would have followed.
    fn take_lost(&mut self) -> Option<RangeInclusive<u32>> {
        let mut lost = self.posted.split();
        join(self.format, &self.waiting.split(), &mut lost);
        numbers(self.format, &lost)
    }

    fn post_commands(&mut self, scene: &mut StepContext<'_>) {
        let Some((session, node)) = &self.name else { return };
        if self.post.is_none() {
            let now = scene.network.trace().now();
            self.post = scene.line().map(|line| Post::new(line, now));
        }
        let Some(http) = &mut self.post else { return };
        self.posted = self.waiting.split();
        let request = EmulationRequest {
            node: node.into(),
            session: session.into(),
            data: self.posted.as_ref().into(),
        };
        let mut body = BytesMut::new();
        request.encode(self.format, &mut body);
        http.ask(&post("/emulation", self.format, &body), scene);
    }
}

fn post<'r>(target: &'r str, format: Format, body: &'r [u8]) -> Request<'r> {
    let content_type = match format {
        Format::Json => "application/json",
        Format::Protobuf => "application/octet-stream",
    };
    Request { method: "POST", target, content_type, body }
}
