//! Rules: the configuration for clients and channels, compiled for a shard.
//!
//! In:  the checked configuration.
//! Out: verifiers, namespaces, limits. Each shard has its own copy, so that not even a pattern's cache is shared.

use std::{collections::HashMap, sync::Arc};

use holdfast_protocol::client::ErrorCode;

use crate::{
    channel::{Channels, Resolved},
    config::{Config, DeltaType, ProxyConfig, RecoveryMode, RpcConfig, UserConnectionPolicy},
    conn::http::HttpRules,
    hub::{conflation::Policy, owner},
    limits,
    token::Verifier,
};

/// The rules of a shard.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Which requests are served to whom.
    pub(crate) http: Arc<HttpRules>,
    pub(crate) channels: Channels,
    pub(crate) connect_tokens: Verifier,
    pub(crate) subscribe_tokens: Verifier,
    pub(crate) allows_anonymous: bool,
    /// True exactly when a token must name a user.
    pub(crate) refuses_anonymous_tokens: bool,
    /// True exactly when the backend identifies clients without a token.
    pub(crate) is_connect_proxied: bool,
    /// True exactly when the backend decides whether an expired connection continues.
    pub(crate) is_refresh_proxied: bool,
    pub(crate) rpc: RpcRules,
    /// The same for connect commands.
    pub(crate) emulated_headers: Vec<Box<str>>,
    /// Rate limits; `None` if there are none.
    pub(crate) limits: Option<limits::Rules>,
    /// The namespace of personal channels; `None` if users have none.
    personal_channels: Option<Box<str>>,
    /// 0 for no limit.
    pub(crate) user_connections_max: usize,
    pub(crate) user_connection_policy: UserConnectionPolicy,
    pub(crate) client_channels_max: usize,
    pub(crate) recovery_publications_max: usize,
    pub(crate) history_publications_max: usize,
    pub(crate) expired_close_delay_s: u64,
    pub(crate) expired_sub_close_delay_s: u64,
    pub(crate) node: Arc<str>,
    /// The name of the anonymous user.
    pub(crate) nobody: Arc<str>,
}

impl Rules {
    pub(crate) fn new(config: &Config, node: Arc<str>) -> Self {
        let client = &config.client;
        let personal = &client.personal_channel;
        let is_single = personal.enabled && personal.is_single_connection;
        Self {
            channels: match client.is_insecure {
                true => Channels::insecure(&config.channel),
                false => Channels::new(&config.channel),
            },
            connect_tokens: Verifier::of_connections(client),
            subscribe_tokens: Verifier::of_subscriptions(client),
            allows_anonymous: client.allow_anonymous_connect_without_token || client.is_insecure,
            refuses_anonymous_tokens: client.disallow_anonymous_connection_tokens,
            is_connect_proxied: client.proxy.connect.enabled,
            is_refresh_proxied: client.proxy.refresh.enabled,
            rpc: RpcRules::new(&config.rpc),
            http: Arc::new(HttpRules::new(config, header_names(config, |proxy| &proxy.http_headers))),
            emulated_headers: header_names(config, |proxy| &proxy.emulated_headers),
            limits: limits::Rules::new(config),
            personal_channels: personal.enabled.then(|| personal.namespace.as_str().into()),
            user_connections_max: if is_single { 1 } else { client.user_connection_limit as usize },
            user_connection_policy: match is_single {
                true => UserConnectionPolicy::DisconnectOldest,
                false => client.user_connection_policy,
            },
            client_channels_max: client.channel_limit as usize,
            recovery_publications_max: client.recovery_publications_max as usize,
            history_publications_max: client.history_publications_max as usize,
            expired_close_delay_s: client.expired_close_delay_ms / 1000,
            expired_sub_close_delay_s: client.expired_sub_close_delay_ms / 1000,
            node,
            nobody: "".into(),
        }
    }

    /// A user's personal channel, if enabled.
    pub(crate) fn personal_channel(&self, user: &str) -> Option<String> {
        match self.personal_channels.as_deref()? {
            _ if user.is_empty() => None,
            "" => Some(format!("#{user}")),
            namespace => Some(format!("{namespace}:#{user}")),
        }
    }

    /// The channel's rules for its owner.
    pub(crate) fn owner_rules(&self, channel: &Resolved<'_>) -> owner::Rules {
        let options = channel.options;
        owner::Rules {
            history_size: options.history_publications_max as usize,
            history_ttl_ms: options.history_ttl_ms,
            history_meta_ttl_ms: options.history_meta_ttl_ms,
            presence: options.presence,
            delta: options.allowed_delta_types.contains(&DeltaType::Fossil),
            delta_publish: options.delta_publish,
        }
    }

    /// What happens to publications for a slow reader.
    pub(crate) fn slow_reader_policy(&self, channel: &Resolved<'_>) -> Policy {
        Policy::new(channel.options.slow_readers, channel.options.slow_reader_queue)
    }

    /// True exactly when recovery in this channel returns only its newest publication.
    pub(crate) fn recovers_newest(&self, channel: &Resolved<'_>) -> bool {
        channel.options.recovery_mode == RecoveryMode::Cache
    }
}

/// Which methods the backend answers.
#[derive(Debug)]
pub(crate) struct RpcRules {
    without_namespace: bool,
    namespaces: HashMap<String, bool>,
    has_any: bool,
}

impl RpcRules {
    fn new(config: &RpcConfig) -> Self {
        let namespaces = config.namespaces.iter();
        let namespaces: HashMap<_, _> =
            namespaces.map(|namespace| (namespace.name.clone(), namespace.is_proxied)).collect();
        let without_namespace = config.without_namespace.is_proxied;
        let has_any = without_namespace || namespaces.values().any(|&is_proxied| is_proxied);
        Self { without_namespace, namespaces, has_any }
    }

    /// # Errors
    /// 108 if the backend does not handle the method, 104 if the method's namespace does not exist.
    pub(crate) fn may_call(&self, method: &str) -> Result<(), ErrorCode> {
        let namespace = method.split_once(':').map_or("", |(namespace, _)| namespace);
        let is_proxied = match namespace {
            _ if !self.has_any => Some(&false),
            "" => Some(&self.without_namespace),
            namespace => self.namespaces.get(namespace),
        };
        match is_proxied {
            Some(true) => Ok(()),
            Some(false) => Err(ErrorCode::NOT_AVAILABLE),
            None => Err(ErrorCode::METHOD_NOT_FOUND),
        }
    }
}

/// The names in one list of all proxies, deduplicated.
fn header_names(config: &Config, list: impl Fn(&ProxyConfig) -> &Vec<String>) -> Vec<Box<str>> {
    let (client, channel) = (&config.client.proxy, &config.channel.proxy);
    let proxies = [
        &client.connect.proxy,
        &client.refresh.proxy,
        &config.rpc.proxy,
        &channel.subscribe,
        &channel.publish,
        &channel.sub_refresh,
    ];
    let mut names: Vec<Box<str>> =
        proxies.into_iter().flat_map(list).map(|name| name.to_ascii_lowercase().into()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{RpcNamespace, RpcOptions};

    #[test]
    fn a_method_follows_its_namespace() {
        let mut config = Config::default().rpc;
        let code =
            |config: &RpcConfig, method| RpcRules::new(config).may_call(method).map_err(|error| error.code);
        config.namespaces = vec![RpcNamespace { name: "chat".into(), is_proxied: false }];
        for method in ["sum", "chat:sum", "game:sum"] {
            assert_eq!(code(&config, method), Err(108), "nothing is answered: {method}");
        }
        config.namespaces[0].is_proxied = true;
        for (method, expected) in [("sum", Err(108)), ("chat:sum", Ok(())), ("game:sum", Err(104))] {
            assert_eq!(code(&config, method), expected, "{method}");
        }
        config.without_namespace = RpcOptions { is_proxied: true };
        assert_eq!(code(&config, "sum"), Ok(()));
    }
}
