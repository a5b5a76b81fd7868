//! Proxy: sends one kind of event to the application's backend.
//!
//! In:  an event.
//! Out: a POST with a JSON body, and its result.
//!
//! A call fails if the backend cannot be reached, exceeds the timeout, answers with a status other than 200, or sends a
//! body that cannot be parsed. Failures are counted, and logged with the reason.

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    Method, Request, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};

use super::{Event, ProxyRequest, ProxyResult, Refusal, answer::AnswerError};
use crate::{
    config::{Config, ProxyConfig},
    http_client::{HttpClient, HttpError, Limits},
    value::HttpUrl,
};

/// Header fields of the client's own connection. Forwarding them would break the connection to the backend.
const OF_THE_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The configured endpoint for one kind of event.
#[derive(Debug)]
pub(super) struct Proxy {
    endpoint: HttpUrl,
    limits: Limits,
    static_headers: HeaderMap,
    http_headers: Vec<HeaderName>,
    emulated_headers: Vec<HeaderName>,
    is_binary: bool,
    with_meta: bool,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("{0}")]
    Http(#[from] HttpError),
    #[error("it answers {0}")]
    Status(StatusCode),
    #[error("its answer cannot be read: {0}")]
    Answer(#[from] AnswerError),
    #[error("the client's payload is not JSON; set binary_encoding to send payloads in base64")]
    Data(serde_json::Error),
}

impl CallError {
    /// The reason, as a label for the log.
    fn reason(&self) -> &'static str {
        match self {
            Self::Http(error) => error.reason(),
            Self::Status(_) => "status",
            Self::Answer(_) => "answer",
            Self::Data(_) => "data",
        }
    }
}

impl Proxy {
    /// The proxy for this kind of event, if one is configured.
    pub(super) fn of(config: &Config, event: Event) -> Option<Self> {
        let channel = &config.channel.proxy;
        let client = &config.client.proxy;
        let answer_bytes_max = config.backend.answer_bytes_max as usize;
        let proxy = match event {
            Event::Connect => &client.connect.proxy,
            Event::Refresh => &client.refresh.proxy,
            Event::Rpc => &config.rpc.proxy,
            Event::Subscribe => &channel.subscribe,
            Event::Publish => &channel.publish,
            Event::SubRefresh => &channel.sub_refresh,
        };
        Self::new(proxy, answer_bytes_max)
    }

    fn new(config: &ProxyConfig, answer_bytes_max: usize) -> Option<Self> {
        let names = |names: &[String]| names.iter().filter_map(|name| name.parse().ok()).collect();
        let fields = config.http.static_headers.iter();
        let fields = fields.filter_map(|(name, value)| field(name, value.expose().as_bytes()));
        Some(Self {
            endpoint: config.endpoint.clone()?,
            limits: Limits {
                timeout: Duration::from_millis(config.timeout_ms),
                body_bytes_max: answer_bytes_max,
            },
            static_headers: fields.collect(),
            http_headers: names(&config.http_headers),
            emulated_headers: names(&config.emulated_headers),
            is_binary: config.has_binary_encoding,
            with_meta: config.includes_meta,
        })
    }

    /// Sends an event to the backend. The flag is true exactly when the backend failed.
    pub(super) async fn call(&self, http: &HttpClient, call: &ProxyRequest) -> (ProxyResult, bool) {
        match self.exchange(http, call).await {
            Ok(said) => (said, false),
            Err(error) => {
                let (event, reason) = (call.event.name(), error.reason());
                tracing::warn!(event, reason, endpoint = %self.endpoint, %error, "a call to the backend failed; check the backend");
                (ProxyResult::refused(call.event, Refusal::Failed), true)
            }
        }
    }

    async fn exchange(&self, http: &HttpClient, call: &ProxyRequest) -> Result<ProxyResult, CallError> {
        let body = call.body(self.is_binary, self.with_meta).map_err(CallError::Data)?;
        let mut request = Request::new(Bytes::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.endpoint.uri();
        *request.headers_mut() = self.headers(call);
        let answer = http.send(request, self.limits).await?;
        if answer.status() != StatusCode::OK {
            return Err(CallError::Status(answer.status()));
        }
        Ok(ProxyResult::read(call.event, answer.body())?)
    }

    /// The configured fields, then the client's forwarded fields. A later field replaces an earlier one.
    fn headers(&self, call: &ProxyRequest) -> HeaderMap {
        let mut headers = self.static_headers.clone();
        for (allowed, fields) in
            [(&self.emulated_headers, &call.emulated_headers), (&self.http_headers, &call.headers)]
        {
            for (name, value) in fields.iter().filter_map(|(name, value)| field(name, value)) {
                if allowed.contains(&name) && !OF_THE_CONNECTION.contains(&name) {
                    headers.insert(name, value);
                }
            }
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers
    }
}

fn field(name: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    Some((name.parse().ok()?, HeaderValue::from_bytes(value).ok()?))
}
