//! Transports: the options of all ways to connect but the Centrifuge protocol over WebSocket.
//!
//! Out: the checked sections `echo`, `broadcast`, `sse`, `http_stream`, `emulation` and `poll`.

use super::definition::section;
use super::kinds::{boolean, duration, size};

section! {
    /// A path for trying things out and for measuring: `/echo` or `/broadcast`. It asks for no token, so whoever reaches the
    /// port may use it; web pages from `client.allowed_origins` alone.
    pub struct OpenPathConfig {
        /// True exactly when the path is served; otherwise it is answered 404. Unset: it is served as long as nothing says
        /// who connects and which channels there are: no key in `client.token` or `client.subscription_token`, no
        /// `client.allow_anonymous_connect_without_token`, no `channel.namespaces`, no option of
        /// `channel.without_namespace`, no backend that is asked.
        "enabled" => pub enabled: Option<bool> = boolean(false).optional();
    }

    /// Server-sent events at `/connection/sse`, for clients without WebSocket. JSON only.
    pub struct SseConfig {
        /// True exactly when the transport is served; otherwise it is answered 404.
        "enabled" => pub enabled: bool = boolean(false);
        /// The largest body of the request that opens a session; a larger one is answered 413.
        /// Worst case: this for each request that is under way.
        "max_request_body_size" => pub request_body_bytes_max: u32 = size("64KiB", "1KiB", "64MiB");
    }

    /// HTTP streaming at `/connection/http_stream`, for clients without WebSocket. JSON and Protobuf.
    pub struct HttpStreamConfig {
        /// True exactly when the transport is served; otherwise it is answered 404.
        "enabled" => pub enabled: bool = boolean(false);
        /// The largest body of the request that opens a session; a larger one is answered 413.
        /// Worst case: this for each request that is under way.
        "max_request_body_size" => pub request_body_bytes_max: u32 = size("64KiB", "1KiB", "64MiB");
    }

    /// `/emulation`: the commands of clients whose stream (SSE, HTTP streaming) only brings messages to them. Served
    /// exactly when one of these transports is.
    pub struct EmulationConfig {
        /// The largest body of a request; a larger one is answered 413.
        /// Worst case: this for each request that is under way.
        "max_request_body_size" => pub request_body_bytes_max: u32 = size("64KiB", "1KiB", "64MiB");
    }

    /// HTTP long-polling at `/connection/poll`, for clients that have neither WebSocket nor streams. Holdfast's own
    /// addition; no Centrifuge SDK uses it.
    pub struct PollConfig {
        /// True exactly when the transport is served; otherwise it is answered 404.
        "enabled" => pub enabled: bool = boolean(false);
        /// How long a poll waits for a message before it is answered empty. Proxies between must wait longer.
        "wait" => pub wait_ms: u64 = duration("25s", "1s", "5m");
        /// How long a session lives between two polls. For its life it counts as a connection of the daemon, its address
        /// and its network, beside the connections that its requests come by.
        /// Worst case: a client that has gone away holds its session, and what may wait for a connection
        /// (`client.queue_max_size`), for this long.
        "session_ttl" => pub session_ttl_ms: u64 = duration("30s", "1s", "10m");
        /// The largest body of a poll; a larger one is answered 413.
        /// Worst case: this for each request that is under way.
        "max_request_body_size" => pub request_body_bytes_max: u32 = size("64KiB", "1KiB", "64MiB");
    }
}
