//! Pending: a request of a transport beside WebSocket, until it is answered.
//!
//! In:  its head, its body, and what its client sends behind it.
//! Out: the same, for the files that receive and answer requests.
//!
//! Worst case: a body of the endpoint's longest length, and as much again behind it.

use std::sync::Arc;

use bytes::BytesMut;
use holdfast_protocol::{client::Format, http::Body};

use super::cors::Cors;
use crate::encoding::Encoding;

/// A request field that is passed to backends.
pub(crate) type Header = (Box<str>, Box<[u8]>);

/// The requested endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// A stream in this encoding.
    Stream(Encoding),
    /// Commands for the session of a stream, in this format.
    Emulation(Format),
    /// Long polling.
    Poll,
}

/// Input that a client sent before it got its answer.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pipelined {
    pub(crate) bytes: BytesMut,
    /// True exactly when the peer has ended its side.
    pub(crate) has_ended: bool,
}

/// A request whose body is incomplete or whose answer is pending.
#[derive(Debug)]
pub(crate) struct Request {
    pub(super) endpoint: Endpoint,
    pub(super) cors: Cors,
    /// Fields that are passed to backends.
    pub(super) told: Arc<[Header]>,
    /// True exactly when the connection stays open after the answer.
    pub(super) keeps_alive: bool,
    /// True exactly when its connection has carried a request before.
    pub(crate) is_reused: bool,
    pub(super) body: Body,
    /// True exactly when it has been passed to its session.
    pub(super) is_acted_on: bool,
    /// Input after the body.
    pub(super) later: BytesMut,
}

impl Endpoint {
    /// Its path.
    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Stream(Encoding::Sse) => "/connection/sse",
            Self::Stream(_) => "/connection/http_stream",
            Self::Emulation(_) => "/emulation",
            Self::Poll => "/connection/poll",
        }
    }
}
