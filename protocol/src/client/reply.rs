//! Replies: what the server answers.
//!
//! In:  the fields that came, or an answer to give.
//! Out: a [`Reply`] with a result or an error, or its bytes.
//!
//! A reply travels in the same envelope as a push and a ping: [`FromServer`] is which of them it is.

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use serde::de::MapAccess;

use super::field::Map;
use super::json::{self, Nullable, Of};
use super::message::{Field, ReadMessage, WriteMessage, choice, message};
use super::protobuf::{self, Value};
use super::publication::{ClientInfo, Publication};
use super::push::{Push, PushFields};
use super::{DecodeError, ErrorCode, Payload, WireError};

/// What a server sends: an answer, something unasked, or a ping.
#[derive(Debug, Clone, PartialEq)]
pub enum FromServer<'a> {
    /// An empty reply; to be answered with an empty command where the connect result says so.
    Ping,
    /// The answer to a command.
    Reply(Reply<'a>),
    /// Unasked.
    Push(Push<'a>),
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply<'a> {
    /// The command's number.
    pub id: u32,
    /// What came of it.
    pub result: Result<ReplyResult<'a>, ClientError<'a>>,
}

choice! {
    /// What came of a command that succeeded.
    pub enum ReplyResult<'a> {
        /// The session is open.
        5 "connect" Connect(ConnectResult<'a>),
        /// The channel is heard.
        6 "subscribe" Subscribe(SubscribeResult<'a>),
        /// The channel is left.
        7 "unsubscribe" Unsubscribe(Done),
        /// It was said.
        8 "publish" Publish(Done),
        /// Who is in a channel.
        9 "presence" Presence(PresenceResult<'a>),
        /// How many are in a channel.
        10 "presence_stats" PresenceStats(PresenceStatsResult),
        /// What was said in a channel.
        11 "history" History(HistoryResult<'a>),
        /// Known, and never sent: a ping command is refused.
        12 "ping" Ping(Done),
        /// The backend's answer.
        13 "rpc" Rpc(RpcResult<'a>),
        /// The connection token is taken.
        14 "refresh" Refresh(RefreshResult<'a>),
        /// The subscription token is taken.
        15 "sub_refresh" SubRefresh(SubRefreshResult),
    }
}

message! {
    /// Why a command failed; the connection lives on.
    pub struct ClientError<'a> {
        /// See [`ErrorCode`]; 400 to 1999 are the application's.
        1 code: u32,
        /// For people.
        2 message: Cow<'a, str>,
        /// True exactly when another try may succeed.
        3 temporary: bool,
    }
}

impl From<ErrorCode> for ClientError<'static> {
    fn from(code: ErrorCode) -> Self {
        Self { code: code.code, message: Cow::Borrowed(code.message), temporary: code.temporary }
    }
}

message! {
    /// The session is open.
    pub struct ConnectResult<'a> {
        /// The connection.
        1 client: Cow<'a, str>,
        /// The server's version.
        2 version: Cow<'a, str>,
        /// True exactly when the client is to refresh within `ttl`.
        3 expires: bool,
        /// Seconds until expiry.
        4 ttl: u32,
        /// From the backend.
        5 data: Payload<'a>,
        /// Subscriptions that the server made.
        6 subs: Map<'a, SubscribeResult<'a>>,
        /// Seconds between pings; 0 where there are none.
        7 ping: u32,
        /// True exactly when pings are to be answered.
        8 pong: bool,
        /// Names the session in later requests; secret.
        9 session: Cow<'a, str>,
        /// Names the node that has the session.
        10 node: Cow<'a, str>,
        /// The server's time, in milliseconds since 1970; 0 where not told.
        11 time: i64,
    }
}

message! {
    /// The channel is heard.
    pub struct SubscribeResult<'a> {
        /// True exactly when the client is to refresh within `ttl`.
        1 expires: bool,
        /// Seconds until expiry.
        2 ttl: u32,
        /// True exactly when missed publications can be had after a reconnect.
        3 recoverable: bool,
        /// The epoch of `offset`.
        6 epoch: Cow<'a, str>,
        /// What was missed, oldest first.
        7 publications: Vec<Publication<'a>>,
        /// True exactly when nothing is missing.
        8 recovered: bool,
        /// Where the client stands now.
        9 offset: u64,
        /// True exactly when no publication is missed silently.
        10 positioned: bool,
        /// From the backend.
        11 data: Payload<'a>,
        /// True exactly when the client asked to recover.
        12 was_recovering: bool,
        /// True exactly when patches may come: in JSON, every payload is then a string.
        13 delta: bool,
        /// Stands for the channel in pushes, where compaction was agreed upon, which we never do: 0.
        14 id: i64,
    }
}

message! {
    /// It was done, and there is nothing to add.
    pub struct Done {}
}

message! {
    /// Who is in a channel.
    pub struct PresenceResult<'a> {
        /// By connection.
        1 presence [always]: Map<'a, ClientInfo<'a>>,
    }
}

message! {
    /// How many are in a channel.
    pub struct PresenceStatsResult {
        /// Connections.
        1 num_clients [always]: u32,
        /// Users.
        2 num_users [always]: u32,
    }
}

message! {
    /// What was said in a channel.
    pub struct HistoryResult<'a> {
        /// In the order that was asked for.
        1 publications [always]: Vec<Publication<'a>>,
        /// The epoch of `offset`.
        2 epoch [always]: Cow<'a, str>,
        /// The channel's newest publication.
        3 offset [always]: u64,
    }
}

message! {
    /// The backend's answer.
    pub struct RpcResult<'a> {
        /// What it says.
        1 data: Payload<'a>,
    }
}

message! {
    /// The connection token is taken.
    pub struct RefreshResult<'a> {
        /// The connection.
        1 client: Cow<'a, str>,
        /// The server's version.
        2 version: Cow<'a, str>,
        /// True exactly when the client is to refresh again within `ttl`.
        3 expires: bool,
        /// Seconds until expiry.
        4 ttl: u32,
    }
}

message! {
    /// The subscription token is taken.
    pub struct SubRefreshResult {
        /// True exactly when the client is to refresh again within `ttl`.
        1 expires: bool,
        /// Seconds until expiry.
        2 ttl: u32,
    }
}

const ERROR: u32 = 2;
const PUSH: u32 = 4;

/// A reply as it came: not yet known to have exactly one result, error or push.
#[derive(Debug, Default)]
pub(super) struct ReplyFields<'a> {
    id: u32,
    error: Option<ClientError<'a>>,
    push: Option<PushFields<'a>>,
    result: Option<ReplyResult<'a>>,
    repeated: bool,
}

impl<'a> ReplyFields<'a> {
    /// Where there is nothing in it, it is a ping.
    pub(super) fn check(self) -> Result<FromServer<'a>, DecodeError> {
        let Self { id, error, push, result, repeated } = self;
        match (error, push, result) {
            _ if repeated => Err(DecodeError::BodyRepeated),
            (Some(error), None, None) => Ok(FromServer::Reply(Reply { id, result: Err(error) })),
            (None, Some(push), None) => push.check().map(FromServer::Push),
            (None, None, Some(result)) => Ok(FromServer::Reply(Reply { id, result: Ok(result) })),
            (None, None, None) if id == 0 => Ok(FromServer::Ping),
            (None, None, None) => Err(DecodeError::BodyMissing),
            _ => Err(DecodeError::BodyRepeated),
        }
    }

    fn take(&mut self, result: Option<ReplyResult<'a>>) {
        if let Some(result) = result {
            self.repeated |= self.result.replace(result).is_some();
        }
    }
}

impl<'a> ReadMessage<'a> for ReplyFields<'a> {
    fn merge_wire(&mut self, number: u32, value: Value<'a>) -> Result<(), WireError> {
        match number {
            1 => self.id.merge_wire(value)?,
            ERROR => self.error.merge_wire(value)?,
            PUSH => self.push = Some(PushFields::read_wire(value.message()?)?),
            _ => self.take(ReplyResult::read_wire(number, value)?),
        }
        Ok(())
    }

    fn merge_json<A: MapAccess<'a>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "id" => self.id = map.next_value_seed(Of::NEW)?,
            "error" => self.error = map.next_value_seed(Nullable::NEW)?,
            "push" => self.push = map.next_value_seed(json::Object::NEW)?,
            _ => self.take(ReplyResult::read_json(key, map)?),
        }
        Ok(())
    }
}

impl WriteMessage for FromServer<'_> {
    fn body_len(&self) -> usize {
        match self {
            Self::Ping => 0,
            Self::Reply(reply) => reply.body_len(),
            Self::Push(push) => Pushed(push).body_len(),
        }
    }

    fn write_body(&self, out: &mut BytesMut) {
        match self {
            Self::Ping => {}
            Self::Reply(reply) => reply.write_body(out),
            Self::Push(push) => Pushed(push).write_body(out),
        }
    }

    fn write_object(&self, out: &mut BytesMut) {
        match self {
            Self::Ping => out.put_slice(b"{}"),
            Self::Reply(reply) => reply.write_object(out),
            Self::Push(push) => Pushed(push).write_object(out),
        }
    }
}

impl WriteMessage for Reply<'_> {
    fn body_len(&self) -> usize {
        let id = if self.id.is_default() { 0 } else { self.id.wire_len(1) };
        id + match &self.result {
            Ok(result) => result.wire_len(),
            Err(error) => error.wire_len(ERROR),
        }
    }

    fn write_body(&self, out: &mut BytesMut) {
        if !self.id.is_default() {
            self.id.write_wire(1, out);
        }
        match &self.result {
            Ok(result) => result.write_wire(out),
            Err(error) => error.write_wire(ERROR, out),
        }
    }

    fn write_object(&self, out: &mut BytesMut) {
        out.put_u8(b'{');
        if !self.id.is_default() {
            json::put_key(out, "id");
            self.id.write_json(out);
        }
        match &self.result {
            Ok(result) => result.write_json(out),
            Err(error) => {
                json::put_key(out, "error");
                error.write_object(out);
            }
        }
        out.put_u8(b'}');
    }
}

/// A push in the envelope of a reply.
pub(super) struct Pushed<'p, 'a>(pub(super) &'p Push<'a>);

impl WriteMessage for Pushed<'_, '_> {
    fn body_len(&self) -> usize {
        protobuf::bytes_field_len(PUSH, self.0.body_len())
    }

    fn write_body(&self, out: &mut BytesMut) {
        protobuf::put_bytes_head(out, PUSH, self.0.body_len());
        self.0.write_body(out);
    }

    fn write_object(&self, out: &mut BytesMut) {
        out.put_slice(b"{\"push\":");
        self.0.write_object(out);
        out.put_u8(b'}');
    }
}
