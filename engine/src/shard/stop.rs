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
const GOODBYES_A_TURN: usize = 512;

/// Connections examined in one turn, closed or not.
const LOOKS_A_TURN: usize = 8192;

/// How long a newly accepted connection may take to send its request.
const REQUEST_MS: u64 = 1_000;

/// A stop in progress.
#[derive(Debug)]
pub(crate) struct Stopping {
    /// The deadline for telling all clients.
    told_by: Tick,
    /// Connections still open then are cut.
    deadline: Tick,
    pub(super) handover: Handover,
    /// The deadline for requests that have not arrived.
    requests_until: Tick,
    /// Where the walk over these continues, if there is one.
    requests_from: Option<(usize, usize)>,
    /// The tick up to which the pace has been computed.
    reckoned: Tick,
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
    is_cutting: bool,
    has_cut: bool,
    /// True exactly when this shard is empty.
    is_empty: bool,
}

impl Stopping {
    /// Computes how many of `left` are to be told now.
    fn reckon(&mut self, now: Tick, left: usize, random: &mut impl Rng) {
        if now >= self.told_by {
            self.due = left;
        } else if now > self.reckoned {
            let (passed, ahead) = (now.0 - self.reckoned.0, self.told_by.0 - self.reckoned.0);
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
        self.reckoned = now;
    }
}

impl<K: Kernel> Shard<K> {
    pub(super) fn begin_stop(&mut self, order: StopOrder) {
        let after =
            |time: Duration| self.cx.uptime.after_ms(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        let (told_by, deadline) = (after(order.told_within), after(order.gone_within));
        if let Some(stopping) = &mut self.stopping {
            stopping.told_by = stopping.told_by.min(told_by);
            stopping.deadline = stopping.deadline.min(deadline);
            stopping.handover.hurry();
            return;
        }
        self.cx.is_stopping = true;
        let handover = self.begin_handover(&order);
        self.stopping = Some(Stopping {
            told_by,
            deadline,
            handover,
            requests_until: self.cx.uptime.after_ms(REQUEST_MS),
            requests_from: None,
            reckoned: self.cx.uptime,
            due: 0,
            polls_below: if self.sessions.named.polls() > 0 { self.sessions.named.places() } else { 0 },
            polls_left: self.sessions.named.polls(),
            from: (0, 0),
            is_cutting: false,
            has_cut: false,
            is_empty: false,
        });
    }

    /// True exactly when the stop has more to do without waiting.
    pub(super) fn is_stop_under_way(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stopping| {
            stopping.due > 0 || stopping.is_cutting || stopping.requests_from.is_some()
        })
    }

    /// True exactly when this shard and all others are empty; or when the deadline has passed, because a shard with a
    /// broken ring cannot report.
    pub(super) fn has_stopped(&mut self) -> bool {
        // A closed socket counts until its event has been handled.
        let is_left = self.conns.sockets.open_sockets() > 0
            || self.conns.sockets.is_listening()
            || !self.events.is_empty();
        let Some(stopping) = self.stopping.as_mut().filter(|stopping| !is_left && stopping.polls_below == 0)
        else {
            return false;
        };
        if !std::mem::replace(&mut stopping.is_empty, true) {
            self.mesh.peers.shard_emptied();
        }
        !self.mesh.peers.is_anyone_left() || self.cx.uptime >= stopping.deadline
    }

    /// Clients that are still to be told; 0 unless stopping.
    pub(super) fn clients_left(&self) -> u64 {
        self.stopping.as_ref().map_or(0, |stopping| self.conns.open + stopping.polls_left as u64)
    }

    pub(super) fn advance_stop(&mut self) {
        let left = usize::try_from(self.clients_left()).unwrap_or(usize::MAX);
        let Some(mut stopping) = self.stopping.take() else { return };
        if self.cx.uptime >= stopping.deadline && !stopping.has_cut {
            stopping.has_cut = true;
            stopping.is_cutting = true;
            stopping.from = (0, 0);
        }
        self.advance_handover(&mut stopping.handover, stopping.has_cut);
        if stopping.is_cutting {
            self.cut(&mut stopping);
        } else {
            stopping.reckon(self.cx.uptime, left, &mut self.cx.random);
            self.tell(&mut stopping);
            self.give_up_requests(&mut stopping);
        }
        self.stopping = Some(stopping);
    }

    /// Tells as many clients as are due.
    fn tell(&mut self, stopping: &mut Stopping) {
        let goodbyes = stopping.due.min(GOODBYES_A_TURN);
        stopping.due -= goodbyes;
        let mut goodbyes = self.tell_polls(stopping, goodbyes);
        for _ in 0..LOOKS_A_TURN {
            if goodbyes == 0 {
                return;
            }
            let Some((socket, next)) = self.conns.table.next_from(stopping.from) else {
                // Some connections were accepted behind the walk.
                stopping.from = (0, 0);
                break;
            };
            stopping.from = next;
            goodbyes -= usize::from(self.say_goodbye(socket));
        }
        stopping.due += goodbyes;
    }

    /// Tells sessions of polls. Returns how many of `goodbyes` are left for connections.
    fn tell_polls(&mut self, stopping: &mut Stopping, mut goodbyes: usize) -> usize {
        for _ in 0..LOOKS_A_TURN {
            if goodbyes == 0 || stopping.polls_below == 0 {
                break;
            }
            stopping.polls_below -= 1;
            let Some(place) = self.sessions.named.poll_at(stopping.polls_below) else { continue };
            goodbyes -= 1;
            stopping.polls_left = stopping.polls_left.saturating_sub(1);
            if let Some(key) = self.sessions.named.client(place) {
                self.with_sessions(|sessions| sessions.disconnect(key, DisconnectCode::SHUTDOWN));
            }
        }
        if stopping.polls_left == 0 || stopping.polls_below == 0 {
            (stopping.polls_left, stopping.polls_below) = (0, 0);
            goodbyes
        } else {
            // All of them precede the first connection.
            stopping.due += goodbyes;
            0
        }
    }

    /// True exactly when there was a client to tell.
    fn say_goodbye(&mut self, socket: Socket) -> bool {
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
    fn give_up_requests(&mut self, stopping: &mut Stopping) {
        if stopping.handover.is_draining() {
            stopping.requests_until = self.cx.uptime.after_ms(REQUEST_MS);
        }
        if self.cx.uptime >= stopping.requests_until {
            stopping.requests_until = self.cx.uptime.after_ms(REQUEST_MS);
            stopping.requests_from.get_or_insert((0, 0));
        }
        for _ in 0..LOOKS_A_TURN {
            let Some(from) = stopping.requests_from else { return };
            let Some((socket, next)) = self.conns.table.next_from(from) else {
                stopping.requests_from = None;
                return;
            };
            stopping.requests_from = Some(next);
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
    fn cut(&mut self, stopping: &mut Stopping) {
        stopping.due = 0;
        for _ in 0..self.tell_polls(stopping, GOODBYES_A_TURN) {
            let Some((socket, next)) = self.conns.table.next_from(stopping.from) else {
                stopping.is_cutting = false;
                return;
            };
            stopping.from = next;
            self.with_connections(|conns, cx, above| conns.end_now(cx, above, socket, CloseReason::Shutdown));
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::SmallRng};

    use super::*;

    fn stopping(told_by: u32) -> Stopping {
        Stopping {
            told_by: Tick(told_by),
            deadline: Tick(2 * told_by),
            handover: Handover::Over,
            requests_until: Tick(0),
            requests_from: None,
            reckoned: Tick(0),
            due: 0,
            polls_below: 0,
            polls_left: 0,
            from: (0, 0),
            is_cutting: false,
            has_cut: false,
            is_empty: false,
        }
    }

    /// How many leave in each tick, if `clients` are to leave in `ticks`.
    fn leaves(clients: usize, ticks: u32, seed: u64) -> Vec<usize> {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut stopping = stopping(ticks);
        let mut left = clients;
        (1..=ticks)
            .map(|now| {
                stopping.reckon(Tick(now), left, &mut random);
                left -= stopping.due;
                std::mem::take(&mut stopping.due)
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
        let mut stopping = stopping(0);
        stopping.reckon(Tick(0), 70, &mut SmallRng::seed_from_u64(1));
        assert_eq!(stopping.due, 70);
    }
}
