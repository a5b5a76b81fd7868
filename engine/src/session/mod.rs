//! Sessions: what the messages of a connection mean.
//!
//! In:  whole messages.
//! Out: messages to the same connection, or to others by way of the hub.

mod broadcast;
pub(crate) mod client;
mod echo;
