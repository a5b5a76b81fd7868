//! Answer: the backend's answer to an event.
//!
//! In:  the body of the HTTP response.
//! Out: the parsed `{"result":…}`, `{"error":{code, message}}` or `{"disconnect":{code, reason}}`; an error for
//!      anything else.
//!
//! As in Centrifugo, a disconnect takes precedence over an error, and an error over a result. Unknown fields are
//! ignored.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Event;
use crate::{
    channel::Overrides,
    hub::owner::IDEMPOTENCY_KEY_BYTES_MAX,
    time::UnixSeconds,
    token::{RawOptions, SubscribeOptions, TokenError, either},
    value::{object, object::Object},
};

/// The answer to an event. `None` is an answer without a result.
#[derive(Debug)]
pub(crate) enum ProxyResult {
    Connect(Result<Option<Connected>, Refusal>),
    Refresh(Result<Option<Refreshed>, Refusal>),
    /// The result of the call.
    Rpc(Result<Bytes, Refusal>),
    Subscribe(Result<Subscribed, Refusal>),
    Publish(Result<Published, Refusal>),
    SubRefresh(Result<Option<Refreshed>, Refusal>),
}

/// Why an event has no result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Send the client an error with the application's text.
    Error { code: u32, message: Box<str>, temporary: bool },
    /// End the session with the application's code.
    Disconnect { code: u16, reason: Box<str> },
    /// The backend did not answer, or its answer could not be parsed.
    Failed,
}

/// The identity of a client.
#[derive(Debug)]
pub(crate) struct Connected {
    pub(crate) user: String,
    /// `None` for never.
    pub(crate) expires_at: Option<UnixSeconds>,
    pub(crate) info: Option<Bytes>,
    /// Data for the client, sent with the reply.
    pub(crate) data: Option<Bytes>,
    pub(crate) meta: Option<Bytes>,
    pub(crate) subs: Vec<(String, SubscribeOptions)>,
}

/// A new expiry.
#[derive(Debug)]
pub(crate) struct Refreshed {
    /// True exactly when the connection or subscription has expired.
    pub(crate) is_expired: bool,
    /// `None` for never.
    pub(crate) expires_at: Option<UnixSeconds>,
    pub(crate) info: Option<Bytes>,
    pub(crate) meta: Option<Bytes>,
}

/// How a subscription is granted.
#[derive(Debug, Default)]
pub(crate) struct Subscribed {
    /// `None` for never.
    pub(crate) expires_at: Option<UnixSeconds>,
    pub(crate) options: SubscribeOptions,
}

/// How a publication is accepted.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// Replaces the client's data.
    pub(crate) data: Option<Bytes>,
    pub(crate) skip_history: bool,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) idempotency_key: String,
    pub(crate) delta: bool,
    /// 0 for none.
    pub(crate) version: u64,
    pub(crate) version_epoch: String,
}

#[derive(Deserialize)]
struct Envelope {
    result: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "object::read_optional")]
    error: Option<RawError>,
    #[serde(default, deserialize_with = "object::read_optional")]
    disconnect: Option<RawDisconnect>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawError {
    code: u32,
    message: String,
    temporary: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawDisconnect {
    code: u16,
    reason: String,
}

/// The fields of all results. A backend sends only the fields of its event's result.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RawResult {
    user: Option<String>,
    expired: bool,
    expire_at: i64,
    info: Option<Box<RawValue>>,
    b64info: Option<String>,
    data: Option<Box<RawValue>>,
    b64data: Option<String>,
    meta: Option<Box<RawValue>>,
    channels: Option<Vec<String>>,
    subs: Option<BTreeMap<String, Box<RawValue>>>,
    #[serde(rename = "override", deserialize_with = "object::read_optional")]
    overrides: Option<Overrides>,
    skip_history: bool,
    tags: Option<BTreeMap<String, String>>,
    idempotency_key: Option<String>,
    delta: bool,
    version: u64,
    version_epoch: Option<String>,
}

/// Why an answer is invalid.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("its JSON is not as expected: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{0}")]
    Field(#[from] TokenError),
    #[error("its disconnect code is {0}; it must be from 3000 to 4999")]
    DisconnectCode(u16),
    #[error("its error has the code 0")]
    ErrorCode,
    #[error("{field} has more than {max} bytes")]
    TooLong { field: &'static str, max: usize },
}

impl ProxyResult {
    /// A refusal.
    pub(crate) fn refused(event: Event, refusal: Refusal) -> Self {
        match event {
            Event::Connect => Self::Connect(Err(refusal)),
            Event::Refresh => Self::Refresh(Err(refusal)),
            Event::Rpc => Self::Rpc(Err(refusal)),
            Event::Subscribe => Self::Subscribe(Err(refusal)),
            Event::Publish => Self::Publish(Err(refusal)),
            Event::SubRefresh => Self::SubRefresh(Err(refusal)),
        }
    }

    /// Parses a valid body.
    #[cfg(test)]
    pub(crate) fn of(event: Event, body: &str) -> Self {
        Self::read(event, body.as_bytes()).expect("a valid answer")
    }

    /// Parses the body of an answer.
    pub(super) fn read(event: Event, body: &[u8]) -> Result<Self, AnswerError> {
        let Envelope { result, error, disconnect } = json(body)?;
        if let Some(RawDisconnect { code, reason }) = disconnect {
            if !(3000..=4999).contains(&code) {
                return Err(AnswerError::DisconnectCode(code));
            }
            return Ok(Self::refused(event, Refusal::Disconnect { code, reason: reason.into() }));
        }
        if let Some(RawError { code, message, temporary }) = error {
            if code == 0 {
                return Err(AnswerError::ErrorCode);
            }
            return Ok(Self::refused(event, Refusal::Error { code, message: message.into(), temporary }));
        }
        let result: Option<RawResult> = result.map(|result| json(result.get().as_bytes())).transpose()?;
        Ok(match event {
            Event::Connect => Self::Connect(Ok(result.map(RawResult::connected).transpose()?)),
            Event::Refresh => Self::Refresh(Ok(result.map(RawResult::refreshed).transpose()?)),
            Event::SubRefresh => Self::SubRefresh(Ok(result.map(RawResult::refreshed).transpose()?)),
            Event::Rpc => Self::Rpc(Ok(result.unwrap_or_default().data()?.unwrap_or_default())),
            Event::Subscribe => Self::Subscribe(Ok(result.unwrap_or_default().subscribed()?)),
            Event::Publish => Self::Publish(Ok(result.unwrap_or_default().published()?)),
        })
    }
}

impl RawResult {
    fn info(&self) -> Result<Option<Bytes>, TokenError> {
        either("b64info", self.b64info.as_deref(), self.info.as_deref())
    }

    fn data(&self) -> Result<Option<Bytes>, TokenError> {
        either("b64data", self.b64data.as_deref(), self.data.as_deref())
    }

    fn meta(&self) -> Option<Bytes> {
        self.meta.as_deref().map(copy)
    }

    fn expires_at(&self) -> Option<UnixSeconds> {
        UnixSeconds::from_field(self.expire_at)
    }

    fn connected(self) -> Result<Connected, AnswerError> {
        let plain = self.channels.iter().flatten();
        let mut subs: Vec<_> = plain.map(|channel| (channel.clone(), SubscribeOptions::default())).collect();
        for (channel, options) in self.subs.iter().flatten() {
            let options = json::<RawOptions<'_>>(options.get().as_bytes())?.read()?;
            subs.retain(|(other, _)| other != channel);
            subs.push((channel.clone(), options));
        }
        Ok(Connected {
            expires_at: self.expires_at(),
            info: self.info()?,
            data: self.data()?,
            meta: self.meta(),
            user: self.user.unwrap_or_default(),
            subs,
        })
    }

    fn refreshed(self) -> Result<Refreshed, AnswerError> {
        Ok(Refreshed {
            is_expired: self.expired,
            expires_at: self.expires_at(),
            info: self.info()?,
            meta: self.meta(),
        })
    }

    fn subscribed(self) -> Result<Subscribed, AnswerError> {
        let options = SubscribeOptions {
            info: self.info()?,
            data: self.data()?,
            overrides: self.overrides.unwrap_or_default(),
        };
        Ok(Subscribed { expires_at: self.expires_at(), options })
    }

    fn published(self) -> Result<Published, AnswerError> {
        let max = IDEMPOTENCY_KEY_BYTES_MAX;
        for (field, text) in
            [("idempotency_key", &self.idempotency_key), ("version_epoch", &self.version_epoch)]
        {
            if text.as_ref().is_some_and(|text| text.len() > max) {
                return Err(AnswerError::TooLong { field, max });
            }
        }
        Ok(Published {
            data: self.data()?,
            skip_history: self.skip_history,
            tags: self.tags.unwrap_or_default(),
            idempotency_key: self.idempotency_key.unwrap_or_default(),
            delta: self.delta,
            version: self.version,
            version_epoch: self.version_epoch.unwrap_or_default(),
        })
    }
}

fn copy(json: &RawValue) -> Bytes {
    Bytes::copy_from_slice(json.get().as_bytes())
}

fn json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes).map(|Object(read)| read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(body: &str) -> Result<Option<Connected>, Refusal> {
        match ProxyResult::read(Event::Connect, body.as_bytes()).expect("a valid answer") {
            ProxyResult::Connect(said) => said,
            other => panic!("not about a connect: {other:?}"),
        }
    }

    #[test]
    fn a_connect_result_says_who_the_client_is() {
        let said = connect(
            r#"{"result": {"user": "ann", "expire_at": 7, "b64info": "e30=", "data": [1], "meta": {"a": 1},
                "channels": ["a", "b"], "subs": {"b": {"info": 2, "override": {"presence": {"value": true}}}}}}"#,
        );
        let said = said.unwrap().unwrap();
        assert_eq!((&*said.user, said.expires_at), ("ann", UnixSeconds::new(7)));
        assert_eq!((said.info.as_deref(), said.data.as_deref()), (Some(&b"{}"[..]), Some(&b"[1]"[..])));
        assert_eq!(said.meta.as_deref(), Some(&br#"{"a": 1}"#[..]));
        let names: Vec<_> = said.subs.iter().map(|(channel, _)| &**channel).collect();
        assert_eq!(names, ["a", "b"], "each channel once");
        assert_eq!(said.subs[1].1.overrides.presence, Some(true));
    }

    #[test]
    fn a_disconnect_counts_before_an_error_and_an_error_before_a_result() {
        let all =
            r#"{"result":{},"error":{"code":1000,"message":"no"},"disconnect":{"code":4500,"reason":"go"}}"#;
        let go = Refusal::Disconnect { code: 4500, reason: "go".into() };
        assert_eq!(connect(all).unwrap_err(), go);
        let no = Refusal::Error { code: 1000, message: "no".into(), temporary: true };
        let two = r#"{"result":{},"error":{"code":1000,"message":"no","temporary":true}}"#;
        assert_eq!(connect(two).unwrap_err(), no);
        assert!(connect("{}").unwrap().is_none());
        assert!(connect(r#"{"result":null,"error":null}"#).unwrap().is_none());
    }

    #[test]
    fn what_is_kept_of_a_publication_beside_its_data_is_short() {
        let read = |field: &str, len| {
            let body = format!(r#"{{"result": {{"{field}": "{}"}}}}"#, "k".repeat(len));
            ProxyResult::read(Event::Publish, body.as_bytes()).map_err(|error| error.to_string())
        };
        for field in ["idempotency_key", "version_epoch"] {
            assert!(read(field, 255).is_ok());
            assert_eq!(read(field, 256).unwrap_err(), format!("{field} has more than 255 bytes"));
        }
    }

    #[test]
    fn what_is_no_answer_is_an_error_with_a_reason() {
        for (body, part) in [
            ("", "its JSON is not as expected"),
            ("<html>", "its JSON is not as expected"),
            (r#"{"result": 1}"#, "its JSON is not as expected"),
            ("[]", "expected an object"),
            (r#"[{"user":"ann"},null,null]"#, "expected an object"),
            (r#"{"result": ["ann"]}"#, "expected an object"),
            (r#"{"result": {"subs": {"a": []}}}"#, "expected an object"),
            (r#"{"result": {"override": [null]}}"#, "expected an object"),
            (r#"{"result": {"override": {"presence": [true]}}}"#, "expected an object"),
            (r#"{"error": [1000, "no"]}"#, "expected an object"),
            (r#"{"disconnect": [4500, "go"]}"#, "expected an object"),
            (r#"{"result": {"b64info": "!"}}"#, "b64info"),
            (r#"{"disconnect": {"code": 1000}}"#, "1000"),
            (r#"{"error": {}}"#, "code 0"),
        ] {
            let error = ProxyResult::read(Event::Connect, body.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{body}: {error}");
        }
    }
}
