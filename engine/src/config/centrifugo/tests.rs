//! Files for Centrifugo v6: the ones that load, and the errors for the others.

use super::{list::MISSING, passed::PASSED, *};
use crate::config::{
    Config, Flags, Loaded, RecoveryMode, UnknownKeys,
    definition::{Section, Shape, walk},
    options::Options,
    tests::{TempFile, from_file, own_warnings, refusal, variables},
};
use serde_json::json;

/// The output of `centrifugo genconfig`, with other secrets.
const GENERATED: &str = r#"{
  "client": { "token": { "hmac_secret_key": "bbe7d157-a253-4094-9759-06a8236543f9" }, "allowed_origins": [] },
  "admin": { "enabled": false, "password": "d0683813-0916-4c49-979f-0e08a686b727", "secret": "4e9eafcf" },
  "http_api": { "key": "d7627bb6-2292-4911-82e1-615c0ed3eebb" }
}"#;

/// All options of v6 with their defaults, except those of brokers and of the proxies' HTTP and gRPC.
const DEFAULTS: &str = include_str!("v6-defaults.json");

/// A chat's file in production: history, recovery, several namespaces, fallback transports, other services off.
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
    assert_eq!(config.passed_over, []);
    assert_eq!(config.channel, Config::default().options.channel);
    assert_eq!(config.client, Config::default().options.client);
}

/// The section `engine.redis` of v6 with all its options; those that are not about an address or a login have defaults.
const REDIS: &str = r#"{"engine": {"type": "redis", "redis": {
  "address": ["redis://app:hunter2@redis-1:6379/0", "rediss://redis-2:6379"], "prefix": "centrifugo",
  "connect_timeout": "1s", "io_timeout": "4s", "db": 0, "user": "", "password": "hunter2", "client_name": "",
  "force_resp2": false, "cluster_address": [], "tls": {"enabled": false, "cert_pem": "", "key_pem": "",
  "server_ca_pem": "", "client_ca_pem": "", "insecure_skip_verify": false, "server_name": ""},
  "sentinel_address": [], "sentinel_user": "", "sentinel_password": "", "sentinel_master_name": "",
  "sentinel_client_name": "", "sentinel_tls": {"enabled": false, "cert_pem": "", "insecure_skip_verify": false},
  "presence_ttl": "60s", "presence_hash_field_ttl": false, "presence_user_mapping": false,
  "history_use_lists": false, "replica_client_enabled": false}}}"#;

#[test]
fn a_section_of_redis_that_spells_everything_out_loads() {
    let config = from_file("json", REDIS).unwrap();
    assert_eq!(config.passed_over, []);
    let redis = &config.engine.redis;
    assert_eq!((redis.io_timeout_ms, redis.presence_expires_by_field), (4_000, Some(false)));
    let shown: Vec<_> = redis.deployments().iter().map(|of| of.servers[0].to_string()).collect();
    assert_eq!(shown, ["redis-1:6379", "redis-2:6379"]);
}

#[test]
fn a_file_from_production_loads_and_means_the_same() {
    let yaml = PRODUCTION.replace("redis_is_no_key_of_this: ~\n", "");
    let config = from_file("yaml", &yaml).unwrap();
    assert_eq!(config.listen(), "0.0.0.0:8000".parse().unwrap());
    assert_eq!(config.control_listen(), "127.0.0.1:9001".parse().unwrap());
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
        (
            json!({"engine": {"redis": {"history_use_lists": true}}}),
            "engine.redis.history_use_lists",
            "in streams",
        ),
        (json!({"engine": {"redis": {"force_resp2": true}}}), "engine.redis.force_resp2", "RESP3"),
        (
            json!({"engine": {"redis": {"sentinel_tls": {"enabled": true}}}}),
            "engine.redis.sentinel_tls",
            "engine.redis.tls",
        ),
        (
            json!({"engine": {"redis": {"tls": {"insecure_skip_verify": true}}}}),
            "engine.redis.tls.insecure_skip_verify",
            "server_ca_pem",
        ),
        (json!({"broker": {"enabled": true, "type": "nats"}}), "broker", "engine.type"),
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
        (json!({"tls": {"enabled": true, "cert_pem": "cert.pem"}}), "tls", "set http_server.tls"),
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

/// Buffers and times of Centrifugo's engine, options of Centrifugo PRO, and options of versions before v6.
const MEANINGLESS: &str = r#"
license: 5782e509
websocket: {write_timeout: 5s, read_buffer_size: 512, write_buffer_size: 512, use_write_buffer_pool: true}
client:
  concurrency: 8
  presence_update_interval: 5s
  channel_position_check_delay: 10s
  channel_position_max_time_lag: 1s
  queue_shrink_delay: 1s
  rate_limit: {client_command: {enabled: true}}
  proxy: {connect: {http: {use_fast_client: true}}}
proxy: {connect: {endpoint: "http://app"}}
database: {enabled: true, postgresql: {dsn: "postgres://user:hunter2@db/x"}}
push_notifications: {enabled: true}
prometheus: {enabled: true, channel_namespace_resolution: true, native_histograms: true}
map_brokers: [{name: a}]
shared_poll_relay: {enabled: true}
node: {info_metrics_aggregate_interval: 10s}
channel:
  namespaces:
  - {name: chat, private: true, keep_latest_publication: true}
"#;

#[test]
fn what_changes_nothing_here_is_passed_over_with_a_warning() {
    let config = from_file("yaml", MEANINGLESS).unwrap();
    let told: Vec<_> = own_warnings(&config).iter().map(ToString::to_string).collect();
    for key in [
        "license",
        "websocket.write_timeout",
        "websocket.read_buffer_size",
        "websocket.write_buffer_size",
        "websocket.use_write_buffer_pool",
        "client.concurrency",
        "client.presence_update_interval",
        "client.channel_position_check_delay",
        "client.channel_position_max_time_lag",
        "client.queue_shrink_delay",
        "client.rate_limit",
        "client.proxy.connect.http.use_fast_client",
        "proxy",
        "database",
        "push_notifications",
        "prometheus.channel_namespace_resolution",
        "prometheus.native_histograms",
        "map_brokers",
        "shared_poll_relay",
        "node.info_metrics_aggregate_interval",
        "channel.namespaces[0].private",
        "channel.namespaces[0].keep_latest_publication",
    ] {
        assert!(
            told.iter().any(|line| line.starts_with(&format!("{key}: changes nothing here; "))),
            "{key}: {told:#?}"
        );
    }
    assert_eq!(told.len(), 22, "{told:#?}");
    assert!(!told.concat().contains("hunter2"));
}

fn lenient(extension: &str, content: &str, environment: &[(&str, &str)]) -> Result<Config, String> {
    let file = TempFile::new(extension, content);
    let flags = Flags { unknown_keys: UnknownKeys::Warn, ..Flags::default() };
    let loaded = Loaded::read(Some(&file.0), variables(environment), &flags, &[0]);
    loaded.map(|loaded| loaded.config).map_err(|problems| problems.to_string())
}

#[test]
fn unknown_keys_are_warned_of_where_that_is_asked_for() {
    for (extension, content) in [
        (
            "json",
            r#"{"client": {"ping_intervall": "5s", "insecure": true}, "channel": {"namespaces": [{"name": "chat", "odd": 1}]}}"#,
        ),
        (
            "yaml",
            "client: {ping_intervall: 5s, insecure: true}\nchannel: {namespaces: [{name: chat, odd: 1}]}\n",
        ),
        (
            "toml",
            "[client]\nping_intervall = '5s'\ninsecure = true\n[[channel.namespaces]]\nname = 'chat'\nodd = 1\n",
        ),
    ] {
        let text = refusal(extension, content);
        assert!(text.contains("2 errors"), "{text}");
        let config = lenient(extension, content, &[("HOLDFAST_NO_SUCH", "1")]).unwrap();
        assert!(config.client.is_insecure);
        let told: Vec<_> = config.passed_over.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 3, "{told:#?}");
        let all = told.concat();
        for part in [
            "client.ping_intervall: no such option: it is ignored; did you mean client.ping_interval?",
            "channel.namespaces[0].odd: no such option",
            "HOLDFAST_NO_SUCH: no such option",
        ] {
            assert!(all.contains(part), "{part}: {all}");
        }
    }
    let found =
        lenient("json", r#"{"grpc_api": {"enabled": true}, "odd": 1, "log": {"level": "loud"}}"#, &[])
            .unwrap_err();
    assert!(
        found.contains("2 errors") && found.contains("grpc_api") && found.contains("log.level"),
        "{found}"
    );
}

#[test]
fn every_missing_option_is_listed_once_with_a_clause_and_is_no_option_of_ours() {
    let mut ours = Vec::new();
    walk(&Options::fields(), "", &mut |path, _| ours.push(path.to_owned()));
    for field in Options::fields() {
        assert!(matches!(field.about.shape, Shape::Section { .. }), "{}", field.key);
    }
    for passed in PASSED {
        let path = passed.path;
        assert!(!ours.iter().any(|option| option == path), "{path} is an option of ours");
        assert!(!MISSING.iter().any(|missing| missing.path == path), "{path} is in both lists");
        assert_eq!(PASSED.iter().filter(|other| other.path == path).count(), 1, "{path} is listed twice");
        assert!(!passed.advice.ends_with('.') && !passed.advice.starts_with("remove"), "{path}");
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
    let told: Vec<_> = own_warnings(&config).iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "CENTRIFUGO_CLIENT_CHANNEL_LIMIT: is ignored; Holdfast's variable is HOLDFAST_CLIENT_CHANNEL_LIMIT",
            "CENTRIFUGO_ENGINE_TYPE: is ignored; Holdfast's variable is HOLDFAST_ENGINE_TYPE",
        ]
    );
}

#[test]
fn an_empty_variable_counts_as_unset() {
    assert_eq!(with_environment(&[("HOLDFAST_CLIENT_CHANNEL_LIMIT", "")]).client.channel_limit, 128);
}
