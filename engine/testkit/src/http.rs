//! HTTP: a client that keeps its connection and can stop in the middle of anything.
//!
//! In:  requests.
//! Out: answers with a length, or answers that go on.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::{Daemon, PATIENCE};

/// A connection.
#[derive(Debug)]
pub struct Http {
    stream: BufReader<TcpStream>,
}

/// An answer; without a body where there is none, or where it goes on.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    head: String,
    /// The body.
    pub body: String,
}

impl Http {
    /// Connects and says nothing yet.
    pub fn connect(daemon: &Daemon) -> Self {
        Self::connect_to(daemon.address())
    }

    /// The same, to whoever listens there.
    pub fn connect_to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        Self { stream: BufReader::new(stream) }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("the daemon reads");
    }

    /// Sends bytes again and again, until the daemon takes no more for a while, or so many have been sent.
    pub fn send_while_taken(&mut self, bytes: &[u8], count_max: usize) {
        let stream = self.stream.get_mut();
        stream.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout can be set");
        let mut sent = 0;
        while sent < count_max && stream.write_all(bytes).is_ok() {
            sent += bytes.len();
        }
    }

    /// Sends a POST with a body. `fields` are whole header lines.
    pub fn post(&mut self, path: &str, fields: &str, body: &str) {
        let length = body.len();
        let text =
            format!("POST {path} HTTP/1.1\r\nHost: test\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
        self.send(text.as_bytes());
    }

    /// Ends our side (FIN), and still reads.
    pub fn finish(&mut self) {
        self.stream.get_mut().shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Sends a request without a body.
    pub fn ask(&mut self, method: &str, path: &str, fields: &str) {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: test\r\n{fields}\r\n").as_bytes());
    }

    /// Reads an answer: its head, and as much body as its length says.
    pub fn answer(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.stream.read_line(&mut head).expect("an answer comes") > 0, "it ended: {head:?}");
        }
        let status = head.get(9..12).and_then(|code| code.parse().ok()).expect("a status line comes first");
        let mut answer = Answer { status, head, body: String::new() };
        if let Some(length) = answer.field("Content-Length") {
            let mut body = vec![0; length.parse().expect("a number")];
            self.stream.read_exact(&mut body).expect("the whole body comes");
            answer.body = String::from_utf8(body).expect("it is text");
        }
        answer
    }

    /// The body of an answer that ends with the connection.
    pub fn answer_to_end(&mut self) -> String {
        let mut answer = String::new();
        self.stream.read_to_string(&mut answer).expect("the answer is text and complete");
        answer.split_once("\r\n\r\n").expect("the answer has a head").1.to_owned()
    }

    /// The next line of an answer that goes on.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line comes");
        line
    }

    /// As many bytes of an answer that goes on.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes).expect("the bytes come");
        bytes
    }

    /// Expects that nothing more comes.
    pub fn expect_end(&mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("the end comes in good order");
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }
}

impl Answer {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The body, which is JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
