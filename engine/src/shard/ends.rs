//! Ends: what a connection's end, or its slowness, is for the session on it.
//!
//! In:  connections that end, by their peer or by us.
//! Out: their sessions leave first, then they part (`conn/write`).

use bytes::Bytes;
use holdfast_protocol::{client::DisconnectCode, websocket::CloseCode};
use holdfast_ring::{Kernel, Socket};

use super::Shard;
use crate::{
    conn::{Phase, Session, lag::Cause, write::TooSlow},
    metrics::CloseReason,
};

impl<K: Kernel> Shard<K> {
    /// Queues all that was written since the last call, for one connection.
    pub(crate) fn write_out(&mut self, socket: Socket) {
        if let Some(bytes) = self.conns.take_out() {
            self.send(socket, bytes);
        }
    }

    /// Queues bytes for one connection, and holds it to its limits.
    pub(crate) fn send(&mut self, socket: Socket, bytes: Bytes) {
        if let Some(slow) = self.conns.send_for(&mut self.cx, socket, bytes, Cause::Push) {
            self.end_slow(socket, slow);
        }
    }

    /// Ends a session for which more waits than may.
    pub(crate) fn end_slow(&mut self, socket: Socket, TooSlow(session): TooSlow) {
        match session {
            Session::Client { key } => {
                self.with_sessions(|sessions| sessions.disconnect(key, DisconnectCode::SLOW))
            }
            _ => self.drop_now(socket, CloseReason::Slow),
        }
    }

    /// A long queue has gone out.
    pub(crate) fn drained(&mut self, socket: Socket) {
        self.conns.lags.forget(socket);
        self.with_sessions(|sessions| sessions.feed(socket));
        let Some(conn) = self.conns.table.get(socket) else { return };
        let session = conn.session;
        if std::mem::take(&mut conn.is_paused) {
            self.wake_backlog(socket);
            self.with_sessions(|sessions| sessions.read_again(socket));
        }
        match session {
            Session::Client { key } => self.with_sessions(|sessions| sessions.go_on(key)),
            Session::None => self.act_on_held_request(socket),
            Session::Echo | Session::Broadcast { .. } => {}
        }
    }

    /// Begins the close handshake.
    pub(crate) fn close(&mut self, socket: Socket, code: CloseCode, text: &str, reason: CloseReason) {
        if self.conns.table.get(socket).is_some_and(|conn| conn.phase == Phase::Open) {
            self.part(socket, reason);
            self.conns.close(&mut self.cx, socket, code, text, reason);
        }
    }

    /// Waits for the peer to end the stream, but not for long.
    pub(crate) fn linger(&mut self, socket: Socket, reason: CloseReason) {
        self.part(socket, reason);
        self.conns.linger(&mut self.cx, socket, reason);
    }

    /// Closes when the queue is empty.
    pub(crate) fn leave(&mut self, socket: Socket, reason: CloseReason) {
        self.part(socket, reason);
        self.conns.leave(&mut self.cx, socket, reason);
    }

    /// Closes at once, whatever is queued.
    pub(crate) fn drop_now(&mut self, socket: Socket, reason: CloseReason) {
        self.part(socket, reason);
        self.conns.drop_now(&mut self.cx, socket, reason);
    }

    /// The socket is gone.
    pub(crate) fn closed(&mut self, socket: Socket) {
        self.leave_session(socket);
        self.conns.forget(&mut self.cx, socket);
    }

    /// The session on a connection leaves, and it is told why, while it is known who that is.
    fn part(&mut self, socket: Socket, reason: CloseReason) {
        let Some(conn) = self.conns.table.get(socket) else { return };
        if let Session::Client { key } = conn.session {
            if conn.close_reason.is_none() {
                self.with_sessions(|sessions| sessions.tell_client_end(key, reason));
            }
        } else {
            self.conns.tell_end(&mut self.cx, socket, reason);
        }
        if let Some(conn) = self.conns.table.get(socket) {
            conn.close_reason.get_or_insert(reason);
        }
        self.leave_session(socket);
    }

    /// Takes the session off a connection.
    pub(crate) fn leave_session(&mut self, socket: Socket) {
        let session = self.conns.detach(socket);
        if session != Session::None {
            self.hub.slow.forget(socket);
        }
        match session {
            Session::Broadcast { place } => {
                if let Some(moved) = self.hub.broadcast.leave(place)
                    && let Some(conn) = self.conns.table.get(moved)
                {
                    conn.session = Session::Broadcast { place };
                }
            }
            Session::Client { key } => self.with_sessions(|sessions| sessions.forget_client(key)),
            Session::None | Session::Echo => {}
        }
    }
}
