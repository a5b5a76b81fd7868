//! Proxy options: the events that the application's backend decides on, and the address of the backend.
//!
//! Out: `client.proxy`, `channel.proxy` and `rpc`. Conditions between them and the namespaces are in `check`.
//!
//! Names and meanings are those of Centrifugo v6. The daemon supports HTTP backends only; an option of gRPC is an error
//! that names it.

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
    /// How the daemon asks the application's backend about one kind of event: by POST with a JSON body.
    pub(crate) struct ProxyConfig {
        /// URL of the backend. The daemon follows no redirects. If empty, there is no backend.
        "endpoint" => pub endpoint: Option<HttpUrl>
            = address("an address that begins with https:// or http://").optional();
        /// How long a call may take, from connecting to the last byte of the answer.
        "timeout" => pub timeout_ms: u64 = duration("1s", "10ms", "5m");
        /// Names of header fields of the client's handshake that the daemon passes to the backend.
        "http_headers" => pub http_headers: Vec<String> = list_of(header_name());
        /// Names of fields in `headers` of the client's connect command that the daemon passes to the backend as
        /// header fields. The client can write anything there. If the handshake has an allowed field of the same
        /// name, that one is passed instead.
        "emulated_headers" => pub emulated_headers: Vec<String> = list_of(header_name());
        /// Sends payloads to the backend in base64, as `b64data`. Otherwise payloads must be JSON.
        "binary_encoding" => pub has_binary_encoding: bool = boolean(false);
        /// Sends the connection's `meta`, from its token or from the connect event, to the backend.
        "include_connection_meta" => pub includes_meta: bool = boolean(false);
        /// HTTP details of the calls.
        "http" => pub http: ProxyHttpConfig = section();
    }

    /// HTTP details of the calls.
    pub(crate) struct ProxyHttpConfig {
        /// Header fields of every call. A field that is passed from the client replaces one of the same name.
        "static_headers" => pub static_headers: BTreeMap<String, Secret>
            = map_of(parsed("text", "text", "")).secret();
    }

    /// Connection events on which the application's backend decides.
    pub(crate) struct ClientProxyConfig {
        /// Clients that connect without a token: the backend says who they are.
        "connect" => pub connect: SwitchedProxyConfig = section();
        /// Connections that expire: the backend says whether they may stay. Clients then send no refresh command.
        "refresh" => pub refresh: SwitchedProxyConfig = section();
    }

    /// Channel events on which the application's backend decides, in the namespaces that ask for it.
    pub(crate) struct ChannelProxyConfig {
        /// Clients that subscribe without a token, if `subscribe_proxy_enabled` is set.
        "subscribe" => pub subscribe: ProxyConfig = section();
        /// Clients that publish, if `publish_proxy_enabled` is set.
        "publish" => pub publish: ProxyConfig = section();
        /// Subscriptions that expire, if `sub_refresh_proxy_enabled` is set.
        "sub_refresh" => pub sub_refresh: ProxyConfig = section();
    }

    /// RPC calls of clients, which the application's backend answers. A method name with a `:` belongs to the
    /// namespace before it, which must be defined; `rpc.without_namespace` applies to every other method.
    pub(crate) struct RpcConfig {
        /// The backend that answers RPC calls.
        "proxy" => pub proxy: ProxyConfig = section();
        /// Options of methods without a namespace.
        "without_namespace" => pub without_namespace: RpcOptions = section();
        /// Namespaces of methods. Each has a `name` and the options of its methods.
        "namespaces" => pub namespaces: Vec<RpcNamespace> = tables();
    }

    /// Options of the methods of a namespace.
    pub(crate) struct RpcOptions {
        /// Passes calls to the backend; otherwise a call gets error 108. Needs `rpc.proxy.endpoint`.
        "proxy_enabled" => pub is_proxied: bool = boolean(false);
    }

    /// A namespace of methods.
    pub(crate) struct RpcNamespace {
        /// The part of a method name before the `:`. Must be unique.
        "name" => pub name: String = text("")
            .also("at least two of A-Z, a-z, 0-9, `-`, `_`, `.`", |name: &String| is_namespace_name(name))
            .required();
        /// Passes calls to the backend; otherwise a call gets error 108. Needs `rpc.proxy.endpoint`.
        "proxy_enabled" => pub is_proxied: bool = boolean(false);
    }

    /// Limits for all calls to the application's backend, of all kinds together. Not in Centrifugo.
    pub(crate) struct BackendConfig {
        /// Most calls under way at a time; further calls wait. The daemon lowers this value to a quarter of
        /// RLIMIT_NOFILE.
        /// Worst case: this × (a client's message + `backend.answer_size_limit`).
        "concurrency" => pub calls_max: u32 = integer(256, 1, 65_536);
        /// Most calls that may wait for a free place. For a further one, the client's command gets error 100, and
        /// SDKs try again.
        /// Worst case: this × a client's message.
        "queue_size" => pub queued_max: u32 = integer(4096, 1, 1_048_576);
        /// Longest answer of the backend. A longer one fails the call.
        "answer_size_limit" => pub answer_bytes_max: u32 = size("1MiB", "1KiB", "64MiB");
        /// How long the daemon keeps an unused connection to a backend open. Set it below the backend's own
        /// keep-alive time, so that the backend does not close a connection while a call goes out; the daemon repeats
        /// such a call once on a new connection. 0 opens a connection for every call.
        "idle_timeout" => pub idle_ms: u64 = duration("60s", "0s", "1h");
    }

    /// The switch of `client.proxy.connect` and `client.proxy.refresh`.
    struct Switch {
        /// Asks the backend about these events. Needs `endpoint`.
        "enabled" => enabled: bool = boolean(false);
    }
}

/// A proxy with a switch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SwitchedProxyConfig {
    /// True exactly when the backend is asked.
    pub enabled: bool,
    /// The backend, and how to call it.
    pub proxy: ProxyConfig,
}

impl Section for SwitchedProxyConfig {
    const ABOUT: &'static str =
        "Whether and how the daemon asks the application's backend about one kind of event.";

    fn fields() -> Vec<Field> {
        Switch::fields().into_iter().chain(ProxyConfig::fields()).collect()
    }

    fn read(table: &Value, path: &str, problems: &mut Problems) -> Option<Self> {
        let switch = Switch::read(table, path, problems);
        let proxy = ProxyConfig::read(table, path, problems);
        Some(Self { enabled: switch?.enabled, proxy: proxy? })
    }
}

/// The name of a header field: a token (RFC 9110 §5.1).
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
            ("endpoint = \"grpc://127.0.0.1:1\"", "does not speak gRPC"),
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
