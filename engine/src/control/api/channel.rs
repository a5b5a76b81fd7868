//! Channel: the methods about one channel, or each of several.
//!
//! In:  requests that name channels.
//! Out: questions to the channels' homes; their answers as JSON.
//!
//! A name means here what it means to a token: patterns bind clients alone.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use holdfast_protocol::client::{ErrorCode, Payload};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    Api,
    answer::{ApiError, Empty, Weight},
    reach::Pending,
    request,
    share::Slices,
};
use crate::hub::{
    history::{Page, Position},
    message::{Answer, Publish, Question, ToHome, Version},
    publication::{Data, Info, Stored, Tags, tags},
};

/// Where a publication was kept; without content where it was not.
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
}

impl Weight for Broadcast {
    fn weight(&self) -> usize {
        self.responses.len()
    }
}

/// What came of one channel's publication.
#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Response {
    Result(Published),
    Error(ApiError),
}

pub(super) async fn broadcast(api: &Api, request: request::Publish) -> Result<Broadcast, ApiError> {
    if request.channels.is_empty() {
        return Err(ApiError::bad_request("channels is missing"));
    }
    let (request, data) = with_data(api, request).await?;
    let tags = tags_of(&request);
    let mut slices = Slices::new();
    let mut under_way = Vec::with_capacity(request.channels.len());
    for channel in &request.channels {
        under_way.push(send(api, channel, &request, data.clone(), Arc::clone(&tags)).await);
        slices.step().await;
    }
    let mut responses = Vec::with_capacity(under_way.len());
    for sent in under_way {
        let outcome = match sent {
            Ok(pending) => published(pending).await,
            Err(error) => Err(error),
        };
        responses.push(outcome.map_or_else(Response::Error, Response::Result));
        slices.step().await;
    }
    Ok(Broadcast { responses })
}

#[derive(Debug, Serialize)]
pub(super) struct Presence {
    presence: BTreeMap<Box<str>, ClientInfo>,
}

impl Weight for Presence {
    fn weight(&self) -> usize {
        self.presence.len()
    }
}

pub(super) async fn presence(api: &Api, request: request::OfChannel) -> Result<Presence, ApiError> {
    let Answer::Presence(infos) = ask(api, &request.channel, Question::Presence).await? else {
        unreachable!("a home answers what it is asked")
    };
    let mut slices = Slices::new();
    let mut presence = BTreeMap::new();
    for info in infos {
        presence.insert(info.client.clone(), client_info(&info));
        slices.step().await;
    }
    Ok(Presence { presence })
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
        ask(api, &request.channel, Question::PresenceStats).await?
    else {
        unreachable!("a home answers what it is asked")
    };
    Ok(PresenceStats { num_clients: clients, num_users: users })
}

#[derive(Debug, Serialize)]
pub(super) struct History {
    publications: Vec<Publication>,
    epoch: Box<str>,
    offset: u64,
}

impl Weight for History {
    fn weight(&self) -> usize {
        self.publications.iter().map(|publication| 1 + publication.data.get().len() / 1024).sum()
    }
}

#[derive(Debug, Serialize)]
struct Publication {
    data: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    info: Option<ClientInfo>,
    offset: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<Box<str>, Box<str>>,
}

pub(super) async fn history(api: &Api, request: request::History) -> Result<History, ApiError> {
    let page = Page {
        // What a channel keeps is limited already.
        limit: usize::try_from(request.limit).unwrap_or(usize::MAX),
        since: request.since.map(|since| (since.offset, since.epoch.into())),
        reverse: request.reverse,
    };
    let Answer::History { publications, position } =
        ask(api, &request.channel, Question::History(page)).await?
    else {
        unreachable!("a home answers what it is asked")
    };
    let mut slices = Slices::new();
    let mut read = Vec::with_capacity(publications.len());
    for stored in &publications {
        read.push(publication(stored));
        slices.step().await;
    }
    Ok(History { publications: read, epoch: (*position.epoch).into(), offset: position.offset })
}

pub(super) async fn history_remove(api: &Api, request: request::OfChannel) -> Result<Empty, ApiError> {
    ask(api, &request.channel, Question::RemoveHistory).await?;
    Ok(Empty {})
}

/// A name that means a channel here.
pub(super) fn known<'a>(api: &'a Api, channel: &'a str) -> Result<crate::channel::Resolved<'a>, ApiError> {
    if channel.is_empty() {
        return Err(ApiError::bad_request("channel is missing"));
    }
    api.channels.resolve_trusted(channel).map_err(|error| match error.code() {
        ErrorCode::BAD_REQUEST => ApiError::bad_request(error),
        code => code.into(),
    })
}

async fn ask(api: &Api, channel: &str, question: Question) -> Result<Answer, ApiError> {
    known(api, channel)?;
    let message = |answer_to| ToHome::Ask { channel: channel.into(), question, answer_to };
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
        ToHome::Publish(Box::new(Publish {
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

/// The request with its data, once they were looked at: on another thread where they are long.
async fn with_data(api: &Api, request: request::Publish) -> Result<(request::Publish, Data), ApiError> {
    request.check()?;
    let bytes = request.b64data.len() + request.data.as_deref().map_or(0, |data| data.get().len());
    let looked_at =
        api.apart.run(bytes / 1024, move || data(&request).map(|data| (request, Data::checked(data))));
    looked_at.await?
}

fn data(request: &request::Publish) -> Result<Bytes, ApiError> {
    let data = request::bytes("b64data", &request.b64data, request.data.as_deref())?;
    data.ok_or_else(|| ApiError::bad_request("data is missing"))
}

fn publication(stored: &Arc<Stored>) -> Publication {
    Publication {
        data: json(stored.data.payload()).unwrap_or_default(),
        info: stored.info.as_deref().map(client_info),
        offset: stored.offset,
        tags: stored.tags.iter().cloned().collect(),
    }
}

/// One client, as others see it.
#[derive(Debug, Serialize)]
struct ClientInfo {
    user: Box<str>,
    client: Box<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conn_info: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chan_info: Option<Box<RawValue>>,
}

fn client_info(info: &Info) -> ClientInfo {
    ClientInfo {
        user: (*info.user).into(),
        client: info.client.clone(),
        conn_info: json(info.conn_info.payload()),
        chan_info: json(info.chan_info.payload()),
    }
}

/// What JSON clients see of a payload; `None` where there is none.
fn json(payload: Payload<'_>) -> Option<Box<RawValue>> {
    if payload.is_empty() {
        return None;
    }
    RawValue::from_string(payload.json_text().into_owned()).ok()
}
