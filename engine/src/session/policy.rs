//! SessionPolicy: the configuration for clients and channels, compiled for a shard.
//!
//! In:  the checked configuration.
//! Out: verifiers, namespaces, limits. Each shard has its own copy, so that not even a pattern's cache is shared.

use std::collections::HashMap;

use holdfast_protocol::client::ErrorCode;

use crate::{
    channel::{Channels, Resolved},
    config::{Config, DeltaType, RecoveryMode, RpcConfig, UserConnectionPolicy},
    conn::lag::QueueLimits,
    hub::{conflation::Policy, owner},
};

/// The policy for the sessions of a shard.
#[derive(Debug)]
pub(crate) struct SessionPolicy {
    pub(crate) channels: Channels,
    pub(crate) allows_anonymous: bool,
    /// True exactly when a token must name a user.
    pub(crate) refuses_anonymous_tokens: bool,
    /// True exactly when the backend identifies clients without a token.
    pub(crate) is_connect_proxied: bool,
    /// True exactly when the backend decides whether an expired connection continues.
    pub(crate) is_refresh_proxied: bool,
    pub(crate) rpc: RpcPolicy,
    /// Names of fields in connect commands that are passed to backends, in lower case.
    pub(crate) emulated_headers: Vec<Box<str>>,
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
    /// The longest head of a request, which the header fields of a connect command share.
    pub(crate) head_bytes_max: usize,
    /// The ping interval announced to clients, unless the shard is busy.
    pub(crate) ping_interval_ms: u64,
    /// How much may wait for a client.
    pub(crate) queue: QueueLimits,
    /// The longest reply to a command that reads: history, recovery, presence.
    pub(crate) reply_bytes_max: usize,
    /// The most bytes of one client's waiting commands.
    pub(crate) parked_bytes_max: usize,
    pub(crate) poll_wait_ms: u64,
    pub(crate) poll_session_ttl_ms: u64,
}

impl From<&Config> for SessionPolicy {
    fn from(config: &Config) -> Self {
        let client = &config.client;
        let personal = &client.personal_channel;
        let is_single = personal.enabled && personal.is_single_connection;
        Self {
            channels: match client.is_insecure {
                true => Channels::insecure(&config.channel),
                false => Channels::new(&config.channel),
            },
            allows_anonymous: client.allow_anonymous_connect_without_token || client.is_insecure,
            refuses_anonymous_tokens: client.disallow_anonymous_connection_tokens,
            is_connect_proxied: client.proxy.connect.enabled,
            is_refresh_proxied: client.proxy.refresh.enabled,
            rpc: RpcPolicy::new(&config.rpc),
            emulated_headers: config.header_names(|proxy| &proxy.emulated_headers),
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
            head_bytes_max: client.request_head_bytes_max as usize,
            ping_interval_ms: client.ping_interval_ms,
            queue: QueueLimits::from(client),
            reply_bytes_max: client.reply_max_size_bytes as usize,
            parked_bytes_max: parked_bytes_max(config),
            poll_wait_ms: config.poll.wait_ms,
            poll_session_ttl_ms: config.poll.session_ttl_ms,
        }
    }
}

/// Two messages, and all that may be received of one connection in the turn in which that is stopped and in the next one.
fn parked_bytes_max(config: &Config) -> usize {
    let (engine, websocket) = (&config.engine, &config.websocket);
    let inflated_bytes_max = websocket.decompressed_message_size_limit_bytes;
    let message_bytes_max = websocket.message_size_limit_bytes.max(inflated_bytes_max) as usize;
    2 * (message_bytes_max + engine.receive_buffers as usize * engine.receive_buffer_bytes as usize)
}

impl SessionPolicy {
    /// A user's personal channel, if enabled.
    pub(crate) fn personal_channel(&self, user: &str) -> Option<String> {
        match self.personal_channels.as_deref()? {
            _ if user.is_empty() => None,
            "" => Some(format!("#{user}")),
            namespace => Some(format!("{namespace}:#{user}")),
        }
    }

    /// The channel's rules for its owner.
    pub(crate) fn channel_policy(&self, channel: &Resolved<'_>) -> owner::ChannelPolicy {
        let options = channel.options;
        owner::ChannelPolicy {
            history_size: options.history_publications_max as usize,
            history_ttl_ms: options.history_ttl_ms,
            history_meta_ttl_ms: options.history_meta_ttl_ms,
            presence: options.presence,
            delta: options.allowed_delta_types.contains(&DeltaType::Fossil),
            delta_publish: options.delta_publish,
            stays_local: options.publishes_locally_without_redis,
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
pub(crate) struct RpcPolicy {
    without_namespace: bool,
    namespaces: HashMap<String, bool>,
    has_any: bool,
}

impl RpcPolicy {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::proxy::{RpcNamespace, RpcOptions};

    #[test]
    fn a_method_follows_its_namespace() {
        let mut config = Config::default().options.rpc;
        let code =
            |config: &RpcConfig, method| RpcPolicy::new(config).may_call(method).map_err(|error| error.code);
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
