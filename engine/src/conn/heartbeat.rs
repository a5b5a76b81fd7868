//! Heartbeat: liveness of connections, and their deadlines.
//!
//! In:  expired deadlines; pongs.
//! Out: pings, and the end of connections that do not answer.
//!
//! Each connection has one entry in the wheel. A deadline that moves later is only recorded; when the old entry fires, it
//! is scheduled again for the new time.
//!
//! A connection is never ended for silence that our own lateness caused:
//!
//! ```text
//! deadline, on the clock that pauses while the shard does not read
//!   └─> a check: the kernel reads the socket once more ── input ──> handle it; the deadline may have moved
//!                    └── nothing is unread ──> the end
//! ```
//!
//! Pings follow the uptime clock, which never pauses: after a stall they are due at once. Each turn handles as much of the
//! due work as keeps the turn short; the rest follows in the next turn, the most overdue first.

use holdfast_protocol::{client::DisconnectCode, websocket::CloseCode};
use holdfast_ring::{Kernel, Socket};
use rand::Rng;

use super::{Session, State, pace::PingStretch, state::Heartbeat};
use crate::{
    conn::{Above, Connections, pace::Beat},
    context::{Context, cost},
    encoding::Encoding,
    metrics::{CloseReason, Metric},
    time::{Fired, Tick},
};

/// When the check is repeated if it had no result or could not be started (200 ms).
const LOOK_AGAIN_TICKS: u32 = 4;

/// When to ask again whether all shards have read their input (200 ms).
const READ_AGAIN_TICKS: u32 = 4;

/// How long a client may wait for the answer to its connect, beyond the time it had to send it: longer than any backend
/// timeout (`config/proxy.rs`).
const CONNECTING_MS_MAX: u64 = 6 * 60 * 1000;

impl<K: Kernel> Connections<K> {
    /// The first ping comes at a random time between half the interval and the whole, so that connections accepted together
    /// are not pinged together. `told` is the interval announced to the client.
    pub(crate) fn begin_heartbeat(&mut self, cx: &mut Context, socket: Socket, stretch: PingStretch) {
        let interval_ms = self.pace.interval_ms(self.policy.ping_interval_ms, stretch);
        let first_ms = cx.random.random_range(interval_ms / 2..=interval_ms);
        if let Some(heartbeat) = self.table.get_mut(socket).and_then(|conn| conn.state.heartbeat()) {
            heartbeat.stretch = stretch;
        }
        self.rest(socket, cx.uptime.after_ms(first_ms));
    }

    pub(crate) fn pong(&mut self, cx: &mut Context, socket: Socket) {
        cx.counters.add(Metric::Pongs, 1);
        if let Some(heartbeat) = self.table.get_mut(socket).and_then(|conn| conn.state.heartbeat())
            && heartbeat.beat == Beat::Awaits
        {
            let interval_ms = self.pace.interval_ms(self.policy.ping_interval_ms, heartbeat.stretch);
            let due = heartbeat.pinged.after_ms(interval_ms);
            self.rest(socket, due);
        }
    }

    /// Nothing is pending from a connection until its next ping.
    fn rest(&mut self, socket: Socket, ping_at: Tick) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        let Some(heartbeat) = conn.state.heartbeat() else { return };
        heartbeat.beat = Beat::Rests;
        conn.deadline = ping_at;
        self.watch(socket, ping_at);
    }

    /// Sets the deadline for a connection's answer, on the clock that pauses while the shard does not read.
    pub(crate) fn schedule(&mut self, cx: &mut Context, socket: Socket, deadline: Tick) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        conn.deadline = deadline;
        self.watch(socket, cx.lateness.uptime_at(deadline));
    }

    /// Schedules a check of a connection in the wheel.
    fn watch(&mut self, socket: Socket, at: Tick) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        self.wheel.arm(&mut conn.wheel_entry, socket, at);
    }
}

impl<K: Kernel> Connections<K> {
    /// The wheel entry of this connection has fired. Returns the cost of handling it.
    pub(crate) fn due<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) -> u64 {
        let Some(conn) = self.table.get_mut(socket) else { return cost::DUE_NS };
        let beat = conn.state.beat();
        let deadline_at = match beat {
            Beat::Rests => conn.deadline,
            Beat::Off | Beat::Awaits => cx.lateness.uptime_at(conn.deadline),
        };
        if self.wheel.fired(&mut conn.wheel_entry, socket, deadline_at, cx.uptime) == Fired::NotYet {
            return cost::DUE_NS;
        }
        match conn.state {
            State::Open { .. } | State::Streaming { .. } if beat == Beat::Rests => {
                self.pace.was_late(cx.uptime.since(deadline_at));
                self.ping_session(cx, above, socket);
                return cost::PING_NS;
            }
            State::Head { .. } | State::Body(_) | State::Open { .. } => {
                self.look_before_the_end(cx, above, socket);
            }
            State::Streaming { .. } => self.await_all_reads(cx, above, socket, deadline_at),
            State::Answering(_) => self.request_timed_out(cx, above, socket),
            State::Lingering { .. } => self.end_flushed(cx, above, socket, CloseReason::Broken),
            State::Closing { .. } | State::Flushing { .. } => {
                self.end_now(cx, above, socket, CloseReason::Broken);
            }
        }
        cost::OVERDUE_NS
    }

    /// Has the kernel read a connection once more; [`Connections::looked`] gets the result.
    fn look_before_the_end<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) {
        if self.sockets.is_unwritten(socket) {
            // Its answer is still pending on our side.
            cx.counters.add(Metric::TimeoutsDeferred, 1);
            let deadline = cx.now.after_ms(self.policy.pong_ms);
            return self.schedule(cx, socket, deadline);
        }
        if above.has_deferred(socket) {
            return self.look_later(cx, socket);
        }
        let is_looked_at = self.sockets.look(socket);
        let is_unread = !is_looked_at && self.sockets.is_paused(socket);
        let Some(conn) = self.table.get_mut(socket) else { return };
        if is_looked_at || (is_unread && !conn.is_paused) {
            // A connection paused because of backpressure is checked when its receive resumes.
            self.look_later(cx, socket);
        } else {
            self.overdue(cx, above, socket);
        }
    }

    fn look_later(&mut self, cx: &mut Context, socket: Socket) {
        if let Some(conn) = self.table.get_mut(socket) {
            self.wheel.renew(&mut conn.wheel_entry, socket, cx.uptime.after(LOOK_AGAIN_TICKS));
        }
    }

    /// The client of a stream sends commands and pongs over other connections, to any shard.
    fn await_all_reads<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        deadline_at: Tick,
    ) {
        if above.has_all_read_up_to(self, cx, deadline_at) {
            self.overdue(cx, above, socket);
        } else if let Some(conn) = self.table.get_mut(socket) {
            self.wheel.renew(&mut conn.wheel_entry, socket, cx.uptime.after(READ_AGAIN_TICKS));
        }
    }

    /// A connection has no unread input. Earlier input has been handled, and its deadline may have moved; or input waits
    /// for its part of a turn, and the connection is checked again after that.
    pub(crate) fn looked<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) {
        let waits_for_its_part = above.has_deferred(socket);
        let Some(conn) = self.table.get_mut(socket) else { return };
        if waits_for_its_part {
            return;
        }
        let waits = match &conn.state {
            State::Head { .. } | State::Body(_) => true,
            State::Open { heartbeat, .. } => heartbeat.beat != Beat::Rests,
            _ => false,
        };
        if waits && conn.deadline <= cx.now {
            self.overdue(cx, above, socket);
        } else {
            cx.counters.add(Metric::TimeoutsDeferred, 1);
        }
    }

    /// The deadline has passed without the expected input.
    fn overdue<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        match conn.state {
            State::Head { .. } | State::Body(_) => self.request_timed_out(cx, above, socket),
            State::Open { session, heartbeat, .. } | State::Streaming { session, heartbeat } => {
                self.session_overdue(cx, above, socket, session, heartbeat.beat);
            }
            State::Answering(_)
            | State::Closing { .. }
            | State::Lingering { .. }
            | State::Flushing { .. } => {}
        }
    }

    /// A session has not connected, or its pong has not come.
    fn session_overdue<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        session: Session,
        beat: Beat,
    ) {
        if beat == Beat::Off {
            return self.not_connected(cx, above, socket, session);
        }
        if self.made_progress(socket) {
            let deadline = cx.now.after_ms(self.policy.pong_ms);
            return self.schedule(cx, socket, deadline);
        }
        match session {
            Session::Client { key } => above.end_client(self, cx, key, DisconnectCode::NO_PONG),
            Session::Echo | Session::Broadcast { .. } => self.end_by_close(
                cx,
                above,
                socket,
                CloseCode::Policy,
                "no pong in time",
                CloseReason::NoPong,
            ),
        }
        self.end_flushed(cx, above, socket, CloseReason::NoPong);
    }

    /// True exactly when there was no pong but another sign of life since the last check: a part of a long message, which
    /// the pong has to follow; or, for a connection paused because it does not read, progress in its send queue.
    fn made_progress(&mut self, socket: Socket) -> bool {
        let queued_bytes = u32::try_from(self.sockets.queued_bytes(socket)).unwrap_or(u32::MAX);
        let Some(conn) = self.table.get_mut(socket) else { return false };
        let is_within_message = matches!(&conn.state, State::Open { decoder, .. } if !decoder.is_idle());
        let Some(heartbeat) = conn.state.heartbeat() else { return false };
        let was_heard = std::mem::take(&mut heartbeat.heard_since_ping) && is_within_message;
        let has_read = queued_bytes < std::mem::replace(&mut heartbeat.queued_bytes_before, queued_bytes);
        was_heard || (conn.is_paused && has_read)
    }

    /// Closes a client that has not sent its connect. A client that has waits for us: for its backend, for keys, or for
    /// another shard; each of these has its own timeout.
    fn not_connected<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        session: Session,
    ) {
        let Session::Client { key } = session else { return };
        let Some(heartbeat) = self.table.get_mut(socket).and_then(|conn| conn.state.heartbeat()) else {
            return;
        };
        // Not pinged yet.
        if above.is_connecting(key) && heartbeat.pinged == Tick(0) {
            heartbeat.pinged = cx.uptime.after(1);
            let deadline = cx.now.after_ms(CONNECTING_MS_MAX);
            return self.schedule(cx, socket, deadline);
        }
        above.end_client(self, cx, key, DisconnectCode::STALE);
    }

    fn ping_session<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        let Some(Session::Client { key }) = conn.state.session() else { return self.ping(cx, socket, None) };
        if let Some(wire) = above.ping_of(self, cx, key) {
            self.ping(cx, socket, wire);
        }
    }

    fn ping(&mut self, cx: &mut Context, socket: Socket, wire: Option<Encoding>) {
        cx.counters.add(Metric::Pings, 1);
        let frame = self.pings.frame(wire);
        self.transmit(socket, frame);
        if let Some(heartbeat) = self.table.get_mut(socket).and_then(|conn| conn.state.heartbeat()) {
            *heartbeat = Heartbeat {
                beat: Beat::Awaits,
                pinged: cx.uptime,
                heard_since_ping: false,
                queued_bytes_before: u32::MAX,
                ..*heartbeat
            };
        }
        let deadline = cx.now.after_ms(self.policy.pong_ms);
        self.schedule(cx, socket, deadline);
    }
}
