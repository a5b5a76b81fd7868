//! I/O: everything a session may do to connections.
//!
//! In:  decisions of sessions.
//! Out: bytes on queues; connections that are throttled or closed; work deferred to a later turn.
//!
//! A session knows connections by their sockets. It knows nothing of the kernel, TLS or queues. Tests substitute an
//! implementation that records the calls.

use bytes::Bytes;
use holdfast_protocol::{
    http::Refusal,
    websocket::{CloseCode, MessageKind},
};
use holdfast_ring::Socket;

use super::Sessions;
use crate::{
    conn::{
        Commands, Session,
        deflate::Deflate,
        lag::{Cause, LongQueue, TooSlow},
        pace::PingStretch,
    },
    context::Context,
    ids::ClientKey,
    limits::Rejection,
    metrics::CloseReason,
    refusals::Line,
    session::{client::KeysCame, message::Mesh, receivers::Hub},
};

/// Work of a client that waits for its share of a turn.
#[derive(Debug)]
pub(crate) enum Deferred {
    /// A frame of commands, or the rest of one.
    Commands(Commands),
    /// Parked commands of a client may be handled; the client has them.
    Parked,
    /// Keys have arrived for a waiting command.
    Retry(ClientKey, KeysCame),
}

/// The queue in which work waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FlowKey {
    /// A connection.
    Socket(Socket),
    /// A client whose commands arrive in requests.
    Client(ClientKey),
}

/// The class in which it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Those with a session.
    Sessions,
    /// Those about to get one.
    Arrivals,
}

/// The operations of a session on connections.
pub(crate) trait Io {
    /// Queues bytes for a connection. Returns its session if the queue exceeds its limit.
    fn send(&mut self, cx: &mut Context, to: Socket, bytes: Bytes, cause: Cause) -> Option<TooSlow>;

    /// Queues bytes that no limit counts: the head of a stream.
    fn send_head(&mut self, to: Socket, bytes: Bytes);

    /// Compresses a message for the connection.
    fn deflate(&mut self, to: Socket, deflate: Deflate, kind: MessageKind, message: &[u8]) -> Bytes;

    /// The same for frames with several receivers. `is_shared`: within this turn, until [`Io::end_turn_of_channel`].
    fn deflate_frames(&mut self, to: Socket, deflate: Deflate, plain: &Bytes, is_shared: bool) -> Bytes;

    /// Begins the walk over a channel's subscribers. None may be removed until [`Io::end_turn_of_channel`].
    fn begin_turn_of_channel(&mut self);

    /// Ends the walk. Returns the receivers with long queues.
    fn end_turn_of_channel(&mut self) -> Vec<LongQueue>;

    /// Throttles one of them. Returns its session if the queue exceeds its limit.
    fn slow_down(&mut self, cx: &mut Context, long: LongQueue) -> Option<TooSlow>;

    /// Bytes queued for a connection.
    fn queued_bytes(&mut self, of: Socket) -> usize;

    /// True exactly when the kernel accepts no more bytes for it.
    fn is_backlogged(&mut self, socket: Socket) -> bool;

    /// Notifies the shard when the connection's queue is empty.
    fn notify_drained(&mut self, socket: Socket);

    /// Stops reading a connection, until [`Io::read_again`].
    fn pause(&mut self, socket: Socket);

    /// Resumes reading a connection, unless there is another reason to pause it; under backpressure, later.
    fn read_again(&mut self, socket: Socket, must_hold: bool);

    /// The session on a connection; `None` if there is none, or the connection is gone.
    fn session_on(&mut self, socket: Socket) -> Option<Session>;

    /// A connection now carries a stream, for a session.
    fn stream_opened(&mut self, cx: &mut Context, socket: Socket, session: Session);

    /// Restarts the handshake timeout of a connection.
    fn begin_handshake(&mut self, cx: &mut Context, socket: Socket);

    /// The ping settings for clients that connect now.
    fn pings(&self) -> PingStretch;

    /// Starts to ping a connection.
    fn begin_heartbeat(&mut self, cx: &mut Context, socket: Socket, stretch: PingStretch);

    /// Handles a pong. False if none was expected.
    fn pong(&mut self, cx: &mut Context, socket: Socket) -> bool;

    /// Detaches the session from a connection that is about to close for this reason.
    fn detach(&mut self, socket: Socket, reason: CloseReason);

    /// Starts the close handshake of a connection whose session was detached.
    fn close(&mut self, cx: &mut Context, socket: Socket, code: CloseCode, text: &str);

    /// The same for a stream: waits for the peer's EOF after the last bytes.
    fn linger_for_eof(&mut self, cx: &mut Context, socket: Socket);

    /// Answers the request that is waiting on a connection.
    fn answer(&mut self, cx: &mut Context, socket: Socket, answer: Result<Option<Bytes>, Refusal>);

    /// Refuses a request.
    fn reject(&mut self, cx: &mut Context, socket: Socket, rejection: Rejection);

    /// True exactly when the connection has already carried a request.
    fn is_reused(&mut self, socket: Socket) -> bool;

    /// Reserves a place for a session without its own connection, if the limit allows one beside those taken on other
    /// shards.
    fn take_place(&mut self, taken_elsewhere: u64) -> bool;

    fn give_place_back(&mut self);

    /// Logs a refusal, with the address of a connection.
    fn tell(&mut self, cx: &mut Context, socket: Socket, line: Line);

    /// Memory of the connection tables that is not charged to any connection.
    fn table_bytes(&self) -> usize;

    /// Defers work to its turn, behind the work already deferred.
    fn defer_last(&mut self, flow: FlowKey, class: Class, what: Deferred);

    /// The same, ahead of it.
    fn defer_first(&mut self, flow: FlowKey, what: Deferred);

    fn has_deferred(&self, flow: FlowKey) -> bool;

    /// Bytes of deferred commands.
    fn deferred_bytes(&self, flow: FlowKey) -> usize;

    fn forget_deferred(&mut self, flow: FlowKey);

    /// True exactly when no connection has deferred work.
    fn is_caught_up(&self) -> bool;
}

/// A shard's sessions in operation, with everything they operate on.
pub(crate) struct SessionCx<'a, I> {
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) hub: &'a mut Hub,
    pub(crate) mesh: &'a mut Mesh,
    pub(crate) cx: &'a mut Context,
    pub(crate) io: &'a mut I,
}

/// True exactly when senders must be throttled.
pub(crate) fn must_hold(mesh: &Mesh, hub: &Hub) -> bool {
    mesh.peers.is_any_congested() || mesh.inbox.is_congested() || hub.has_gathered_enough()
}
