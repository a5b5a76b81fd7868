//! Files as Centrifugo v6 reads them: what loads, and how the rest is refused.

use super::list::MISSING;
use super::*;
use crate::config::definition::{Section, Shape, walk};
use crate::config::options::Options;
use crate::config::tests::{from_file, refusal, variables};
use crate::config::{Config, Flags, Loaded, RecoveryMode};
use serde_json::json;

/// What `centrifugo genconfig` writes, with other secrets.
const GENERATED: &str = r#"{
  "client": { "token": { "hmac_secret_key": "bbe7d157-a253-4094-9759-06a8236543f9" }, "allowed_origins": [] },
  "admin": { "enabled": false, "password": "d0683813-0916-4c49-979f-0e08a686b727", "secret": "4e9eafcf" },
  "http_api": { "key": "d7627bb6-2292-4911-82e1-615c0ed3eebb" }
}"#;

/// All options of v6 with their defaults, but for those of brokers and of proxies' HTTP and gRPC.
const DEFAULTS: &str = include_str!("v6-defaults.json");

/// A chat's file in production: history, recovery, several namespaces, the fallbacks, other services switched off.
const PRODUCTION: &str = r#"
http_server:
  address: ""
  port: 8000
  internal_address: 127.0.0.1
  internal_port: "9001"
log:
  level: info
engine:
  type: memory
client:
  allowed_origins: ["https://chat.example.com", "https://*.example.org"]
  token:
    hmac_secret_key: "4d3c2b1a"
  ping_interval: 25s
  pong_timeout: 8s
  channel_limit: 256
  user_connection_limit: 10
  expired_close_delay: 1m0s
  concurrency: 0
channel:
  history_meta_ttl: 720h0m0s
  private_prefix: $
  without_namespace:
    allow_user_limited_channels: true
  namespaces:
    - name: chat
      presence: true
      join_leave: true
      force_push_join_leave: true
      history_size: 100
      history_ttl: 300s
      force_recovery: true
      force_recovery_mode: ""
      allow_subscribe_for_client: true
      allow_publish_for_subscriber: true
      allow_history_for_subscriber: true
      allow_presence_for_subscriber: true
      channel_regex: "^[0-9a-z]+$"
      delta_publish: true
      allowed_delta_types: [fossil]
      subscribe_proxy_enabled: false
      subscribe_proxy_name: default
      subscription_type: stream
    - name: prices
      history_size: 1
      history_ttl: 24h
      force_recovery: true
      force_recovery_mode: cache
      allow_subscribe_for_client: true
      allow_subscribe_for_anonymous: true
      allow_tags_filter: true
http_api:
  key: a1b2c3d4
  handler_prefix: /api
sse: { enabled: true }
http_stream: { enabled: true }
uni_sse: { enabled: false, handler_prefix: /connection/uni_sse }
prometheus: { enabled: true }
health: { enabled: true }
admin:
  enabled: true
  password: hunter2
  secret: hunter3
redis_is_no_key_of_this: ~
"#;

#[test]
fn the_file_that_genconfig_writes_loads() {
    let config = from_file("json", GENERATED).unwrap();
    assert!(config.http_api.keys().eq(["d7627bb6-2292-4911-82e1-615c0ed3eebb"]));
    assert!(!config.admin.enabled && config.client.allowed_origins.is_empty());
}

#[test]
fn a_file_that_spells_out_every_default_loads() {
    let config = from_file("json", DEFAULTS).unwrap();
    assert_eq!(config.channel, Config::default().channel);
    assert_eq!(config.client, Config::default().client);
}

#[test]
fn a_file_from_production_loads_and_means_the_same() {
    let yaml = PRODUCTION.replace("redis_is_no_key_of_this: ~\n", "");
    let config = from_file("yaml", &yaml).unwrap();
    assert_eq!(config.listen, "0.0.0.0:8000".parse().unwrap());
    assert_eq!(config.control_listen, "127.0.0.1:9001".parse().unwrap());
    assert_eq!((config.client.channel_limit, config.client.expired_close_delay_ms), (256, 60_000));
    assert_eq!(config.channel.history_meta_ttl_ms, 720 * 3_600_000);
    assert!(config.sse.enabled && config.http_stream.enabled && config.admin.enabled);
    let [chat, prices] = config.channel.namespaces.as_slice() else { panic!("two namespaces") };
    assert_eq!((chat.name.as_str(), chat.options.history_ttl_ms), ("chat", 300_000));
    assert_eq!(
        (chat.options.recovery_mode, prices.options.recovery_mode),
        (RecoveryMode::Stream, RecoveryMode::Cache)
    );
    assert!(chat.options.allow_publish_for_subscriber && !prices.options.allow_publish_for_subscriber);

    let tree: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!(from_file("json", &tree.to_string()).unwrap(), config);
}

#[test]
fn a_key_that_nobody_has_is_still_unknown() {
    let text = refusal("yaml", PRODUCTION);
    assert!(text.contains("redis_is_no_key_of_this") && text.contains("no such option"), "{text}");
}

#[test]
fn what_holdfast_lacks_is_refused_by_name_with_what_to_do() {
    for (content, key, advice) in [
        (json!({"grpc_api": {"enabled": true, "port": 10000}}), "grpc_api", "use the HTTP API"),
        (
            json!({"http_server": {"tls_autocert": {"enabled": true}}}),
            "http_server.tls_autocert",
            "set http_server.tls",
        ),
        (json!({"engine": {"type": "redis"}}), "engine.type", "one node"),
        (
            json!({"client": {"user_id_http_header": "X-User"}}),
            "client.user_id_http_header",
            "connection token",
        ),
        (
            json!({"client": {"proxy": {"connect": {"grpc_metadata": ["authorization"]}}}}),
            "client.proxy.connect.grpc_metadata",
            "over HTTP",
        ),
        (
            json!({"rpc": {"proxy": {"http": {"tls": {"enabled": true}}}}}),
            "rpc.proxy.http.tls",
            "SSL_CERT_FILE",
        ),
        (
            json!({"rpc": {"namespaces": [{"name": "chat", "proxy_name": "other"}]}}),
            "rpc.namespaces[0].proxy_name",
            "one backend",
        ),
        (json!({"channel": {"private_prefix": ""}}), "channel.private_prefix", "fixed"),
        (
            json!({"channel": {"namespaces": [{"name": "aa"}, {"name": "bb", "publish_proxy_name": "other"}]}}),
            "channel.namespaces[1].publish_proxy_name",
            "one backend",
        ),
        (json!({"websocket": {"read_buffer_size": 512}}), "websocket.read_buffer_size", "own no buffers"),
        (json!({"consumers": [{"name": "a", "type": "kafka"}]}), "consumers", "server API"),
        (json!({"http_api": {"external": true}}), "http_api.external", "internal_address"),
    ] {
        let text = refusal("json", &content.to_string());
        let start = format!("  {key} (file ");
        assert!(
            text.contains(&start) && text.contains("option of Centrifugo v6; ") && text.contains(advice),
            "{text}"
        );
        assert!(text.contains("1 error"), "{text}");
    }
}

#[test]
fn a_secret_beside_a_refused_option_is_not_repeated() {
    let text = refusal("json", r#"{"grpc_api": {"enabled": true, "key": "hunter2"}}"#);
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_typing_error_in_a_section_of_centrifugo_is_an_unknown_key() {
    let text = refusal("json", r#"{"prometheus": {"enabld": true}}"#);
    assert!(text.contains("prometheus.enabld") && text.contains("no such option"), "{text}");
}

#[test]
fn what_asks_for_nothing_is_passed_over() {
    for content in [
        json!({"broker": {"enabled": false, "type": "nats", "redis": {"tls": {"enabled": true}}}}),
        json!({"presence_manager": {"type": "redis"}}),
        json!({"websocket": {"write_timeout": "1s", "handler_prefix": "/connection/websocket"}}),
        json!({"client": {"presence_update_interval": "27s", "channel_position_max_time_lag": "0s"}}),
        json!({"channel": {"proxy": {"subscribe": {"endpoint": "http://localhost"}}}}),
        json!({"rpc": {"namespaces": [], "ping": {"enabled": false, "method": "ping"}}}),
        json!({"shared_poll": {"hmac_secret_key": "", "concurrency_limit": 0}}),
        json!({"node": {"name": "", "info_metrics_aggregate_interval": "1m0s"}}),
    ] {
        assert!(from_file("json", &content.to_string()).is_ok(), "{content}");
    }
}

#[test]
fn every_missing_option_is_listed_once_with_a_clause_and_is_no_option_of_ours() {
    let mut ours = Vec::new();
    walk(&Options::fields(), "", &mut |path, _| ours.push(path.to_owned()));
    for field in Options::fields() {
        assert!(matches!(field.about.shape, Shape::Section { .. }), "{}", field.key);
    }
    for (i, missing) in MISSING.iter().enumerate() {
        let path = missing.path;
        let beneath =
            |other: &str| other == path || other.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        assert!(!ours.iter().any(|option| beneath(option)), "{path} is an option of ours");
        assert!(!MISSING[..i].iter().any(|other| beneath(other.path)), "{path} is listed twice");
        assert!(missing.advice.starts_with("remove it") && !missing.advice.ends_with('.'), "{path}");
    }
}

fn with_environment(pairs: &[(&str, &str)]) -> Config {
    Loaded::read(None, variables(pairs), &Flags::default(), &[0]).unwrap().config
}

#[test]
fn its_variables_are_named_and_not_read() {
    let config = with_environment(&[
        ("CENTRIFUGO_CLIENT_CHANNEL_LIMIT", "7"),
        ("CENTRIFUGO_ENGINE_TYPE", "redis"),
        ("CENTRIFUGO_SERVICE_HOST", "10.0.0.1"),
        ("CENTRIFUGO_PORT_8000_TCP", "tcp://10.0.0.1:8000"),
    ]);
    assert_eq!(config.client.channel_limit, 128);
    let told: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "CENTRIFUGO_CLIENT_CHANNEL_LIMIT: is ignored; its name here is HOLDFAST_CLIENT_CHANNEL_LIMIT",
            "CENTRIFUGO_ENGINE_TYPE: is ignored; no option here has that name",
        ]
    );
}

#[test]
fn an_empty_variable_counts_as_unset() {
    assert_eq!(with_environment(&[("HOLDFAST_CLIENT_CHANNEL_LIMIT", "")]).client.channel_limit, 128);
}
