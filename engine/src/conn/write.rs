//! Write: output of a connection, and the ways to end it.
//!
//! In:  answers and messages, encoded one after the other into the shard's output buffer.
//! Out: one piece on the socket's queue for all output of one piece of input.
//!
//! A slow reader costs at most its lag limit; beyond that it is closed, and nobody else waits for it.

use bytes::Bytes;
use holdfast_protocol::websocket::{CloseCode, Message, encoder};
use holdfast_ring::{CloseWhen, Kernel, Socket};

use super::{Session, State, deflate::Deflate, lag::Cause};
use crate::{
    conn::{
        Connections,
        lag::{LongQueue, TooSlow},
    },
    context::{Context, cost},
    memory::Budget,
    metrics::{CloseReason, Metric},
};

/// How long our last bytes may take to arrive before the connection is closed.
const LINGER_MS: u64 = 1_000;

impl<K: Kernel> Connections<K> {
    pub(crate) fn write_message(
        &mut self,
        cx: &mut Context,
        socket: Socket,
        deflate: Deflate,
        message: &Message<'_>,
    ) {
        cx.counters.add(Metric::MessagesOut, 1);
        if deflate != Deflate::Off {
            cx.meter.add_bytes(message.payload.len(), cost::DEFLATE_KILOBYTE_NS);
        }
        self.deflating.append(socket, deflate, message.kind, &message.payload, self.out.writer());
    }

    pub(crate) fn write_pong(&mut self, payload: &[u8]) {
        encoder::encode_pong(self.out.writer(), None, payload);
    }

    pub(crate) fn write_close(&mut self, close: Option<(CloseCode, &str)>) {
        encoder::encode_close(self.out.writer(), None, close);
    }

    fn has_too_many_pieces(&mut self, socket: Socket) -> bool {
        self.sockets.queued_messages(socket) > self.policy.queue.pieces_max
    }

    /// Pauses the receive of a connection until its queue is flushed.
    pub(crate) fn pause_for_queue(&mut self, socket: Socket) {
        if let Some(conn) = self.table.get_mut(socket) {
            conn.is_paused = true;
            self.sockets.pause_receive(socket);
        }
    }

    /// Takes everything written since the last call, for one connection.
    pub(crate) fn take_out(&mut self) -> Option<Bytes> {
        self.out.take()
    }

    /// Queues bytes for one connection and enforces its limits.
    pub(crate) fn send_for(
        &mut self,
        cx: &mut Context,
        socket: Socket,
        bytes: Bytes,
        cause: Cause,
    ) -> Option<TooSlow> {
        let len = bytes.len();
        let queued_bytes = self.transmit(socket, bytes);
        let is_long = queued_bytes > self.policy.queue.paused_bytes
            || (queued_bytes > len && self.has_too_many_pieces(socket));
        if !is_long {
            return None;
        }
        let long = LongQueue { socket, before: queued_bytes.saturating_sub(len), len, cause };
        // No subscriber may be removed while a channel's subscribers are being iterated.
        if self.is_fanning_out {
            self.long_queues.push(long);
            return None;
        }
        self.on_backlog(cx, long)
    }

    /// Throttles a connection with a long queue. Over the limit, its session must end.
    #[cold]
    pub(crate) fn on_backlog(&mut self, cx: &mut Context, long: LongQueue) -> Option<TooSlow> {
        let LongQueue { socket, before, len, cause } = long;
        let conn = self.table.get_mut(socket)?;
        let (session, is_paused) = (conn.state.session(), conn.is_paused);
        let limits = self.policy.queue;
        let mut is_too_long = || {
            !self.lags.admit(socket, before, len, cause, limits)
                || (cause == Cause::Push && self.has_too_many_pieces(socket))
        };
        match session {
            Some(session @ (Session::Broadcast { .. } | Session::Client { .. })) if is_too_long() => {
                cx.counters.add(Metric::SlowByQueue, 1);
                return Some(TooSlow(session));
            }
            Some(Session::Broadcast { .. }) => {}
            // Throttle the client to the pace at which it reads its answers.
            Some(Session::Client { .. } | Session::Echo) | None => {
                if !is_paused {
                    self.pause_for_queue(socket);
                }
            }
        }
        None
    }

    /// Detaches the session from a connection that will be closed for this reason. The layer above must then remove it
    /// from its own state.
    pub(crate) fn detach(&mut self, socket: Socket, reason: CloseReason) -> Option<Session> {
        let session = self.table.get_mut(socket)?.part(reason);
        if session.is_some() {
            self.open -= 1;
            self.lags.forget(socket);
        }
        session
    }

    /// Begins the close handshake (RFC 6455 §7.1.2) of a connection whose session was detached.
    pub(crate) fn close(&mut self, cx: &mut Context, socket: Socket, code: CloseCode, text: &str) {
        let Some(State::Closing { .. }) = self.table.get_mut(socket).map(|conn| &conn.state) else { return };
        let deadline = cx.now.after_ms(self.policy.close_ms);
        self.write_close(Some((code, text)));
        if let Some(bytes) = self.take_out() {
            let without_session = self.send_for(cx, socket, bytes, Cause::Push);
            debug_assert!(without_session.is_none(), "who has left is slowed down");
        }
        self.schedule(cx, socket, deadline);
    }

    /// Waits briefly for the peer to end the stream.
    pub(crate) fn linger(&mut self, cx: &mut Context, socket: Socket, reason: CloseReason) {
        if self.table.get_mut(socket).is_some_and(|conn| conn.has_ended) {
            return self.leave(cx, socket, reason);
        }
        self.send_close_notify(socket);
        self.tell_end(cx, socket, reason);
        if let Some(conn) = self.table.get_mut(socket) {
            conn.linger(reason);
        }
        self.linger_for_eof(cx, socket);
    }

    /// Waits briefly for the peer to end the stream after its final message. A client that got the message and the end at
    /// once would treat it as a network failure. Its session was detached.
    pub(crate) fn linger_for_eof(&mut self, cx: &mut Context, socket: Socket) {
        let deadline = cx.now.after_ms(LINGER_MS.min(self.policy.close_ms));
        self.count_partial(cx, socket);
        self.schedule(cx, socket, deadline);
    }

    /// Closes the socket when its queue is empty.
    pub(crate) fn leave(&mut self, cx: &mut Context, socket: Socket, reason: CloseReason) {
        let deadline = cx.now.after_ms(self.policy.close_ms);
        self.send_close_notify(socket);
        self.flush(cx, socket, reason);
        self.sockets.close(socket, CloseWhen::Flushed);
        self.schedule(cx, socket, deadline);
    }

    /// Closes the socket at once, even if bytes are queued.
    pub(crate) fn abort(&mut self, cx: &mut Context, socket: Socket, reason: CloseReason) {
        self.flush(cx, socket, reason);
        self.sockets.close(socket, CloseWhen::Now);
    }

    fn flush(&mut self, cx: &mut Context, socket: Socket, reason: CloseReason) {
        self.tell_end(cx, socket, reason);
        if let Some(conn) = self.table.get_mut(socket) {
            conn.flush(reason);
        }
        self.count_partial(cx, socket);
    }

    /// Removes the connection. Its socket is gone, and its session has left.
    pub(crate) fn forget(&mut self, cx: &mut Context, socket: Socket) {
        self.release_slot(socket);
        if let Some(conn) = self.table.remove(socket) {
            self.forget_partial(cx, socket, &conn);
            if conn.deflate != Deflate::Off {
                let bytes = self.deflating.closed(socket);
                cx.ledger.release(Budget::Sessions, bytes);
            }
            let reason = conn.state.close_reason().unwrap_or(CloseReason::Broken);
            cx.on_closed(socket, reason);
            cx.counters.add(Metric::Closed(reason), 1);
        }
    }
}
