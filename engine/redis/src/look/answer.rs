//! Answer: what a server answered, whole.
//!
//! In:  bytes of RESP2 or RESP3.
//! Out: text, numbers and lists; a map is a list of its keys and values.
//!
//! No I/O, no clock.

use redis_protocol::{
    resp2::{decode::decode as decode2, types::OwnedFrame as Frame2},
    resp3::{decode::complete::decode as decode3, types::OwnedFrame as Frame3},
};

use crate::receive::{
    cause::{Cause, printable},
    resp::Protocol,
};

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A string of whatever kind.
    Text(String),
    /// A number.
    Number(i64),
    /// A list, a set, or the keys and values of a map.
    List(Vec<Self>),
    /// What the server said instead.
    Error(String),
    /// Nothing.
    Nothing,
}

/// An answer of another shape than Redis gives.
pub(super) fn garbled() -> String {
    "it answered something else than what was asked".to_owned()
}

impl Answer {
    /// Text, or a number in decimal.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn text(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Number(number) => Ok(number.to_string()),
            Self::List(_) | Self::Error(_) | Self::Nothing => Err(garbled()),
        }
    }

    /// A number that is not negative.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn number(self) -> Result<u64, String> {
        match self {
            Self::Number(number) => u64::try_from(number).map_err(|_| garbled()),
            other => other.text()?.parse().map_err(|_| garbled()),
        }
    }

    /// A list; nothing is an empty one.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn list(self) -> Result<Vec<Self>, String> {
        match self {
            Self::List(list) => Ok(list),
            Self::Nothing => Ok(Vec::new()),
            Self::Text(_) | Self::Number(_) | Self::Error(_) => Err(garbled()),
        }
    }

    /// A list of exactly that many.
    ///
    /// # Errors
    ///
    /// It is something else.
    pub fn array<const N: usize>(self) -> Result<[Self; N], String> {
        self.list()?.try_into().map_err(|_| garbled())
    }
}

/// The first answer in these bytes and its length; none while its end has not come.
pub(super) fn read(protocol: Protocol, bytes: &[u8]) -> Result<Option<(Answer, usize)>, Cause> {
    let garbled = |error: &dyn std::fmt::Display| Cause::Unasked(error.to_string());
    match protocol {
        Protocol::Resp2 => {
            let decoded = decode2(bytes).map_err(|error| garbled(&error))?;
            Ok(decoded.map(|(frame, length)| (of_resp2(frame), length)))
        }
        Protocol::Resp3 => {
            let decoded = decode3(bytes).map_err(|error| garbled(&error))?;
            Ok(decoded.map(|(frame, length)| (of_resp3(frame), length)))
        }
    }
}

fn of_bytes(bytes: &[u8]) -> Answer {
    Answer::Text(String::from_utf8_lossy(bytes).into_owned())
}

fn of_resp2(frame: Frame2) -> Answer {
    match frame {
        Frame2::SimpleString(bytes) | Frame2::BulkString(bytes) => of_bytes(&bytes),
        Frame2::Error(words) => Answer::Error(printable(words.as_bytes())),
        Frame2::Integer(number) => Answer::Number(number),
        Frame2::Array(frames) => Answer::List(frames.into_iter().map(of_resp2).collect()),
        Frame2::Null => Answer::Nothing,
    }
}

fn of_resp3(frame: Frame3) -> Answer {
    match frame {
        Frame3::BlobString { data, .. }
        | Frame3::SimpleString { data, .. }
        | Frame3::VerbatimString { data, .. }
        | Frame3::BigNumber { data, .. }
        | Frame3::ChunkedString(data) => of_bytes(&data),
        Frame3::SimpleError { data, .. } => Answer::Error(printable(data.as_bytes())),
        Frame3::BlobError { data, .. } => Answer::Error(printable(&data)),
        Frame3::Boolean { data, .. } => Answer::Number(data.into()),
        Frame3::Number { data, .. } => Answer::Number(data),
        Frame3::Double { data, .. } => Answer::Text(data.to_string()),
        Frame3::Array { data, .. } | Frame3::Push { data, .. } => {
            Answer::List(data.into_iter().map(of_resp3).collect())
        }
        Frame3::Set { data, .. } => Answer::List(data.into_iter().map(of_resp3).collect()),
        Frame3::Map { data, .. } => {
            Answer::List(data.into_iter().flat_map(|(key, value)| [of_resp3(key), of_resp3(value)]).collect())
        }
        Frame3::Hello { .. } | Frame3::Null => Answer::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_say_the_same_and_an_answer_that_is_not_there_yet_is_waited_for() {
        let text = |text: &str| Answer::Text(text.into());
        let pair = Answer::List(vec![text("timeout"), text("0")]);
        for (protocol, bytes) in [
            (Protocol::Resp2, &b"*2\r\n$7\r\ntimeout\r\n$1\r\n0\r\n"[..]),
            (Protocol::Resp3, b"%1\r\n$7\r\ntimeout\r\n$1\r\n0\r\n"),
        ] {
            for end in 0..bytes.len() {
                assert!(read(protocol, &bytes[..end]).unwrap().is_none(), "{end}");
            }
            assert_eq!(read(protocol, bytes).unwrap(), Some((pair.clone(), bytes.len())));
            let error = read(protocol, b"-NOPERM no\r\n+OK\r\n").unwrap();
            assert_eq!(error, Some((Answer::Error("NOPERM no".into()), 12)));
            assert_eq!(read(protocol, b":-7\r\n").unwrap(), Some((Answer::Number(-7), 5)));
            assert!(read(protocol, b"?\r\n").is_err());
        }
        assert_eq!(read(Protocol::Resp2, b"*-1\r\n").unwrap(), Some((Answer::Nothing, 5)));
        assert_eq!(read(Protocol::Resp3, b"_\r\n").unwrap(), Some((Answer::Nothing, 3)));
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error() {
        assert_eq!(Answer::Number(7).text(), Ok("7".into()));
        assert_eq!(Answer::Text("7".into()).number(), Ok(7));
        assert!(Answer::Number(-7).number().is_err() && Answer::Text("x".into()).number().is_err());
        assert_eq!(Answer::Nothing.list(), Ok(vec![]));
        assert!(Answer::Text("x".into()).list().is_err());
        assert!(Answer::List(vec![Answer::Nothing]).array::<2>().is_err());
    }
}
