//! Pushes: what the server says unasked.
//!
//! In:  the fields that came, or something to tell.
//! Out: a [`Push`] with exactly one body, or its bytes.
//!
//! A push is written once for each format, and its bytes go to all who are to hear it: see
//! [`encode_push`](super::encode_push).

use std::borrow::Cow;

use bytes::{BufMut as _, BytesMut};
use serde::de::MapAccess;

use super::field::Map;
use super::json::{self, Of};
use super::message::{Field, ReadMessage, WriteMessage, choice, message};
use super::protobuf::Value;
use super::publication::{ClientInfo, Publication};
use super::reply::SubscribeResult;
use super::{DecodeError, Payload, WireError};

/// Something that the server says unasked.
#[derive(Debug, Clone, PartialEq)]
pub struct Push<'a> {
    /// Stands for the channel where compaction was agreed upon, which we never do: 0.
    pub id: i64,
    /// The channel; empty where it concerns the whole connection.
    pub channel: Cow<'a, str>,
    /// What is said.
    pub body: PushBody<'a>,
}

choice! {
    /// What is said.
    pub enum PushBody<'a> {
        /// Somebody published.
        4 "pub" Publication(Publication<'a>),
        /// Somebody came.
        5 "join" Join(Presence<'a>),
        /// Somebody went.
        6 "leave" Leave(Presence<'a>),
        /// The server ended the subscription.
        7 "unsubscribe" Unsubscribe(UnsubscribePush<'a>),
        /// For this connection alone.
        8 "message" Message(MessagePush<'a>),
        /// The server made a subscription.
        9 "subscribe" Subscribe(SubscribePush<'a>),
        /// The session is open: where the transport lets no command be sent first.
        10 "connect" Connect(ConnectPush<'a>),
        /// The session is over: where the transport has no close frame.
        11 "disconnect" Disconnect(DisconnectPush<'a>),
        /// The connection's expiry has changed.
        12 "refresh" Refresh(RefreshPush),
    }
}

message! {
    /// Somebody came or went.
    pub struct Presence<'a> {
        /// Who.
        1 info: Option<ClientInfo<'a>>,
    }
}

message! {
    /// The server ended the subscription.
    pub struct UnsubscribePush<'a> {
        /// See [`UnsubscribeCode`](super::UnsubscribeCode).
        2 code: u32,
        /// For people.
        3 reason: Cow<'a, str>,
    }
}

message! {
    /// For this connection alone.
    pub struct MessagePush<'a> {
        /// What.
        1 data: Payload<'a>,
    }
}

message! {
    /// The server made a subscription.
    pub struct SubscribePush<'a> {
        /// True exactly when missed publications can be had after a reconnect.
        1 recoverable: bool,
        /// The epoch of `offset`.
        4 epoch: Cow<'a, str>,
        /// The channel's newest publication.
        5 offset: u64,
        /// True exactly when no publication is missed silently.
        6 positioned: bool,
        /// From the backend.
        7 data: Payload<'a>,
    }
}

message! {
    /// The session is open. Like [`ConnectResult`](super::reply::ConnectResult).
    pub struct ConnectPush<'a> {
        /// The connection.
        1 client: Cow<'a, str>,
        /// The server's version.
        2 version: Cow<'a, str>,
        /// From the backend.
        3 data: Payload<'a>,
        /// Subscriptions that the server made.
        4 subs: Map<'a, SubscribeResult<'a>>,
        /// True exactly when the client is to refresh within `ttl`.
        5 expires: bool,
        /// Seconds until expiry.
        6 ttl: u32,
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
    /// The session is over.
    pub struct DisconnectPush<'a> {
        /// See [`DisconnectCode`](super::DisconnectCode).
        1 code: u32,
        /// For people.
        2 reason: Cow<'a, str>,
        /// For clients that do not look at the code.
        3 reconnect: bool,
    }
}

message! {
    /// The connection's expiry has changed.
    pub struct RefreshPush {
        /// True exactly when the client is to refresh within `ttl`.
        1 expires: bool,
        /// Seconds until expiry.
        2 ttl: u32,
    }
}

/// A push as it came: not yet known to have exactly one body.
#[derive(Debug, Default)]
pub(super) struct PushFields<'a> {
    id: i64,
    channel: Cow<'a, str>,
    body: Option<PushBody<'a>>,
    repeated: bool,
}

impl<'a> PushFields<'a> {
    pub(super) fn check(self) -> Result<Push<'a>, DecodeError> {
        match self {
            Self { repeated: true, .. } => Err(DecodeError::BodyRepeated),
            Self { body: None, .. } => Err(DecodeError::BodyMissing),
            Self { id, channel, body: Some(body), .. } => Ok(Push { id, channel, body }),
        }
    }

    fn take(&mut self, body: Option<PushBody<'a>>) {
        if let Some(body) = body {
            self.repeated |= self.body.replace(body).is_some();
        }
    }
}

impl<'a> ReadMessage<'a> for PushFields<'a> {
    fn merge_wire(&mut self, number: u32, value: Value<'a>) -> Result<(), WireError> {
        match number {
            1 => self.id.merge_wire(value)?,
            2 => self.channel.merge_wire(value)?,
            _ => self.take(PushBody::read_wire(number, value)?),
        }
        Ok(())
    }

    fn merge_json<A: MapAccess<'a>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "id" => self.id = map.next_value_seed(Of::NEW)?,
            "channel" => self.channel = map.next_value_seed(Of::NEW)?,
            _ => self.take(PushBody::read_json(key, map)?),
        }
        Ok(())
    }
}

impl WriteMessage for Push<'_> {
    fn body_len(&self) -> usize {
        let id = if self.id.is_default() { 0 } else { self.id.wire_len(1) };
        let channel = if self.channel.is_default() { 0 } else { self.channel.wire_len(2) };
        id + channel + self.body.wire_len()
    }

    fn write_body(&self, out: &mut BytesMut) {
        if !self.id.is_default() {
            self.id.write_wire(1, out);
        }
        if !self.channel.is_default() {
            self.channel.write_wire(2, out);
        }
        self.body.write_wire(out);
    }

    fn write_object(&self, out: &mut BytesMut) {
        out.put_u8(b'{');
        if !self.id.is_default() {
            json::put_key(out, "id");
            self.id.write_json(out);
        }
        if !self.channel.is_default() {
            json::put_key(out, "channel");
            self.channel.write_json(out);
        }
        self.body.write_json(out);
        out.put_u8(b'}');
    }
}
