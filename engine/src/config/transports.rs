//! Transports: the options of all transports except WebSocket, and of the test paths.
//!
//! Out: the checked sections `echo`, `broadcast`, `sse`, `http_stream`, `emulation` and `poll`.

use super::definition::section;
use super::kinds::{boolean, duration, size};

section! {
    /// A test path, for first steps and measurements: `/echo` or `/broadcast`. It needs no token, so anyone who reaches
    /// the port can use it. Web pages must come from `client.allowed_origins`.
    pub(crate) struct OpenPathConfig {
        /// Serves the path; otherwise it answers 404. If unset, the path is served until the configuration says who
        /// may connect or which channels exist: a key in `client.token` or `client.subscription_token`,
        /// `client.allow_anonymous_connect_without_token`, a namespace in `channel.namespaces`, an option of
        /// `channel.without_namespace`, or a proxy to the backend.
        "enabled" => pub enabled: Option<bool> = boolean(false).optional();
    }

    /// Server-sent events at `/connection/sse`, for clients that cannot use WebSocket. JSON only.
    pub(crate) struct SseConfig {
        /// Serves the transport; otherwise its path answers 404.
        "enabled" => pub enabled: bool = boolean(false);
        /// Largest body of the request that opens a session. A larger one gets 413.
        /// Worst case: this for each request under way.
        "max_request_body_size" => pub request_body_bytes_max: u32 = size("64KiB", "1KiB", "64MiB");
    }

    /// HTTP streaming at `/connection/http_stream`, for clients that cannot use WebSocket. JSON and Protobuf.
    pub(crate) struct HttpStreamConfig {
        /// Serves the transport; otherwise its path answers 404.
        "enabled" => pub enabled: bool = boolean(false);
        /// Largest body of the request that opens a session. A larger one gets 413.
        /// Worst case: this for each request under way.
        "max_request_body_size" => pub request_body_bytes_max: u32 = size("64KiB", "1KiB", "64MiB");
    }

    /// `/emulation`, which takes the commands of clients that use SSE or HTTP streaming, because their stream carries
    /// messages in one direction only. It is served when one of these transports is enabled.
    pub(crate) struct EmulationConfig {
        /// Largest body of a request. A larger one gets 413.
        /// Worst case: this for each request under way.
        "max_request_body_size" => pub request_body_bytes_max: u32 = size("64KiB", "1KiB", "64MiB");
    }

    /// HTTP long polling at `/connection/poll`, for clients that can use neither WebSocket nor streams. Not in
    /// Centrifugo; no Centrifuge SDK uses it.
    pub(crate) struct PollConfig {
        /// Serves the transport; otherwise its path answers 404.
        "enabled" => pub enabled: bool = boolean(false);
        /// How long a poll waits for a message before it gets an empty answer. Proxies in between must allow more.
        "wait" => pub wait_ms: u64 = duration("25s", "1s", "5m");
        /// How long a session lives between two polls. A session counts as a connection of the daemon, of its address
        /// and of its network, in addition to the connections that carry its requests.
        /// Worst case: the session of a client that has gone, and its queue (`client.queue_max_size`), remain for
        /// this long.
        "session_ttl" => pub session_ttl_ms: u64 = duration("30s", "1s", "10m");
        /// Largest body of a poll. A larger one gets 413.
        /// Worst case: this for each request under way.
        "max_request_body_size" => pub request_body_bytes_max: u32 = size("64KiB", "1KiB", "64MiB");
    }
}
