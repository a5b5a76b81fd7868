//! State: the state shared by the methods of the server API.
//!
//! In:  the configuration; the shards; the daemon's identity.
//! Out: parsed bodies and serialized replies. Long ones are processed on another thread.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use axum::body::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{
    answer::{self, Outcome, Weight},
    browser::Hosts,
    counts::ApiCounts,
    error::ApiError,
    key::Keys,
    request,
    room::Room,
};
use crate::{
    channel::Channels,
    config::{ApiErrorMode, Config},
    control::{drain::Drain, nodes::Nodes, reach::ShardClient, share::Apart},
    session::message::Shared,
};

/// This node's identity.
#[derive(Clone, Debug)]
pub(in crate::control) struct Node {
    pub(in crate::control) uid: Arc<str>,
    pub(in crate::control) name: String,
    pub(in crate::control) began: Instant,
}

impl Node {
    /// `uid` is unique to this process. `listen` is the clients' address.
    pub(in crate::control) fn new(uid: Arc<str>, name: &str, listen: SocketAddr) -> Self {
        let name = match name {
            "" => {
                let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
                format!("{}_{}", host.trim(), listen.port())
            }
            name => name.to_owned(),
        };
        Self { uid, name, began: Instant::now() }
    }
}

/// Everything the methods need.
#[derive(Debug)]
pub(in crate::control) struct Api {
    pub(super) reach: ShardClient,
    pub(super) channels: Channels,
    pub(super) keys: Keys,
    pub(super) hosts: Hosts,
    pub(super) apart: Apart,
    pub(super) room: Arc<Room>,
    pub(super) error_mode: ApiErrorMode,
    pub(super) node: Node,
    /// The other nodes; `None` on a node alone.
    pub(super) nodes: Option<Nodes>,
    pub(super) counts: Arc<ApiCounts>,
    pub(super) drain: Arc<Drain>,
}

impl Api {
    pub(in crate::control) fn new(
        config: &Config,
        shared: Arc<Shared>,
        drain: Arc<Drain>,
        node: Node,
        nodes: Option<Nodes>,
        methods: &[&'static str],
    ) -> Self {
        Self {
            room: Arc::new(Room::new(&config.http_api, Arc::clone(&shared))),
            reach: ShardClient::new(shared),
            channels: Channels::new(&config.channel),
            keys: Keys::new(&config.http_api),
            hosts: Hosts::new(&config.http_api.allowed_hosts),
            apart: Apart::new(),
            error_mode: config.http_api.error_mode,
            node,
            nodes,
            counts: Arc::new(ApiCounts::new(methods)),
            drain,
        }
    }

    /// Parses a body. A long one is parsed on another thread.
    pub(super) async fn read<T: DeserializeOwned + Default + Send + 'static>(
        &self,
        body: Bytes,
    ) -> Result<T, ApiError> {
        self.apart.run(body.len() / 1024, move || request::read(&body)).await?
    }

    /// Serializes the reply with a result. A long one is serialized on another thread.
    pub(super) async fn written<T: Weight + Serialize + Send + 'static>(
        &self,
        name: &'static str,
        mut result: T,
    ) -> Outcome {
        let hold = result.take_hold().unwrap_or_else(|| self.room.hold());
        self.apart.run(result.weight(), move || answer::reply(name, &result, hold)).await?
    }

    pub(in crate::control) fn counts(&self) -> Arc<ApiCounts> {
        Arc::clone(&self.counts)
    }
}
