//! Sessions: what the messages of a connection mean.
//!
//! In:  whole messages.
//! Out: messages to the same connection, or to others by way of the hub.
//!
//! The parts: `echo` and `broadcast`; `client` (the Centrifuge protocol, whatever carries it), the bytes of its transports
//! in `wire`, and those that are not WebSocket: `stream` and `poll`, whose requests find their session by `named` and
//! `ask`.

pub(crate) mod ask;
mod broadcast;
pub(crate) mod client;
mod echo;
pub(crate) mod named;
mod poll;
mod stream;
pub(crate) mod wire;
