//! Checked: the validated configuration, as the engine uses it.
//!
//! Every value is within its range, and every condition between options holds (`check`).

use crate::{config::Options, value::HttpUrl};

use super::{
    channel::NamespaceOptions, cores::CoreSet, problem::Warning, proxy::ProxyConfig, source::IgnoredVariable,
    token::TokenConfig, transports::OpenPathConfig,
};
use std::{
    net::SocketAddr,
    ops::{Deref, DerefMut},
};

/// The validated configuration of `holdfast serve`: all sections, and values derived from them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    /// The sections. `Config` dereferences to them: `config.client` is `config.options.client`.
    pub options: Options,
    /// The CPUs of the shards: `engine.cores` or `engine.shards`.
    pub cores: CoreSet,
    /// Variables of Centrifugo that are set but ignored: one warning each.
    pub ignored_variables: Vec<IgnoredVariable>,
    /// One warning for each key without effect, and for each unknown key if unknown keys are allowed.
    pub passed_over: Vec<Warning>,
    /// Paths of secrets that still contain `${`: one warning each.
    pub unexpanded_secrets: Vec<String>,
}

impl Deref for Config {
    type Target = Options;

    fn deref(&self) -> &Options {
        &self.options
    }
}

impl DerefMut for Config {
    fn deref_mut(&mut self) -> &mut Options {
        &mut self.options
    }
}

impl Config {
    /// The address for clients: `http_server.address` and `http_server.port`.
    pub(crate) fn listen(&self) -> SocketAddr {
        SocketAddr::new(self.http_server.address, self.http_server.port)
    }

    /// The address of the control plane: `http_server.internal_address` and `http_server.internal_port`.
    pub(crate) fn control_listen(&self) -> SocketAddr {
        SocketAddr::new(self.http_server.internal_address, self.http_server.internal_port)
    }

    /// True exactly when the test path of this section (`echo` or `broadcast`) is served.
    pub(crate) fn serves(&self, path: &OpenPathConfig) -> bool {
        path.enabled.unwrap_or_else(|| !self.says_who_may_what())
    }

    /// True exactly when the configuration says who may connect or which channels and methods exist.
    fn says_who_may_what(&self) -> bool {
        let Options { client, channel, rpc, .. } = &self.options;
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

    /// The proxies to the application's backend, one for each kind of event.
    fn proxies(&self) -> [&ProxyConfig; 6] {
        let (client, channel) = (&self.client.proxy, &self.channel.proxy);
        [
            &client.connect.proxy,
            &client.refresh.proxy,
            &self.rpc.proxy,
            &channel.subscribe,
            &channel.publish,
            &channel.sub_refresh,
        ]
    }

    /// The names in one of the lists of all proxies: lowercase, sorted, without duplicates.
    pub(crate) fn header_names(&self, list: impl Fn(&ProxyConfig) -> &Vec<String>) -> Vec<Box<str>> {
        let names = self.proxies().into_iter().flat_map(list);
        let mut names: Vec<Box<str>> = names.map(|name| name.to_ascii_lowercase().into()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// True exactly when the daemon calls any backend or key endpoint over `https`.
    pub(crate) fn calls_by_https(&self) -> bool {
        let tokens = [Some(&self.client.token), self.own_subscription_token()];
        let keys = tokens.into_iter().flatten().filter_map(|token| token.jwks_public_endpoint.as_ref());
        let mut backends = self.proxies().into_iter().filter_map(|proxy| proxy.endpoint.as_ref());
        keys.into_iter().any(HttpUrl::is_encrypted) || backends.any(HttpUrl::is_encrypted)
    }

    /// The section of subscription tokens, if it is enabled.
    fn own_subscription_token(&self) -> Option<&TokenConfig> {
        let own = &self.client.subscription_token;
        own.enabled.then_some(&own.token)
    }

    /// The paths served to clients.
    pub(crate) fn client_paths(&self) -> Vec<&'static str> {
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

    /// The paths served on the control port.
    pub(crate) fn control_paths(&self) -> Vec<&'static str> {
        let api = (!self.http_api.disabled).then_some("/api");
        ["/", "/health", "/metrics"].into_iter().chain(api).collect()
    }

    /// The number of connections that tables are sized for: `client.connection_limit`, or 100,000 if it is 0.
    pub(crate) fn planned_connections(&self) -> u32 {
        match self.client.connection_limit {
            0 => 100_000,
            limit => limit,
        }
    }
}
