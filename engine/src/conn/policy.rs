//! Policy: what the configuration says about connections.
//!
//! In:  the checked configuration.
//! Out: deadlines, limits of queues, messages and request heads, compression, and the paths that are served.

use std::sync::Arc;

use holdfast_protocol::{
    http::{HeadLimits, RequestHead},
    websocket::{DecoderConfig, Role},
};

use super::{deflate::DeflatePolicy, lag::QueueLimits};
use crate::{config::Config, conn::http::pending::Endpoint, encoding::Encoding, value::origin::Origins};

/// A request field that is passed to backends.
pub(crate) type Header = (Box<str>, Box<[u8]>);

/// The policy for the connections of a shard.
#[derive(Debug)]
pub(crate) struct ConnPolicy {
    /// From accept to the end of the handshake, and from there to the first command.
    pub(crate) handshake_ms: u64,
    pub(crate) ping_interval_ms: u64,
    /// From a ping to its pong.
    pub(crate) pong_ms: u64,
    /// From our close frame to the peer's.
    pub(crate) close_ms: u64,
    /// Connections of the whole daemon.
    pub(crate) connections_max: u64,
    pub(crate) queue: QueueLimits,
    pub(crate) head: HeadLimits,
    pub(crate) decoder: DecoderConfig,
    /// `None` if messages are never compressed.
    pub(crate) deflate: Option<DeflatePolicy>,
    pub(crate) http: HttpPolicy,
}

impl From<&Config> for ConnPolicy {
    fn from(config: &Config) -> Self {
        let (client, websocket) = (&config.client, &config.websocket);
        let message_bytes_max = u64::from(websocket.message_size_limit_bytes);
        Self {
            handshake_ms: client.stale_close_delay_ms,
            ping_interval_ms: client.ping_interval_ms,
            pong_ms: client.pong_timeout_ms,
            close_ms: client.close_timeout_ms,
            connections_max: match client.connection_limit {
                0 => u64::MAX,
                limit => limit.into(),
            },
            queue: QueueLimits::from(client),
            head: HeadLimits {
                bytes_max: client.request_head_bytes_max as usize,
                headers_max: client.request_head_fields_max as usize,
            },
            decoder: DecoderConfig {
                role: Role::Server,
                message_bytes_max,
                frame_bytes_max: message_bytes_max,
            },
            deflate: DeflatePolicy::new(websocket),
            http: HttpPolicy::from(config),
        }
    }
}

/// The policy for HTTP requests.
#[derive(Debug)]
pub(crate) struct HttpPolicy {
    pub(crate) origins: Origins,
    pub(crate) transports: TransportPolicy,
    pub(crate) open_paths: OpenPaths,
    /// True exactly when the Centrifuge protocol is not served over WebSocket.
    pub(crate) no_websocket: bool,
    /// Handshake fields that are passed to backends, in lower case.
    header_names: Vec<Box<str>>,
}

impl From<&Config> for HttpPolicy {
    fn from(config: &Config) -> Self {
        Self {
            origins: Origins::new(&config.client.allowed_origins),
            transports: TransportPolicy::new(config),
            open_paths: OpenPaths {
                echo: config.serves(&config.echo),
                broadcast: config.serves(&config.broadcast),
            },
            no_websocket: config.websocket.disabled,
            header_names: config.header_names(|proxy| &proxy.http_headers),
        }
    }
}

impl HttpPolicy {
    /// The handshake fields that are passed to backends.
    pub(super) fn proxied_headers(&self, head: &RequestHead<'_>) -> Arc<[Header]> {
        let names = self.header_names.iter();
        names.filter_map(|name| Some((name.clone(), head.joined_header(name)?.into()))).collect()
    }
}

/// The served paths that require no token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OpenPaths {
    pub(crate) echo: bool,
    pub(crate) broadcast: bool,
}

/// The transports besides WebSocket: which ones are served, and the limits of bodies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransportPolicy {
    pub(crate) sse: bool,
    pub(crate) sse_body_bytes_max: usize,
    pub(crate) stream: bool,
    pub(crate) stream_body_bytes_max: usize,
    pub(crate) emulation_body_bytes_max: usize,
    pub(crate) poll: bool,
    pub(crate) poll_body_bytes_max: usize,
    pub(crate) poll_wait_ms: u64,
}

impl TransportPolicy {
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
