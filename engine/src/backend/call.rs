//! Call: a client's event in the form that the backend expects.
//!
//! In:  the shard's data about the client, and the client's command.
//! Out: the JSON body of Centrifugo's proxy protocol.

use std::sync::Arc;

use bytes::Bytes;
use data_encoding::BASE64;
use holdfast_protocol::client::Format;
use serde::Serialize;
use serde_json::value::RawValue;

/// The kind of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Connect,
    Refresh,
    Rpc,
    Subscribe,
    Publish,
    SubRefresh,
}

impl Event {
    /// All events, with their names.
    pub(crate) const ALL: [(Self, &str); 6] = [
        (Self::Connect, "connect"),
        (Self::Refresh, "refresh"),
        (Self::Rpc, "rpc"),
        (Self::Subscribe, "subscribe"),
        (Self::Publish, "publish"),
        (Self::SubRefresh, "sub_refresh"),
    ];

    pub(crate) const fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

/// A header field of a client: its name in lower case, and its value, which may contain any bytes (RFC 9110 §5.5).
pub(crate) use crate::conn::http::pending::Header;

/// One event. Fields that do not apply to it are empty, and are left out of the body.
#[derive(Debug)]
pub(crate) struct ProxyRequest {
    pub(crate) event: Event,
    pub(crate) client: Box<str>,
    /// `websocket`, `sse`, …
    pub(crate) transport: &'static str,
    pub(crate) format: Format,
    pub(crate) user: Arc<str>,
    pub(crate) channel: Box<str>,
    pub(crate) method: Box<str>,
    pub(crate) token: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) version: Box<str>,
    /// The channels requested by a connect command.
    pub(crate) channels: Vec<Box<str>>,
    pub(crate) data: Bytes,
    pub(crate) meta: Option<Bytes>,
    /// Header fields of the client's handshake.
    pub(crate) headers: Arc<[Header]>,
    /// Header fields of the client's connect command.
    pub(crate) emulated_headers: Arc<[Header]>,
}

#[derive(Serialize)]
struct Body<'a> {
    client: &'a str,
    transport: &'a str,
    protocol: &'a str,
    encoding: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    channel: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    token: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    channels: &'a [Box<str>],
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "String::is_empty")]
    b64data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    meta: Option<&'a RawValue>,
}

impl ProxyRequest {
    /// Builds the body of the HTTP request.
    ///
    /// # Errors
    /// The client's data must be JSON, and are not.
    pub(super) fn body(&self, is_binary: bool, with_meta: bool) -> Result<Vec<u8>, serde_json::Error> {
        let json = |bytes: Option<&'_ Bytes>| {
            let bytes = bytes.filter(|bytes| !bytes.is_empty());
            bytes.map(|bytes| serde_json::from_slice::<Box<RawValue>>(bytes)).transpose()
        };
        let data = json(Some(&self.data).filter(|_| !is_binary))?;
        let meta = json(self.meta.as_ref().filter(|_| with_meta))?;
        serde_json::to_vec(&Body {
            client: &self.client,
            transport: self.transport,
            protocol: match self.format {
                Format::Json => "json",
                Format::Protobuf => "protobuf",
            },
            encoding: if is_binary { "binary" } else { "json" },
            user: &self.user,
            channel: &self.channel,
            method: &self.method,
            token: &self.token,
            name: &self.name,
            version: &self.version,
            channels: &self.channels,
            data: data.as_deref(),
            b64data: if is_binary { BASE64.encode(&self.data) } else { String::new() },
            meta: meta.as_deref(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn call(event: Event, data: &'static [u8]) -> ProxyRequest {
        ProxyRequest {
            event,
            client: "c".into(),
            transport: "websocket",
            format: Format::Json,
            user: "ann".into(),
            channel: Box::default(),
            method: "sum".into(),
            token: Box::default(),
            name: Box::default(),
            version: Box::default(),
            channels: Vec::new(),
            data: Bytes::from_static(data),
            meta: Some(Bytes::from_static(br#"{"a":1}"#)),
            headers: Arc::default(),
            emulated_headers: Arc::default(),
        }
    }

    fn body(call: &ProxyRequest, is_binary: bool, with_meta: bool) -> Value {
        serde_json::from_slice(&call.body(is_binary, with_meta).unwrap()).unwrap()
    }

    #[test]
    fn a_body_has_what_the_event_has_and_nothing_else() {
        let call = call(Event::Rpc, b"[1, 2]");
        let expected = json!({
            "client": "c", "transport": "websocket", "protocol": "json", "encoding": "json",
            "user": "ann", "method": "sum", "data": [1, 2], "meta": {"a": 1},
        });
        assert_eq!(body(&call, false, true), expected);
        let binary = body(&call, true, false);
        assert_eq!((&binary["b64data"], &binary["encoding"]), (&json!("WzEsIDJd"), &json!("binary")));
        assert!(binary.get("data").is_none() && binary.get("meta").is_none());
    }

    #[test]
    fn what_is_no_json_goes_out_in_base64_or_not_at_all() {
        let call = call(Event::Rpc, &[0xff]);
        assert!(call.body(false, false).is_err());
        assert_eq!(body(&call, true, false)["b64data"], "/w==");
    }

    #[test]
    fn every_event_is_at_its_own_place() {
        for (place, (event, name)) in Event::ALL.into_iter().enumerate() {
            assert_eq!((event as usize, event.name()), (place, name));
        }
    }
}
