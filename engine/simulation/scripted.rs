//! Scripted: a client that says what a test has it say, byte by byte where that matters.
//!
//! In:  requests, messages, bytes; what the network has.
//! Out: all that came, as it came.
//!
//! It is none of the simulation's clients: it knows nothing of what must come, and leaves that to the test.

use std::borrow::Cow;

use bytes::BytesMut;
use holdfast_protocol::websocket::{MessageKind, encoder};
use holdfast_ring::simulated::Peer;
use serde_json::json;

/// Who floods has as much ready to go out.
const FLOOD_BYTES: usize = 128 * 1024;

/// Pings and their answers: FIN, opcode 9 and no payload (RFC 6455 §5.5.2), and the client protocol's empty reply.
const NATIVE: (&[u8], &[u8]) = (&[0x89, 0], &[0x8a, 0x80, 1, 2, 3, 4]);
const OWN: (&[u8], &[u8]) = (b"\x81\x02{}", &[0x81, 0x82, 1, 2, 3, 4, b'{' ^ 1, b'}' ^ 2]);

/// What a client does by itself when it reads.
#[derive(Clone, Debug, Default)]
enum Habit {
    #[default]
    AnswersPings,
    /// Sends the same again and again, as fast as it is taken, and forgets what it hears.
    Floods(Vec<u8>),
}

/// A client that counts words in what it hears.
pub(crate) struct ScriptedClient {
    pub(crate) peer: Peer,
    outgoing: BytesMut,
    heard: Vec<u8>,
    /// So much of what was heard holds no ping any more.
    seen: usize,
    habit: Habit,
}

impl ScriptedClient {
    /// Says nothing by itself.
    pub(crate) fn new(peer: Peer) -> Self {
        Self { peer, outgoing: BytesMut::new(), heard: Vec::new(), seen: 0, habit: Habit::default() }
    }

    /// From now on it sends nothing but this.
    pub(crate) fn flooding(self, with: &[u8]) -> Self {
        Self { habit: Habit::Floods(with.to_vec()), ..self }
    }

    /// Sends bytes as they are, when it next steps, as all that it sends.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.outgoing.extend_from_slice(bytes);
    }

    /// Asks to be upgraded. `fields` are whole header lines.
    pub(crate) fn upgrade(&mut self, path: &str, fields: &str) {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{fields}\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        self.send(head.as_bytes());
    }

    /// Asks to be upgraded, and connects by the client protocol, in one go.
    pub(crate) fn connect(&mut self, token: &str) {
        self.upgrade("/connection/websocket", "");
        self.say(&json!({"id": 1, "connect": {"token": token}}).to_string());
    }

    /// Sends a text message.
    pub(crate) fn say(&mut self, text: &str) {
        self.send(&message(text));
    }

    /// Sends a request with JSON.
    pub(crate) fn post(&mut self, path: &str, body: &str) {
        self.send(post_head(path, body.len()).as_bytes());
        self.send(body.as_bytes());
    }

    /// Bytes that wait for room in the network.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.outgoing.len()
    }

    /// Writes what there is room for.
    pub(crate) fn write(&mut self) {
        let written = self.peer.write(&self.outgoing);
        let _ = self.outgoing.split_to(written);
    }

    /// Writes, reads, and answers pings.
    pub(crate) fn step(&mut self) {
        self.write();
        self.peer.read(usize::MAX, &mut self.heard);
        if matches!(self.habit, Habit::AnswersPings) {
            self.answer_pings();
        }
    }

    /// Does what it does by itself.
    pub(crate) fn act(&mut self) {
        if let Habit::Floods(said) = &self.habit {
            while self.outgoing.len() < FLOOD_BYTES && !said.is_empty() {
                self.outgoing.extend_from_slice(said);
            }
            self.step();
            self.forget();
        } else {
            self.step();
        }
    }

    /// How often a text came. Pings that were answered do not count.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.heard.windows(text.len()).filter(|window| *window == text.as_bytes()).count()
    }

    /// Fails where a text has not come.
    #[track_caller]
    pub(crate) fn expect(&self, text: &str) {
        assert!(self.count(text) > 0, "{text} has not come: {}", self.heard());
    }

    /// All that came, as text.
    pub(crate) fn heard(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.heard)
    }

    /// Forgets what came until now.
    pub(crate) fn forget(&mut self) {
        self.heard.clear();
        self.seen = 0;
    }

    fn answer_pings(&mut self) {
        let mut has_answered = false;
        for (ping, pong) in [NATIVE, OWN] {
            let mut from = self.seen;
            while let Some(at) = self.heard[from..].windows(ping.len()).position(|window| window == ping) {
                from += at;
                self.heard.drain(from..from + ping.len());
                self.outgoing.extend_from_slice(pong);
                has_answered = true;
            }
        }
        self.seen = self.heard.len().saturating_sub(OWN.0.len() - 1);
        if has_answered {
            self.write();
        }
    }
}

/// A masked text message, whole.
pub(crate) fn message(text: &str) -> BytesMut {
    let mut bytes = BytesMut::new();
    encoder::encode_message(&mut bytes, MessageKind::Text, Some([1, 2, 3, 4]), text.as_bytes());
    bytes
}

/// The head of a request with so many bytes of JSON.
pub(crate) fn post_head(path: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::cluster::Cluster;
    use crate::metrics::{CloseReason, Metric};

    #[test]
    fn what_one_publishes_reaches_who_is_subscribed_on_another_shard() {
        let mut cluster = Cluster::of(3).start();
        let channel = cluster.channel_of(1);
        let (mut ann, mut bob) = (cluster.connected(0, ""), cluster.connected(2, ""));
        ann.say(&format!(r#"{{"id":2,"subscribe":{{"channel":"{channel}"}}}}"#));
        cluster.run_until_idle(&mut [&mut ann, &mut bob]);
        ann.expect(r#""subscribe":{}"#);
        bob.say(&format!(r#"{{"id":2,"publish":{{"channel":"{channel}","data":"news"}}}}"#));
        cluster.run_until_idle(&mut [&mut ann, &mut bob]);
        bob.expect(r#""publish":{}"#);
        ann.expect(r#""data":"news""#);
    }

    #[test]
    fn clients_of_the_crowd_answer_pings_of_both_kinds() {
        let mut cluster = Cluster::of(1).start();
        cluster.pause = Duration::from_millis(50);
        cluster.crowd = vec![cluster.connected(0, ""), cluster.upgraded(0, "/echo", "")];
        cluster.serve(Duration::from_secs(90));
        assert!(cluster.count(Metric::Pings) >= 4);
        assert_eq!(cluster.count(Metric::Closed(CloseReason::NoPong)), 0);
    }
}
