//! API: publishers that know what was acknowledged.
//!
//! In:  publications, one after the other, over a kept connection to the control address.
//! Out: each one's answer, or the word that none came before the end of the connection.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
};

use holdfast_testkit::PATIENCE;
use serde_json::{Value, json};

/// Publications in a call, so that its body is not too long.
const BATCH: usize = 32;

/// A publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    stream: BufReader<TcpStream>,
}

impl Publisher {
    pub(crate) fn connect(control: SocketAddr) -> Self {
        let stream = TcpStream::connect(control).expect("the control plane listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("TCP has it");
        Self { stream: BufReader::new(stream) }
    }

    /// Publishes one. `None` where the connection ended before the answer: nobody knows what became of it.
    pub(crate) fn publish(&mut self, channel: &str, data: &Value) -> Option<Value> {
        let answer = self.call("publish", &json!({ "channel": channel, "data": data }))?;
        assert!(answer.get("error").is_none(), "{answer}");
        Some(answer)
    }

    /// Publishes all of them, some in each call; they are acknowledged.
    pub(crate) fn publish_all(&mut self, channel: &str, data: impl IntoIterator<Item = Value>) {
        let command = |data| json!({ "publish": { "channel": channel, "data": data } });
        let commands: Vec<Value> = data.into_iter().map(command).collect();
        for commands in commands.chunks(BATCH) {
            let answer = self.call("batch", &json!({ "commands": commands })).expect("the daemon lives");
            let replies = answer["replies"].as_array().unwrap_or_else(|| panic!("no replies: {answer}"));
            assert_eq!(replies.len(), commands.len());
            assert!(replies.iter().all(|reply| reply.get("error").is_none()), "{answer}");
        }
    }

    /// Publishes one; or not, where there is no memory for the call now.
    pub(crate) fn try_publish(&mut self, channel: &str, data: &Value) -> bool {
        let answer = self.call("publish", &json!({ "channel": channel, "data": data }));
        let answer = answer.expect("the daemon lives");
        assert!(answer.get("error").is_none_or(|error| error["code"] == 111), "{answer}");
        answer.get("error").is_none()
    }

    pub(crate) fn call(&mut self, method: &str, request: &Value) -> Option<Value> {
        match self.exchange(method, &request.to_string()) {
            Ok(body) => Some(serde_json::from_slice(&body).expect("an answer is JSON")),
            Err(error) => {
                let is_timeout = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(!is_timeout, "no answer comes: {error}");
                None
            }
        }
    }

    fn exchange(&mut self, method: &str, body: &str) -> io::Result<Vec<u8>> {
        let head = format!(
            "POST /api/{method} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all([head.as_bytes(), body.as_bytes()].concat().as_slice())?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some((name, value)) = line.split_once(": ")
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length is a number");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }
}
