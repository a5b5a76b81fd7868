//! Ends: what the end or the slowness of a connection means for its session.
//!
//! In:  connections that end, because of the peer or of us.
//! Out: their sessions leave first; then the connections close (`conn/write`).

use bytes::Bytes;
use holdfast_protocol::{client::DisconnectCode, websocket::CloseCode};
use holdfast_ring::{Kernel, Socket};

use super::{Above, Connections, Session, State, lag::Cause};
use crate::{conn::lag::TooSlow, context::Context, metrics::CloseReason};

impl<K: Kernel> Connections<K> {
    /// Queues everything written since the last call, for one connection.
    pub(crate) fn write_out<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) {
        if let Some(bytes) = self.take_out() {
            self.send(cx, above, socket, bytes);
        }
    }

    /// Queues bytes for one connection and enforces its limits.
    pub(crate) fn send<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: Bytes,
    ) {
        if let Some(slow) = self.send_for(cx, socket, bytes, Cause::Push) {
            self.end_slow(cx, above, socket, slow);
        }
    }

    /// Ends a session whose queue is over its limit.
    pub(crate) fn end_slow<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        TooSlow(session): TooSlow,
    ) {
        match session {
            Session::Client { key } => above.end_client(self, cx, key, DisconnectCode::SLOW),
            _ => self.end_now(cx, above, socket, CloseReason::Slow),
        }
    }

    /// A long queue has been flushed.
    pub(crate) fn drained<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) {
        self.lags.forget(socket);
        above.drained(self, cx, socket);
        let Some(conn) = self.table.get_mut(socket) else { return };
        let session = conn.state.session();
        if std::mem::take(&mut conn.is_paused) {
            above.read_again(self, cx, socket);
        }
        match session {
            Some(Session::Client { key }) => above.go_on(self, cx, key),
            None => self.act_on_held_request(cx, above, socket),
            Some(Session::Echo | Session::Broadcast { .. }) => {}
        }
    }

    /// Starts the close handshake.
    pub(crate) fn end_by_close<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        code: CloseCode,
        text: &str,
        reason: CloseReason,
    ) {
        if self.table.get_mut(socket).is_some_and(|conn| matches!(conn.state, State::Open { .. })) {
            self.end_session(cx, above, socket, reason);
            self.close(cx, socket, code, text);
        }
    }

    /// Waits briefly for the peer to end the stream.
    pub(crate) fn end_lingering<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        reason: CloseReason,
    ) {
        self.end_session(cx, above, socket, reason);
        self.linger(cx, socket, reason);
    }

    /// Closes the socket when its queue is empty.
    pub(crate) fn end_flushed<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        reason: CloseReason,
    ) {
        self.end_session(cx, above, socket, reason);
        self.leave(cx, socket, reason);
    }

    /// Closes the socket at once, even if bytes are queued.
    pub(crate) fn end_now<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        reason: CloseReason,
    ) {
        self.end_session(cx, above, socket, reason);
        self.abort(cx, socket, reason);
    }

    /// The socket is gone.
    pub(crate) fn closed<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) {
        self.leave_session(cx, above, socket, CloseReason::Broken);
        self.forget(cx, socket);
    }

    /// The session on a connection leaves. The reason is logged first, while its user is still known.
    fn end_session<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        reason: CloseReason,
    ) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        if let Some(Session::Client { key }) = conn.state.session() {
            above.tell_end(self, cx, key, reason);
        } else {
            self.tell_end(cx, socket, reason);
        }
        self.leave_session(cx, above, socket, reason);
    }

    /// Detaches the session from a connection.
    fn leave_session<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        reason: CloseReason,
    ) {
        if let Some(session) = self.detach(socket, reason) {
            above.left(self, cx, socket, session);
        }
    }
}
