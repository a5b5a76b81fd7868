//! Passed: options of Centrifugo v6 and Centrifugo PRO that have no effect here, whatever their value.
//!
//! Out: one table: first buffers and times of Centrifugo's engine, then options of PRO, then options of older versions,
//! which v6 ignores too.
//!
//! Ignoring them is safe: none of them grants a right, or protects anything that would be open without it. Options that
//! do are in `list`.

use super::missing::{Dormant::Always, EMPTY, Missing, at, missing};

const BUFFERS: &str = "connections own no buffers in Holdfast; see the section engine";
const POSITIONS: &str = "Holdfast checks positions with every publication";
const LISTENER: &str = "it is about outgoing connections, and this is a listener";
const METRICS: &str = "/metrics has all metrics";
const PRO: &str = "it is an option of Centrifugo PRO, which Holdfast does not have";
const LIMITS: &str = "it is an option of Centrifugo PRO; the section limits has the limits of Holdfast";
const API: &str = "it is an option of Centrifugo PRO; it admits nobody in Holdfast";
const QUEUES: &str = "it is an option of Centrifugo PRO; Holdfast sends together what arrives in one turn";

#[rustfmt::skip]
pub(super) const PASSED: &[Missing] = &[
    missing("websocket.read_buffer_size", EMPTY, BUFFERS),
    missing("websocket.write_buffer_size", EMPTY, BUFFERS),
    missing("websocket.use_write_buffer_pool", EMPTY, BUFFERS),
    missing("websocket.write_timeout", at("1000ms"), "client.queue_max_size and client.pong_timeout close slow clients"),
    missing("client.presence_update_interval", at("27s"), "presence follows connections without delay"),
    missing("client.concurrency", EMPTY, "commands do not wait for each other"),
    missing("client.channel_position_check_delay", at("40s"), POSITIONS),
    missing("client.channel_position_max_time_lag", EMPTY, POSITIONS),
    missing("node.info_metrics_aggregate_interval", at("60s"), METRICS),
    missing("prometheus.instrument_http_handlers", EMPTY, METRICS),
    missing("prometheus.recovered_publications_histogram", EMPTY, METRICS),
    missing("prometheus.native_histograms", EMPTY, METRICS),
    missing("enable_unreleased_features", EMPTY, "there are none"),
    missing("http_server.tls.server_ca_pem", EMPTY, LISTENER),
    missing("http_server.tls.server_name", EMPTY, LISTENER),
    missing("http_server.tls.insecure_skip_verify", EMPTY, LISTENER),
    missing("engine.redis.sentinel_client_name", EMPTY, "connections to sentinels have no name"),
    missing("engine.redis.tls.client_ca_pem", EMPTY, "it is about listeners, and this is a connection to Redis"),
    missing("http_server.internal_tls.server_ca_pem", EMPTY, LISTENER),
    missing("http_server.internal_tls.server_name", EMPTY, LISTENER),
    missing("http_server.internal_tls.insecure_skip_verify", EMPTY, LISTENER),

    missing("license", EMPTY, PRO),
    missing("database", EMPTY, PRO),
    missing("clickhouse_analytics", EMPTY, PRO),
    missing("push_notifications", EMPTY, PRO),
    missing("user_status", EMPTY, PRO),
    missing("user_block", EMPTY, PRO),
    missing("user_tokens_invalidate", EMPTY, PRO),
    missing("token_revoke", EMPTY, PRO),
    missing("sentry", EMPTY, PRO),
    missing("singleflight", EMPTY, PRO),
    missing("process_stats", EMPTY, PRO),
    missing("brokers", EMPTY, PRO),
    missing("presence_managers", EMPTY, PRO),
    missing("map_brokers", EMPTY, PRO),
    missing("shared_poll_relay", EMPTY, PRO),
    missing("state", EMPTY, PRO),
    missing("admin.api_key", EMPTY, PRO),
    missing("admin.oidc", EMPTY, PRO),
    missing("http_api.jwks", EMPTY, API),
    missing("client.token.jwks", EMPTY, API),
    missing("client.token.labels_from_claim", EMPTY, PRO),
    missing("client.token.meta_from_claim", EMPTY, PRO),
    missing("client.subscription_token.jwks", EMPTY, API),
    missing("client.subscription_token.labels_from_claim", EMPTY, PRO),
    missing("client.subscription_token.meta_from_claim", EMPTY, PRO),
    missing("client.rate_limit", EMPTY, LIMITS),
    missing("client.batch_periodic_events", EMPTY, QUEUES),
    missing("client.max_messages_in_frame", EMPTY, QUEUES),
    missing("client.queue_initial_cap", EMPTY, QUEUES),
    missing("client.queue_shrink_delay", EMPTY, QUEUES),
    missing("client.reply_without_queue", EMPTY, QUEUES),
    missing("client.write_delay", EMPTY, QUEUES),
    missing("client.write_with_timer", EMPTY, QUEUES),
    missing("websocket.compression_prepared_message_cache_size", EMPTY, "it is an option of Centrifugo PRO; Holdfast compresses a broadcast once"),
    missing("websocket.process_commands_off_read_loop", EMPTY, PRO),
    missing("prometheus.additional_client_names", EMPTY, METRICS),
    missing("prometheus.channel_namespace_for_transport_messages_received", EMPTY, METRICS),
    missing("prometheus.channel_namespace_for_transport_messages_sent", EMPTY, METRICS),
    missing("prometheus.channel_namespace_resolution", EMPTY, METRICS),
    missing("prometheus.client_labels", EMPTY, METRICS),
    missing("prometheus.expose_transport_accept_protocol", EMPTY, METRICS),
    missing("channel.patterns", EMPTY, "it is an option of Centrifugo PRO; Holdfast has namespaces only"),
    missing("channel.proxy.state", Always, PRO),
    missing("channel.proxy.cache_empty", Always, PRO),
    missing("channel.without_namespace.allow_channel_compaction", EMPTY, PRO),
    missing("channel.without_namespace.batch_flush_latest", EMPTY, QUEUES),
    missing("channel.without_namespace.batch_max_delay", EMPTY, QUEUES),
    missing("channel.without_namespace.batch_max_size", EMPTY, QUEUES),
    missing("channel.without_namespace.broker_name", EMPTY, PRO),
    missing("channel.without_namespace.cache_empty_proxy_enabled", EMPTY, PRO),
    missing("channel.without_namespace.cache_empty_proxy_name", EMPTY, PRO),
    missing("channel.without_namespace.client_publication", EMPTY, PRO),
    missing("channel.without_namespace.client_publish_debounce_interval", EMPTY, PRO),
    missing("channel.without_namespace.history_cel", EMPTY, API),
    missing("channel.without_namespace.keep_latest_publication", EMPTY, PRO),
    missing("channel.without_namespace.pattern", EMPTY, PRO),
    missing("channel.without_namespace.presence_cel", EMPTY, API),
    missing("channel.without_namespace.presence_manager_name", EMPTY, PRO),
    missing("channel.without_namespace.publish_cel", EMPTY, API),
    missing("channel.without_namespace.shared_position_sync", EMPTY, PRO),
    missing("channel.without_namespace.state_events", EMPTY, PRO),
    missing("channel.without_namespace.state_proxy_enabled", EMPTY, PRO),
    missing("channel.without_namespace.subscribe_cel", EMPTY, API),
    missing("rpc.proxy.http.use_fast_client", EMPTY, PRO),

    missing("proxy", EMPTY, "Centrifugo v6 does not read it either; see client.proxy, channel.proxy and rpc.proxy"),
    missing("channel.without_namespace.private", EMPTY, "Centrifugo v6 does not read it either; allow_subscribe_for_client and tokens say who may subscribe"),
];
