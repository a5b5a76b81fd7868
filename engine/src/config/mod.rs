//! Configuration: what the operator wrote becomes what the engine reads.
//!
//! In:  a file (TOML, YAML, JSON), `HOLDFAST_…` variables, flags; the later of them wins.
//! Out: a `Config` in which every value is checked, or all that is wrong in one go.
//!
//! The road: `source` (raw tree) → `definition`/`kinds` (each option) → `check` (between options).
//! Options are defined once, in `options`. The engine never sees a raw value.

mod centrifugo;
mod channel;
mod check;
mod control;
mod cores;
pub mod definition;
mod document;
mod expand;
pub mod kinds;
mod limits;
mod network;
mod options;
mod place;
mod problem;
mod proxy;
mod reference;
mod secret;
mod source;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod transports;
pub mod units;
mod warning;

pub use crate::origin::OriginPattern;
pub use channel::{ChannelConfig, DeltaType, Namespace, NamespaceOptions, RecoveryMode, SlowReaderPolicy};
pub use control::{AdminConfig, ApiErrorMode, HttpApiConfig, NodeConfig};
pub use cores::{CoreSet, CpuList, usable_cpus};
pub use limits::{
    FlowLimits, ForwardedConfig, HostLimits, LimitsConfig, PenaltyLimits, ProxyProtocolConfig, SubnetLimits,
};
pub use network::Network;
pub(crate) use network::ipv6_network;
pub use options::{
    ClientConfig, EngineConfig, LogConfig, LogFormat, LogLevel, PersonalChannelConfig, ShutdownConfig,
    UserConnectionPolicy, WebsocketConfig,
};
pub use problem::{Origin, Problem, Problems, UnknownKeys};
pub use proxy::{
    BackendConfig, ChannelProxyConfig, ClientProxyConfig, ProxyConfig, ProxyHttpConfig, RpcConfig,
    RpcNamespace, RpcOptions, SwitchedProxyConfig,
};
pub use reference::{default_toml, reference_markdown};
pub use secret::Secret;
pub use source::{CONFIG_VARIABLE, IgnoredVariable, UNKNOWN_KEYS_VARIABLE};
pub use tls::TlsConfig;
pub use token::{SubscriptionTokenConfig, TokenConfig};
pub use transports::{EmulationConfig, HttpStreamConfig, OpenPathConfig, PollConfig, SseConfig};
pub use warning::Warning;

use definition::Section;
use options::Options;
use serde_json::{Value, json};
use source::Sources;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

/// Everything that `holdfast serve` needs to know, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where clients connect: `http_server.address` and `http_server.port`.
    pub listen: SocketAddr,
    /// Where the control plane listens: `http_server.internal_address` and `http_server.internal_port`.
    pub control_listen: SocketAddr,
    /// How many connections to it there may be: `http_server.internal_connection_limit`.
    pub control_connections_max: u32,
    /// TLS for clients.
    pub tls: TlsConfig,
    /// TLS for the control plane.
    pub control_tls: TlsConfig,
    /// Proxies that begin with a PROXY header.
    pub proxy_protocol: ProxyProtocolConfig,
    /// Proxies that name the client in a field.
    pub forwarded: ForwardedConfig,
    /// The CPUs of the shards: `engine.cores` or `engine.shards`.
    pub cores: CoreSet,
    /// What a connection may cost, and how long it may stay silent.
    pub client: ClientConfig,
    /// What one address, network, connection or user may do.
    pub limits: LimitsConfig,
    /// The WebSocket transport.
    pub websocket: WebsocketConfig,
    /// `/echo`.
    pub echo: OpenPathConfig,
    /// `/broadcast`.
    pub broadcast: OpenPathConfig,
    /// Server-sent events.
    pub sse: SseConfig,
    /// HTTP streaming.
    pub http_stream: HttpStreamConfig,
    /// Commands of clients that only receive on their stream.
    pub emulation: EmulationConfig,
    /// HTTP long-polling.
    pub poll: PollConfig,
    /// What channels do, and who may do what in them.
    pub channel: ChannelConfig,
    /// Calls of clients that the application's backend answers.
    pub rpc: RpcConfig,
    /// Calls to the application's backend, of all kinds together.
    pub backend: BackendConfig,
    /// The server API on the control port.
    pub http_api: HttpApiConfig,
    /// The try-out page on the control port.
    pub admin: AdminConfig,
    /// What this node calls itself.
    pub node: NodeConfig,
    /// Rings and buffers.
    pub engine: EngineConfig,
    /// The graceful stop.
    pub shutdown: ShutdownConfig,
    /// Logging.
    pub log: LogConfig,
    /// Variables of Centrifugo that were set and not read; worth one warning each.
    pub ignored_variables: Vec<IgnoredVariable>,
    /// Keys that change nothing here, and unknown ones where these are not refused; worth one warning each.
    pub passed_over: Vec<Warning>,
    /// Secrets that still hold what looks like a variable of the environment; worth one warning each.
    pub unexpanded_secrets: Vec<String>,
}

impl Config {
    /// Joins all sources and checks the whole.
    ///
    /// # Errors
    /// Everything that is wrong, in all sources.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &Flags,
    ) -> Result<Self, Problems> {
        Loaded::read(file, environment, flags, &usable_cpus()).map(|loaded| loaded.config)
    }

    /// True exactly when `/echo` or `/broadcast`, whichever's section this is, is served.
    pub fn serves(&self, path: &OpenPathConfig) -> bool {
        path.enabled.unwrap_or_else(|| !self.says_who_may_what())
    }

    /// True exactly when something is configured of who connects, and of what for.
    fn says_who_may_what(&self) -> bool {
        let Self { client, channel, rpc, .. } = self;
        client.token.has_key()
            || client.subscription_token.token.has_key()
            || client.allow_anonymous_connect_without_token
            || client.proxy.connect.enabled
            || client.proxy.refresh.enabled
            || !channel.namespaces.is_empty()
            || channel.without_namespace != NamespaceOptions::default()
            || !rpc.namespaces.is_empty()
            || rpc.without_namespace.is_proxied
    }

    /// What is allowed and likely not wanted: for the log at the start, `config check` and the doctor.
    pub fn warnings(&self) -> Vec<Warning> {
        warning::collect(self)
    }

    /// True exactly when something is asked of others by `https`.
    pub(crate) fn calls_by_https(&self) -> bool {
        let (client, channel) = (&self.client, &self.channel.proxy);
        let tokens = [Some(&client.token), self.own_subscription_token()];
        let keys = tokens.into_iter().flatten().filter_map(|token| token.jwks_public_endpoint.as_ref());
        let proxies = [
            &client.proxy.connect.proxy,
            &client.proxy.refresh.proxy,
            &self.rpc.proxy,
            &channel.subscribe,
            &channel.publish,
            &channel.sub_refresh,
        ];
        let mut backends = proxies.into_iter().filter_map(|proxy| proxy.endpoint.as_ref());
        keys.into_iter().any(crate::token::Endpoint::is_encrypted)
            || backends.any(crate::backend::Endpoint::is_encrypted)
    }

    /// The section of subscription tokens, where it holds.
    fn own_subscription_token(&self) -> Option<&TokenConfig> {
        let own = &self.client.subscription_token;
        own.enabled.then_some(&own.token)
    }

    /// The paths that clients may ask for.
    pub fn client_paths(&self) -> Vec<&'static str> {
        let paths = [
            ("/connection/websocket", !self.websocket.disabled),
            ("/connection/sse", self.sse.enabled),
            ("/connection/http_stream", self.http_stream.enabled),
            ("/emulation", self.sse.enabled || self.http_stream.enabled),
            ("/connection/poll", self.poll.enabled),
            ("/echo", self.serves(&self.echo)),
            ("/broadcast", self.serves(&self.broadcast)),
        ];
        paths.into_iter().filter(|(_, is_served)| *is_served).map(|(path, _)| path).collect()
    }

    /// The paths of the control port.
    pub fn control_paths(&self) -> Vec<&'static str> {
        let api = (!self.http_api.disabled).then_some("/api");
        ["/", "/health", "/metrics"].into_iter().chain(api).collect()
    }

    /// How many connections tables are made for: `client.connection_limit`, or 100,000 where it is 0.
    pub fn planned_connections(&self) -> u32 {
        match self.client.connection_limit {
            0 => 100_000,
            limit => limit,
        }
    }
}

impl Default for Config {
    /// What holds when nothing is configured, on the CPUs of this process.
    fn default() -> Self {
        Self::load(None, [], &Flags::default()).expect("invariant: every default is within its own range")
    }
}

/// A configuration together with what it was read from, for `config check`.
#[derive(Debug)]
pub struct Loaded {
    /// The checked configuration.
    pub config: Config,
    tree: Value,
    origins: Problems,
}

impl Loaded {
    /// Joins all sources and checks the whole, for a process that may run on `usable_cpus`.
    ///
    /// # Errors
    /// Everything that is wrong, in all sources.
    pub fn read(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        flags: &Flags,
        usable_cpus: &[usize],
    ) -> Result<Self, Problems> {
        let Sources { tree, mut problems, ignored_variables, unexpanded_secrets } =
            Sources::read(file, environment, flags);
        let options = Options::read(&tree, "", &mut problems);
        let config = options.and_then(|options| check::check(options, usable_cpus, &mut problems));
        match config {
            Some(config) if problems.is_empty() => {
                let passed_over = problems.take_passed_over();
                let config = Config { ignored_variables, passed_over, unexpanded_secrets, ..config };
                Ok(Self { config, tree, origins: problems })
            }
            _ => Err(problems),
        }
    }

    /// The warnings, and `more` of them, as comments, then what is in force, one option a line, and where each value came from.
    pub fn in_force(&self, more: &[Warning]) -> String {
        let own = self.config.warnings();
        let warnings =
            own.iter().chain(more).map(|warning| reference::comment_of(&format!("warning: {warning}")));
        warnings.chain([reference::in_force(&self.tree, &self.origins)]).collect()
    }
}

/// What the command line sets; `None` leaves it to the environment and the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--listen`.
    pub listen: Option<SocketAddr>,
    /// `--control`.
    pub control: Option<SocketAddr>,
    /// `--cores`.
    pub cores: Option<String>,
    /// `--shards`.
    pub shards: Option<u32>,
    /// `--unknown-keys`.
    pub unknown_keys: UnknownKeys,
}

impl Flags {
    /// The flags that are given, as (flag, path, value). `--cores` and `--shards` exclude each other,
    /// so each takes the other's option back to its default.
    fn values(&self) -> Vec<(&'static str, &'static str, Value)> {
        let mut all = Vec::new();
        if let Some(address) = self.listen {
            all.push(("--listen", "http_server.address", json!(address.ip().to_string())));
            all.push(("--listen", "http_server.port", json!(address.port())));
        }
        if let Some(address) = self.control {
            all.push(("--control", "http_server.internal_address", json!(address.ip().to_string())));
            all.push(("--control", "http_server.internal_port", json!(address.port())));
        }
        if let Some(cores) = &self.cores {
            all.push(("--cores", "engine.cores", json!(cores)));
            all.push(("--cores", "engine.shards", Value::Null));
        }
        if let Some(shards) = self.shards {
            all.push(("--shards", "engine.shards", json!(shards)));
            all.push(("--shards", "engine.cores", Value::Null));
        }
        all
    }
}
