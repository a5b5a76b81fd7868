//! Above: what a connection tells those above it, and asks of them.
//!
//! In:  what happens to a connection with a session.
//! Out: calls of those who know what sessions are; they may act on the connections that they are given.
//!
//! Connections know nothing of sessions but this. Each call is the last that its caller does before it looks at the connection
//! anew: that may have ended meanwhile.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::{
    client::{DisconnectCode, Format},
    http::Refusal,
    websocket::Message,
};
use holdfast_ring::{Kernel, Socket};

use super::{
    Connections, Session,
    deflate::Deflate,
    encoding::Encoding,
    http::{Header, cors::Cors},
};
use crate::{context::Context, ids::ClientKey, metrics::CloseReason, time::Tick};

/// What was agreed upon when a WebSocket of the client protocol was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    pub(crate) has_native_pings: bool,
    pub(crate) deflate: Deflate,
    pub(crate) format: Format,
}

/// Those above connections.
pub(crate) trait Above<K: Kernel> {
    /// Places of the connection limit that are taken on other shards; `None` where memory is short.
    fn places_taken_elsewhere(&self) -> Option<u64>;

    /// A WebSocket of the client protocol is open. Answers with its client.
    fn open_client(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        socket: Socket,
        handshake: Handshake,
        told: Arc<[Header]>,
    ) -> ClientKey;

    /// A member of `/broadcast` comes. Answers with its place.
    fn join_broadcast(&mut self, socket: Socket, deflate: Deflate) -> u32;

    /// A stream begins, with its first commands.
    #[expect(clippy::too_many_arguments, reason = "two of them are what all calls have")]
    fn open_stream(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        socket: Socket,
        wire: Encoding,
        cors: &Cors,
        told: Arc<[Header]>,
        commands: &[u8],
    );

    /// A request has brought commands for the session of a stream.
    fn commands(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        socket: Socket,
        format: Format,
        body: &[u8],
    ) -> Result<(), Refusal>;

    /// A request is a poll.
    fn poll(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        socket: Socket,
        told: Arc<[Header]>,
        body: &[u8],
    ) -> Result<(), Refusal>;

    /// True exactly when a complete request with a body of so many bytes is to wait for those who do not keep up.
    fn hold_request(&mut self, conns: &mut Connections<K>, socket: Socket, body_bytes: usize) -> bool;

    /// A message came for a session. Answers with how much of it is done, where the session has used up its part of the turn.
    fn message(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        session: Session,
        message: &Message<'_>,
    ) -> Option<usize>;

    /// So many bytes of a connection have been read: while others do not keep up, nothing more may be.
    fn has_read(&mut self, conns: &mut Connections<K>, socket: Socket, bytes: usize);

    /// True exactly when something of a connection waits for its part of a turn.
    fn has_deferred(&self, socket: Socket) -> bool;

    /// What a session on a connection does not take any more, it has to take now.
    fn drained(&mut self, conns: &mut Connections<K>, cx: &mut Context, socket: Socket);

    /// A connection that was not read from for its queue may be again.
    fn read_again(&mut self, conns: &mut Connections<K>, cx: &mut Context, socket: Socket);

    /// Commands of a client that waited for its queue may go on.
    fn go_on(&mut self, conns: &mut Connections<K>, cx: &mut Context, key: ClientKey);

    /// The next ping of a client is due. Answers with how that is pinged, `None` for by control frames; or with nothing where
    /// it is not to be.
    fn ping_of(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        key: ClientKey,
    ) -> Option<Option<Encoding>>;

    /// True exactly when a client waits for the answer to its connect.
    fn is_connecting(&mut self, key: ClientKey) -> bool;

    /// True exactly when all shards have read what had come to them by then.
    fn has_all_read_up_to(&mut self, conns: &mut Connections<K>, cx: &mut Context, then: Tick) -> bool;

    /// A client is to be told that its session is over.
    fn end_client(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        key: ClientKey,
        code: DisconnectCode,
    );

    /// The connection of a client ends. The log tells why while it is known whose that is.
    fn tell_end(&mut self, conns: &mut Connections<K>, cx: &mut Context, key: ClientKey, reason: CloseReason);

    /// A session has been taken off its connection.
    fn left(&mut self, conns: &mut Connections<K>, cx: &mut Context, socket: Socket, session: Session);
}

/// What is left of a message of commands whose client has used up its part of the turn.
#[derive(Debug)]
pub(crate) struct Commands {
    pub(crate) frame: Bytes,
    /// True exactly when some of the frame have been done.
    pub(crate) is_begun: bool,
    /// Memory that the frame keeps alive.
    pub(crate) memory_bytes: usize,
}

impl Commands {
    /// What is left of a frame that lies elsewhere.
    pub(crate) fn rest(frame: &[u8], is_begun: bool) -> Self {
        Self { frame: Bytes::copy_from_slice(frame), is_begun, memory_bytes: frame.len() }
    }

    /// A frame of which nothing has been done.
    pub(crate) fn whole(frame: Bytes) -> Self {
        Self { memory_bytes: frame.len(), is_begun: false, frame }
    }

    /// What is left behind `at`.
    pub(crate) fn from(mut self, at: usize) -> Self {
        self.frame = self.frame.slice(at..);
        self.is_begun = true;
        self
    }
}
