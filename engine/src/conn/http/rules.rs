//! Rules: which paths are served on the client port, and for which origins.
//!
//! In:  the checked configuration.
//! Out: paths, origins, body lengths, and the request fields that are passed to backends.

use std::sync::Arc;

use holdfast_protocol::http::RequestHead;

use crate::{
    config::Config,
    conn::http::pending::{Endpoint, Header},
    encoding::Encoding,
    value::origin::Origins,
};

/// The HTTP rules.
#[derive(Debug)]
pub(crate) struct HttpRules {
    pub(crate) origins: Origins,
    pub(crate) requests: RequestRules,
    pub(crate) open_paths: OpenPaths,
    /// True exactly when the Centrifuge protocol is not served over WebSocket.
    pub(crate) no_websocket: bool,
    /// Handshake fields that are passed to backends, in lower case.
    told_headers: Vec<Box<str>>,
}

impl HttpRules {
    pub(crate) fn new(config: &Config, told_headers: Vec<Box<str>>) -> Self {
        Self {
            origins: Origins::new(&config.client.allowed_origins),
            requests: RequestRules::new(config),
            open_paths: OpenPaths {
                echo: config.serves(&config.echo),
                broadcast: config.serves(&config.broadcast),
            },
            no_websocket: config.websocket.disabled,
            told_headers,
        }
    }

    /// The handshake fields that are passed to backends.
    pub(super) fn proxied_headers(&self, head: &RequestHead<'_>) -> Arc<[Header]> {
        let names = self.told_headers.iter();
        names.filter_map(|name| Some((name.clone(), head.joined_header(name)?.into()))).collect()
    }
}

/// The served paths that require no token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenPaths {
    pub(crate) echo: bool,
    pub(crate) broadcast: bool,
}

/// The rules of the transports besides WebSocket: which ones are served, and the body length limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestRules {
    pub(crate) sse: bool,
    pub(crate) sse_body_bytes_max: usize,
    pub(crate) stream: bool,
    pub(crate) stream_body_bytes_max: usize,
    pub(crate) emulation_body_bytes_max: usize,
    pub(crate) poll: bool,
    pub(crate) poll_body_bytes_max: usize,
    pub(crate) poll_wait_ms: u64,
    pub(crate) poll_session_ttl_ms: u64,
}

impl RequestRules {
    fn new(config: &Config) -> Self {
        Self {
            sse: config.sse.enabled,
            sse_body_bytes_max: config.sse.request_body_bytes_max as usize,
            stream: config.http_stream.enabled,
            stream_body_bytes_max: config.http_stream.request_body_bytes_max as usize,
            emulation_body_bytes_max: config.emulation.request_body_bytes_max as usize,
            poll: config.poll.enabled,
            poll_body_bytes_max: config.poll.request_body_bytes_max as usize,
            poll_wait_ms: config.poll.wait_ms,
            poll_session_ttl_ms: config.poll.session_ttl_ms,
        }
    }

    /// How long a request's body may be; `None` where the transport is not served.
    pub(super) fn body_bytes_max(&self, endpoint: Endpoint) -> Option<usize> {
        let (is_served, bytes_max) = match endpoint {
            Endpoint::Stream(Encoding::Sse) => (self.sse, self.sse_body_bytes_max),
            Endpoint::Stream(_) => (self.stream, self.stream_body_bytes_max),
            Endpoint::Emulation(_) => (self.sse || self.stream, self.emulation_body_bytes_max),
            Endpoint::Poll => (self.poll, self.poll_body_bytes_max),
        };
        is_served.then_some(bytes_max)
    }
}
