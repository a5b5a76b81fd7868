//! Config: how the daemon of one simulation is configured, as its clients know it.
//!
//! In:  chance.
//! Out: the configuration of the shards.

use std::time::Duration;

use rand::{Rng, rngs::SmallRng};
use serde_json::{Value, json};

use super::secrets::Secrets;
use crate::{
    config::{
        Config, DeltaType, NamespaceOptions, RecoveryMode, SlowReaderPolicy, UserConnectionPolicy,
        channel::Namespace,
    },
    token::issue::issue,
};

/// Channels of the namespace that keeps history.
pub(super) const WITH_HISTORY: [&str; 3] = ["hist:a", "hist:b", "hist:c"];
/// The same, where publications may go out as patches, some are not kept, and those that are kept may go at any time.
pub(super) const PATCHED: [&str; 2] = ["patched:a", "patched:b"];
/// Of these only the newest publication is recovered, which may go at any time.
pub(super) const CACHED: [&str; 2] = ["cached:a", "cached:b"];
/// Channels without, where every publication waits for every subscriber.
pub(super) const PLAIN: [&str; 2] = ["plain", "other"];
/// The same, where the operator's publications have a tag, by which some choose them.
pub(super) const TAGGED: [&str; 1] = ["tagged:a"];
/// Channels in which those who do not keep up are not sent everything, and what they are sent may be patches.
pub(super) const LOSSY: [&str; 2] = ["oldest:a", "latest:a"];

/// The name of that tag, and how many values it has.
pub(super) const TAG: &str = "kind";
pub(super) const TAGS: u64 = 3;

/// Publications that a channel with history keeps, and that one recovery gives.
pub(super) const HISTORY_SIZE: u64 = 50;

const PING_INTERVAL_MS: u64 = 25_000;

const TOKEN_SECRET: &str = "a secret for simulations, of some length";

/// What the shards are made with.
pub(super) struct SimConfig {
    pub(super) shards: usize,
    /// Of these, the first ones, to which clients connect.
    pub(super) hosts: usize,
    pub(super) config: Config,
    /// `None` where clients connect without TLS.
    pub(super) secrets: Option<Secrets>,
    /// Who has a limit of connections. Empty where all are anonymous.
    pub(super) users: Vec<&'static str>,
    /// True exactly when sessions and subscriptions may expire, and are looked at often.
    pub(super) expires: bool,
}

/// Until when a token lets something last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Term {
    /// By the time of day, in seconds since 1970; 0 for ever.
    pub(super) until_s: u64,
    /// True exactly when the token itself has no end.
    pub(super) is_accepted_for_ever: bool,
}

impl SimConfig {
    pub(super) fn new(random: &mut SmallRng) -> Self {
        let mut config = config(random);
        if random.random_bool(0.3) {
            compress(&mut config, random);
        }
        config.client.token.hmac_secret_key = Some(TOKEN_SECRET.parse().expect("any text is one"));
        let users = if random.random_bool(0.3) { limit_users(&mut config, random) } else { Vec::new() };
        limit_queues(&mut config, random);
        let expires = random.random_bool(0.35);
        if expires {
            expire(&mut config, random);
        }
        let shards = random.random_range(1..=4);
        Self {
            shards,
            hosts: shards,
            config,
            secrets: random.random_bool(0.1).then(Secrets::new),
            users,
            expires,
        }
    }

    /// A connection token; none for who is anonymous and stays as long as it likes.
    pub(super) fn connection_token(&self, user: &str, term: Term) -> String {
        if user.is_empty() && term.until_s == 0 {
            return String::new();
        }
        self.refresh_token(user, term)
    }

    /// The same, where there has to be one.
    pub(super) fn refresh_token(&self, user: &str, term: Term) -> String {
        token(json!({ "sub": user }), term)
    }

    /// A subscription token.
    pub(super) fn subscription_token(&self, user: &str, channel: &str, term: Term) -> String {
        token(json!({ "sub": user, "channel": channel }), term)
    }

    /// How long an expired session lasts.
    pub(super) fn grace_s(&self) -> u64 {
        self.config.client.expired_close_delay_ms / 1_000
    }

    /// How long an expired subscription lasts.
    pub(super) fn sub_grace_s(&self) -> u64 {
        self.config.client.expired_sub_close_delay_ms / 1_000
    }

    pub(super) fn ping_interval(&self) -> Duration {
        Duration::from_millis(self.config.client.ping_interval_ms)
    }

    /// Has nothing that expires, and pings as seldom as else.
    pub(super) fn expire_nothing(&mut self) {
        self.expires = false;
        self.config.client.ping_interval_ms = PING_INTERVAL_MS;
    }

    /// Connections that one user may have.
    pub(super) fn user_connections_max(&self) -> usize {
        self.config.client.user_connection_limit as usize
    }

    /// Has so many shards, all of which take connections.
    pub(super) fn share_out(&mut self, shards: usize) {
        self.shards = shards;
        self.hosts = shards;
    }

    /// Has room for what waits for those who do not keep up, who are anonymous and use no TLS.
    pub(super) fn leave_out(&mut self, compresses: bool) {
        self.secrets = None;
        self.users.clear();
        self.config.client.user_connection_limit = 0;
        self.config.websocket.compression = compresses;
        self.config.client.queue_max_size_bytes = 20_000;
    }

    /// Has no compressors, which are made when they are first needed and are as large as all else together.
    pub(super) fn compress_nothing(&mut self) {
        self.config.websocket.compression = false;
    }

    /// True exactly when messages may be compressed.
    pub(super) fn compresses(&self) -> bool {
        self.config.websocket.compression
    }

    /// Channels whose histories may be empty after a short time.
    pub(super) fn soon_empty(&self) -> impl Iterator<Item = &'static str> {
        let namespaces = &self.config.channel.namespaces;
        let is_soon_empty = |channel: &&str| {
            let of = |namespace: &Namespace| channel.starts_with(&format!("{}:", namespace.name));
            namespaces.iter().any(|namespace| of(namespace) && namespace.options.history_ttl_ms < 60_000)
        };
        channels().filter(|channel| keeps_history(channel)).filter(is_soon_empty)
    }

    /// How long a poll waits.
    pub(super) fn poll_wait(&self) -> Duration {
        Duration::from_millis(self.config.poll.wait_ms)
    }

    /// How long a session of polls lives between two of them.
    pub(super) fn poll_session_ttl(&self) -> Duration {
        Duration::from_millis(self.config.poll.session_ttl_ms)
    }
}

/// Every channel.
pub(super) fn channels() -> impl Iterator<Item = &'static str> {
    WITH_HISTORY.into_iter().chain(PATCHED).chain(CACHED).chain(PLAIN).chain(TAGGED).chain(LOSSY)
}

/// True exactly when a channel has positions.
pub(super) fn keeps_history(channel: &str) -> bool {
    WITH_HISTORY.contains(&channel) || PATCHED.contains(&channel) || CACHED.contains(&channel)
}

/// True exactly when who asks is told who comes to a channel and goes.
pub(super) fn tells_joins(channel: &str) -> bool {
    !LOSSY.contains(&channel)
}

/// True exactly when publications of a channel may go out as patches.
pub(super) fn may_be_patched(channel: &str) -> bool {
    PATCHED.contains(&channel) || LOSSY.contains(&channel)
}

/// Anybody may do anything; channels of `hist` keep a history.
fn config(random: &mut SmallRng) -> Config {
    let mut config = Config::default();
    config.client.allow_anonymous_connect_without_token = true;
    if random.random_bool(0.3) {
        // All of the simulated network; so addresses are asked for.
        config.limits.allow = vec!["10.0.0.0/8".parse().expect("it is a network")];
    }
    config.echo.enabled = Some(true);
    config.broadcast.enabled = Some(true);
    config.sse.enabled = true;
    config.http_stream.enabled = true;
    config.poll.enabled = true;
    config.poll.wait_ms = random.random_range(1_000..10_000);
    config.poll.session_ttl_ms = random.random_range(1_000..15_000);
    let plain = NamespaceOptions {
        allow_subscribe_for_client: true,
        allow_subscribe_for_anonymous: true,
        allow_publish_for_client: true,
        allow_publish_for_anonymous: true,
        presence: true,
        allow_presence_for_client: true,
        allow_presence_for_anonymous: true,
        join_leave: true,
        ..config.channel.without_namespace.clone()
    };
    let history = NamespaceOptions {
        history_publications_max: u32::try_from(HISTORY_SIZE).expect("a small number"),
        history_ttl_ms: 3_600_000,
        allow_recovery: true,
        allow_history_for_client: true,
        allow_history_for_anonymous: true,
        ..plain.clone()
    };
    let patched = NamespaceOptions {
        history_publications_max: random.random_range(1..=50),
        history_ttl_ms: random.random_range(50..3_000),
        allowed_delta_types: vec![DeltaType::Fossil],
        delta_publish: random.random_bool(0.5),
        ..history.clone()
    };
    let cached = NamespaceOptions {
        history_ttl_ms: if random.random_bool(0.5) { 3_600_000 } else { random.random_range(50..3_000) },
        recovery_mode: RecoveryMode::Cache,
        ..history.clone()
    };
    let lossy = NamespaceOptions {
        allowed_delta_types: vec![DeltaType::Fossil],
        delta_publish: true,
        // Of these nothing may be left out.
        join_leave: false,
        ..plain.clone()
    };
    let oldest = NamespaceOptions {
        slow_readers: SlowReaderPolicy::DropOldest,
        slow_reader_queue: random.random_range(1..8),
        ..lossy.clone()
    };
    let latest = NamespaceOptions { slow_readers: SlowReaderPolicy::KeepLatest, ..lossy };
    let tagged = NamespaceOptions { allow_tags_filter: true, ..plain.clone() };
    config.channel.without_namespace = plain;
    let namespaces = [history, patched, cached, oldest, latest, tagged];
    config.channel.namespaces = ["hist", "patched", "cached", "oldest", "latest", "tagged"]
        .into_iter()
        .zip(namespaces)
        .map(|(name, options)| Namespace { name: name.into(), options })
        .collect();
    config
}

/// Answers with the users.
fn limit_users(config: &mut Config, random: &mut SmallRng) -> Vec<&'static str> {
    let client = &mut config.client;
    client.user_connection_limit = random.random_range(1..4);
    if random.random_bool(0.5) {
        client.user_connection_policy = UserConnectionPolicy::DisconnectOldest;
    }
    vec!["ann", "bob", "cyd"]
}

/// How much may wait for a client, and how long clients may take.
fn limit_queues(config: &mut Config, random: &mut SmallRng) {
    let client = &mut config.client;
    client.queue_max_size_bytes =
        u32::try_from(random.random_range(4_000..200_000_usize)).expect("a small number");
    client.queue_max_messages = 10_000;
    client.reply_max_size_bytes = 200_000;
    client.stale_close_delay_ms = 10_000;
    client.ping_interval_ms = PING_INTERVAL_MS;
    client.pong_timeout_ms = 8_000;
    client.close_timeout_ms = 3_000;
    client.connection_limit = 1_000;
    config.channel.idempotency_ttl_ms = 60_000;
    config.websocket.message_size_limit_bytes = 65_536;
    // With two messages, 1 MiB of commands may wait for one client.
    (config.engine.receive_buffers, config.engine.receive_buffer_bytes) = (7, 65_536);
}

/// Graces are short, and expiries are looked at often. All else that a client has to do in time has more of it.
fn expire(config: &mut Config, random: &mut SmallRng) {
    config.client.expired_close_delay_ms = random.random_range(0..3) * 1_000;
    config.client.expired_sub_close_delay_ms = random.random_range(0..3) * 1_000;
    config.client.ping_interval_ms = random.random_range(1..3) * 1_000;
    config.client.pong_timeout_ms = 30_000;
    config.client.stale_close_delay_ms = 60_000;
}

fn token(mut claims: Value, term: Term) -> String {
    if term.until_s > 0 {
        let claim = if term.is_accepted_for_ever { "expire_at" } else { "exp" };
        claims[claim] = term.until_s.into();
    }
    issue(&claims, TOKEN_SECRET.as_bytes())
}

fn compress(config: &mut Config, random: &mut SmallRng) {
    let websocket = &mut config.websocket;
    websocket.compression = true;
    websocket.compression_min_size_bytes = random.random_range(0..100);
    websocket.compression_server_context_takeover = random.random_bool(0.5);
    websocket.compression_client_context_takeover = random.random_bool(0.5);
    websocket.compression_server_max_window_bits = random.random_range(9..=15);
    websocket.compression_client_max_window_bits = random.random_range(9..=15);
}
