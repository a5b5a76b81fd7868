//! Gather: the facts about one server.
//!
//! In:  a server, connected to as nodes do.
//! Out: plain values, so that tests can describe any server.
//!
//! Nothing is judged. What may not be asked is a fact as well.

use holdfast_redis::{
    command::PresenceExpiry,
    look::{Info, Lack, Look, OutputLimit, Role, Use},
};

use crate::{broker::Deployment, config::Config};

/// What a server says; or its words where it does not.
pub(super) type Said<T> = Result<T, String>;

/// The facts about a server that lets nodes in.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) info: Said<Info>,
    pub(super) role: Said<Role>,
    pub(super) settings: Said<Settings>,
    /// Its clock less ours.
    pub(super) skew_ms: Said<i64>,
    /// What the user may not do of what nodes do.
    pub(super) lacks: Said<Vec<Lack>>,
    /// True exactly when it knows HEXPIRE.
    pub(super) has_field_expiry: Said<bool>,
    /// Nodes that listen to it.
    pub(super) nodes: Said<u64>,
}

/// What CONFIG GET says; none where the server has no such setting.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    /// For connections that receive publications.
    pub(super) output: Option<OutputLimit>,
    /// When snapshots are written; empty for never.
    pub(super) save: Option<String>,
    /// When the append-only file is synced.
    pub(super) appendfsync: Option<String>,
    pub(super) replicas_min: Option<u64>,
    /// Idle clients are cut off after so long; 0 for never.
    pub(super) timeout_s: Option<u64>,
}

/// What the server is to the deployment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) deployment: &'a Deployment,
    pub(super) demands: Demands,
    /// True exactly when it is one of a cluster.
    pub(super) is_of_cluster: bool,
}

/// What the configuration asks of Redis, beyond publishing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demands {
    /// True exactly when some channels have a history.
    pub(super) keeps_history: bool,
    /// True exactly when users have a limited number of connections.
    pub(super) limits_connections: bool,
}

impl Demands {
    pub(super) fn of(config: &Config) -> Self {
        let (client, personal) = (&config.client, &config.client.personal_channel);
        let is_single = personal.enabled && personal.is_single_connection;
        Self {
            keeps_history: keeps_history(config),
            limits_connections: is_single || client.user_connection_limit > 0,
        }
    }
}

fn keeps_history(config: &Config) -> bool {
    let channel = &config.channel;
    let namespaces = channel.namespaces.iter().map(|namespace| &namespace.options);
    let mut all = namespaces.chain([&channel.without_namespace]);
    all.any(|options| options.history_publications_max > 0)
}

/// Asks a server all there is to ask.
pub(super) async fn gather(look: &mut Look, wanted: Wanted<'_>) -> Facts {
    let Deployment { commands, layout, .. } = wanted.deployment;
    let has_field_expiry = look.knows_field_expiry(&layout.presence("holdfast-doctor")).await;
    let is_presence_by_field = match commands.presence.expiry {
        PresenceExpiry::Field => true,
        PresenceExpiry::SortedSet => false,
        PresenceExpiry::Auto => has_field_expiry == Ok(true),
    };
    let of = Use {
        layout,
        are_users_counted: commands.presence.are_users_counted,
        is_presence_by_field,
        are_connections_limited: wanted.demands.limits_connections,
        are_replicas_awaited: commands.wait_replicas > 0,
    };
    Facts {
        info: look.info().await,
        role: look.role().await,
        settings: settings(look).await,
        skew_ms: look.clock_skew_ms().await,
        nodes: look.listeners(&layout.control()).await,
        has_field_expiry,
        // The last one: where it cannot be ended, the transaction ends with the connection.
        lacks: look.lacks(of).await,
    }
}

/// Asks for the settings; the first refusal is that of all.
async fn settings(look: &mut Look) -> Said<Settings> {
    let output = look.setting("client-output-buffer-limit").await?;
    let number = |value: Option<String>| value.and_then(|value| value.parse().ok());
    Ok(Settings {
        output: output.and_then(|output| OutputLimit::of("pubsub", &output)),
        save: look.setting("save").await?,
        appendfsync: look.setting("appendfsync").await?,
        replicas_min: number(look.setting("min-replicas-to-write").await?),
        timeout_s: number(look.setting("timeout").await?),
    })
}
