//! Node: the methods about this node as a whole.
//!
//! In:  what every shard has.
//! Out: sums over all of them.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use holdfast_protocol::client::ErrorCode;
use regex::Regex;
use serde::Serialize;

use super::{
    Api,
    answer::{ApiError, Empty},
    request,
};
use crate::{control::drain::APART, shard::ApiCall};

/// What this node calls itself.
#[derive(Debug)]
pub(in crate::control) struct Node {
    uid: Arc<str>,
    name: String,
    began: Instant,
}

impl Node {
    /// `uid` is this process's own; `listen` is where clients connect.
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

#[derive(Debug, Serialize)]
pub(super) struct Info {
    nodes: [NodeInfo; 1],
}

#[derive(Debug, Serialize)]
struct NodeInfo {
    uid: Box<str>,
    name: String,
    version: &'static str,
    num_clients: usize,
    num_users: usize,
    num_channels: usize,
    num_subs: usize,
    /// In seconds.
    uptime: u64,
}

pub(super) async fn info(api: &Api, _: request::Info) -> Result<Info, ApiError> {
    let parts = api.reach.ask_all(ApiCall::Info).await?;
    let users: HashSet<&Arc<str>> = parts.iter().flat_map(|part| &part.users).collect();
    let node = NodeInfo {
        uid: (*api.node.uid).into(),
        name: api.node.name.clone(),
        version: env!("CARGO_PKG_VERSION"),
        num_clients: parts.iter().map(|part| part.clients).sum(),
        num_users: users.len(),
        num_channels: parts.iter().map(|part| part.channels).sum(),
        num_subs: parts.iter().map(|part| part.subscriptions).sum(),
        uptime: api.node.began.elapsed().as_secs(),
    };
    Ok(Info { nodes: [node] })
}

#[derive(Debug, Serialize)]
pub(super) struct Channels {
    channels: BTreeMap<Box<str>, ChannelInfo>,
}

#[derive(Debug, Default, Serialize)]
struct ChannelInfo {
    num_clients: usize,
}

pub(super) async fn channels(api: &Api, request: request::Channels) -> Result<Channels, ApiError> {
    let pattern = (!request.pattern.is_empty()).then(|| glob(&request.pattern));
    let mut channels = BTreeMap::<_, ChannelInfo>::new();
    for (name, subscribers) in api.reach.ask_all(ApiCall::Channels).await?.into_iter().flatten() {
        if pattern.as_ref().is_none_or(|pattern| pattern.is_match(&name)) {
            channels.entry((*name).into()).or_default().num_clients += subscribers;
        }
    }
    Ok(Channels { channels })
}

pub(super) async fn rpc(_: &Api, request: request::Rpc) -> Result<Empty, ApiError> {
    match request.method.as_str() {
        "" => Err(ApiError::bad_request("method is missing")),
        // None are configured: there is nothing that could be called.
        _ => Err(ErrorCode::METHOD_NOT_FOUND.into()),
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Drained {
    /// Clients that are still to be sent away.
    clients: u64,
    /// In milliseconds, from now.
    told_within_ms: u64,
    gone_within_ms: u64,
    /// Sockets of another daemon that listens for clients on the same port.
    successors: u32,
    /// What that means, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// Begins to send all clients away; asked again, says how far that has come.
pub(super) async fn drain(api: &Api, _: request::Drain) -> Result<Drained, ApiError> {
    let progress = api.drain.begin("the server API");
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Ok(Drained {
        clients: progress.clients,
        told_within_ms: ms(progress.told_within),
        gone_within_ms: ms(progress.gone_within),
        successors: progress.others,
        note: (progress.others > 0).then_some(APART),
    })
}

/// A pattern in which `*` stands for any text and `?` for any one sign.
fn glob(pattern: &str) -> Regex {
    let escaped = regex::escape(pattern).replace(r"\*", ".*").replace(r"\?", ".");
    Regex::new(&format!("(?s)^{escaped}$")).expect("an escaped text is a pattern")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_is_about_the_whole_name_and_knows_two_signs() {
        for (pattern, name, matches) in [
            ("chat:*", "chat:1", true),
            ("chat:*", "chat:", true),
            ("chat:*", "my-chat:1", false),
            ("room-?", "room-1", true),
            ("room-?", "room-12", false),
            ("a.b", "axb", false),
            ("a*c", "abbbc", true),
            ("[a]", "[a]", true),
        ] {
            assert_eq!(glob(pattern).is_match(name), matches, "{pattern} {name}");
        }
    }
}
