//! Above: the interface from connections to the layer above them.
//!
//! In:  events of connections with a session.
//! Out: calls of the layer that knows sessions; it may act on the connections passed to it.
//!
//! Connections know nothing else about sessions. After each call the caller must look the connection up again: it may have
//! ended during the call.

use std::sync::Arc;

use holdfast_protocol::{
    client::{DisconnectCode, Format},
    http::Refusal,
    websocket::Message,
};
use holdfast_ring::{Kernel, Socket};

use super::{Connections, Session, deflate::Deflate, http::cors::Cors};
use crate::{
    conn::http::pending::Header, context::Context, encoding::Encoding, ids::ClientKey, metrics::CloseReason,
    time::Tick,
};

/// The parameters negotiated when a WebSocket of the client protocol was opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handshake {
    pub(crate) has_native_pings: bool,
    pub(crate) deflate: Deflate,
    pub(crate) format: Format,
}

/// The layer above connections.
pub(crate) trait Above<K: Kernel> {
    /// Places of the connection limit taken on other shards; `None` when memory is short.
    fn places_taken_elsewhere(&self) -> Option<u64>;

    /// A WebSocket of the client protocol is open. Returns its client.
    fn open_client(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        socket: Socket,
        handshake: Handshake,
        told: Arc<[Header]>,
    ) -> ClientKey;

    /// A member joins `/broadcast`. Returns its position.
    fn join_broadcast(&mut self, socket: Socket, deflate: Deflate) -> u32;

    /// A stream starts, with its first commands.
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

    /// A request carries commands for the session of a stream.
    fn commands(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        socket: Socket,
        format: Format,
        body: &[u8],
    ) -> Result<(), Refusal>;

    /// A request is a long poll.
    fn poll(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        socket: Socket,
        told: Arc<[Header]>,
        body: &[u8],
    ) -> Result<(), Refusal>;

    /// True exactly when a complete request with a body of `body_bytes` must wait because of backpressure.
    fn hold_request(&mut self, conns: &mut Connections<K>, socket: Socket, body_bytes: usize) -> bool;

    /// A message arrived for a session. Returns how much of it is done if the session has used up its part of the turn.
    fn message(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        session: Session,
        message: &Message<'_>,
    ) -> Option<usize>;

    /// `bytes` have been read from a connection: under backpressure, pause its receive.
    fn has_read(&mut self, conns: &mut Connections<K>, socket: Socket, bytes: usize);

    /// True exactly when input of a connection waits for its part of a turn.
    fn has_deferred(&self, socket: Socket) -> bool;

    /// The send queue of a connection has drained: its session sends what conflation has held back.
    fn drained(&mut self, conns: &mut Connections<K>, cx: &mut Context, socket: Socket);

    /// A connection that was paused because of its queue may be read from again.
    fn read_again(&mut self, conns: &mut Connections<K>, cx: &mut Context, socket: Socket);

    /// Commands of a client that waited for its queue may continue.
    fn go_on(&mut self, conns: &mut Connections<K>, cx: &mut Context, key: ClientKey);

    /// The next ping of a client is due. Returns how to ping it: `Some(None)` by control frames; `None` not at all.
    fn ping_of(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        key: ClientKey,
    ) -> Option<Option<Encoding>>;

    /// True exactly when a client waits for the answer to its connect.
    fn is_connecting(&mut self, key: ClientKey) -> bool;

    /// True exactly when all shards have read everything that had arrived by `then`.
    fn has_all_read_up_to(&mut self, conns: &mut Connections<K>, cx: &mut Context, then: Tick) -> bool;

    /// Tells a client that its session is over.
    fn end_client(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        key: ClientKey,
        code: DisconnectCode,
    );

    /// The connection of a client ends. Logs the reason while its user is still known.
    fn tell_end(&mut self, conns: &mut Connections<K>, cx: &mut Context, key: ClientKey, reason: CloseReason);

    /// A session has been detached from its connection.
    fn left(&mut self, conns: &mut Connections<K>, cx: &mut Context, socket: Socket, session: Session);
}
