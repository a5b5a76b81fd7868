//! Channel: the methods on one channel or several.
//!
//! In:  requests that name channels.
//! Out: queries to the owner shards of the channels; their answers as JSON.
//!
//! Names resolve as for tokens: channel patterns apply to clients only.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use holdfast_protocol::client::{ErrorCode, Payload};
use holdfast_redis::control::{
    message::{Body, Notification},
    request::HISTORY_REMOVED_OP,
};
use serde::{Serialize, Serializer, ser::SerializeStruct as _};
use serde_json::value::RawValue;

use super::{
    answer::{Empty, Weight},
    error::ApiError,
    request,
    room::Hold,
    state::Api,
};
use crate::{
    control::{reach::Pending, share::Slices},
    hub::{
        broker::FromBroker,
        history::{AnswerBytes, Page, Position},
        message::{Answer, ChannelQuery, Publish, ToOwner, Version},
        presence::Members,
        publication::{Data, Info, StoredPublication, Tags, tags},
    },
    session::message::Message,
};

/// The position of a publication; empty if the channel did not keep it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Published {
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Box<str>>,
}

impl Weight for Published {}

pub(super) async fn publish(api: &Api, request: request::Publish) -> Result<Published, ApiError> {
    let (request, data) = with_data(api, request).await?;
    let pending = send(api, &request.channel, &request, data, tags_of(&request)).await?;
    published(pending).await
}

#[derive(Debug, Serialize)]
pub(super) struct Broadcast {
    responses: Vec<Response>,
    #[serde(skip)]
    hold: Option<Hold>,
}

impl Weight for Broadcast {
    fn weight(&self) -> usize {
        self.responses.len()
    }

    fn take_hold(&mut self) -> Option<Hold> {
        self.hold.take()
    }
}

/// The outcome for one channel of a broadcast.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Response {
    Result(Published),
    Error(ApiError),
}

/// Concurrent publications of a broadcast.
const UNDER_WAY_MAX: usize = 256;

/// Memory of one channel's response with its epoch, and the maximum length of its text.
const RESPONSE_BYTES: usize = size_of::<Response>() + 128;
const RESPONSE_TEXT_BYTES: usize = 160;

pub(super) async fn broadcast(api: &Api, request: request::Publish) -> Result<Broadcast, ApiError> {
    if request.channels.is_empty() {
        return Err(ApiError::bad_request("channels is missing"));
    }
    // Check before publishing: afterwards it is too late to refuse for lack of room or because the answer is too long.
    let count = request.channels.len();
    if count * RESPONSE_TEXT_BYTES > api.room.answer_bytes_max {
        return Err(api.room.too_long());
    }
    let (mut responses_hold, mut hold) = (api.room.hold(), api.room.hold());
    responses_hold.grow(count * RESPONSE_BYTES)?;
    hold.grow(count * RESPONSE_TEXT_BYTES)?;
    let (request, data) = with_data(api, request).await?;
    let tags = tags_of(&request);
    let mut slices = Slices::new();
    let mut under_way = VecDeque::with_capacity(UNDER_WAY_MAX);
    let mut responses = Vec::with_capacity(count);
    for channel in &request.channels {
        if under_way.len() == UNDER_WAY_MAX {
            responses.extend(response(under_way.pop_front()).await);
        }
        under_way.push_back(send(api, channel, &request, data.clone(), Arc::clone(&tags)).await);
        slices.step().await;
    }
    while !under_way.is_empty() {
        responses.extend(response(under_way.pop_front()).await);
        slices.step().await;
    }
    Ok(Broadcast { responses, hold: Some(hold) })
}

async fn response(sent: Option<Result<Pending, ApiError>>) -> Option<Response> {
    let outcome = match sent? {
        Ok(pending) => published(pending).await,
        Err(error) => Err(error),
    };
    Some(outcome.map_or_else(Response::Error, Response::Result))
}

/// The result of `presence`. It is serialized client by client, so that memory does not hold the list twice.
#[derive(Debug)]
pub(super) struct Presence(Members);

impl Weight for Presence {
    fn weight(&self) -> usize {
        self.0.len()
    }
}

impl Serialize for Presence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let clients = self.0.iter().map(|info| (&*info.client, client_info(info)));
        let mut result = serializer.serialize_struct("Presence", 1)?;
        result.serialize_field("presence", &Map(clients))?;
        result.end()
    }
}

pub(super) async fn presence(api: &Api, request: request::OfChannel) -> Result<Presence, ApiError> {
    let Answer::Presence(infos) =
        ask(api, &request.channel, ChannelQuery::Presence(AnswerBytes::ANY)).await?
    else {
        unreachable!("invariant: an owner answers the query it gets")
    };
    Ok(Presence(infos))
}

#[derive(Debug, Serialize)]
pub(super) struct PresenceStats {
    num_clients: usize,
    num_users: usize,
}

impl Weight for PresenceStats {}

pub(super) async fn presence_stats(
    api: &Api,
    request: request::OfChannel,
) -> Result<PresenceStats, ApiError> {
    let Answer::PresenceStats { clients, users } =
        ask(api, &request.channel, ChannelQuery::PresenceStats).await?
    else {
        unreachable!("invariant: an owner answers the query it gets")
    };
    Ok(PresenceStats { num_clients: clients, num_users: users })
}

/// The result of `history`. It is serialized publication by publication, so that memory does not hold the list twice.
#[derive(Debug)]
pub(super) struct History {
    publications: Vec<Arc<StoredPublication>>,
    position: Position,
}

impl Weight for History {
    fn weight(&self) -> usize {
        self.publications.iter().map(|stored| 1 + stored.data.bytes.len() / 1024).sum()
    }
}

impl Serialize for History {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let publications = self.publications.iter().map(|stored| publication(stored));
        let mut result = serializer.serialize_struct("History", 3)?;
        result.serialize_field("publications", &Seq(publications))?;
        result.serialize_field("epoch", &*self.position.epoch)?;
        result.serialize_field("offset", &self.position.offset)?;
        result.end()
    }
}

#[derive(Debug, Serialize)]
struct Publication<'a> {
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<ClientInfo<'a>>,
    offset: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<&'a str, &'a str>,
}

/// The shortest publication in an answer: `{"data":1,"offset":1},`.
const PUBLICATION_BYTES_MIN: usize = 22;

pub(super) async fn history(api: &Api, request: request::History) -> Result<History, ApiError> {
    let page = Page {
        // More publications would exceed the maximum length of an answer.
        limit: usize::try_from(request.limit)
            .unwrap_or(usize::MAX)
            .min(api.room.answer_bytes_max / PUBLICATION_BYTES_MIN + 1),
        since: request.since.map(|since| (since.offset, since.epoch.into())),
        reverse: request.reverse,
        bytes: AnswerBytes::ANY,
    };
    let Answer::History { publications, position } =
        ask(api, &request.channel, ChannelQuery::History(page)).await?
    else {
        unreachable!("invariant: an owner answers the query it gets")
    };
    Ok(History { publications, position })
}

pub(super) async fn history_remove(api: &Api, request: request::OfChannel) -> Result<Empty, ApiError> {
    let channel = &request.channel;
    ask(api, channel, ChannelQuery::RemoveHistory).await?;
    if let Some(nodes) = &api.nodes {
        // Where rooms keep what they heard, those of all nodes forget it.
        let removed = Message::from(FromBroker::HistoryRemoved(channel.as_str().into()));
        api.reach.post_home(channel, removed).await?;
        let body = Notification { op: HISTORY_REMOVED_OP.into(), data: channel.as_bytes() };
        nodes.tell(Body::Notification(body)).await.map_err(ApiError::not_told)?;
    }
    Ok(Empty {})
}

/// Resolves a channel name.
pub(super) fn known<'a>(api: &'a Api, channel: &'a str) -> Result<crate::channel::Resolved<'a>, ApiError> {
    if channel.is_empty() {
        return Err(ApiError::bad_request("channel is missing"));
    }
    api.channels.resolve_trusted(channel).map_err(|error| match error.code() {
        ErrorCode::BAD_REQUEST => ApiError::bad_request(error),
        code => code.into(),
    })
}

async fn ask(api: &Api, channel: &str, question: ChannelQuery) -> Result<Answer, ApiError> {
    known(api, channel)?;
    let message = |answer_to| ToOwner::Ask { channel: channel.into(), question, answer_to };
    Ok(api.reach.ask_home(channel, message).await?)
}

fn tags_of(request: &request::Publish) -> Tags {
    tags(request.tags.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into())))
}

async fn send(
    api: &Api,
    channel: &str,
    request: &request::Publish,
    data: Data,
    tags: Tags,
) -> Result<Pending, ApiError> {
    known(api, channel)?;
    let message = |answer_to| {
        ToOwner::Publish(Box::new(Publish {
            channel: channel.into(),
            data,
            info: None,
            tags,
            skip_history: request.skip_history,
            delta: request.delta,
            idempotency_key: request.idempotency_key.as_str().into(),
            version: Version { number: request.version, epoch: request.version_epoch.as_str().into() },
            answer_to: Some(answer_to),
        }))
    };
    Ok(api.reach.send_home(channel, message).await?)
}

async fn published(pending: Pending) -> Result<Published, ApiError> {
    Ok(match pending.answer().await? {
        Answer::Published(Some(Position { offset, epoch })) => {
            Published { offset: Some(offset), epoch: Some((*epoch).into()) }
        }
        _ => Published::default(),
    })
}

/// Checks the data of a request, on another thread if they are long.
async fn with_data(api: &Api, request: request::Publish) -> Result<(request::Publish, Data), ApiError> {
    request.check()?;
    let bytes = request.b64data.len() + request.data.as_deref().map_or(0, |data| data.get().len());
    let checked =
        api.apart.run(bytes / 1024, move || data(&request).map(|data| (request, Data::checked(data))));
    checked.await?
}

fn data(request: &request::Publish) -> Result<Bytes, ApiError> {
    let data = request::bytes("b64data", &request.b64data, request.data.as_deref())?;
    data.ok_or_else(|| ApiError::bad_request("data is missing"))
}

fn publication(stored: &StoredPublication) -> Publication<'_> {
    Publication {
        data: json(stored.data.payload()).unwrap_or_default(),
        info: stored.info.as_deref().map(client_info),
        offset: stored.offset,
        tags: stored.tags.iter().map(|(tag, value)| (&**tag, &**value)).collect(),
    }
}

/// A client, as other clients see it.
#[derive(Debug, Serialize)]
struct ClientInfo<'a> {
    user: &'a str,
    client: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn_info: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chan_info: Option<Box<RawValue>>,
}

fn client_info(info: &Info) -> ClientInfo<'_> {
    ClientInfo {
        user: &info.user,
        client: &info.client,
        conn_info: json(info.conn_info.payload()),
        chan_info: json(info.chan_info.payload()),
    }
}

/// Serializes the items of an iterator as a list.
struct Seq<I>(I);

impl<I: Iterator<Item: Serialize> + Clone> Serialize for Seq<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.clone())
    }
}

/// Serializes the pairs of an iterator as an object.
struct Map<I>(I);

impl<'a, T: Serialize, I: Iterator<Item = (&'a str, T)> + Clone> Serialize for Map<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.clone())
    }
}

/// The payload as a JSON client sees it; `None` if there is none.
fn json(payload: Payload<'_>) -> Option<Box<RawValue>> {
    if payload.is_empty() {
        return None;
    }
    RawValue::from_string(payload.json_text().into_owned()).ok()
}
