//! Write: what a connection is sent, and the ways in which it ends.
//!
//! In:  answers and messages, encoded one after the other into the shard's outgoing bytes.
//! Out: one piece on the socket's queue for all that one piece of input led to.
//!
//! A slow reader costs at most what its lag allows; then it is closed, and no one else waits for it.

use bytes::{Bytes, BytesMut};
use holdfast_protocol::{
    client::DisconnectCode,
    websocket::{CloseCode, Message, encoder},
};
use holdfast_ring::{CloseWhen, Kernel, Socket};

use super::{
    Phase, Session,
    deflate::Deflate,
    heartbeat::Beat,
    lag::{Cause, QueueLimits},
};
use crate::{
    conn::{OUT_BYTES, OUT_BYTES_LEFT_MIN},
    context::cost,
    memory::Budget,
    metrics::{CloseReason, Metric},
    shard::Shard,
};

/// How long what we said last may take to arrive before the connection is closed.
const LINGER_MS: u64 = 1_000;

/// Much waits for a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LongQueue {
    pub(crate) socket: Socket,
    /// Bytes that waited before the newest message.
    pub(crate) before: usize,
    /// That message.
    pub(crate) len: usize,
    pub(crate) cause: Cause,
}

impl<K: Kernel> Shard<K> {
    pub(crate) fn write_message(&mut self, socket: Socket, deflate: Deflate, message: &Message<'_>) {
        self.cx.counters.add(Metric::MessagesOut, 1);
        if deflate != Deflate::Off {
            self.cx.meter.add_bytes(message.payload.len(), cost::DEFLATE_KILOBYTE_NS);
        }
        self.conns.deflating.append(socket, deflate, message.kind, &message.payload, &mut self.conns.out);
    }

    pub(crate) fn write_pong(&mut self, payload: &[u8]) {
        encoder::encode_pong(&mut self.conns.out, None, payload);
    }

    pub(crate) fn write_close(&mut self, close: Option<(CloseCode, &str)>) {
        encoder::encode_close(&mut self.conns.out, None, close);
    }

    /// Queues all that was written since the last call, for one connection.
    pub(crate) fn write_out(&mut self, socket: Socket) {
        if self.conns.out.is_empty() {
            return;
        }
        let bytes = self.conns.out.split().freeze();
        if self.conns.out.capacity() < OUT_BYTES_LEFT_MIN {
            self.conns.out = BytesMut::with_capacity(OUT_BYTES);
        }
        self.send(socket, bytes);
    }

    /// Queues what others have sent for one connection, and holds it to its limits.
    pub(crate) fn send(&mut self, socket: Socket, bytes: Bytes) {
        self.send_for(socket, bytes, Cause::Push);
    }

    /// Queues bytes for one connection, and holds it to its limits.
    pub(crate) fn send_for(&mut self, socket: Socket, bytes: Bytes, cause: Cause) {
        let len = bytes.len();
        let queued_bytes = self.transmit(socket, bytes);
        let is_long = queued_bytes > self.cx.settings.paused_queue_bytes
            || (queued_bytes > len && self.has_too_many_pieces(socket));
        if is_long {
            let long = LongQueue { socket, before: queued_bytes.saturating_sub(len), len, cause };
            // While a channel's subscribers are walked, none of them may go.
            if self.conns.is_fanning_out {
                self.conns.long_queues.push(long);
            } else {
                self.long_queue(long);
            }
        }
    }

    fn has_too_many_pieces(&mut self, socket: Socket) -> bool {
        self.conns.sockets.queued_messages(socket) > self.cx.settings.queue_pieces_max
    }

    /// What a queue may hold, in bytes.
    pub(crate) fn queue_limits(&self) -> QueueLimits {
        QueueLimits {
            bytes_max: self.cx.settings.queue_bytes_max,
            uncounted_bytes: self.cx.settings.paused_queue_bytes,
        }
    }

    #[cold]
    pub(crate) fn long_queue(&mut self, long: LongQueue) {
        let LongQueue { socket, before, len, cause } = long;
        let Some(conn) = self.conns.table.get(socket) else { return };
        let (session, is_paused) = (conn.session, conn.is_paused);
        let limits = self.queue_limits();
        let mut is_too_long = || {
            !self.conns.lags.admit(socket, before, len, cause, limits)
                || (cause == Cause::Push && self.has_too_many_pieces(socket))
        };
        match session {
            Session::Broadcast { .. } => {
                if is_too_long() {
                    self.cx.counters.add(Metric::SlowByQueue, 1);
                    self.drop_now(socket, CloseReason::Slow);
                }
            }
            // Clients are sent to and answered: they are slowed down, and closed if that does not help.
            Session::Client { key } if is_too_long() => {
                self.cx.counters.add(Metric::SlowByQueue, 1);
                self.disconnect(key, DisconnectCode::SLOW);
            }
            // What is only answered is slowed down to the pace at which it reads.
            Session::Client { .. } | Session::Echo | Session::None => {
                if !is_paused {
                    self.pause_for_queue(socket);
                }
            }
        }
    }

    /// Reads no more of a connection until what waits for it has gone out.
    pub(crate) fn pause_for_queue(&mut self, socket: Socket) {
        if let Some(conn) = self.conns.table.get(socket) {
            conn.is_paused = true;
            self.conns.sockets.pause_receive(socket);
        }
    }

    /// A long queue has gone out.
    pub(crate) fn drained(&mut self, socket: Socket) {
        self.conns.lags.forget(socket);
        self.feed(socket);
        let Some(conn) = self.conns.table.get(socket) else { return };
        let session = conn.session;
        if std::mem::take(&mut conn.is_paused) {
            self.wake_backlog(socket);
            self.read_again(socket);
        }
        match session {
            Session::Client { key } => self.go_on(key),
            Session::None => self.act_on_held_request(socket),
            Session::Echo | Session::Broadcast { .. } => {}
        }
    }

    /// Begins the close handshake (RFC 6455 §7.1.2).
    pub(crate) fn close(&mut self, socket: Socket, code: CloseCode, text: &str, reason: CloseReason) {
        let Some(conn) = self.conns.table.get(socket) else { return };
        if conn.phase != Phase::Open {
            return;
        }
        // Of clients the code was told, which says more.
        if !matches!(conn.session, Session::Client { .. }) {
            self.tell_close(socket, reason);
        }
        let Some(conn) = self.conns.table.get(socket) else { return };
        conn.phase = Phase::Closing;
        conn.close_reason = Some(reason);
        conn.beat = Beat::Off;
        let deadline = self.cx.now.after_ms(self.cx.settings.close_ms);
        self.leave_session(socket);
        self.write_close(Some((code, text)));
        self.write_out(socket);
        self.schedule(socket, deadline);
    }

    /// Waits for the peer to end the stream, but not for long.
    pub(crate) fn linger(&mut self, socket: Socket, reason: CloseReason) {
        if self.conns.table.get(socket).is_some_and(|conn| conn.has_ended) {
            return self.leave(socket, reason);
        }
        let deadline = self.cx.now.after_ms(LINGER_MS.min(self.cx.settings.close_ms));
        self.say_tls_goodbye(socket);
        self.part(socket, Phase::Lingering, reason);
        self.schedule(socket, deadline);
    }

    /// Waits for the peer to end a stream after the words that it is over, but not for long. A client that found the end
    /// together with the words would take it for a broken network.
    pub(crate) fn await_end(&mut self, socket: Socket, reason: CloseReason) {
        let deadline = self.cx.now.after_ms(LINGER_MS.min(self.cx.settings.close_ms));
        self.part(socket, Phase::Lingering, reason);
        self.schedule(socket, deadline);
    }

    /// Closes when the queue is empty.
    pub(crate) fn leave(&mut self, socket: Socket, reason: CloseReason) {
        let deadline = self.cx.now.after_ms(self.cx.settings.close_ms);
        self.say_tls_goodbye(socket);
        self.part(socket, Phase::Leaving, reason);
        self.conns.sockets.close(socket, CloseWhen::Flushed);
        self.schedule(socket, deadline);
    }

    /// Closes at once, whatever is queued.
    pub(crate) fn drop_now(&mut self, socket: Socket, reason: CloseReason) {
        self.part(socket, Phase::Leaving, reason);
        self.conns.sockets.close(socket, CloseWhen::Now);
    }

    fn part(&mut self, socket: Socket, phase: Phase, reason: CloseReason) {
        if self.conns.table.get(socket).is_some_and(|conn| conn.close_reason.is_none()) {
            self.tell_close(socket, reason);
        }
        self.leave_session(socket);
        if let Some(conn) = self.conns.table.get(socket) {
            conn.phase = phase;
            conn.beat = Beat::Off;
            conn.close_reason.get_or_insert(reason);
            conn.coming = None;
            conn.decoder = Default::default();
        }
        self.count_partial(socket);
    }

    /// The socket is gone.
    pub(crate) fn closed(&mut self, socket: Socket) {
        self.leave_session(socket);
        self.give_up_place(socket);
        if let Some(conn) = self.conns.table.remove(socket) {
            self.forget_partial(socket, &conn);
            if conn.deflate != Deflate::Off {
                let bytes = self.conns.deflating.closed(socket);
                self.cx.ledger.release(Budget::Sessions, bytes);
            }
            let reason = conn.close_reason.unwrap_or(CloseReason::Broken);
            self.guest_left(socket, reason);
            self.cx.counters.add(Metric::Closed(reason), 1);
        }
    }

    /// Takes the session off a connection.
    pub(crate) fn leave_session(&mut self, socket: Socket) {
        let Some(conn) = self.conns.table.get(socket) else { return };
        let session = std::mem::replace(&mut conn.session, Session::None);
        if session == Session::None {
            return;
        }
        self.conns.open -= 1;
        self.hub.slow.forget(socket);
        self.conns.lags.forget(socket);
        match session {
            Session::Broadcast { place } => {
                if let Some(moved) = self.hub.broadcast.leave(place)
                    && let Some(conn) = self.conns.table.get(moved)
                {
                    conn.session = Session::Broadcast { place };
                }
            }
            Session::Client { key } => self.forget_client(key),
            Session::None | Session::Echo => {}
        }
    }
}
