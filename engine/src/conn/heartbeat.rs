//! Heartbeat: who is still there, and what is overdue.
//!
//! In:  deadlines that have come; pongs.
//! Out: pings, and the end of those who do not answer.
//!
//! One entry in the wheel a connection: a deadline that moves away is only written down, and the wheel's look at the
//! old time puts it in again.

use bytes::{Bytes, BytesMut};
use holdfast_protocol::{
    client::DisconnectCode,
    websocket::{CloseCode, encoder},
};
use holdfast_ring::{Kernel, Socket};
use rand::Rng;

use super::{Phase, Session};
use crate::{
    clock::{TICK_MS, Tick},
    metrics::{CloseReason, Metric},
    session::{client::Stage, wire::Wire},
    shard::Shard,
};

/// The pings of each kind of session, encoded once.
#[derive(Debug)]
pub(crate) struct Pings {
    /// A control frame of WebSocket.
    native: Bytes,
    /// The client protocol's own, in the bytes of each transport.
    by_wire: [Bytes; Wire::ALL.len()],
}

impl Pings {
    pub(crate) fn new() -> Self {
        let mut native = BytesMut::new();
        encoder::encode_ping(&mut native, None, b"");
        let by_wire = Wire::ALL.map(|wire| wire.encoded(wire.format().empty_message()));
        Self { native: native.freeze(), by_wire }
    }

    fn frame(&self, wire: Option<Wire>) -> Bytes {
        wire.map_or(&self.native, |wire| &self.by_wire[wire.index()]).clone()
    }
}

impl<K: Kernel> Shard<K> {
    /// The first ping comes at a random time between half the interval and the whole, so that connections that came
    /// together are not pinged together.
    pub(crate) fn begin_heartbeat(&mut self, socket: Socket) {
        let interval_ms = self.settings.ping_interval_ms;
        let first_ms = self.random.random_range(interval_ms / 2..=interval_ms);
        self.schedule(socket, self.now.after_ms(first_ms));
    }

    pub(crate) fn pong(&mut self, socket: Socket) {
        self.counters.add(Metric::Pongs, 1);
        let Some(conn) = self.conns.get(socket) else { return };
        if conn.phase.is_open()
            && let Some(pinged) = conn.pinged.take()
        {
            let due = pinged.after_ms(self.settings.ping_interval_ms);
            self.schedule(socket, due);
        }
    }

    /// Sets a connection's deadline.
    pub(crate) fn schedule(&mut self, socket: Socket, deadline: Tick) {
        let Some(conn) = self.conns.get(socket) else { return };
        conn.deadline = deadline;
        // An entry that comes earlier is there already, unless it is the one being looked at.
        let has_earlier_entry = self.now < conn.looked_at && conn.looked_at <= deadline;
        if !has_earlier_entry {
            conn.looked_at = self.wheel.insert(socket, deadline);
        }
    }

    /// The wheel's time for this connection has come.
    pub(crate) fn due(&mut self, socket: Socket) {
        let now = self.now;
        let Some(conn) = self.conns.get(socket) else { return };
        if now < conn.looked_at {
            // A later entry, made when the deadline moved closer, has taken this one's place.
            return;
        }
        if now < conn.deadline {
            conn.looked_at = self.wheel.insert(socket, conn.deadline);
            return;
        }
        let (phase, pinged, session) = (conn.phase, conn.pinged, conn.session);
        // What it has sent may be what is awaited: it is read first.
        if self.has_backlog(socket) && !matches!(phase, Phase::Lingering | Phase::Closing | Phase::Leaving) {
            return self.schedule(socket, now.after_ms(TICK_MS));
        }
        match phase {
            Phase::Head | Phase::Body | Phase::Answering => self.request_timed_out(socket),
            Phase::Open | Phase::Streaming => match pinged {
                None => self.ping_session(socket),
                Some(_) if self.shows_life(socket) => {
                    self.schedule(socket, now.after_ms(self.settings.pong_ms));
                }
                Some(_) => {
                    match session {
                        Session::Client { key } => self.disconnect(key, DisconnectCode::NO_PONG),
                        _ => self.close(socket, CloseCode::Policy, "no pong in time", CloseReason::NoPong),
                    }
                    self.leave(socket, CloseReason::NoPong);
                }
            },
            Phase::Lingering => self.leave(socket, CloseReason::Broken),
            Phase::Closing | Phase::Leaving => self.drop_now(socket, CloseReason::Broken),
        }
    }

    /// True exactly when there is no pong, but another sign of life since the last look: a part of a long message, whose
    /// end the pong has to wait for; or, of one whose bytes we do not read because it does not read ours, room for some
    /// of ours.
    fn shows_life(&mut self, socket: Socket) -> bool {
        let queued_bytes = u32::try_from(self.sockets.queued_bytes(socket)).unwrap_or(u32::MAX);
        let Some(conn) = self.conns.get(socket) else { return false };
        let was_heard = std::mem::take(&mut conn.heard_since_ping) && !conn.decoder.is_idle();
        let has_read = queued_bytes < std::mem::replace(&mut conn.queued_bytes_before, queued_bytes);
        was_heard || (conn.is_paused && has_read)
    }

    /// A client that is not connected in time is sent away; one that is, is pinged.
    fn ping_session(&mut self, socket: Socket) {
        let Some(conn) = self.conns.get(socket) else { return };
        let Session::Client { key } = conn.session else { return self.ping(socket, None) };
        let Some(client) = self.clients.get(key) else { return };
        let own_pings = client.link.is_pinged().then(|| client.link.connection(client.format));
        let wire = own_pings.flatten().map(|(wire, _)| wire);
        if client.stage != Stage::Connected {
            self.disconnect(key, DisconnectCode::STALE);
        } else if self.check_expiry(key) {
            self.ping(socket, wire);
        }
    }

    fn ping(&mut self, socket: Socket, wire: Option<Wire>) {
        self.counters.add(Metric::Pings, 1);
        let frame = self.pings.frame(wire);
        self.transmit(socket, frame);
        if let Some(conn) = self.conns.get(socket) {
            conn.pinged = Some(self.now);
            conn.heard_since_ping = false;
            conn.queued_bytes_before = u32::MAX;
        }
        self.schedule(socket, self.now.after_ms(self.settings.pong_ms));
    }
}
