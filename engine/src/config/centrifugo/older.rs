//! Older: detects files for Centrifugo v5 or older by their flat option names.
//!
//! In:  the keys of a file.
//! Out: one sentence if the file is for v5 or older.
//!
//! Centrifugo v6 moved all options into sections. One error for each old option would hide the fix: convert the file.

use serde_json::{Map, Value};

/// Prefixes of v5 options that no section and no top-level option of v6 has.
#[rustfmt::skip]
const BEGINNINGS: [&str; 40] = [
    "admin_", "allow_", "api_", "channel_", "client_", "disallow_", "emulation_", "force_", "global_", "graphite_",
    "grpc_api_", "health_", "history_", "http_stream_", "internal_", "log_", "memory_", "nats_", "node_",
    "opentelemetry_", "presence_", "prometheus_", "proxy_", "redis_", "rpc_", "separate_", "shutdown_", "sockjs_",
    "sse_", "subscription_token_", "swagger_", "tarantool_", "tls_", "token_", "uni_", "usage_stats_", "user_",
    "use_", "websocket_", "webtransport_",
];

/// Other options of v5. One of them alone may be a misplaced option of v6.
#[rustfmt::skip]
const NAMES: [&str; 24] = [
    "address", "allowed_delta_types", "allowed_origins", "api", "brokers", "connect_proxy_name", "delta_publish",
    "granular_proxy_mode", "join_leave", "name", "namespaces", "ping_interval", "pong_timeout", "port", "presence",
    "presence_managers", "publish_proxy_name", "refresh_proxy_name", "secret", "sockjs", "sub_refresh_proxy_name",
    "subscribe_proxy_name", "tls", "v3_use_offset",
];

/// Sections of v6 that are booleans or texts in v5.
#[rustfmt::skip]
const SWITCHES: [&str; 16] = [
    "admin", "broker", "debug", "engine", "graphite", "grpc_api", "health", "http_stream", "opentelemetry",
    "prometheus", "sse", "swagger", "uni_grpc", "uni_http_stream", "uni_sse", "uni_websocket",
];

/// Options of v6 or Centrifugo PRO with one of the prefixes of v5.
#[rustfmt::skip]
const V6: [&str; 10] = [
    "presence_manager", "presence_managers", "token_revoke", "uni_grpc", "uni_http_stream", "uni_sse",
    "uni_websocket", "user_block", "user_status", "user_tokens_invalidate",
];

/// The most names that the sentence shows.
const SHOWN: usize = 3;

/// The sentence for a file with these keys, if it is for v5 or older.
pub(in crate::config) fn older(table: &Map<String, Value>) -> Option<String> {
    let (mut certain, mut likely, mut sections) = (Vec::new(), Vec::new(), 0);
    for (key, value) in table {
        let key = key.as_str();
        let is_switch = SWITCHES.contains(&key) && (value.is_boolean() || value.is_string());
        let is_flat = !V6.contains(&key) && BEGINNINGS.iter().any(|beginning| key.starts_with(beginning));
        if is_switch || is_flat {
            certain.push(key);
        } else if NAMES.contains(&key) && !value.is_object() {
            likely.push(key);
        } else if value.is_object() {
            sections += 1;
        }
    }
    let all: Vec<&str> = certain.iter().chain(&likely).copied().collect();
    let is_older = !certain.is_empty() || likely.len() > 1;
    (is_older && all.len() > sections).then(|| {
        let shown = all[..all.len().min(SHOWN)].join(", ");
        let more = match all.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more of its options"),
        };
        format!(
            "this is a configuration of Centrifugo v5 or older (it has {shown}{more}): convert it to v6 first; \
             docs/migrating-from-centrifugo.md says how"
        )
    })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{from_file, refusal};

    /// The output of `genconfig` of v5, a chat's file in production, and short YAML and TOML files.
    const FILES: [(&str, &str); 5] = [
        (
            "json",
            r#"{"token_hmac_secret_key": "hunter2", "admin": true, "admin_password": "hunter2",
                "admin_secret": "hunter2", "api_key": "hunter2", "allowed_origins": []}"#,
        ),
        (
            "json",
            r#"{"port": 8000, "engine": "redis", "redis_address": "redis:6379", "health": true, "prometheus": true,
                "token_hmac_secret_key": "hunter2", "token_rsa_public_key": "", "api_key": "hunter2",
                "allowed_origins": ["https://chat.example.com"], "client_insecure": false, "presence": true,
                "join_leave": true, "history_size": 10, "history_ttl": "300s", "force_recovery": true,
                "allow_subscribe_for_client": true, "proxy_connect_endpoint": "http://app/connect",
                "proxy_connect_timeout": "3s", "proxy_http_headers": ["Cookie"], "log_level": "debug",
                "namespaces": [{"name": "chat", "presence": true}], "rpc_namespaces": [],
                "grpc_api": true, "grpc_api_port": 10000, "uni_sse": true, "websocket_compression": true}"#,
        ),
        (
            "yaml",
            "token_hmac_secret_key: 5782e509\nadmin_secret: 5782e509\napi_key: 0123\nnamespaces:\n- name: chat\n",
        ),
        ("toml", "api_key = \"hunter2\"\nadmin = false\n\n[[namespaces]]\nname = \"chat\"\n"),
        ("yml", "namespaces: [{name: chat}]\nallowed_origins: ['*']\n"),
    ];

    #[test]
    fn a_file_of_v5_gets_one_line_that_says_so() {
        for (extension, content) in FILES {
            let text = refusal(extension, content);
            assert!(text.starts_with("the configuration has 1 error:\n"), "{text}");
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(text.contains("this is a configuration of Centrifugo v5 or older (it has "), "{text}");
            assert!(text.contains("docs/migrating-from-centrifugo.md"), "{text}");
            assert!(!text.contains("hunter2") && !text.contains("5782e509"), "{text}");
        }
        assert!(refusal("json", FILES[1].1).contains(" and 23 more of its options"), "{}", FILES[1].1);
    }

    #[test]
    fn a_file_of_v6_with_one_key_in_the_wrong_place_is_none_of_v5() {
        for content in [
            r#"{"client": {}, "log": {}, "log_level": "debug"}"#,
            r#"{"namespaces": [{"name": "chat"}]}"#,
            r#"{"allowed_origins": ["*"], "client": {}}"#,
            r#"{"client": {}, "engine": "memory"}"#,
        ] {
            let text = refusal("json", content);
            assert!(!text.contains("v5"), "{content}: {text}");
        }
        assert!(from_file("json", r#"{"proxies": [], "usage_stats": {"disabled": true}}"#).is_ok());
    }
}
