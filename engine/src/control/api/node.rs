//! Node: the methods on the whole daemon, and on all nodes.
//!
//! In:  the numbers of every shard, and those of other nodes.
//! Out: their sums; a word where an answer lacks some node's part.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use holdfast_protocol::client::ErrorCode;
use holdfast_redis::control::{
    channels::{OP as CHANNELS_OP, encode_request, read_result},
    registry::NodeState,
    survey::Outcome,
};
use serde::{Serialize, Serializer};

use super::{
    answer::{Empty, Weight},
    error::ApiError,
    request,
    state::Api,
};
use crate::{
    control::{
        drain::APART,
        nodes::Part,
        share::{SMALL, Slices},
    },
    session::calls::ApiCall,
    value::Wildcard,
};

/// The longest channel pattern that is parsed on this thread.
const SHORT_PATTERN_BYTES_MAX: usize = 64;

/// Memory of a set or map entry, without its name.
const ENTRY_BYTES: usize = 80;

/// The shortest channel entry in an answer, without its name: `"":{"num_clients":1},`.
const CHANNEL_BYTES_MIN: usize = 20;

#[derive(Debug, Serialize)]
pub(super) struct Info {
    nodes: Vec<NodeInfo>,
    #[serde(flatten)]
    part: Part,
}

#[derive(Debug, Serialize)]
struct NodeInfo {
    uid: Box<str>,
    name: String,
    version: Cow<'static, str>,
    num_clients: usize,
    num_users: usize,
    num_channels: usize,
    num_subs: usize,
    /// In seconds.
    uptime: u64,
}

impl NodeInfo {
    /// What another node last said of itself.
    fn of(node: NodeState) -> Self {
        Self {
            uid: node.uid.into(),
            name: node.name,
            version: node.version.into(),
            num_clients: node.num_clients as usize,
            num_users: node.num_users as usize,
            num_channels: node.num_channels as usize,
            num_subs: node.num_subs as usize,
            uptime: node.uptime.into(),
        }
    }
}

impl Weight for Info {}

pub(super) async fn info(api: &Api, _: request::Info) -> Result<Info, ApiError> {
    let parts = api.reach.ask_all(ApiCall::Info).await?;
    let node = NodeInfo {
        uid: (*api.node.uid).into(),
        name: api.node.name.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        num_clients: parts.iter().map(|part| part.clients).sum(),
        num_users: match &parts[..] {
            [only] => only.users,
            _ => users(api).await?,
        },
        num_channels: parts.iter().map(|part| part.channels).sum(),
        num_subs: parts.iter().map(|part| part.subscriptions).sum(),
        uptime: api.node.began.elapsed().as_secs(),
    };
    let mut info = Info { nodes: vec![node], part: Part::default() };
    if let Some(nodes) = &api.nodes {
        info.nodes.extend(nodes.others().await.into_iter().map(NodeInfo::of));
        info.part.partial = nodes.is_cut_off();
    }
    Ok(info)
}

/// Counts the users. A user may have clients on several shards.
async fn users(api: &Api) -> Result<usize, ApiError> {
    // A hash table would be copied when it grows, which would block for too long.
    let mut users = BTreeSet::<Arc<str>>::new();
    let (mut hold, mut is_full) = (api.room.hold(), Ok(()));
    let add = |name: Arc<str>| {
        if is_full.is_ok() && !users.contains(&name) {
            is_full = hold.grow(ENTRY_BYTES + name.len());
            users.insert(name);
        }
    };
    let reached = api.reach.each_of_all(|from, answer| ApiCall::Users { from, answer }, add).await;
    let count = users.len();
    free(api, users, count).await;
    reached?;
    is_full.map(|()| count)
}

/// Frees a collection of this many entries; on another thread if there are many.
async fn free<T: Send + 'static>(api: &Api, what: T, entries: usize) {
    // If that thread fails, the collection is freed nevertheless.
    let _ = api.apart.run(entries, move || drop(what)).await;
}

#[derive(Debug, Serialize)]
pub(super) struct Channels {
    #[serde(serialize_with = "by_name")]
    channels: BTreeMap<Arc<str>, ChannelInfo>,
    #[serde(flatten)]
    part: Part,
}

#[derive(Debug, Default, Serialize)]
struct ChannelInfo {
    num_clients: usize,
}

impl Weight for Channels {
    fn weight(&self) -> usize {
        self.channels.len()
    }
}

pub(super) async fn channels(api: &Api, request: request::Channels) -> Result<Channels, ApiError> {
    let survey = async {
        let nodes = api.nodes.as_ref()?;
        let asked = encode_request(&request.pattern).freeze();
        Some((nodes.survey(CHANNELS_OP, asked).await, nodes.is_cut_off()))
    };
    let pattern = match request.pattern.clone() {
        all if all.is_empty() => None,
        // A long pattern takes time to parse.
        text => {
            let size = if text.len() > SHORT_PATTERN_BYTES_MAX { SMALL + 1 } else { 0 };
            let read = api.apart.run(size, move || Wildcard::new(&text)).await?;
            Some(read.map_err(ApiError::bad_request)?)
        }
    };
    let mut channels = BTreeMap::<Arc<str>, ChannelInfo>::new();
    let (mut hold, mut is_full) = (api.room.hold(), Ok(()));
    let mut text_bytes = 0;
    let mut add = |(name, subscribers): (Arc<str>, usize)| {
        if is_full.is_err() || pattern.as_ref().is_some_and(|pattern| !pattern.matches(&name)) {
            return;
        }
        if !channels.contains_key(&name) {
            text_bytes += name.len() + CHANNEL_BYTES_MIN;
            is_full = if text_bytes > api.room.answer_bytes_max {
                Err(api.room.too_long())
            } else {
                hold.grow(ENTRY_BYTES + name.len())
            };
        }
        channels.entry(name).or_default().num_clients += subscribers;
    };
    let own = api.reach.each_of_all(|from, answer| ApiCall::Channels { from, answer }, &mut add);
    let (reached, survey) = tokio::join!(own, survey);
    let mut part = Part::default();
    if let Some((outcome, is_cut_off)) = survey {
        let mut slices = Slices::new();
        let Outcome { answers, missing, .. } = outcome.ok_or(ErrorCode::TOO_MANY_REQUESTS)?;
        part.missing = missing;
        for answer in answers {
            let mut of_node = Vec::new();
            let read = read_result(&answer.data, |name, clients| of_node.push((name, clients)));
            if answer.code != 0 || read.is_err() {
                part.missing.push(answer.uid);
                continue;
            }
            for (name, clients) in of_node {
                add((name.into(), clients as usize));
                slices.step().await;
            }
        }
        part.partial = is_cut_off || !part.missing.is_empty();
    }
    if let Err(error) = reached.map_err(ApiError::from).and(is_full) {
        let entries = channels.len();
        free(api, channels, entries).await;
        return Err(error);
    }
    Ok(Channels { channels, part })
}

pub(super) async fn rpc(_: &Api, request: request::Rpc) -> Result<Empty, ApiError> {
    match request.method.as_str() {
        "" => Err(ApiError::bad_request("method is missing")),
        // None are configured, so there is nothing to call.
        _ => Err(ErrorCode::METHOD_NOT_FOUND.into()),
    }
}

#[derive(Debug, Serialize)]
pub(super) struct Drained {
    /// Clients not disconnected yet.
    clients: u64,
    /// Milliseconds from now.
    told_within_ms: u64,
    gone_within_ms: u64,
    /// Sockets of another daemon that listen for clients on the same port.
    successors: u32,
    /// The consequence of a second daemon, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

impl Weight for Drained {}

/// Starts to disconnect all clients. A repeated call reports the progress.
pub(super) async fn drain(api: &Api, _: request::Drain) -> Result<Drained, ApiError> {
    let progress = api.drain.begin("the server API");
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Ok(Drained {
        clients: progress.clients,
        told_within_ms: ms(progress.notify_within),
        gone_within_ms: ms(progress.close_within),
        successors: progress.others,
        note: (progress.others > 0).then_some(APART),
    })
}

fn by_name<S: Serializer>(
    channels: &BTreeMap<Arc<str>, ChannelInfo>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(channels.iter().map(|(name, info)| (&**name, info)))
}
