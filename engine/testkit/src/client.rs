//! Client: a peer that speaks the client protocol in JSON.
//!
//! In:  commands.
//! Out: their results; pushes, in their order.

use std::{collections::VecDeque, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use ring::hmac;
use serde_json::{Value, json};

use crate::{
    Daemon,
    peer::{CLOSE, Frame, Peer, request, text},
};

/// What tokens are signed with, as `client.token.hmac_secret_key`.
pub const SECRET: &str = "a secret of the tests";

/// A connected client.
#[derive(Debug)]
pub struct Client {
    peer: Peer,
    /// What the server calls it.
    pub id: String,
    commands: u32,
    unread: VecDeque<Value>,
}

impl Client {
    /// Connects as a user.
    pub fn connect(daemon: &Daemon, user: &str) -> Self {
        Self::connect_with(daemon, &json!({ "token": token(&json!({ "sub": user })) })).0
    }

    /// Connects as a user, over a connection of one's own.
    pub fn over(peer: Peer, user: &str) -> Self {
        let mut client = Self { peer, id: String::new(), commands: 0, unread: VecDeque::new() };
        let connected = client.command("connect", &json!({ "token": token(&json!({ "sub": user })) }));
        client.id = connected["client"].as_str().expect("it has an id").to_owned();
        client
    }

    /// Connects with this request. Returns the result too.
    pub fn connect_with(daemon: &Daemon, request: &Value) -> (Self, Value) {
        let mut client = Self::open(daemon, "");
        let connected = client.command("connect", request);
        client.id = connected["client"].as_str().expect("it has an id").to_owned();
        (client, connected)
    }

    /// Shakes hands, and says nothing yet. `fields` are whole header lines.
    pub fn open(daemon: &Daemon, fields: &str) -> Self {
        let mut peer = Peer::connect(daemon);
        let head = request("/connection/websocket");
        peer.send(head.replace("Host: test\r\n", &format!("Host: test\r\n{fields}")).as_bytes());
        peer.expect_upgrade();
        Self { peer, id: String::new(), commands: 0, unread: VecDeque::new() }
    }

    /// Ends the connection without a word.
    pub fn reset(self) {
        self.peer.reset();
    }

    /// Sends commands in one frame. Returns the number of the first.
    pub fn send(&mut self, commands: &[(&str, Value)]) -> u32 {
        let first = self.commands + 1;
        let mut lines = Vec::new();
        for (name, request) in commands {
            self.commands += 1;
            lines.push(json!({ "id": self.commands, *name: request }).to_string());
        }
        self.peer.send(&text(&lines.join("\n")));
        first
    }

    /// The next message: a reply or a push.
    pub fn message(&mut self) -> Value {
        loop {
            match self.unread.pop_front() {
                Some(message) if message == json!({}) => self.answer_ping(),
                Some(message) => return message,
                None => {
                    let Frame { opcode, payload } = self.peer.frame();
                    assert_ne!(opcode, CLOSE, "closed: {}", payload.escape_ascii());
                    self.unread.extend(messages(&payload));
                }
            }
        }
    }

    /// The next message, if its first byte comes within so long.
    pub fn message_within(&mut self, wait: Duration) -> Option<Value> {
        loop {
            match self.unread.pop_front() {
                Some(message) if message == json!({}) => self.answer_ping(),
                Some(message) => return Some(message),
                None => {
                    if !self.peer.has_more_within(wait) {
                        return None;
                    }
                    let Frame { opcode, payload } = self.peer.frame();
                    assert_ne!(opcode, CLOSE, "closed: {}", payload.escape_ascii());
                    self.unread.extend(messages(&payload));
                }
            }
        }
    }

    /// Sends a command and reads up to its reply, which may be an error.
    pub fn ask(&mut self, name: &str, request: &Value) -> Value {
        let id = self.send(&[(name, request.clone())]);
        let mut pushes = VecDeque::new();
        loop {
            let message = self.message();
            if message["id"] == id {
                pushes.append(&mut self.unread);
                self.unread = pushes;
                return message;
            }
            pushes.push_back(message);
        }
    }

    /// Sends a command and reads up to its result.
    pub fn command(&mut self, name: &str, request: &Value) -> Value {
        let mut reply = self.ask(name, request);
        assert!(reply.get("error").is_none(), "{reply}");
        reply[name].take()
    }

    /// Sends a command and reads up to the code of its error.
    pub fn error(&mut self, name: &str, request: &Value) -> u64 {
        let reply = self.ask(name, request);
        reply["error"]["code"].as_u64().unwrap_or_else(|| panic!("{name} {request}: {reply}"))
    }

    /// Subscribes to a channel. Returns the result.
    pub fn subscribe(&mut self, channel: &str) -> Value {
        self.command("subscribe", &json!({ "channel": channel }))
    }

    /// The next push.
    pub fn push(&mut self) -> Value {
        let mut message = self.message();
        assert!(message.get("push").is_some(), "not a push: {message}");
        message["push"].take()
    }

    /// Expects the end, with nothing more before it: code and reason.
    pub fn expect_close(mut self) -> (u16, String) {
        assert!(self.unread.is_empty(), "{:?}", self.unread);
        let mut frame = self.peer.frame();
        while frame == Frame::text("{}") {
            self.answer_ping();
            frame = self.peer.frame();
        }
        let reason = frame.payload.get(2..).unwrap_or_default();
        (frame.close_code(), String::from_utf8(reason.to_vec()).expect("a reason is text"))
    }

    /// Reads the next message, or the code of the end. The client is given back where it is not the end.
    pub fn next_or_close(mut self) -> Result<Self, u16> {
        loop {
            let frame = self.peer.frame();
            if frame.opcode == CLOSE {
                return Err(frame.close_code());
            }
            if frame != Frame::text("{}") {
                return Ok(self);
            }
            self.answer_ping();
        }
    }

    /// Reads pushes up to the close frame, and answers with its code.
    pub fn read_to_close(mut self, mut heard: impl FnMut(&Value)) -> u16 {
        loop {
            let Frame { opcode, payload } = self.peer.frame();
            if opcode == CLOSE {
                return Frame { opcode, payload }.close_code();
            }
            messages(&payload).for_each(|message| heard(&message["push"]));
        }
    }

    /// The next message, or the end of the stream; with its code where a close frame came.
    pub fn next_or_end(&mut self) -> Result<Value, Option<u16>> {
        loop {
            match self.unread.pop_front() {
                Some(message) if message == json!({}) => self.answer_ping(),
                Some(message) => return Ok(message),
                None => {
                    let frame = self.peer.frame_or_cut().ok_or(None)?;
                    if frame.opcode == CLOSE {
                        return Err(Some(frame.close_code()));
                    }
                    self.unread.extend(messages(&frame.payload));
                }
            }
        }
    }

    /// The connection below.
    pub fn peer(&mut self) -> &mut Peer {
        &mut self.peer
    }

    fn answer_ping(&mut self) {
        self.peer.send_if_heard(&text("{}"));
    }
}

/// The messages in a frame, one a line.
fn messages(payload: &[u8]) -> impl Iterator<Item = Value> {
    let lines = serde_json::Deserializer::from_slice(payload).into_iter();
    lines.map(|line| line.expect("a frame holds JSON"))
}

/// A token with these claims.
pub fn token(claims: &Value) -> String {
    let part = |json: &str| BASE64URL_NOPAD.encode(json.as_bytes());
    let signed = format!("{}.{}", part(r#"{"alg":"HS256","typ":"JWT"}"#), part(&claims.to_string()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), signed.as_bytes());
    format!("{signed}.{}", BASE64URL_NOPAD.encode(tag.as_ref()))
}
