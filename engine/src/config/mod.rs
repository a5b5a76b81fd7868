//! Configuration: reads and validates the operator's settings for the engine.
//!
//! In:  a file (TOML, YAML, JSON), `HOLDFAST_…` variables, flags; a later source overrides an earlier one.
//! Out: a `Config` in which every value is checked, or all errors together.
//!
//! The steps: `source` (raw tree) → `definition`/`kinds` (each option) → `check` (between options).
//! Each option is defined once, in `options`. The engine never sees a raw value.

mod centrifugo;
pub(crate) mod channel;
mod check;
mod checked;
mod control;
pub(crate) mod cores;
pub(crate) mod definition;
mod document;
mod expand;
mod http_server;
mod keys;
pub(crate) mod kinds;
mod limits;
mod load;
mod network;
mod options;
mod place;
mod problem;
pub(crate) mod proxy;
mod redis;
mod reference;
mod secret;
mod source;
#[cfg(test)]
pub(crate) mod tests;
mod token;
mod transports;
pub(crate) mod units;
mod warning;

pub(crate) use channel::{ChannelConfig, DeltaType, NamespaceOptions, RecoveryMode, SlowReaderPolicy};
pub(crate) use checked::Config;
pub(crate) use control::{ApiErrorMode, HttpApiConfig};
pub(crate) use cores::usable_cpus;
pub(crate) use http_server::TlsConfig;
pub(crate) use limits::{FlowLimits, HostLimits, SubnetLimits};
pub(crate) use load::Loaded;
pub(crate) use network::Network;
pub(crate) use network::ipv6_network;
pub(crate) use options::{
    ClientConfig, LogConfig, LogFormat, LogLevel, Options, ShutdownConfig, UserConnectionPolicy,
    WebsocketConfig,
};
pub(crate) use problem::{Problems, UnknownKeys, Warning};
pub(crate) use proxy::{ProxyConfig, RpcConfig};
pub(crate) use redis::{ClientTlsConfig, EngineType, RedisAddress, RedisConfig, RedisKind};
pub(crate) use reference::{default_toml, reference_pages};
pub(crate) use secret::Secret;
pub(crate) use source::{CONFIG_VARIABLE, Flags, UNKNOWN_KEYS_VARIABLE};
pub(crate) use token::TokenConfig;
