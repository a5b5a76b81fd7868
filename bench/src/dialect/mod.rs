//! Dialect: what the load tool says above WebSocket.
//!
//! In:  the flag `--protocol`.
//! Out: what to ask for in the handshake, and the payload of the frame that publishes a message.
//!
//! This is the seam for protocols that wrap messages: everything else in the load tool knows messages only. A dialect
//! keeps no state of a connection, and neither does I/O nor reads the clock.

pub mod backend;
pub mod centrifuge;

use bytes::BytesMut;
use holdfast_protocol::client::Format;
use holdfast_protocol::websocket::MessageKind;

use crate::message::{MessageCodec, Stamp};

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A message is a frame is a delivery, in frames of this kind: for servers that echo or broadcast what they are
    /// sent. Deliveries may be of either kind.
    Raw(MessageKind),
    /// The Centrifuge client protocol: messages are publications in channels.
    Centrifuge(Format),
}

impl Dialect {
    /// The subprotocol to ask for in the handshake. JSON needs none, and the JavaScript client asks for none.
    pub fn subprotocol(self) -> Option<&'static str> {
        (self == Self::Centrifuge(Format::Protobuf)).then_some("centrifuge-protobuf")
    }

    /// The kind of frames that are sent.
    pub fn kind(self) -> MessageKind {
        match self {
            Self::Raw(kind) => kind,
            Self::Centrifuge(Format::Json) => MessageKind::Text,
            Self::Centrifuge(Format::Protobuf) => MessageKind::Binary,
        }
    }

    /// True exactly when messages go to channels.
    pub fn has_channels(self) -> bool {
        matches!(self, Self::Centrifuge(_))
    }

    /// Appends the payload of the frame that publishes one message of `mint` to `channel`.
    pub fn publish(self, mint: &MessageCodec, stamp: Stamp, channel: &str, out: &mut BytesMut) {
        match self {
            Self::Raw(_) => mint.write(stamp, out),
            Self::Centrifuge(format) => centrifuge::publish(format, mint, stamp, channel, out),
        }
    }
}
