//! Message: what threads tell a shard.
//!
//! In:  what shards, the control thread and the backend's worker have for a shard.
//! Out: one type for all of it, which the mesh carries; its memory while it waits, its approximate handling time.

use std::sync::Arc;

use holdfast_ring::Socket;
use rustls::ServerConfig;

use super::quota::{FromQuota, ToQuota};
use crate::{
    backend,
    context::cost::{RECORD_NS, RECORDS_UNKNOWN, REQUEST_NS, page},
    hub::{
        broadcast::JoinedFrames,
        broker::FromBroker,
        message::{self, ChannelQuery, FromOwner, ToOwner},
    },
    limits::Notice,
    mesh,
    session::{
        calls::ApiCall,
        request::{Answer, SessionRequest, SessionRequestKind},
    },
};

/// The mesh of a daemon.
pub(crate) type Mesh = mesh::Mesh<Message>;

/// One shard's view of the others.
pub(crate) type Peers = mesh::Peers<Message>;

/// What the threads of a daemon share.
pub(crate) type Shared = mesh::Shared<Message>;

/// One shard, as other threads see it.
pub(crate) type ShardHandle = mesh::ShardHandle<Message>;

/// The cost of an entry, an allocation and a reference count besides the text.
const SHARED_BYTES: usize = 64;

/// A message from one thread to a shard.
#[derive(Debug)]
pub(crate) enum Message {
    /// Messages of `/broadcast`, published on another shard.
    Broadcast(JoinedFrames),
    /// For a channel that the receiver owns.
    ToOwner(ToOwner),
    /// For clients of the receiver.
    FromOwner(FromOwner),
    /// For channels that the receiver owns: what the broker says of them.
    FromBroker(Box<FromBroker>),
    /// A request for a session of the receiver.
    ToSession(Box<SessionRequest>),
    /// The answer to a request whose connection the receiver has.
    Answer { socket: Socket, answer: Answer },
    /// Certificates for new connections.
    Certificates(Arc<ServerConfig>),
    /// About a misbehaving address.
    Limits(Notice),
    /// A call of the server API that is not for one channel.
    Api(ApiCall),
    /// The control thread has an answer.
    Backend(backend::Answer),
    /// About the connection count of a user that the receiver owns.
    ToQuota(ToQuota),
    /// Whether clients of the receiver may stay.
    FromQuota(FromQuota),
}

impl mesh::Message for Message {
    fn cost_bytes(&self) -> u32 {
        let heap = match self {
            // A buffer may be half full.
            Self::Broadcast(frames) => 2 * frames.bytes.len(),
            Self::ToOwner(message) => message.cost_bytes(),
            Self::FromOwner(message) => message.cost_bytes(),
            Self::FromBroker(message) => size_of_val(&**message) + message.cost_bytes(),
            Self::ToSession(request) => {
                size_of_val(&**request)
                    + match &request.what {
                        SessionRequestKind::Commands(commands)
                        | SessionRequestKind::ForwardedCommands(commands)
                        | SessionRequestKind::Poll { commands, .. } => commands.len(),
                    }
            }
            Self::Answer { answer, .. } => answer_bytes(answer),
            Self::ToQuota(_) | Self::FromQuota(_) => SHARED_BYTES,
            Self::Api(ApiCall::Rest(rest)) => rest.cost_bytes(),
            // They come from the control thread, which has its own bounds, or are as small as they look.
            Self::Certificates(_) | Self::Limits(_) | Self::Api(_) | Self::Backend(_) => 0,
        };
        u32::try_from(size_of::<mesh::Parcel<Self>>() + heap).unwrap_or(u32::MAX)
    }

    fn is_work(&self) -> bool {
        matches!(self, Self::ToOwner(_) | Self::FromBroker(_))
    }
}

impl Message {
    /// Approximate handling time, without the commands in it.
    pub(crate) fn work_ns(&self) -> u64 {
        match self {
            Self::Broadcast(frames) => 500 + frames.bytes.len() as u64 / 8,
            Self::ToOwner(ToOwner::Publish(publish)) => 2_500 + publish.data.bytes.len() as u64,
            Self::ToOwner(ToOwner::Subscribe(subscribe)) => {
                let recovery = if subscribe.recover.is_some() { RECORDS_UNKNOWN * RECORD_NS } else { 0 };
                3_000 + recovery
            }
            Self::ToOwner(ToOwner::Ask { question, .. }) => match question {
                ChannelQuery::Presence(_) => 1_000 + RECORDS_UNKNOWN * RECORD_NS,
                ChannelQuery::History(request) => 1_000 + page(Some(request.limit as u64)),
                ChannelQuery::PresenceStats | ChannelQuery::RemoveHistory => 2_000,
            },
            Self::ToOwner(ToOwner::Unsubscribe { .. } | ToOwner::Renew { .. }) => 1_500,
            Self::FromOwner(message) => answer_work_ns(message),
            Self::FromBroker(message) => broker_work_ns(message),
            Self::ToSession(_) | Self::Answer { .. } => REQUEST_NS,
            Self::Backend(_) => 5_000,
            Self::Api(_) | Self::Certificates(_) => 5_000,
            Self::Limits(_) | Self::ToQuota(_) | Self::FromQuota(_) => 1_000,
        }
    }
}

impl From<ToOwner> for Message {
    fn from(message: ToOwner) -> Self {
        Self::ToOwner(message)
    }
}

impl From<FromOwner> for Message {
    fn from(message: FromOwner) -> Self {
        Self::FromOwner(message)
    }
}

impl From<FromBroker> for Message {
    fn from(message: FromBroker) -> Self {
        Self::FromBroker(Box::new(message))
    }
}

impl From<backend::Answer> for Message {
    fn from(answer: backend::Answer) -> Self {
        Self::Backend(answer)
    }
}

fn answer_bytes(answer: &Answer) -> usize {
    answer.as_ref().ok().and_then(Option::as_ref).map_or(0, |body| body.len())
}

/// Approximate handling time of what the broker says.
fn broker_work_ns(message: &FromBroker) -> u64 {
    match message {
        FromBroker::Messages(messages) => {
            messages.iter().map(|message| 1_500 + message.frame.len() as u64).sum()
        }
        FromBroker::Confirmed(channels) | FromBroker::Refused(channels) | FromBroker::Lagging(channels) => {
            1_000 * channels.len() as u64
        }
        FromBroker::Read(_, read) => {
            let entries = read.as_ref().map_or(0, |read| read.entries.len() as u64);
            1_500 + entries * RECORD_NS
        }
        FromBroker::Undelivered(publish) => 1_500 + publish.data.bytes.len() as u64,
        FromBroker::HistoryRemoved(_) => 500,
        FromBroker::Leased { .. } => 1_000,
    }
}

/// Approximate handling time of a message of an owner.
pub(crate) fn answer_work_ns(from_owner: &FromOwner) -> u64 {
    match from_owner {
        FromOwner::Deliver(_) => 500,
        FromOwner::Subscribed(subscribed) => {
            3_000 + subscribed.recovered.as_ref().map_or(0, |missed| missed.len() as u64 * RECORD_NS)
        }
        FromOwner::Answered { outcome, .. } => match outcome {
            Ok(message::Answer::Presence(infos)) => 1_500 + infos.len() as u64 * RECORD_NS,
            Ok(message::Answer::History { publications, .. }) => {
                1_500 + publications.len() as u64 * RECORD_NS
            }
            _ => 1_500,
        },
        FromOwner::TooLongNow { .. } | FromOwner::PositionLost { .. } => 1_500,
    }
}
