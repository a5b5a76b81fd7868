//! Backend: what an application's backend says to the server API of a Centrifuge server, and what it is answered.
//!
//! In:  messages with the channels that they are for; the body of an answer.
//! Out: the path and body of one HTTP request; for each refusal in the answer its words.
//!
//! One command goes out as a call of its method, several as a `batch`. No I/O, no clock.

use std::ops::Range;

use bytes::{BufMut as _, BytesMut};
use serde::Deserialize;

use crate::message::{MessageCodec, Stamp};

/// Channels that one `broadcast` names take at most this many bytes: a whole body of the servers that we know may have
/// a MiB.
const CHANNELS_BYTES_MAX: usize = 256 << 10;
const PROLOGUE: &[u8] = b"{\"commands\":[";

/// The channels of one command, as JSON: a field and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressees(String);

impl Addressees {
    /// One channel: `publish`.
    pub fn one(channel: &str) -> Self {
        Self(format!("\"channel\":{}", json(channel)))
    }

    /// Several: `broadcast`, as many of them as the names need.
    pub fn several(channels: impl Iterator<Item = String>) -> Vec<Self> {
        let mut lists: Vec<String> = Vec::new();
        for channel in channels {
            let name = json(&channel);
            match lists.last_mut() {
                Some(list) if list.len() + name.len() < CHANNELS_BYTES_MAX => {
                    list.push(',');
                    list.push_str(&name);
                }
                _ => lists.push(name),
            }
        }
        lists.into_iter().map(|list| Self(format!("\"channels\":[{list}]"))).collect()
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The commands of one request.
#[derive(Debug)]
pub struct Calls {
    method: &'static str,
    body: BytesMut,
    /// Where in the body the first command's parameters are.
    first: Range<usize>,
    count: usize,
    /// Where the commands end in a body that is whole.
    end: usize,
}

impl Calls {
    /// No command yet; all will be of `method`.
    pub fn new(method: &'static str) -> Self {
        Self { method, body: BytesMut::from(PROLOGUE), first: 0..0, count: 0, end: 0 }
    }

    /// How many commands there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// How long the request is so far.
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// Appends the command that publishes one message of `mint`.
    pub fn push(&mut self, addressees: &Addressees, mint: &MessageCodec, stamp: Stamp) {
        self.push_with(addressees, mint, stamp, None);
    }

    /// The same, of a message that may be sent again: the server takes it once. The key is plain ASCII.
    pub fn push_once(&mut self, addressees: &Addressees, mint: &MessageCodec, stamp: Stamp, key: &str) {
        self.push_with(addressees, mint, stamp, Some(key));
    }

    fn push_with(&mut self, addressees: &Addressees, mint: &MessageCodec, stamp: Stamp, key: Option<&str>) {
        if self.count > 0 {
            self.body.put_u8(b',');
        }
        for piece in ["{\"", self.method, "\":"] {
            self.body.put_slice(piece.as_bytes());
        }
        let begin = self.body.len();
        for piece in ["{", &addressees.0, ",\"data\":\""] {
            self.body.put_slice(piece.as_bytes());
        }
        mint.write(stamp, &mut self.body);
        self.body.put_u8(b'"');
        if let Some(key) = key {
            for piece in [",\"idempotency_key\":\"", key, "\""] {
                self.body.put_slice(piece.as_bytes());
            }
        }
        self.body.put_u8(b'}');
        if self.count == 0 {
            self.first = begin..self.body.len();
        }
        self.body.put_u8(b'}');
        self.count += 1;
    }

    /// The request: where under the API's URL it goes, and its body. `is_parallel` leaves their order to the server.
    pub fn request(&mut self, is_parallel: bool) -> (&'static str, &[u8]) {
        self.end = self.body.len();
        if self.count == 1 {
            return (self.method, &self.body[self.first.clone()]);
        }
        self.body.put_slice(if is_parallel { b"],\"parallel\":true}" } else { b"]}" });
        ("batch", &self.body)
    }

    /// Takes back what [`Calls::request`] has made of the commands: they can be asked for again.
    pub fn reopen(&mut self) {
        self.body.truncate(self.end);
    }

    /// Forgets all commands.
    pub fn clear(&mut self) {
        self.body.truncate(PROLOGUE.len());
        self.count = 0;
    }

    /// What was refused, in words.
    ///
    /// # Errors
    /// In words, when the answer is none, or not to these commands: then all of them count as refused.
    pub fn refusals(&self, answer: &[u8]) -> Result<Vec<String>, String> {
        let answer: Answer =
            serde_json::from_slice(answer).map_err(|error| format!("not understood: {error}"))?;
        let is_whole = match self.count {
            1 => answer.result.is_some() || answer.error.is_some(),
            count => answer.replies.len() == count || answer.error.is_some(),
        };
        if !is_whole {
            return Err(format!("{} commands were answered by {} replies", self.count, answer.replies.len()));
        }
        if let (Some(error), 2..) = (&answer.error, self.count) {
            return Err(error.words(self.method));
        }
        let alone = Reply { error: answer.error, broadcast: answer.result };
        let replies = if self.count == 1 { vec![alone] } else { answer.replies };
        Ok(replies.iter().filter_map(Reply::refusal).map(|error| error.words(self.method)).collect())
    }
}

/// The body of an answer: `{"result":…}` or `{"error":…}`, of a batch `{"replies":[…]}`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    result: Option<Outcome>,
    error: Option<Refusal>,
    replies: Vec<Reply>,
}

/// One reply of a batch; that to a `publish` says nothing.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Reply {
    error: Option<Refusal>,
    broadcast: Option<Outcome>,
}

impl Reply {
    /// Why the message did not reach all, if it did not; of several reasons the first.
    fn refusal(&self) -> Option<&Refusal> {
        let responses = self.broadcast.as_ref().map_or(&[][..], |outcome| &outcome.responses);
        self.error.iter().chain(responses.iter().filter_map(|response| response.error.as_ref())).next()
    }
}

/// What a call resulted in; `broadcast` tells of each channel.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Outcome {
    responses: Vec<Response>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Response {
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: u32,
    #[serde(default)]
    message: String,
}

impl Refusal {
    fn words(&self, method: &str) -> String {
        format!("{method} was refused: {} {}", self.code, self.message)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const STAMP: Stamp = Stamp { publisher: 7, sequence: 9, intended_ns: 11 };

    fn calls(method: &'static str, count: usize) -> Calls {
        let mut calls = Calls::new(method);
        (0..count).for_each(|_| calls.push(&Addressees::one("bench:1"), &MessageCodec::new(1, 40, 1), STAMP));
        calls
    }

    fn parsed(body: &[u8]) -> Value {
        serde_json::from_slice(body).expect("is JSON")
    }

    #[test]
    fn one_command_is_a_call_and_several_are_a_batch() {
        let mut one = calls("publish", 1);
        let (path, body) = one.request(false);
        assert_eq!((path, &parsed(body)["channel"]), ("publish", &Value::from("bench:1")));
        assert!(parsed(body)["data"].as_str().is_some_and(|data| data.len() == 40));
        let mut two = calls("publish", 2);
        let (path, body) = two.request(true);
        let (body, alone) = (parsed(body), parsed(calls("publish", 1).request(false).1));
        assert_eq!((path, &body["parallel"]), ("batch", &Value::from(true)));
        assert_eq!(body["commands"][1]["publish"], alone);
        two.clear();
        assert_eq!((two.count(), two.bytes()), (0, PROLOGUE.len()));
    }

    #[test]
    fn names_are_escaped_and_long_lists_of_them_are_split() {
        assert_eq!(Addressees::one("a\"b").0, r#""channel":"a\"b""#);
        let lists = Addressees::several((0..50_000).map(|n| format!("bench:{n}")));
        assert!(lists.len() > 1 && lists.iter().all(|list| list.0.len() < CHANNELS_BYTES_MAX + 32));
        let named: usize = lists.iter().map(|list| list.0.matches("bench:").count()).sum();
        assert_eq!(named, 50_000);
    }

    #[test]
    fn every_refusal_is_found_in_whatever_form_it_comes() {
        let refused = |method, count, answer: &str| calls(method, count).refusals(answer.as_bytes());
        assert_eq!(refused("publish", 1, r#"{"result":{"offset":1}}"#), Ok(vec![]));
        let error = r#"{"error":{"code":102,"message":"unknown channel"}}"#;
        let words = "publish was refused: 102 unknown channel".to_owned();
        assert_eq!(refused("publish", 1, error), Ok(vec![words.clone()]));
        assert_eq!(
            refused("publish", 2, &format!(r#"{{"replies":[{{"publish":{{}}}},{error}]}}"#)),
            Ok(vec![words.clone()])
        );
        let partly = format!(r#"{{"responses":[{{"result":{{}}}},{error}]}}"#);
        let words = words.replace("publish", "broadcast");
        assert_eq!(refused("broadcast", 1, &format!(r#"{{"result":{partly}}}"#)), Ok(vec![words.clone()]));
        let batch = format!(r#"{{"replies":[{{"broadcast":{partly}}},{{"broadcast":{{}}}}]}}"#);
        assert_eq!(refused("broadcast", 2, &batch), Ok(vec![words]));
    }

    #[test]
    fn an_answer_to_something_else_refuses_all() {
        for (count, answer) in
            [(1, "{}"), (2, r#"{"replies":[{}]}"#), (1, "<html>"), (2, r#"{"error":{"code":107}}"#)]
        {
            assert!(calls("publish", count).refusals(answer.as_bytes()).is_err(), "{count} {answer}");
        }
    }
}
