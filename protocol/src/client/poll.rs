//! Poll: the bodies of HTTP long-polling. Holdfast's own addition to the protocol; docs/transports.md is its
//! description.
//!
//! In:  the body of a request; what a session has to say.
//! Out: commands as a frame for [`decode_commands`](super::decode_commands), and what the client has received; the body
//! of an answer.
//!
//! JSON only. Whether the session exists, and whether it is the sender's, is not known here.

use std::borrow::Cow;

use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{DecodeError, json};

/// What a client asks.
#[derive(Debug, Deserialize)]
pub struct PollRequest<'a> {
    /// The session; empty to open one.
    #[serde(default, borrow)]
    pub session: Cow<'a, str>,
    /// The highest sequence that the client has received.
    #[serde(default)]
    pub received: u64,
    #[serde(default, borrow)]
    commands: Vec<&'a RawValue>,
}

impl<'a> PollRequest<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no JSON object of these members. Members that are not known are passed over.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let text = simdutf8::basic::from_utf8(body).map_err(|_| DecodeError::JsonNotUtf8)?;
        // What reads structures would take an array of their members too.
        if !text.trim_ascii_start().starts_with('{') {
            return Err(DecodeError::Json { line: 1, column: 1 });
        }
        serde_json::from_str(text)
            .map_err(|error| DecodeError::Json { line: error.line(), column: error.column() })
    }

    /// The commands as a frame: one a line.
    pub fn frame(&self) -> Bytes {
        let mut frame = BytesMut::new();
        for command in &self.commands {
            if !frame.is_empty() {
                frame.put_u8(b'\n');
            }
            // Between the tokens of JSON, and only there, a line break is a mere space.
            frame.extend(command.get().bytes().map(|byte| if byte == b'\n' { b' ' } else { byte }));
        }
        frame.freeze()
    }
}

/// The body of an answer: all `replies`, the last of which has the number `sequence`.
pub fn poll_answer<'a>(session: &str, sequence: u64, replies: impl Iterator<Item = &'a Bytes>) -> Bytes {
    let mut out = BytesMut::with_capacity(128);
    out.put_slice(b"{\"session\":");
    json::put_str(&mut out, session);
    out.put_slice(format!(",\"sequence\":{sequence},\"replies\":[").as_bytes());
    for (at, reply) in replies.enumerate() {
        if at > 0 {
            out.put_u8(b',');
        }
        out.put_slice(reply);
    }
    out.put_slice(b"]}");
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_and_its_commands_stand_on_a_line_each() {
        let body = br#"{ "session": "s\u0031", "received": 7, "extra": [],
            "commands": [{"id":1,
              "publish":{"data":"a\nb"}}, {"id":2}] }"#;
        let request = PollRequest::decode(body).unwrap();
        assert_eq!((&*request.session, request.received), ("s1", 7));
        let frame = request.frame();
        let lines: Vec<_> = frame.split(|&byte| byte == b'\n').collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with(br#""publish":{"data":"a\nb"}}"#));
    }

    #[test]
    fn everything_may_be_left_out() {
        let request = PollRequest::decode(b"{}").unwrap();
        assert_eq!((&*request.session, request.received, request.frame().len()), ("", 0, 0));
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for body in [
            &b""[..],
            b"[]",
            b"{\"received\":-1}",
            b"{\"commands\":{}}",
            b"{\"session\":1}",
            b"\xff",
            b"{} {}",
        ] {
            assert!(PollRequest::decode(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn an_answer_is_one_object() {
        let replies = [Bytes::from_static(b"{\"id\":1}"), Bytes::from_static(b"{}")];
        assert_eq!(
            &poll_answer("a\"b", 9, replies.iter())[..],
            br#"{"session":"a\"b","sequence":9,"replies":[{"id":1},{}]}"#
        );
        assert_eq!(&poll_answer("s", 0, [].iter())[..], br#"{"session":"s","sequence":0,"replies":[]}"#);
    }
}
