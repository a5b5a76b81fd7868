//! I/O: all that a session may do to connections.
//!
//! In:  what sessions decide.
//! Out: bytes on queues; connections that are slowed down, or end; work that waits for its part of a turn.
//!
//! A session knows connections by their sockets, and nothing of the kernel, of TLS or of queues. Its tests record what it
//! does here.

use bytes::Bytes;
use holdfast_protocol::{
    http::Refusal,
    websocket::{CloseCode, MessageKind},
};
use holdfast_ring::Socket;

use super::{
    Sessions,
    flow::{Class, Deferred, FlowKey},
};
use crate::{
    conn::{
        Phase, Session,
        deflate::Deflate,
        lag::Cause,
        pace::Told,
        write::{LongQueue, TooSlow},
    },
    context::Context,
    hub::Hub,
    limits::Rejection,
    mesh::Mesh,
    metrics::CloseReason,
    refusals::Line,
};

/// What a session may do to connections.
pub(crate) trait Io {
    /// Queues bytes for a connection. Answers with its session, where more waits for it than may.
    fn send(&mut self, cx: &mut Context, to: Socket, bytes: Bytes, cause: Cause) -> Option<TooSlow>;

    /// Queues bytes that no limit counts: what opens a stream.
    fn send_head(&mut self, to: Socket, bytes: Bytes);

    /// A message as the connection compresses it.
    fn deflate(&mut self, to: Socket, deflate: Deflate, kind: MessageKind, message: &[u8]) -> Bytes;

    /// The same for frames that others get too; `is_shared`: in this turn, until [`Io::end_turn_of_channel`].
    fn deflate_frames(&mut self, to: Socket, deflate: Deflate, plain: &Bytes, is_shared: bool) -> Bytes;

    /// The subscribers of a channel are walked: until [`Io::end_turn_of_channel`] none of them may go.
    fn begin_turn_of_channel(&mut self);

    /// They have been walked. Answers with those for whom much waits.
    fn end_turn_of_channel(&mut self) -> Vec<LongQueue>;

    /// Slows down one of them. Answers with its session, where more waits for it than may.
    fn slow_down(&mut self, cx: &mut Context, long: LongQueue) -> Option<TooSlow>;

    /// Bytes that wait for a connection.
    fn queued_bytes(&mut self, of: Socket) -> usize;

    /// True exactly when the kernel takes no more for it.
    fn is_behind(&mut self, socket: Socket) -> bool;

    /// Has the shard told when all that waits for a connection has gone out.
    fn tell_when_drained(&mut self, socket: Socket);

    /// Reads no more of a connection, until [`Io::read_again`].
    fn pause(&mut self, socket: Socket);

    /// Reads a connection again, unless another reason is against it; where others do not keep up, later.
    fn read_again(&mut self, socket: Socket, must_hold: bool);

    /// The session on a connection; `None` where that is gone.
    fn session_on(&mut self, socket: Socket) -> Option<Session>;

    /// A connection carries a session from now on.
    fn opened(&mut self, cx: &mut Context, socket: Socket, phase: Phase, session: Session);

    /// The time that a connection's handshake has begins once more.
    fn begin_handshake(&mut self, cx: &mut Context, socket: Socket);

    /// What clients that connect now are to be told of their pings.
    fn pings(&self) -> Told;

    /// A connection is pinged from now on.
    fn begin_heartbeat(&mut self, cx: &mut Context, socket: Socket, told: Told);

    /// A pong has come. False where none was awaited.
    fn pong(&mut self, cx: &mut Context, socket: Socket) -> bool;

    /// Takes the session off a connection that is going to end for this.
    fn detach(&mut self, socket: Socket, reason: CloseReason);

    /// Begins the close handshake.
    fn close(&mut self, cx: &mut Context, socket: Socket, code: CloseCode, text: &str, reason: CloseReason);

    /// Waits for the peer to end the stream, after the last words.
    fn linger_for_eof(&mut self, cx: &mut Context, socket: Socket, reason: CloseReason);

    /// Answers the request that a connection waits with.
    fn answer(&mut self, cx: &mut Context, socket: Socket, answer: Result<Option<Bytes>, Refusal>);

    /// Refuses a request.
    fn reject(&mut self, cx: &mut Context, socket: Socket, turned_away: Rejection);

    /// True exactly when a connection has carried a request before.
    fn is_reused(&mut self, socket: Socket) -> bool;

    /// Takes a place for a session without a connection of its own, if there is one beside those taken on other shards.
    fn take_place(&mut self, cx: &mut Context, taken_elsewhere: u64) -> bool;

    fn give_place_back(&mut self);

    /// Has the log tell of a refusal, with the address of a connection.
    fn tell(&mut self, cx: &mut Context, socket: Socket, line: Line);

    /// Memory of the tables of connections that nobody is charged for.
    fn table_bytes(&self) -> usize;

    /// Something waits for its part of a turn, behind what waits already.
    fn defer_last(&mut self, flow: FlowKey, class: Class, what: Deferred);

    /// The same, before it.
    fn defer_first(&mut self, flow: FlowKey, what: Deferred);

    fn has_deferred(&self, flow: FlowKey) -> bool;

    /// Bytes of commands among what waits.
    fn deferred_bytes(&self, flow: FlowKey) -> usize;

    fn forget_deferred(&mut self, flow: FlowKey);

    /// True exactly when nothing of any connection waits for its part of a turn.
    fn is_caught_up(&self) -> bool;
}

/// The sessions of a shard at work, with what they work on.
pub(crate) struct SessionCx<'a, I> {
    pub(crate) sessions: &'a mut Sessions,
    pub(crate) hub: &'a mut Hub,
    pub(crate) mesh: &'a mut Mesh,
    pub(crate) cx: &'a mut Context,
    pub(crate) io: &'a mut I,
}

/// True exactly when who causes messages is to wait.
pub(crate) fn must_hold(mesh: &Mesh, hub: &Hub) -> bool {
    mesh.peers.is_any_congested() || mesh.inbox.is_congested() || hub.has_gathered_enough()
}
