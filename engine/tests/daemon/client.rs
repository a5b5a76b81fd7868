//! Client: a peer that speaks the client protocol in JSON.
//!
//! In:  commands.
//! Out: their results; pushes, in their order.

use std::collections::VecDeque;

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::{
    peer::{CLOSE, Frame, Peer, text},
    support::Daemon,
};

/// What tokens are signed with, as `client.token.hmac_secret_key`.
pub(crate) const SECRET: &str = "a secret of the tests";

/// A connected client.
#[derive(Debug)]
pub(crate) struct Client {
    peer: Peer,
    /// What the server calls it.
    pub(crate) id: String,
    commands: u32,
    unread: VecDeque<Value>,
}

impl Client {
    /// Connects as a user.
    pub(crate) fn connect(daemon: &Daemon, user: &str) -> Self {
        Self::over(Peer::open(daemon, "/connection/websocket"), user)
    }

    /// The same, over a connection of one's own.
    pub(crate) fn over(peer: Peer, user: &str) -> Self {
        let mut client = Self { peer, id: String::new(), commands: 0, unread: VecDeque::new() };
        let connected = client.command("connect", &json!({ "token": token(&json!({ "sub": user })) }));
        client.id = connected["client"].as_str().expect("it has an id").to_owned();
        client
    }

    /// Sends a command and reads up to its result.
    pub(crate) fn command(&mut self, name: &str, request: &Value) -> Value {
        self.commands += 1;
        let id = self.commands;
        self.peer.send(&text(&json!({ "id": id, name: request }).to_string()));
        let mut pushes = VecDeque::new();
        loop {
            let mut message = self.message();
            if message["id"] == id {
                pushes.append(&mut self.unread);
                self.unread = pushes;
                assert!(message.get("error").is_none(), "{message}");
                return message[name].take();
            }
            pushes.push_back(message);
        }
    }

    pub(crate) fn subscribe(&mut self, channel: &str) -> Value {
        self.command("subscribe", &json!({ "channel": channel }))
    }

    /// The next push.
    pub(crate) fn push(&mut self) -> Value {
        let mut message = self.message();
        assert!(message.get("push").is_some(), "not a push: {message}");
        message["push"].take()
    }

    /// Expects the end, with nothing more before it: code and reason.
    pub(crate) fn expect_close(mut self) -> (u16, String) {
        assert!(self.unread.is_empty(), "{:?}", self.unread);
        let mut frame = self.peer.frame();
        while frame == Frame::text("{}") {
            self.answer_ping();
            frame = self.peer.frame();
        }
        let reason = frame.payload.get(2..).unwrap_or_default();
        (frame.close_code(), String::from_utf8(reason.to_vec()).expect("a reason is text"))
    }

    /// Reads pushes up to the close frame, and answers with its code.
    pub(crate) fn read_to_close(mut self, mut heard: impl FnMut(&Value)) -> u16 {
        loop {
            let Frame { opcode, payload } = self.peer.frame();
            if opcode == CLOSE {
                return Frame { opcode, payload }.close_code();
            }
            let lines = serde_json::Deserializer::from_slice(&payload).into_iter::<Value>();
            lines.for_each(|line| heard(&line.expect("a frame holds JSON")["push"]));
        }
    }

    fn answer_ping(&mut self) {
        self.peer.send_if_heard(&text("{}"));
    }

    fn message(&mut self) -> Value {
        loop {
            match self.unread.pop_front() {
                Some(message) if message == json!({}) => self.answer_ping(),
                Some(message) => return message,
                None => {
                    let Frame { opcode, payload } = self.peer.frame();
                    assert_ne!(opcode, CLOSE, "closed: {}", payload.escape_ascii());
                    let lines = serde_json::Deserializer::from_slice(&payload).into_iter();
                    self.unread.extend(lines.map(|line| line.expect("a frame holds JSON")));
                }
            }
        }
    }
}

/// A token with these claims.
pub(crate) fn token(claims: &Value) -> String {
    let part = |json: &str| BASE64URL_NOPAD.encode(json.as_bytes());
    let signed = format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
}
