//! Check: validates the conditions between options.
//!
//! In:  sections whose options are valid by themselves, and the CPUs that this process may use.
//! Out: `Config`, or every violated condition.
//!
//! No I/O.

use super::channel::{self, ChannelConfig, NamespaceOptions};
use super::checked::Config;
use super::cores::CoreSet;
use super::definition::join;
use super::limits;
use super::options::{ClientConfig, Options};
use super::problem::Problems;
use super::proxy::RpcConfig;
use super::redis::{self, EngineType};
use super::token;
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// The longest frame header: 2 bytes and a 64-bit length (RFC 6455 §5.2). A server sends no mask.
const FRAME_HEADER_BYTES_MAX: u32 = 10;

/// Returns the validated configuration; `None` exactly when there was a problem.
pub(super) fn check(options: Options, usable_cpus: &[usize], problems: &mut Problems) -> Option<Config> {
    let before = problems.len();
    let Options { http_server, client, limits, websocket, channel, rpc, engine, shutdown, .. } = &options;

    if client.pong_timeout_ms >= client.ping_interval_ms {
        problems.refuse(
            "client.pong_timeout",
            format!("found {} ms", client.pong_timeout_ms),
            format!("less than client.ping_interval, which is {} ms", client.ping_interval_ms),
        );
    }
    let frame_bytes_max = websocket.message_size_limit_bytes.saturating_add(FRAME_HEADER_BYTES_MAX);
    if client.queue_max_size_bytes < frame_bytes_max {
        problems.refuse(
            "client.queue_max_size",
            format!("found {} bytes", client.queue_max_size_bytes),
            format!("at least {frame_bytes_max}, so that a message of websocket.message_size_limit fits"),
        );
    }
    if shutdown.drain_ms > shutdown.timeout_ms {
        problems.refuse(
            "shutdown.drain_time",
            format!("found {} ms", shutdown.drain_ms),
            format!("at most shutdown.timeout, which is {} ms", shutdown.timeout_ms),
        );
    }
    let listen = SocketAddr::new(http_server.address, http_server.port);
    let control_listen = SocketAddr::new(http_server.internal_address, http_server.internal_port);
    if overlap(listen, control_listen) {
        problems.refuse(
            "http_server.internal_port",
            format!("found {control_listen}"),
            format!("an address that does not overlap {listen}, on which clients connect"),
        );
    }
    if engine.cpu_list.is_some() && engine.shards != 0 {
        problems.refuse("engine.shards", "it is set together with engine.cores", "one of the two");
    }
    let shards_key = if engine.cpu_list.is_some() { "engine.cores" } else { "engine.shards" };
    let cores = CoreSet::choose(engine.cpu_list.as_ref(), engine.shards, usable_cpus)
        .map_err(|error| problems.refuse(shards_key, error.to_string(), ""));

    let personal = &client.personal_channel.namespace;
    if !personal.is_empty() && !channel.namespaces.iter().any(|namespace| namespace.name == *personal) {
        problems.refuse(
            "client.subscribe_to_user_personal_channel.personal_channel_namespace",
            format!("found {personal:?}, which channel.namespaces does not have"),
            "the name of a namespace, or empty",
        );
    }
    channel::check(channel, problems);
    check_proxies(client, channel, rpc, problems);
    limits::check(limits, problems);
    if engine.engine_type == EngineType::Redis {
        redis::check(&engine.redis, problems);
    }
    token::check(&client.token, "client.token", problems);
    token::check(&client.subscription_token.token, "client.subscription_token", problems);
    let cores = cores.ok()?;
    let config = Config {
        options,
        cores,
        ignored_variables: Vec::new(),
        passed_over: Vec::new(),
        unexpanded_secrets: Vec::new(),
    };
    (problems.len() == before).then_some(config)
}

/// True exactly when both cannot be bound: they have the same port, and the same address or an unspecified one.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let all = |address: SocketAddr| address.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || all(a) || all(b))
}

/// Checks namespaces of RPC methods, and proxies against the namespaces that use them.
fn check_proxies(client: &ClientConfig, channel: &ChannelConfig, rpc: &RpcConfig, problems: &mut Problems) {
    let mut names = BTreeSet::new();
    for (i, namespace) in rpc.namespaces.iter().enumerate() {
        if !names.insert(namespace.name.as_str()) {
            let found = format!("found {:?} a second time", namespace.name);
            problems.refuse(
                &format!("rpc.namespaces[{i}].name"),
                found,
                "a name that no other namespace has",
            );
        }
    }
    let spaces = || {
        let without = [&channel.without_namespace];
        without.into_iter().chain(channel.namespaces.iter().map(|namespace| &namespace.options))
    };
    let some = |is_so: fn(&NamespaceOptions) -> bool| spaces().any(is_so);
    let calls =
        rpc.without_namespace.is_proxied || rpc.namespaces.iter().any(|namespace| namespace.is_proxied);
    for (path, proxy, is_used, by) in [
        ("client.proxy.connect", &client.proxy.connect.proxy, client.proxy.connect.enabled, "it is enabled"),
        ("client.proxy.refresh", &client.proxy.refresh.proxy, client.proxy.refresh.enabled, "it is enabled"),
        ("rpc.proxy", &rpc.proxy, calls, "proxy_enabled is set"),
        (
            "channel.proxy.subscribe",
            &channel.proxy.subscribe,
            some(|options| options.is_subscribe_proxied),
            "subscribe_proxy_enabled is set",
        ),
        (
            "channel.proxy.publish",
            &channel.proxy.publish,
            some(|options| options.is_publish_proxied),
            "publish_proxy_enabled is set",
        ),
        (
            "channel.proxy.sub_refresh",
            &channel.proxy.sub_refresh,
            some(|options| options.is_sub_refresh_proxied),
            "sub_refresh_proxy_enabled is set",
        ),
    ] {
        if is_used && proxy.endpoint.is_none() {
            problems.refuse(&join(path, "endpoint"), "is missing", format!("an address, because {by}"));
        }
        let headers = join(path, "http.static_headers");
        for (name, value) in &proxy.http.static_headers {
            let has_name = hyper::header::HeaderName::try_from(name.as_str()).is_ok();
            if !has_name || hyper::header::HeaderValue::try_from(value.expose()).is_err() {
                // An invalid name may be a complete header line with a secret: do not show it.
                let found = if has_name { format!("found {name:?}") } else { "found no name".to_owned() };
                problems.refuse(&headers, found, "names and values of header fields");
            }
        }
    }
}
