//! Heartbeat: who is still there, and what is overdue.
//!
//! In:  deadlines that have come; pongs.
//! Out: pings, and the end of those who do not answer.
//!
//! One entry in the wheel a connection: a deadline that moves away is only written down, and the wheel's look at the
//! old time puts it in again.

use bytes::BytesMut;
use holdfast_protocol::websocket::{CloseCode, encoder};
use holdfast_ring::{Kernel, Socket};
use rand::Rng;

use super::Phase;
use crate::{
    clock::Tick,
    metrics::{CloseReason, Metric},
    shard::Shard,
};

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
        if conn.phase == Phase::Open
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
        match conn.phase {
            Phase::Head => self.head_timed_out(socket),
            Phase::Open => match conn.pinged {
                None => self.ping(socket),
                // The pong of one who is in the middle of a long message cannot come before that message's end.
                Some(_) if conn.heard_since_ping && !conn.decoder.is_idle() => {
                    conn.heard_since_ping = false;
                    self.schedule(socket, now.after_ms(self.settings.pong_ms));
                }
                Some(_) => {
                    self.close(socket, CloseCode::Policy, "no pong in time", CloseReason::NoPong);
                    self.leave(socket, CloseReason::NoPong);
                }
            },
            Phase::Closing | Phase::Lingering | Phase::Leaving => self.drop_now(socket, CloseReason::Broken),
        }
    }

    fn ping(&mut self, socket: Socket) {
        self.counters.add(Metric::Pings, 1);
        if self.ping_frame.is_empty() {
            let mut frame = BytesMut::new();
            encoder::encode_ping(&mut frame, None, b"");
            self.ping_frame = frame.freeze();
        }
        self.sockets.send(socket, self.ping_frame.clone());
        if let Some(conn) = self.conns.get(socket) {
            conn.pinged = Some(self.now);
            conn.heard_since_ping = false;
        }
        self.schedule(socket, self.now.after_ms(self.settings.pong_ms));
    }
}
