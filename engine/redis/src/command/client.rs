//! Client: fred, configured so that it neither repeats nor hoards.
//!
//! In:  our options.
//! Out: a client that is not connected yet; the one that is used at the moment, and another one in its place.
//!
//! Each of these was a fault with the library's defaults (decision 0016): a command is sent once; it has a deadline; the
//! queue before the connection has an end; a primary that became a replica is a lost connection.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fred::{
    clients::Client,
    socket2::TcpKeepalive,
    types::{
        RespVersion,
        config::{
            Config, ConnectionConfig, HostMapping, PerformanceConfig, ReconnectError, ReconnectPolicy,
            Server, ServerConfig, TcpConfig, TlsConfig, TlsConnector, TlsHostMapping, UnresponsiveConfig,
        },
    },
};
use rustls::pki_types::ServerName;

use super::options::{CommandOptions, Servers};
use crate::receive::connection::{Address, Credentials};

/// See [`backoff`].
const JITTER: Duration = Duration::from_millis(500);

/// What a cluster's nodes call themselves is an address; their certificates are for the configured name.
#[derive(Debug)]
struct OneName(String);

impl HostMapping for OneName {
    fn map(&self, _: &IpAddr, _: &str) -> Option<String> {
        Some(self.0.clone())
    }
}

/// The client that everybody uses. What the library knows and waits for is in it: where that is wrong, another one takes
/// its place.
#[derive(Debug)]
pub(super) struct Current(Mutex<Client>);

impl Current {
    pub(super) fn new(options: &CommandOptions) -> Self {
        Self(Mutex::new(client(options)))
    }

    pub(super) fn get(&self) -> Client {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new one in its place, which is not connected yet.
    pub(super) fn renew(&self, options: &CommandOptions) -> Client {
        let new = client(options);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = new.clone();
        new
    }
}

/// A client for that deployment.
fn client(options: &CommandOptions) -> Client {
    let (username, password) = split(options.credentials.as_ref());
    let config = Config {
        // The first connection is tried for as long as all others.
        fail_fast: false,
        username,
        password,
        server: server(options),
        version: RespVersion::RESP3,
        database: options.database,
        tls: options.tls.as_ref().map(|tls| TlsConfig {
            connector: TlsConnector::Rustls(tls.config.clone().into()),
            hostnames: TlsHostMapping::Custom(Arc::new(OneName(name(&tls.name)))),
        }),
        ..Config::default()
    };
    let performance =
        PerformanceConfig { default_command_timeout: options.answer_within, ..PerformanceConfig::default() };
    let connection = ConnectionConfig {
        connection_timeout: options.connect_within,
        internal_command_timeout: options.connect_within,
        max_command_attempts: 1,
        max_redirections: 3,
        max_command_buffer_len: options.commands_max,
        unresponsive: UnresponsiveConfig {
            max_timeout: Some(options.answer_within * 2),
            interval: Duration::from_millis(500),
        },
        reconnect_errors: vec![
            ReconnectError::ReadOnly,
            ReconnectError::ClusterDown,
            ReconnectError::Loading,
            ReconnectError::MasterDown,
        ],
        tcp: TcpConfig {
            nodelay: Some(true),
            keepalive: Some(
                TcpKeepalive::new().with_time(Duration::from_secs(10)).with_interval(Duration::from_secs(5)),
            ),
            ..TcpConfig::default()
        },
        ..ConnectionConfig::default()
    };
    Client::new(config, Some(performance), Some(connection), Some(backoff(options.backoff)))
}

/// Exponential, without an end. The library adds its jitter to each wait: half a second spreads the nodes of a deployment,
/// and costs a short interruption no more than that.
fn backoff((first, most): (Duration, Duration)) -> ReconnectPolicy {
    let ms = |duration: Duration| u32::try_from(duration.as_millis()).unwrap_or(u32::MAX).max(1);
    let mut policy = ReconnectPolicy::new_exponential(0, ms(first), ms(most), 2);
    policy.set_jitter(ms(most.min(JITTER)));
    policy
}

/// A client for one sentinel, which is asked for its opinion and for nothing else.
pub(super) fn sentinel(options: &CommandOptions, address: &Address) -> Client {
    let asked = CommandOptions {
        servers: Servers::One(address.clone()),
        credentials: options.sentinel_credentials.clone(),
        database: None,
        commands_max: 16,
        ..options.clone()
    };
    client(&asked)
}

fn server(options: &CommandOptions) -> ServerConfig {
    let to_server = |address: &Address| {
        let mut server = Server::new(address.host.as_str(), address.port);
        server.tls_server_name = options.tls.as_ref().map(|tls| name(&tls.name).into());
        server
    };
    match &options.servers {
        Servers::One(address) => ServerConfig::Centralized { server: to_server(address) },
        Servers::Sentinel { sentinels, primary } => {
            let (username, password) = split(options.sentinel_credentials.as_ref());
            let hosts = sentinels.iter().map(to_server).collect();
            ServerConfig::Sentinel { hosts, service_name: primary.clone(), username, password }
        }
        Servers::Cluster(nodes) => ServerConfig::Clustered {
            hosts: nodes.iter().map(to_server).collect(),
            policy: fred::types::config::ClusterDiscoveryPolicy::ConfigEndpoint,
        },
    }
}

fn split(credentials: Option<&Credentials>) -> (Option<String>, Option<String>) {
    match credentials {
        None => (None, None),
        Some(Credentials { user, password }) => (user.clone(), Some(password.clone())),
    }
}

fn name(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

#[cfg(test)]
mod tests {
    use fred::interfaces::ClientLike as _;

    use super::*;

    #[test]
    fn nothing_is_repeated_and_nothing_waits_without_an_end() {
        let address = Address { host: "redis".into(), port: 1 };
        let client = client(&CommandOptions::new(Servers::One(address)));
        let connection = client.connection_config();
        assert_eq!(connection.max_command_attempts, 1);
        assert_eq!(connection.max_command_buffer_len, 16_384);
        assert_eq!(client.perf_config().default_command_timeout, Duration::from_secs(1));
        assert_eq!(client.client_config().version, RespVersion::RESP3);
        assert!(connection.reconnect_errors.contains(&ReconnectError::ReadOnly));
    }
}
