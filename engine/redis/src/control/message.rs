//! Message: what one node says to others, in Centrifugo's Protobuf `Command`.
//!
//! In:  fields; bytes of any node.
//! Out: bytes; fields, borrowed.
//!
//! Fields of newer nodes are walked over, and a kind that is not known is no body. No I/O, no clock.

use std::borrow::Cow;

use bytes::BytesMut;
use holdfast_protocol::client::WireError;

use crate::wire::{Reader, put_bool, put_bytes, put_double, put_message, put_number, put_present};

/// Items of a list that are read; further ones are an error.
pub const ITEMS_MAX: usize = 65_536;

/// One message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message<'a> {
    /// The node that says it.
    pub uid: Cow<'a, str>,
    /// What it says; none for a kind that is not known.
    pub body: Option<Body<'a>>,
}

/// What is said. Of several, the last that is known counts, as in each Protobuf message.
#[derive(Debug, Clone, PartialEq)]
pub enum Body<'a> {
    /// How the node is: its heartbeat.
    Node(Node<'a>),
    /// End subscriptions.
    Unsubscribe(Unsubscribe<'a>),
    /// Close connections.
    Disconnect(Disconnect<'a>),
    /// The node leaves.
    Shutdown,
    /// A question to all who hear it.
    SurveyRequest(SurveyRequest<'a>),
    /// The answer, to the one who asked.
    SurveyResponse(SurveyResponse<'a>),
    /// Make subscriptions.
    Subscribe(Subscribe<'a>),
    /// Anything else; ours begin with `holdfast.`.
    Notification(Notification<'a>),
    /// Connections live longer, or not.
    Refresh(Refresh<'a>),
}

/// Declares a message whose fields are scalar: a struct, its reader and its writer.
macro_rules! message {
    (
        $(#[$meta:meta])*
        pub struct $name:ident<'a> { $($(#[$field_meta:meta])* $number:literal $field:ident: $kind:tt,)* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq)]
        pub struct $name<'a> { $($(#[$field_meta])* pub $field: message!(@type $kind),)* }

        impl<'a> $name<'a> {
            fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
                let mut message = Self::default();
                let mut fields = Reader::new(bytes);
                while let Some((number, value)) = fields.next()? {
                    match number {
                        $($number => message!(@read $kind, message.$field, value),)*
                        _ => {}
                    }
                }
                Ok(message)
            }

            fn encode(&self, out: &mut BytesMut) {
                $(message!(@write $kind, out, $number, self.$field);)*
            }
        }
    };
    (@type text) => { Cow<'a, str> };
    (@type bytes) => { &'a [u8] };
    (@type bool) => { bool };
    (@type u32) => { u32 };
    (@type u64) => { u64 };
    (@type i64) => { i64 };
    (@type texts) => { Vec<Cow<'a, str>> };
    (@type since) => { Option<Since<'a>> };
    (@type metrics) => { Option<Metrics<'a>> };
    (@read text, $field:expr, $value:ident) => { $field = $value.cow()? };
    (@read bytes, $field:expr, $value:ident) => { $field = $value.bytes()? };
    (@read bool, $field:expr, $value:ident) => { $field = $value.is_true()? };
    (@read u32, $field:expr, $value:ident) => { $field = $value.int32()? };
    (@read u64, $field:expr, $value:ident) => { $field = $value.varint()? };
    (@read i64, $field:expr, $value:ident) => { $field = $value.int64()? };
    (@read texts, $field:expr, $value:ident) => { push(&mut $field, $value.cow()?)? };
    (@read since, $field:expr, $value:ident) => { $field = Some(Since::decode($value.bytes()?)?) };
    (@read metrics, $field:expr, $value:ident) => { $field = Some(Metrics::decode($value.bytes()?)?) };
    (@write text, $out:ident, $number:literal, $field:expr) => { put_bytes($out, $number, $field.as_bytes()) };
    (@write bytes, $out:ident, $number:literal, $field:expr) => { put_bytes($out, $number, $field) };
    (@write bool, $out:ident, $number:literal, $field:expr) => { put_bool($out, $number, $field) };
    (@write u32, $out:ident, $number:literal, $field:expr) => { put_number($out, $number, $field.into()) };
    (@write u64, $out:ident, $number:literal, $field:expr) => { put_number($out, $number, $field) };
    (@write i64, $out:ident, $number:literal, $field:expr) => {
        put_number($out, $number, $field.cast_unsigned())
    };
    (@write texts, $out:ident, $number:literal, $field:expr) => {
        for text in &$field { put_present($out, $number, text.as_bytes()); }
    };
    (@write $message:ident, $out:ident, $number:literal, $field:expr) => {
        if let Some(message) = &$field { put_message($out, $number, |out| message.encode(out)); }
    };
}

message! {
    /// How a node is.
    pub struct Node<'a> {
        /// The node.
        1 uid: text,
        /// How people call it.
        2 name: text,
        /// The version of its program.
        3 version: text,
        /// Connections.
        4 num_clients: u32,
        /// Users.
        5 num_users: u32,
        /// Channels with a subscriber.
        6 num_channels: u32,
        /// Seconds since it started.
        7 uptime: u32,
        /// Numbers of its own choice.
        8 metrics: metrics,
        /// Bytes of its own choice.
        9 data: bytes,
        /// Subscriptions.
        10 num_subs: u32,
    }
}

message! {
    /// End subscriptions of a user, or of one client or session of his.
    pub struct Unsubscribe<'a> {
        /// The channel.
        1 channel: text,
        /// The user; empty: the anonymous one.
        2 user: text,
        /// This connection alone.
        3 client: text,
        /// This session alone.
        4 session: text,
        /// Why.
        5 code: u32,
        /// Why, for people.
        6 reason: text,
        /// Connections with these labels alone: the Protobuf message `FilterNode`.
        7 label_filter: bytes,
        /// True exactly when an empty user means all of them.
        8 all_users: bool,
    }
}

message! {
    /// Close connections of a user, or one of them.
    pub struct Disconnect<'a> {
        /// The user; empty: the anonymous one.
        1 user: text,
        /// Connections that stay.
        2 whitelist: texts,
        /// Why.
        3 code: u32,
        /// Why, for people.
        4 reason: text,
        /// True exactly when they may come back; of older nodes.
        5 reconnect: bool,
        /// This connection alone.
        6 client: text,
        /// This session alone.
        7 session: text,
        /// Connections with these labels alone: the Protobuf message `FilterNode`.
        8 label_filter: bytes,
        /// True exactly when an empty user means all of them.
        9 all_users: bool,
    }
}

message! {
    /// A question.
    pub struct SurveyRequest<'a> {
        /// Which of the asker's.
        1 id: u64,
        /// What is asked: `channels`, `centrifuge_emulation`, or `holdfast.` and more.
        2 op: text,
        /// With what.
        3 data: bytes,
    }
}

message! {
    /// An answer.
    pub struct SurveyResponse<'a> {
        /// To which question.
        1 id: u64,
        /// 0 where it went well.
        2 code: u32,
        /// The answer.
        3 data: bytes,
    }
}

message! {
    /// Make a subscription for the connections of a user, or one of them.
    pub struct Subscribe<'a> {
        /// The user; empty: the anonymous one.
        1 user: text,
        /// The channel.
        2 channel: text,
        /// True exactly when others see it in presence.
        3 emit_presence: bool,
        /// True exactly when others are told.
        4 emit_join_leave: bool,
        /// Seconds since 1970; 0: never.
        5 expire_at: i64,
        /// True exactly when no publication may be missed silently.
        6 position: bool,
        /// True exactly when missed publications can be had.
        7 recover: bool,
        /// What others see of it.
        8 channel_info: bytes,
        /// This connection alone.
        9 client: text,
        /// For the client.
        10 data: bytes,
        /// What the client has seen already.
        11 recover_since: since,
        /// This session alone.
        12 session: text,
        /// True exactly when it is told of others.
        13 push_join_leave: bool,
        /// Why the server makes it; a number of the server's.
        14 source: u32,
        /// Connections with these labels alone: the Protobuf message `FilterNode`.
        15 label_filter: bytes,
        /// True exactly when an empty user means all of them.
        16 all_users: bool,
    }
}

message! {
    /// A place in a history.
    pub struct Since<'a> {
        /// The last publication seen.
        1 offset: u64,
        /// In which life of the history.
        2 epoch: text,
    }
}

message! {
    /// Anything else.
    pub struct Notification<'a> {
        /// What.
        1 op: text,
        /// With what.
        2 data: bytes,
    }
}

message! {
    /// Connections of a user live longer, or not.
    pub struct Refresh<'a> {
        /// The user; empty: the anonymous one.
        1 user: text,
        /// This connection alone.
        2 client: text,
        /// True exactly when they end now.
        3 expired: bool,
        /// Seconds since 1970; 0: never.
        4 expire_at: i64,
        /// What others see of them from now on.
        5 info: bytes,
        /// This session alone.
        6 session: text,
        /// Connections with these labels alone: the Protobuf message `FilterNode`.
        7 label_filter: bytes,
        /// True exactly when an empty user means all of them.
        8 all_users: bool,
    }
}

/// Numbers of a node's own choice.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics<'a> {
    /// Seconds that they are of.
    pub interval: f64,
    /// By name.
    pub items: Vec<(Cow<'a, str>, f64)>,
}

impl<'a> Metrics<'a> {
    fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut metrics = Self::default();
        let mut fields = Reader::new(bytes);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => metrics.interval = value.double()?,
                2 => {
                    let mut item = (Cow::default(), 0.0);
                    let mut fields = Reader::new(value.bytes()?);
                    while let Some((number, value)) = fields.next()? {
                        match number {
                            1 => item.0 = value.cow()?,
                            2 => item.1 = value.double()?,
                            _ => {}
                        }
                    }
                    push(&mut metrics.items, item)?;
                }
                _ => {}
            }
        }
        Ok(metrics)
    }

    fn encode(&self, out: &mut BytesMut) {
        if self.interval != 0.0 {
            put_double(out, 1, self.interval);
        }
        for (name, value) in &self.items {
            put_message(out, 2, |out| {
                put_bytes(out, 1, name.as_bytes());
                put_double(out, 2, *value);
            });
        }
    }
}

fn push<T>(list: &mut Vec<T>, item: T) -> Result<(), WireError> {
    if list.len() >= ITEMS_MAX {
        return Err(WireError::TooDeep);
    }
    list.push(item);
    Ok(())
}

impl<'a> Message<'a> {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// It is no Protobuf message, one of another shape, or has more than [`ITEMS_MAX`] items in a list.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut message = Self::default();
        let mut fields = Reader::new(bytes);
        while let Some((number, value)) = fields.next()? {
            let body = match number {
                1 => {
                    message.uid = value.cow()?;
                    continue;
                }
                4 => Body::Node(Node::decode(value.bytes()?)?),
                5 => Body::Unsubscribe(Unsubscribe::decode(value.bytes()?)?),
                6 => Body::Disconnect(Disconnect::decode(value.bytes()?)?),
                7 => value.bytes().map(|_| Body::Shutdown)?,
                8 => Body::SurveyRequest(SurveyRequest::decode(value.bytes()?)?),
                9 => Body::SurveyResponse(SurveyResponse::decode(value.bytes()?)?),
                10 => Body::Subscribe(Subscribe::decode(value.bytes()?)?),
                11 => Body::Notification(Notification::decode(value.bytes()?)?),
                12 => Body::Refresh(Refresh::decode(value.bytes()?)?),
                _ => continue,
            };
            message.body = Some(body);
        }
        Ok(message)
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut BytesMut) {
        put_bytes(out, 1, self.uid.as_bytes());
        match &self.body {
            None => {}
            Some(Body::Node(node)) => put_message(out, 4, |out| node.encode(out)),
            Some(Body::Unsubscribe(unsubscribe)) => put_message(out, 5, |out| unsubscribe.encode(out)),
            Some(Body::Disconnect(disconnect)) => put_message(out, 6, |out| disconnect.encode(out)),
            Some(Body::Shutdown) => put_present(out, 7, b""),
            Some(Body::SurveyRequest(request)) => put_message(out, 8, |out| request.encode(out)),
            Some(Body::SurveyResponse(response)) => put_message(out, 9, |out| response.encode(out)),
            Some(Body::Subscribe(subscribe)) => put_message(out, 10, |out| subscribe.encode(out)),
            Some(Body::Notification(notification)) => put_message(out, 11, |out| notification.encode(out)),
            Some(Body::Refresh(refresh)) => put_message(out, 12, |out| refresh.encode(out)),
        }
    }
}

#[cfg(test)]
#[path = "message/tests.rs"]
mod tests;
