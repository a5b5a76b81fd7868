//! Check: options that are right by themselves become a configuration that is right as a whole.
//!
//! In:  the sections as read, and the CPUs that this process may use.
//! Out: `Config`, or every condition between options that does not hold.
//!
//! No I/O.

use super::Config;
use super::channel;
use super::cores::CoreSet;
use super::limits;
use super::options::Options;
use super::problem::Problems;
use super::proxy;
use super::token;
use std::net::SocketAddr;

/// A frame's header: 2 bytes and a 64-bit length (RFC 6455 §5.2); a server sends no mask.
const FRAME_HEADER_BYTES_MAX: u32 = 10;

pub(super) fn check(options: Options, usable_cpus: &[usize], problems: &mut Problems) -> Option<Config> {
    let before = problems.len();
    let Options {
        http_server,
        client,
        limits,
        websocket,
        echo,
        broadcast,
        sse,
        http_stream,
        emulation,
        poll,
        channel,
        rpc,
        backend,
        http_api,
        admin,
        node,
        engine,
        shutdown,
        log,
    } = options;

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
            format!("an address that does not overlap {listen}, where clients connect"),
        );
    }
    if engine.cpu_list.is_some() && engine.shards != 0 {
        problems.refuse("engine.shards", "found together with engine.cores", "one of the two");
    }
    let shards_key = if engine.cpu_list.is_some() { "engine.cores" } else { "engine.shards" };
    let cores = CoreSet::choose(engine.cpu_list.as_ref(), engine.shards, usable_cpus)
        .map_err(|error| problems.refuse(shards_key, error.to_string(), ""));

    let personal = &client.personal_channel.namespace;
    if !personal.is_empty() && !channel.namespaces.iter().any(|namespace| namespace.name == *personal) {
        problems.refuse(
            "client.subscribe_to_user_personal_channel.personal_channel_namespace",
            format!("found {personal:?}, which channel.namespaces does not have"),
            "the name of a namespace, or nothing",
        );
    }
    channel::check(&channel, problems);
    proxy::check(&client, &channel, &rpc, problems);
    limits::check(&limits, problems);
    token::check(&client.token, "client.token", problems);
    token::check(&client.subscription_token.token, "client.subscription_token", problems);
    let config = Config {
        listen,
        control_listen,
        control_connections_max: http_server.internal_connections_max,
        tls: http_server.tls,
        control_tls: http_server.internal_tls,
        proxy_protocol: http_server.proxy_protocol,
        forwarded: http_server.forwarded,
        cores: cores.ok()?,
        client,
        limits,
        websocket,
        echo,
        broadcast,
        sse,
        http_stream,
        emulation,
        poll,
        channel,
        rpc,
        backend,
        http_api,
        admin,
        node,
        engine,
        shutdown,
        log,
        ignored_variables: Vec::new(),
        passed_over: Vec::new(),
        unexpanded_secrets: Vec::new(),
    };
    (problems.len() == before).then_some(config)
}

/// True exactly when both cannot be bound: the same port, and the same address or one that is all addresses.
fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let all = |address: SocketAddr| address.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (a.ip() == b.ip() || all(a) || all(b))
}
