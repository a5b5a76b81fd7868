//! Dialect: what the load tool says above WebSocket.
//!
//! In:  a message to publish; or the payload of a frame that came.
//! Out: the payload of the frame that publishes it; or the message inside a delivery.
//!
//! This is the seam for protocols that wrap messages: everything else in the load tool knows messages only. A dialect
//! keeps no state of a connection, and neither does I/O nor reads the clock.

use bytes::BytesMut;
use holdfast_protocol::websocket::MessageKind;

use crate::message::{Mint, Stamp};

/// How messages travel on one connection.
pub trait Dialect: Send {
    /// The subprotocol to ask for in the handshake.
    fn subprotocol(&self) -> Option<&'static str>;

    /// The kind of frame that carries a publication.
    fn kind(&self) -> MessageKind;

    /// Appends the payload of the frame that publishes one message of `mint`.
    fn publish(&self, mint: &Mint, stamp: Stamp, out: &mut BytesMut);

    /// The message that a frame's payload delivers; none when the frame is not a delivery.
    fn delivered<'p>(&self, payload: &'p [u8]) -> Option<&'p [u8]>;
}

/// A message is a frame is a delivery: for servers that echo or broadcast what they are sent.
pub struct Raw {
    /// What frames are sent; deliveries may be of either kind.
    pub kind: MessageKind,
}

impl Dialect for Raw {
    fn subprotocol(&self) -> Option<&'static str> {
        None
    }

    fn kind(&self) -> MessageKind {
        self.kind
    }

    fn publish(&self, mint: &Mint, stamp: Stamp, out: &mut BytesMut) {
        mint.write(stamp, out);
    }

    fn delivered<'p>(&self, payload: &'p [u8]) -> Option<&'p [u8]> {
        Some(payload)
    }
}
