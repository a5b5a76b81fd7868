//! Conn: the state of each connection.
//!
//! In:  bytes from sockets; output of sessions.
//! Out: calls of the layer above connections ([`Above`]); bytes on sockets. The files: `arrival` (from accept to the
//! limits), `tls`, `http` (requests), `read` and `write`, `ends`, `heartbeat`, and their helpers.
//!
//! An idle connection owns no buffer: boxed state exists only while a request or message is incomplete, or an answer is
//! pending. Worst case per connection: before a session, the request head limit and twice the body limit; in a session,
//! twice the message limit; and the send queue's limit.

mod above;
mod arrival;
mod connections;
pub(crate) mod deflate;
mod ends;
pub(crate) mod heartbeat;
pub(crate) mod http;
pub(crate) mod lag;
mod listener;
pub(crate) mod pace;
mod partial;
pub(crate) mod policy;
mod read;
mod refusals;
mod state;
pub(crate) mod tls;
pub(crate) mod write;

pub(crate) use self::{
    above::{Above, Handshake},
    connections::Connections,
    listener::{OutBuffer, TlsListener},
    state::{Commands, Conn, Session, State},
};
