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
use holdfast_ring::{Kernel, Socket};
use rand::Rng;

use super::{Shard, handover::Handover};
use crate::{
    conn::{Phase, Session},
    mesh::StopOrder,
    metrics::CloseReason,
    time::Tick,
};

/// Connections closed in one turn, so that others are still served.
const NOTICES_A_TURN: usize = 512;

/// Connections examined in one turn, closed or not.
const VISITS_A_TURN: usize = 8192;

/// How long a newly accepted connection may take to send its request.
const REQUEST_MS: u64 = 1_000;

/// A stop in progress.
#[derive(Debug)]
pub(crate) struct Drain {
    /// The deadline for telling all clients.
    notify_by: Tick,
    /// Connections still open then are cut.
    deadline: Tick,
    pub(super) handover: Handover,
    /// The deadline for requests that have not arrived.
    requests_until: Tick,
    /// Where the walk over these continues, if there is one.
    requests_from: Option<(usize, usize)>,
    /// The tick up to which the pace has been computed.
    paced: Tick,
    /// How many are due to be told now.
    due: usize,
    /// Sessions of polls at indexes below this have not been told; they come first, because they need new connections,
    /// which are no longer accepted.
    polls_below: usize,
    /// Their approximate number.
    polls_left: usize,
    /// Where the walk over the connections continues.
    from: (usize, usize),
    /// True exactly when the deadline has passed and the walk that cuts the rest is not complete.
    is_aborting: bool,
    has_aborted: bool,
    /// True exactly when this shard is empty.
    is_empty: bool,
}

impl Drain {
    /// Computes how many of `left` are to be told now.
    fn pace(&mut self, now: Tick, left: usize, random: &mut impl Rng) {
        if now >= self.notify_by {
            self.due = left;
        } else if now > self.paced {
            let (passed, ahead) = (now.0 - self.paced.0, self.notify_by.0 - self.paced.0);
            let even = left.saturating_sub(self.due) as f64 * f64::from(passed) / f64::from(ahead);
            let share = even * random.random_range(0.5..1.5) + random.random_range(0.0..1.0);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at most twice `left`"
            )]
            let share = share as usize;
            self.due = (self.due + share).min(left);
        }
        self.paced = now;
    }
}

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
            polls_below: if self.sessions.named.polls() > 0 { self.sessions.named.places() } else { 0 },
            polls_left: self.sessions.named.polls(),
            from: (0, 0),
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
            drain.from = (0, 0);
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
                drain.from = (0, 0);
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
            let Some(place) = self.sessions.named.poll_at(drain.polls_below) else { continue };
            notices -= 1;
            drain.polls_left = drain.polls_left.saturating_sub(1);
            if let Some(key) = self.sessions.named.client(place) {
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
        match self.conns.table.get(socket).map(|conn| conn.session) {
            None | Some(Session::None) => return false,
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
            drain.requests_from.get_or_insert((0, 0));
        }
        for _ in 0..VISITS_A_TURN {
            let Some(from) = drain.requests_from else { return };
            let Some((socket, next)) = self.conns.table.next_from(from) else {
                drain.requests_from = None;
                return;
            };
            drain.requests_from = Some(next);
            if self
                .conns
                .table
                .get(socket)
                .is_some_and(|conn| matches!(conn.phase, Phase::Head | Phase::Body))
            {
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

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    fn drain(notify_by: u32) -> Drain {
        Drain {
            notify_by: Tick(notify_by),
            deadline: Tick(2 * notify_by),
            handover: Handover::Over,
            requests_until: Tick(0),
            requests_from: None,
            paced: Tick(0),
            due: 0,
            polls_below: 0,
            polls_left: 0,
            from: (0, 0),
            is_aborting: false,
            has_aborted: false,
            is_empty: false,
        }
    }

    /// How many leave in each tick, if `clients` are to leave in `ticks`.
    fn leaves(clients: usize, ticks: u32, seed: u64) -> Vec<usize> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut drain = drain(ticks);
        let mut left = clients;
        (1..=ticks)
            .map(|now| {
                drain.pace(Tick(now), left, &mut random);
                left -= drain.due;
                std::mem::take(&mut drain.due)
            })
            .collect()
    }

    #[test]
    fn clients_leave_evenly_but_not_in_step_and_all_of_them() {
        for seed in 0..20 {
            let leaves = leaves(10_000, 100, seed);
            assert_eq!(leaves.iter().sum::<usize>(), 10_000, "seed {seed}");
            assert!(leaves.iter().all(|&tick| tick < 400), "seed {seed}: {leaves:?}");
            assert!(leaves[..50].iter().sum::<usize>() > 3_000, "seed {seed}: {leaves:?}");
            assert!(leaves.windows(2).any(|pair| pair[0] != pair[1]), "seed {seed}");
        }
    }

    #[test]
    fn few_clients_leave_one_by_one_over_the_whole_time() {
        for seed in 0..20 {
            let leaves = leaves(5, 1_000, seed);
            assert_eq!(leaves.iter().sum::<usize>(), 5, "seed {seed}");
        }
    }

    #[test]
    fn without_time_all_are_due_at_once() {
        let mut drain = drain(0);
        drain.pace(Tick(0), 70, &mut SmallRng::seed_from_u64(1));
        assert_eq!(drain.due, 70);
    }
}
