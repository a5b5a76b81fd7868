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
mod checked;
mod control;
mod cores;
pub mod definition;
mod document;
mod expand;
mod http_server;
mod keys;
pub mod kinds;
mod limits;
mod load;
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
mod token;
mod transports;
pub mod units;
mod warning;

pub use crate::value::OriginPattern;
pub use channel::{ChannelConfig, DeltaType, Namespace, NamespaceOptions, RecoveryMode, SlowReaderPolicy};
pub use checked::Config;
pub use control::{AdminConfig, ApiErrorMode, HttpApiConfig, NodeConfig};
pub use cores::{CoreSet, CpuList, usable_cpus};
pub use http_server::{ForwardedConfig, HttpServerConfig, ProxyProtocolConfig, TlsConfig};
pub use limits::{FlowLimits, HostLimits, LimitsConfig, PenaltyLimits, SubnetLimits};
pub use load::Loaded;
pub use network::Network;
pub(crate) use network::ipv6_network;
pub use options::{
    ClientConfig, EngineConfig, LogConfig, LogFormat, LogLevel, Options, PersonalChannelConfig,
    ShutdownConfig, UserConnectionPolicy, WebsocketConfig,
};
pub use problem::{Origin, Problem, Problems, UnknownKeys, Warning};
pub use proxy::{
    BackendConfig, ChannelProxyConfig, ClientProxyConfig, ProxyConfig, ProxyHttpConfig, RpcConfig,
    RpcNamespace, RpcOptions, SwitchedProxyConfig,
};
pub use reference::{default_toml, reference_pages};
pub use secret::Secret;
pub use source::{CONFIG_VARIABLE, Flags, IgnoredVariable, UNKNOWN_KEYS_VARIABLE};
pub use token::{SubscriptionTokenConfig, TokenConfig};
pub use transports::{EmulationConfig, HttpStreamConfig, OpenPathConfig, PollConfig, SseConfig};
