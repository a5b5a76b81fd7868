//! Proxy options: which events are put to the application's backend, and how it is reached.
//!
//! Out: `client.proxy`, `channel.proxy` and `rpc`. Conditions between them and the namespaces are in `check`.
//!
//! Names and meanings are those of Centrifugo v6. Only HTTP backends are asked; options of gRPC are refused by name.

use serde_json::Value;
use std::collections::BTreeMap;

use super::{
    definition::{Field, Section, Spec, section},
    kinds::{
        address, boolean, duration, integer, is_namespace_name, list_of, map_of, parsed, section, size,
        tables, text,
    },
    problem::Problems,
    secret::Secret,
};
use crate::value::HttpUrl;

section! {
    /// How the application's backend is asked about one kind of event: by POST with a JSON body.
    pub struct ProxyConfig {
        /// Address that is asked. Redirects are not followed. Empty: there is none.
        "endpoint" => pub endpoint: Option<HttpUrl>
            = address("an address that begins with https:// or http://").optional();
        /// How long an answer may take, from the first step of the connection to its last byte.
        "timeout" => pub timeout_ms: u64 = duration("1s", "10ms", "5m");
        /// Names of header fields of the client's handshake that go to the backend too.
        "http_headers" => pub http_headers: Vec<String> = list_of(header_name());
        /// Names of fields in `headers` of the client's connect command that go to the backend as header fields. The
        /// client can write anything there. Where the handshake has a field of that name, and it may go too, that one
        /// goes.
        "emulated_headers" => pub emulated_headers: Vec<String> = list_of(header_name());
        /// True exactly when payloads go to the backend in base64, as `b64data`; else they must be JSON.
        "binary_encoding" => pub has_binary_encoding: bool = boolean(false);
        /// True exactly when the connection's `meta`, of its token or of the connect event, goes along.
        "include_connection_meta" => pub includes_meta: bool = boolean(false);
        /// What is said in HTTP.
        "http" => pub http: ProxyHttpConfig = section();
    }

    /// What is said in HTTP.
    pub struct ProxyHttpConfig {
        /// Header fields that every request carries. A field of the client's with the same name takes its place.
        "static_headers" => pub static_headers: BTreeMap<String, Secret>
            = map_of(parsed("text", "text", "")).secret();
    }

    /// Events of connections.
    pub struct ClientProxyConfig {
        /// Clients that connect without a token: who they are.
        "connect" => pub connect: SwitchedProxyConfig = section();
        /// Connections that expire: whether they go on. Clients then send no refresh command.
        "refresh" => pub refresh: SwitchedProxyConfig = section();
    }

    /// Events of channels, for the namespaces that ask for it.
    pub struct ChannelProxyConfig {
        /// Clients that subscribe without a token, where `subscribe_proxy_enabled` is set.
        "subscribe" => pub subscribe: ProxyConfig = section();
        /// Clients that publish, where `publish_proxy_enabled` is set.
        "publish" => pub publish: ProxyConfig = section();
        /// Subscriptions that expire, where `sub_refresh_proxy_enabled` is set.
        "sub_refresh" => pub sub_refresh: ProxyConfig = section();
    }

    /// RPC: calls of clients that the application's backend answers. A method with a `:` belongs to the namespace before
    /// it, which must be defined; every other method follows `rpc.without_namespace`.
    pub struct RpcConfig {
        /// The backend that answers.
        "proxy" => pub proxy: ProxyConfig = section();
        /// Methods without a namespace.
        "without_namespace" => pub without_namespace: RpcOptions = section();
        /// The namespaces: each a `name`, and options that hold for its methods.
        "namespaces" => pub namespaces: Vec<RpcNamespace> = tables();
    }

    /// What holds for the methods of a namespace.
    pub struct RpcOptions {
        /// True exactly when the backend is asked; else a call is answered with error 108. Needs `rpc.proxy.endpoint`.
        "proxy_enabled" => pub is_proxied: bool = boolean(false);
    }

    /// A namespace of methods.
    pub struct RpcNamespace {
        /// What the names of its methods begin with, before the `:`. Each namespace needs its own.
        "name" => pub name: String = text("")
            .also("at least two of A-Z, a-z, 0-9, `-`, `_`, `.`", |name: &String| is_namespace_name(name))
            .required();
        /// True exactly when the backend is asked; else a call is answered with error 108. Needs `rpc.proxy.endpoint`.
        "proxy_enabled" => pub is_proxied: bool = boolean(false);
    }

    /// Calls to the application's backend, of all kinds together. Holdfast's own.
    pub struct BackendConfig {
        /// Calls that are under way at a time; the others wait. It is at most a quarter of RLIMIT_NOFILE.
        /// Worst case: this × (a message of a client and `answer_size_limit`).
        "concurrency" => pub calls_max: u32 = integer(256, 1, 65_536);
        /// Calls that may wait for that; where more come, the command is answered with error 100, which clients try
        /// again.
        /// Worst case: this × a message of a client.
        "queue_size" => pub queued_max: u32 = integer(4096, 1, 1_048_576);
        /// The longest answer that is read; a longer one fails the call.
        "answer_size_limit" => pub answer_bytes_max: u32 = size("1MiB", "1KiB", "64MiB");
        /// How long a connection to a backend stays open without a call. Less than the backend's own keep-alive time, so
        /// that it is not closed just when the next call goes out; a call to which that happens is made once more on a
        /// new connection. 0 opens one for every call.
        "idle_timeout" => pub idle_ms: u64 = duration("60s", "0s", "1h");
    }

    /// The switch of `client.proxy.connect` and `client.proxy.refresh`.
    struct Switch {
        /// True exactly when the backend is asked about these events. Needs `endpoint`.
        "enabled" => enabled: bool = boolean(false);
    }
}

/// A proxy with a switch.
#[derive(Debug, Clone, PartialEq)]
pub struct SwitchedProxyConfig {
    /// Whether the backend is asked.
    pub enabled: bool,
    /// How.
    pub proxy: ProxyConfig,
}

impl Section for SwitchedProxyConfig {
    const ABOUT: &'static str =
        "How the application's backend is asked about one kind of event, and whether it is.";

    fn fields() -> Vec<Field> {
        Switch::fields().into_iter().chain(ProxyConfig::fields()).collect()
    }

    fn read(table: &Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let switch = Switch::read(table, path, problems);
        let proxy = ProxyConfig::read(table, path, problems);
        Some(Self { enabled: switch?.enabled, proxy: proxy? })
    }
}

/// RFC 9110 §5.1: a token. Fields that HTTP itself needs are not the operator's to set.
fn header_name() -> Spec<String> {
    text("").also("the name of a header field", |name: &String| {
        hyper::header::HeaderName::try_from(name.as_str()).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{from_file, refusal};

    #[test]
    fn who_asks_a_backend_names_an_endpoint() {
        for (content, key) in [
            ("[client.proxy.connect]\nenabled = true", "client.proxy.connect.endpoint"),
            ("[client.proxy.refresh]\nenabled = true", "client.proxy.refresh.endpoint"),
            ("[rpc.without_namespace]\nproxy_enabled = true", "rpc.proxy.endpoint"),
            ("[[rpc.namespaces]]\nname = \"chat\"\nproxy_enabled = true", "rpc.proxy.endpoint"),
            (
                "[channel.without_namespace]\nsubscribe_proxy_enabled = true",
                "channel.proxy.subscribe.endpoint",
            ),
            (
                "[[channel.namespaces]]\nname = \"chat\"\npublish_proxy_enabled = true",
                "channel.proxy.publish.endpoint",
            ),
            (
                "[channel.without_namespace]\nsub_refresh_proxy_enabled = true",
                "channel.proxy.sub_refresh.endpoint",
            ),
        ] {
            let text = refusal("toml", content);
            assert!(text.contains(&format!("  {key} ")) && text.contains("is missing"), "{content}: {text}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_and_no_secret_is_repeated() {
        for (content, part) in [
            ("endpoint = \"grpc://127.0.0.1:1\"", "gRPC is not spoken here"),
            ("http_headers = [\"no name\"]", "the name of a header field"),
            ("http.static_headers = { \"no name\" = \"hunter2\" }", "names and values of header fields"),
            ("http.static_headers = { X-Key = \"hunter2\\n\" }", "names and values of header fields"),
        ] {
            let text = refusal("toml", &format!("[rpc.proxy]\n{content}"));
            assert!(text.contains(part) && !text.contains("hunter2"), "{content}: {text}");
        }
    }

    #[test]
    fn every_proxy_is_read_with_the_same_options() {
        let options =
            "endpoint = \"http://127.0.0.1:1/a\"\ntimeout = \"2s\"\nhttp.static_headers = { A = \"b\" }";
        let enabled = format!("[client.proxy.connect]\nenabled = true\n{options}");
        let config = from_file("toml", &format!("{enabled}\n[rpc.proxy]\n{options}")).unwrap();
        assert!(config.client.proxy.connect.enabled && !config.client.proxy.refresh.enabled);
        assert_eq!(config.client.proxy.connect.proxy, config.rpc.proxy);
        assert_eq!(config.rpc.proxy.timeout_ms, 2_000);
    }
}
