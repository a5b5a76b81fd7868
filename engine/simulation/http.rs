//! HTTP: a client's connection for requests that follow each other, or for one whose answer does not end.
//!
//! In:  requests, one at a time; what the network has.
//! Out: answers; the pieces of one that goes on; the end.

use holdfast_ring::simulated::StreamEnd;
use rand::{Rng, rngs::SmallRng};

use super::line::PeerStream;

/// What has come.
#[derive(Debug)]
pub(super) enum Came {
    /// A whole answer.
    Answer(Answer),
    /// The head of one that goes on.
    Begun,
    /// A piece of that one.
    Piece(Vec<u8>),
    Ended(StreamEnd),
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) keeps_alive: bool,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'r> {
    pub(super) method: &'r str,
    pub(super) target: &'r str,
    pub(super) content_type: &'r str,
    pub(super) body: &'r [u8],
}

pub(super) struct Http {
    pub(super) line: PeerStream,
    awaits: bool,
    is_streaming: bool,
}

impl Http {
    pub(super) fn new(line: PeerStream) -> Self {
        Self { line, awaits: false, is_streaming: false }
    }

    /// True exactly while an answer is to come.
    pub(super) fn awaits(&self) -> bool {
        self.awaits
    }

    /// Asks: the body with its length, or in chunks, or after a question whether it may come.
    pub(super) fn ask(&mut self, request: &Request<'_>, random: &mut SmallRng) {
        assert!(!std::mem::replace(&mut self.awaits, true), "one request at a time");
        let Request { method, target, content_type, body } = request;
        let mut out = format!("{method} {target} HTTP/1.1\r\nHost: simulation\r\n").into_bytes();
        if *method == "GET" {
            out.extend_from_slice(b"\r\n");
            return self.line.send(&out);
        }
        out.extend_from_slice(format!("Content-Type: {content_type}\r\n").as_bytes());
        if random.random_bool(0.1) {
            // Who asks may still not wait for the answer (RFC 9110 §10.1.1).
            out.extend_from_slice(b"Expect: 100-continue\r\n");
        }
        if random.random_bool(0.8) {
            out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
            out.extend_from_slice(body);
        } else {
            out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            for chunk in body.chunks(random.random_range(1..200)) {
                out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                out.extend_from_slice(chunk);
                out.extend_from_slice(b"\r\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        }
        self.line.send(&out);
    }

    /// Writes and reads some.
    pub(super) fn step(&mut self, random: &mut SmallRng, came: &mut Vec<Came>) {
        let end = self.line.step(random);
        while !self.is_streaming && self.read_answer(came) {}
        if self.is_streaming && !self.line.incoming.is_empty() {
            came.push(Came::Piece(std::mem::take(&mut self.line.incoming)));
        }
        if let Some(end) = end {
            came.push(Came::Ended(end));
        }
    }

    /// True exactly when there may be another answer.
    fn read_answer(&mut self, came: &mut Vec<Came>) -> bool {
        let incoming = &mut self.line.incoming;
        let Some(head_bytes) = incoming.windows(4).position(|bytes| bytes == b"\r\n\r\n").map(|at| at + 4)
        else {
            return false;
        };
        let head = String::from_utf8(incoming[..head_bytes].to_vec()).expect("a head is text").to_lowercase();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.expect("an answer has a status");
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let length = match (status, field("content-length")) {
            (100 | 204, None) => 0,
            (200, None) => {
                incoming.drain(..head_bytes);
                self.is_streaming = true;
                came.push(Came::Begun);
                return false;
            }
            (_, length) => length.and_then(|length| length.parse().ok()).expect("an answer has a length"),
        };
        if incoming.len() < head_bytes + length {
            return false;
        }
        let keeps_alive = field("connection") != Some("close");
        let body = incoming[head_bytes..head_bytes + length].to_vec();
        incoming.drain(..head_bytes + length);
        if status != 100 {
            // A connection may be refused before anything was asked on it, or when it has waited for too long.
            let was_asked = std::mem::take(&mut self.awaits);
            assert!(was_asked || status >= 400, "nothing is answered that was not asked");
            came.push(Came::Answer(Answer { status, body, keeps_alive }));
        }
        true
    }
}
