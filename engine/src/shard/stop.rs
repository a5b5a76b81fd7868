//! Stop: the graceful stop of a shard.
//!
//! In:  the stop order: how long telling the clients and waiting for their close may take, and whether another daemon
//! listens on our port.
//! Out: close frames to all, with code 1001 (RFC 6455 §7.4.1), or 3001 to clients of the Centrifuge protocol; then an empty
//! shard.
//!
//! ```text
//! order ─> listening goes over (`handover`); polls are told, then connections, some in every tick
//!       ─> all have been told ─> all have gone, or the deadline has passed and the rest is cut
//!       ─> all shards are empty
//! ```
//!
//! An empty shard stays until all are empty: it owns channels, and has sessions, of other shards' clients.
//!
//! How many clients are told in a tick follows from the clients and the time that are left, times a random factor: the pace
//! corrects itself, and clients do not reconnect elsewhere in step.

use std::time::Duration;

use holdfast_protocol::{client::DisconnectCode, websocket::CloseCode};
use holdfast_ring::{Cursor, Kernel, Socket};

use super::{Shard, drain::Drain};
use crate::{conn::Session, mesh::StopOrder, metrics::CloseReason};

/// Connections closed in one turn, so that others are still served.
const NOTICES_A_TURN: usize = 512;

/// Connections examined in one turn, closed or not.
const VISITS_A_TURN: usize = 8192;

/// How long a newly accepted connection may take to send its request.
const REQUEST_MS: u64 = 1_000;

impl<K: Kernel> Shard<K> {
    pub(super) fn begin_stop(&mut self, order: StopOrder) {
        let after =
            |time: Duration| self.cx.uptime.after_ms(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let (notify_by, deadline) = (after(order.notify_within), after(order.close_within));
        if let Some(drain) = &mut self.draining {
            drain.notify_by = drain.notify_by.min(notify_by);
            drain.deadline = drain.deadline.min(deadline);
            drain.handover.hurry();
            return;
        }
        self.cx.is_stopping = true;
        let handover = self.begin_handover(&order);
        self.draining = Some(Drain {
            notify_by,
            deadline,
            handover,
            requests_until: self.cx.uptime.after_ms(REQUEST_MS),
            requests_from: None,
            paced: self.cx.uptime,
            due: 0,
            polls_below: if self.sessions.registry.polls() > 0 { self.sessions.registry.places() } else { 0 },
            polls_left: self.sessions.registry.polls(),
            from: Cursor::default(),
            is_aborting: false,
            has_aborted: false,
            is_empty: false,
        });
    }

    /// True exactly when the stop has more to do without waiting.
    pub(super) fn is_stop_under_way(&self) -> bool {
        self.draining
            .as_ref()
            .is_some_and(|drain| drain.due > 0 || drain.is_aborting || drain.requests_from.is_some())
    }

    /// True exactly when this shard and all others are empty; or when the deadline has passed, because a shard with a
    /// broken ring cannot report.
    pub(super) fn has_stopped(&mut self) -> bool {
        // A closed socket counts until its event has been handled.
        let is_left = self.conns.sockets.open_sockets() > 0
            || self.conns.sockets.is_listening()
            || !self.events.is_empty();
        let Some(drain) = self.draining.as_mut().filter(|drain| !is_left && drain.polls_below == 0) else {
            return false;
        };
        if !std::mem::replace(&mut drain.is_empty, true) {
            self.mesh.peers.shard_emptied();
        }
        !self.mesh.peers.is_anyone_left() || self.cx.uptime >= drain.deadline
    }

    /// Clients that are still to be told; 0 unless the shard is draining.
    pub(super) fn clients_left(&self) -> u64 {
        self.draining.as_ref().map_or(0, |drain| self.conns.open + drain.polls_left as u64)
    }

    pub(super) fn advance_stop(&mut self) {
        let left = usize::try_from(self.clients_left()).unwrap_or(usize::MAX);
        let Some(mut drain) = self.draining.take() else { return };
        if self.cx.uptime >= drain.deadline && !drain.has_aborted {
            drain.has_aborted = true;
            drain.is_aborting = true;
            drain.from = Cursor::default();
        }
        self.advance_handover(&mut drain.handover, drain.has_aborted);
        if drain.is_aborting {
            self.abort_remaining(&mut drain);
        } else {
            drain.pace(self.cx.uptime, left, &mut self.cx.random);
            self.notify(&mut drain);
            self.close_requests(&mut drain);
        }
        self.draining = Some(drain);
    }

    /// Tells as many clients as are due.
    fn notify(&mut self, drain: &mut Drain) {
        let notices = drain.due.min(NOTICES_A_TURN);
        drain.due -= notices;
        let mut notices = self.notify_polls(drain, notices);
        for _ in 0..VISITS_A_TURN {
            if notices == 0 {
                return;
            }
            let Some((socket, next)) = self.conns.table.next_from(drain.from) else {
                // Some connections were accepted behind the walk.
                drain.from = Cursor::default();
                break;
            };
            drain.from = next;
            notices -= usize::from(self.notify_connection(socket));
        }
        drain.due += notices;
    }

    /// Tells sessions of polls. Returns how many of `notices` are left for connections.
    fn notify_polls(&mut self, drain: &mut Drain, mut notices: usize) -> usize {
        for _ in 0..VISITS_A_TURN {
            if notices == 0 || drain.polls_below == 0 {
                break;
            }
            drain.polls_below -= 1;
            let Some(place) = self.sessions.registry.poll_at(drain.polls_below) else { continue };
            notices -= 1;
            drain.polls_left = drain.polls_left.saturating_sub(1);
            if let Some(key) = self.sessions.registry.client(place) {
                self.with_sessions(|sessions| sessions.disconnect(key, DisconnectCode::SHUTDOWN));
            }
        }
        if drain.polls_left == 0 || drain.polls_below == 0 {
            (drain.polls_left, drain.polls_below) = (0, 0);
            notices
        } else {
            // All of them precede the first connection.
            drain.due += notices;
            0
        }
    }

    /// True exactly when there was a client to tell.
    fn notify_connection(&mut self, socket: Socket) -> bool {
        match self.conns.table.get_mut(socket).and_then(|conn| conn.state.session()) {
            None => return false,
            Some(Session::Client { key }) => {
                self.with_sessions(|sessions| sessions.disconnect(key, DisconnectCode::SHUTDOWN));
            }
            Some(Session::Echo | Session::Broadcast { .. }) => {
                self.with_connections(|conns, cx, above| {
                    conns.end_by_close(
                        cx,
                        above,
                        socket,
                        CloseCode::Away,
                        "the server stops",
                        CloseReason::Shutdown,
                    );
                });
            }
        }
        true
    }

    /// Closes the connections without a request, or without a further one: repeatedly, because answers still complete.
    fn close_requests(&mut self, drain: &mut Drain) {
        if drain.handover.is_draining() {
            drain.requests_until = self.cx.uptime.after_ms(REQUEST_MS);
        }
        if self.cx.uptime >= drain.requests_until {
            drain.requests_until = self.cx.uptime.after_ms(REQUEST_MS);
            drain.requests_from.get_or_insert_default();
        }
        for _ in 0..VISITS_A_TURN {
            let Some(from) = drain.requests_from else { return };
            let Some((socket, next)) = self.conns.table.next_from(from) else {
                drain.requests_from = None;
                return;
            };
            drain.requests_from = Some(next);
            if self.conns.table.get_mut(socket).is_some_and(|conn| conn.state.awaits_request()) {
                self.with_connections(|conns, cx, above| {
                    conns.end_now(cx, above, socket, CloseReason::Shutdown);
                });
            }
        }
    }

    /// The deadline has passed.
    fn abort_remaining(&mut self, drain: &mut Drain) {
        drain.due = 0;
        for _ in 0..self.notify_polls(drain, NOTICES_A_TURN) {
            let Some((socket, next)) = self.conns.table.next_from(drain.from) else {
                drain.is_aborting = false;
                return;
            };
            drain.from = next;
            self.with_connections(|conns, cx, above| conns.end_now(cx, above, socket, CloseReason::Shutdown));
        }
    }
}
