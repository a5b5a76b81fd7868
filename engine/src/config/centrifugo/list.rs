//! List: the options of Centrifugo v6 that Holdfast does not have and cannot ignore, with advice for each.
//!
//! Out: one table, in the order of Centrifugo's reference.
//!
//! When `options.rs` gets an option, remove it here; a test checks that no option is in both.

use super::missing::{Dormant::Always, Dormant::Off, Dormant::Only, EMPTY, Missing, at, missing};

const TLS: &str = "remove it and set http_server.tls; files that are renewed are read again";
const PATHS: &str = "remove it: paths are fixed; let a proxy in front of it rewrite them";
const UNIDIRECTIONAL: &str =
    "remove it: clients connect with a Centrifuge SDK over websocket, sse, http_stream or poll";
const NAMED: &str = "remove it: Holdfast asks one backend for each kind of event, the one named default";
const STREAM: &str = "remove it: publish to the channel through the server API: all its subscribers get it";
const ONE_ENGINE: &str = "remove it: engine.type is for publications, histories, presence and control alike";
const JWKS: &str = "remove it: the endpoint is always checked";
const BOUNDARY: &str = "remove it: the signs in channel names are fixed ($ : # ,)";
const CHANNEL_TYPE: &str = "remove it: channels of this type do not exist here";

#[rustfmt::skip]
pub(super) const MISSING: &[Missing] = &[
    // An option of v5. Centrifugo v6 ignores it and serves without TLS.
    missing("tls", Off, TLS),
    missing("http_server.tls_autocert", Off, TLS),
    missing("http_server.tls_external", EMPTY, TLS),
    missing("http_server.http3", Off, "remove it: Holdfast serves HTTP/1.1 only"),
    missing("http_server.h2c_external", EMPTY, "remove it: Holdfast serves HTTP/1.1 only"),
    missing("log.file", EMPTY, "remove it: the log goes to standard error; let the service manager keep it"),

    missing("engine.redis.force_resp2", EMPTY, "remove it: Holdfast speaks RESP3, which Redis 6 and Valkey know"),
    missing("engine.redis.history_use_lists", EMPTY, "remove it: Holdfast keeps histories in streams"),
    missing("engine.redis.replica_client_enabled", EMPTY, "remove it: Holdfast reads from primaries only"),
    missing("engine.redis.replica_client", Off, "remove it: Holdfast reads from primaries only"),
    missing("engine.redis.sentinel_tls", Off, "remove it: engine.redis.tls is for sentinels, too"),
    missing("engine.redis.tls.insecure_skip_verify", EMPTY, "remove it and name the authority in server_ca_pem"),
    missing("broker", Off, ONE_ENGINE),
    missing("presence_manager", Off, ONE_ENGINE),
    missing("map_broker", Always, CHANNEL_TYPE),
    missing("controller", Off, ONE_ENGINE),
    missing("shared_poll", EMPTY, CHANNEL_TYPE),

    missing("client.token.insecure_skip_jwks_endpoint_safety_check", EMPTY, JWKS),
    missing("client.subscription_token.insecure_skip_jwks_endpoint_safety_check", EMPTY, JWKS),
    missing("client.connect_include_server_time", EMPTY, "remove it"),
    missing("client.user_id_http_header", EMPTY, "remove it and name the user in a connection token"),
    missing("client.connect_code_to_unidirectional_disconnect", Off, UNIDIRECTIONAL),

    missing("channel.private_prefix", Only("$"), BOUNDARY),
    missing("channel.namespace_boundary", Only(":"), BOUNDARY),
    missing("channel.user_boundary", Only("#"), BOUNDARY),
    missing("channel.user_separator", Only(","), BOUNDARY),
    missing("channel.proxy.subscribe_stream", Always, STREAM),
    missing("channel.proxy.map_publish", Always, CHANNEL_TYPE),
    missing("channel.proxy.map_remove", Always, CHANNEL_TYPE),
    missing("channel.proxy.shared_poll_refresh", Always, CHANNEL_TYPE),
    missing("channel.publication_data_format", EMPTY, "remove it: data that does not fit a client's format is refused anyway"),
    missing("channel.without_namespace.publication_data_format", EMPTY, "remove it: data that does not fit a client's format is refused anyway"),
    missing("channel.without_namespace.auto_cache_recover", EMPTY, "remove it and let clients ask for recovery when they subscribe"),
    missing("channel.without_namespace.map_clients_presence_channel_prefix", EMPTY, CHANNEL_TYPE),
    missing("channel.without_namespace.map_users_presence_channel_prefix", EMPTY, CHANNEL_TYPE),
    missing("channel.without_namespace.subscribe_proxy_name", at("default"), NAMED),
    missing("channel.without_namespace.publish_proxy_name", at("default"), NAMED),
    missing("channel.without_namespace.sub_refresh_proxy_name", at("default"), NAMED),
    missing("channel.without_namespace.subscribe_stream_proxy_enabled", EMPTY, STREAM),
    missing("channel.without_namespace.subscribe_stream_proxy_name", Always, STREAM),
    missing("channel.without_namespace.subscribe_stream_proxy_bidirectional", EMPTY, STREAM),
    missing("channel.without_namespace.subscription_type", at("stream"), CHANNEL_TYPE),
    // Centrifugo reads these two only with a `subscription_type`.
    missing("channel.without_namespace.map", Always, CHANNEL_TYPE),
    missing("channel.without_namespace.shared_poll", Always, CHANNEL_TYPE),

    // These entries apply to every proxy.
    missing("rpc.proxy.grpc_metadata", EMPTY, "remove it: Holdfast asks backends over HTTP"),
    missing("rpc.proxy.grpc", Always, "remove it: Holdfast asks backends over HTTP"),
    missing("rpc.proxy.http.tls", Off, "remove it: Holdfast uses the system's certificate authorities; SSL_CERT_FILE names others"),
    missing("rpc.proxy.http.status_to_code_transforms", EMPTY,
        "remove it and let the backend answer 200 with an error or a disconnect in the body"),
    missing("rpc.without_namespace.proxy_name", at("default"), NAMED),
    missing("rpc.ping", Off, "remove it and let the backend answer this method"),
    missing("rpc.namespace_boundary", Only(":"), BOUNDARY),
    missing("proxies", Always, NAMED),
    missing("consumers", EMPTY, "remove it and publish through the server API"),

    missing("http_api.handler_prefix", at("/api"), PATHS),
    missing("http_api.external", EMPTY, "remove it: the API is on the control port; set http_server.internal_address so that backends reach it"),
    missing("grpc_api", Off, "remove it and use the HTTP API"),

    missing("websocket.handler_prefix", at("/connection/websocket"), PATHS),
    missing("sse.handler_prefix", at("/connection/sse"), PATHS),
    missing("http_stream.handler_prefix", at("/connection/http_stream"), PATHS),
    missing("emulation.handler_prefix", at("/emulation"), PATHS),
    missing("webtransport", Off, "remove it: clients fall back to WebSocket"),
    missing("uni_sse", Off, UNIDIRECTIONAL),
    missing("uni_http_stream", Off, UNIDIRECTIONAL),
    missing("uni_websocket", Off, UNIDIRECTIONAL),
    missing("uni_grpc", Off, UNIDIRECTIONAL),
    missing("init", Off, "remove it: clients connect directly"),

    // The page of Holdfast gives no rights, so it needs no password.
    missing("admin.password", Always, "remove it"),
    missing("admin.secret", Always, "remove it"),
    missing("admin.insecure", Always, "remove it"),
    missing("admin.handler_prefix", at("/"), PATHS),
    missing("admin.web_path", EMPTY, "remove it: the page is built into Holdfast"),
    missing("admin.web_proxy_address", EMPTY, "remove it: the page is built into Holdfast"),
    missing("admin.external", EMPTY, "remove it: the page is on the control port"),

    // The control port always serves metrics, health and the API's description, as if these were on.
    missing("prometheus.enabled", Always, "remove it"),
    missing("prometheus.handler_prefix", at("/metrics"), PATHS),
    missing("health.enabled", Always, "remove it"),
    missing("health.handler_prefix", at("/health"), PATHS),
    missing("swagger.enabled", Always, "remove it"),
    missing("swagger.handler_prefix", at("/swagger"), PATHS),
    missing("debug.enabled", EMPTY, "remove it and profile the process from outside, with perf"),
    missing("debug.handler_prefix", Always, PATHS),
    missing("opentelemetry", Off, "remove it and scrape /metrics"),
    missing("graphite", Off, "remove it and scrape /metrics"),
    missing("usage_stats", Always, "remove it: Holdfast reports nothing to anyone"),
    missing("pid_file", EMPTY, "remove it: the service manager knows the process"),
];
