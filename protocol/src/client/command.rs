//! Commands: what a client asks.
//!
//! In:  the fields that came, or a request to send.
//! Out: a [`Command`] with exactly one request, or its bytes.
//!
//! Whether a command is allowed, and in which order, is the session's matter.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use serde::de::MapAccess;

use super::field::Map;
use super::filter::FilterNode;
use super::json::{self, Of};
use super::message::{Field as _, ReadMessage, WriteMessage, choice, message};
use super::protobuf::Value;
use super::publication::StreamPosition;
use super::{DecodeError, Payload, WireError};

/// What a client sends: a command or the answer to a ping.
#[derive(Debug, Clone, PartialEq)]
pub enum FromClient<'a> {
    /// An empty command.
    Pong,
    /// Anything else.
    Command(Command<'a>),
}

/// One request, and the number that its reply will carry.
#[derive(Debug, Clone, PartialEq)]
pub struct Command<'a> {
    /// From 1. Only [`Request::Send`] takes no reply, and then it is 0.
    pub id: u32,
    /// What is asked.
    pub request: Request<'a>,
}

choice! {
    /// What is asked.
    pub enum Request<'a> {
        /// Opens the session: the first command, and only that one.
        4 "connect" Connect(ConnectRequest<'a>),
        /// Listens to a channel.
        5 "subscribe" Subscribe(SubscribeRequest<'a>),
        /// Leaves a channel.
        6 "unsubscribe" Unsubscribe(UnsubscribeRequest<'a>),
        /// Says something in a channel.
        7 "publish" Publish(PublishRequest<'a>),
        /// Who is in a channel?
        8 "presence" Presence(PresenceRequest<'a>),
        /// How many are in a channel?
        9 "presence_stats" PresenceStats(PresenceStatsRequest<'a>),
        /// What was said in a channel?
        10 "history" History(HistoryRequest<'a>),
        /// Known, and refused: pings come from the server.
        11 "ping" Ping(PingRequest),
        /// Tells the backend something and waits for no answer.
        12 "send" Send(SendRequest<'a>),
        /// Asks the backend something.
        13 "rpc" Rpc(RpcRequest<'a>),
        /// Brings a new connection token.
        14 "refresh" Refresh(RefreshRequest<'a>),
        /// Brings a new subscription token.
        15 "sub_refresh" SubRefresh(SubRefreshRequest<'a>),
    }
}

message! {
    /// Opens the session.
    pub struct ConnectRequest<'a> {
        /// A JWT; empty without one.
        1 token: Cow<'a, str>,
        /// For the backend.
        2 data: Payload<'a>,
        /// Positions of server-side subscriptions, to recover from.
        3 subs: Map<'a, SubscribeRequest<'a>>,
        /// The kind of client, for statistics.
        4 name: Cow<'a, str>,
        /// Its version.
        5 version: Cow<'a, str>,
        /// In place of HTTP headers where a browser lets none be set.
        6 headers: Map<'a, Cow<'a, str>>,
        /// Bits that ask for extensions.
        7 flag: i64,
    }
}

message! {
    /// Listens to a channel.
    pub struct SubscribeRequest<'a> {
        /// The channel.
        1 channel: Cow<'a, str>,
        /// A JWT; empty without one.
        2 token: Cow<'a, str>,
        /// True exactly when what came after `offset` is wanted.
        3 recover: bool,
        /// The epoch of `offset`.
        6 epoch: Cow<'a, str>,
        /// The last publication seen.
        7 offset: u64,
        /// For the backend.
        8 data: Payload<'a>,
        /// True exactly when the client asks that no publication be missed silently.
        9 positioned: bool,
        /// True exactly when the client asks to be able to recover later.
        10 recoverable: bool,
        /// True exactly when joins and leaves are wanted.
        11 join_leave: bool,
        /// The kind of patches that the client can apply, [`delta::FOSSIL`](super::delta::FOSSIL) or none.
        12 delta: Cow<'a, str>,
        /// Which publications are wanted, by their tags.
        13 tf: Option<Box<FilterNode<'a>>>,
        /// Bits that ask for extensions.
        14 flag: i64,
        /// What kind of subscription is wanted: 0 for a stream of publications, 1 to 3 for maps, 4 for a shared poll.
        15 kind [as "type"]: i32,
    }
}

message! {
    /// Leaves a channel.
    pub struct UnsubscribeRequest<'a> {
        /// The channel.
        1 channel: Cow<'a, str>,
    }
}

message! {
    /// Says something in a channel.
    pub struct PublishRequest<'a> {
        /// The channel.
        1 channel: Cow<'a, str>,
        /// What is said.
        2 data: Payload<'a>,
        /// To what it is said: 0 for a stream of publications, 1 for a map.
        3 kind [as "type"]: i32,
        /// The key of a map's entry.
        4 key: Cow<'a, str>,
        /// True exactly when the entry is to be removed.
        5 removed: bool,
    }
}

message! {
    /// Asks who is in a channel.
    pub struct PresenceRequest<'a> {
        /// The channel.
        1 channel: Cow<'a, str>,
    }
}

message! {
    /// Asks how many are in a channel.
    pub struct PresenceStatsRequest<'a> {
        /// The channel.
        1 channel: Cow<'a, str>,
    }
}

message! {
    /// Asks what was said in a channel.
    pub struct HistoryRequest<'a> {
        /// The channel.
        1 channel: Cow<'a, str>,
        /// At most so many publications; 0 asks for the position alone, a negative number for all.
        7 limit: i32,
        /// Only what came after (before, where `reverse` is set).
        8 since: Option<StreamPosition<'a>>,
        /// True exactly when the newest comes first.
        9 reverse: bool,
    }
}

message! {
    /// A ping from the wrong side.
    pub struct PingRequest {}
}

message! {
    /// Tells the backend something.
    pub struct SendRequest<'a> {
        /// What.
        1 data: Payload<'a>,
    }
}

message! {
    /// Asks the backend something.
    pub struct RpcRequest<'a> {
        /// With what.
        1 data: Payload<'a>,
        /// What.
        2 method: Cow<'a, str>,
    }
}

message! {
    /// Brings a new connection token.
    pub struct RefreshRequest<'a> {
        /// The JWT.
        1 token: Cow<'a, str>,
    }
}

message! {
    /// Brings a new subscription token.
    pub struct SubRefreshRequest<'a> {
        /// The channel.
        1 channel: Cow<'a, str>,
        /// The JWT.
        2 token: Cow<'a, str>,
        /// 0 for a new token; 1 and 2 change what is tracked in a shared poll.
        3 kind [as "type"]: i32,
    }
}

/// A command as it came: not yet known to have exactly one request.
#[derive(Debug, Default)]
pub(super) struct CommandFields<'a> {
    id: u32,
    request: Option<Request<'a>>,
    repeated: bool,
}

impl<'a> CommandFields<'a> {
    /// Where there is neither number nor request, it is a pong.
    pub(super) fn check(self) -> Result<FromClient<'a>, DecodeError> {
        match self {
            Self { repeated: true, .. } => Err(DecodeError::BodyRepeated),
            Self { id, request: Some(request), .. } => Ok(FromClient::Command(Command { id, request })),
            Self { id: 0, request: None, .. } => Ok(FromClient::Pong),
            Self { request: None, .. } => Err(DecodeError::BodyMissing),
        }
    }

    fn take(&mut self, request: Option<Request<'a>>) {
        if let Some(request) = request {
            self.repeated |= self.request.replace(request).is_some();
        }
    }
}

impl<'a> ReadMessage<'a> for CommandFields<'a> {
    fn merge_wire(&mut self, number: u32, value: Value<'a>) -> Result<(), WireError> {
        match number {
            1 => self.id.merge_wire(value)?,
            _ => self.take(Request::read_wire(number, value)?),
        }
        Ok(())
    }

    fn merge_json<A: MapAccess<'a>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "id" => self.id = map.next_value_seed(Of::NEW)?,
            _ => self.take(Request::read_json(key, map)?),
        }
        Ok(())
    }
}

impl WriteMessage for FromClient<'_> {
    fn body_len(&self) -> usize {
        match self {
            Self::Pong => 0,
            Self::Command(command) => command.body_len(),
        }
    }

    fn write_body(&self, out: &mut BytesMut) {
        match self {
            Self::Pong => {}
            Self::Command(command) => command.write_body(out),
        }
    }

    fn write_object(&self, out: &mut BytesMut) {
        match self {
            Self::Pong => out.put_slice(b"{}"),
            Self::Command(command) => command.write_object(out),
        }
    }
}

impl WriteMessage for Command<'_> {
    fn body_len(&self) -> usize {
        let id = if self.id.is_default() { 0 } else { self.id.wire_len(1) };
        id + self.request.wire_len()
    }

    fn write_body(&self, out: &mut BytesMut) {
        if !self.id.is_default() {
            self.id.write_wire(1, out);
        }
        self.request.write_wire(out);
    }

    fn write_object(&self, out: &mut BytesMut) {
        out.put_u8(b'{');
        if !self.id.is_default() {
            json::put_key(out, "id");
            self.id.write_json(out);
        }
        self.request.write_json(out);
        out.put_u8(b'}');
    }
}
