//! Rules: what the configuration says of clients and channels, ready for a shard.
//!
//! In:  the checked configuration.
//! Out: verifiers, namespaces, limits. Each shard has its own, so that none shares even a pattern's cache.

use std::sync::Arc;

use crate::{
    channel::{Channels, Resolved},
    config::{Config, DeltaType, RecoveryMode},
    hub::home,
    origin::Origins,
    slow::Policy,
    token::Verifier,
};

/// The rules of a shard.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) channels: Channels,
    pub(crate) connect_tokens: Verifier,
    pub(crate) subscribe_tokens: Verifier,
    pub(crate) allows_anonymous: bool,
    pub(crate) origins: Origins,
    pub(crate) requests: RequestRules,
    /// True exactly when the Centrifuge protocol is not to be had over WebSocket.
    pub(crate) no_websocket: bool,
    /// 0 for no limit.
    pub(crate) user_connections_max: usize,
    pub(crate) client_channels_max: usize,
    pub(crate) recovery_publications_max: usize,
    pub(crate) history_publications_max: usize,
    pub(crate) expired_close_delay_s: u64,
    pub(crate) expired_sub_close_delay_s: u64,
    pub(crate) ping_s: u32,
    pub(crate) node: Arc<str>,
    /// The name of the anonymous user.
    pub(crate) nobody: Arc<str>,
}

/// The rules of the transports beside WebSocket: which are served, and how long a body may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestRules {
    pub(crate) sse: bool,
    pub(crate) sse_body_bytes_max: usize,
    pub(crate) stream: bool,
    pub(crate) stream_body_bytes_max: usize,
    pub(crate) emulation_body_bytes_max: usize,
    pub(crate) poll: bool,
    pub(crate) poll_body_bytes_max: usize,
    pub(crate) poll_wait_ms: u64,
    pub(crate) poll_session_ttl_ms: u64,
}

impl RequestRules {
    fn new(config: &Config) -> Self {
        Self {
            sse: config.sse.enabled,
            sse_body_bytes_max: config.sse.request_body_bytes_max as usize,
            stream: config.http_stream.enabled,
            stream_body_bytes_max: config.http_stream.request_body_bytes_max as usize,
            emulation_body_bytes_max: config.emulation.request_body_bytes_max as usize,
            poll: config.poll.enabled,
            poll_body_bytes_max: config.poll.request_body_bytes_max as usize,
            poll_wait_ms: config.poll.wait_ms,
            poll_session_ttl_ms: config.poll.session_ttl_ms,
        }
    }
}

impl Rules {
    pub(crate) fn new(config: &Config, node: Arc<str>) -> Self {
        let client = &config.client;
        Self {
            channels: Channels::new(&config.channel),
            connect_tokens: Verifier::of_connections(client),
            subscribe_tokens: Verifier::of_subscriptions(client),
            allows_anonymous: client.allow_anonymous_connect_without_token,
            origins: Origins::new(&client.allowed_origins),
            requests: RequestRules::new(config),
            no_websocket: config.websocket.disabled,
            user_connections_max: client.user_connection_limit as usize,
            client_channels_max: client.channel_limit as usize,
            recovery_publications_max: client.recovery_publications_max as usize,
            history_publications_max: client.history_publications_max as usize,
            expired_close_delay_s: client.expired_close_delay_ms / 1000,
            expired_sub_close_delay_s: client.expired_sub_close_delay_ms / 1000,
            ping_s: u32::try_from(client.ping_interval_ms / 1000).unwrap_or(u32::MAX),
            node,
            nobody: "".into(),
        }
    }

    /// What a channel's home needs to know of it.
    pub(crate) fn home_rules(&self, channel: &Resolved<'_>) -> home::Rules {
        let options = channel.options;
        home::Rules {
            history_size: options.history_publications_max as usize,
            history_ttl_ms: options.history_ttl_ms,
            history_meta_ttl_ms: options.history_meta_ttl_ms,
            presence: options.presence,
            join_leave: options.join_leave,
            delta: options.allowed_delta_types.contains(&DeltaType::Fossil),
            delta_publish: options.delta_publish,
        }
    }

    /// What becomes of publications for a subscriber that does not keep up.
    pub(crate) fn slow_reader_policy(&self, channel: &Resolved<'_>) -> Policy {
        Policy::new(channel.options.slow_readers, channel.options.slow_reader_queue)
    }

    /// True exactly when recovery in this channel means its newest publication.
    pub(crate) fn recovers_newest(&self, channel: &Resolved<'_>) -> bool {
        channel.options.recovery_mode == RecoveryMode::Cache
    }
}
