//! Stop: how a shard leaves.
//!
//! In:  the wish to stop, and how long that may take.
//! Out: close frames to all, with code 1001 (RFC 6455 §7.4.1), or 3001 to clients of the Centrifuge protocol; then an
//! empty shard.
//!
//! Some connections a turn, so that those who come last are served meanwhile.

use std::time::Duration;

use holdfast_protocol::{client::DisconnectCode, websocket::CloseCode};
use holdfast_ring::{Kernel, Socket};

use super::Shard;
use crate::{
    clock::Tick,
    conn::{Phase, Session},
    metrics::CloseReason,
};

/// Connections that are sent away in one turn.
const GOODBYES_A_TURN: usize = 512;

/// A stop under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopping {
    /// Who is still there then is dropped.
    deadline: Tick,
    /// Where the walk over the connections goes on; `None` when it is over.
    from: Option<(usize, usize)>,
    /// True exactly when the deadline has passed.
    dropping: bool,
}

impl<K: Kernel> Shard<K> {
    pub(super) fn begin_stop(&mut self, within: Duration) {
        if self.stopping.is_some() {
            return;
        }
        self.sockets.stop_listening();
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let deadline = self.now.after_ms(within_ms);
        self.stopping = Some(Stopping { deadline, from: Some((0, 0)), dropping: false });
        self.stop_polls();
    }

    /// True exactly when there is more to do for the stop without waiting.
    pub(super) fn is_stop_under_way(&self) -> bool {
        self.stopping.is_some_and(|stopping| stopping.from.is_some())
    }

    pub(super) fn has_stopped(&self) -> bool {
        self.stopping.is_some() && self.sockets.open_sockets() == 0 && !self.sockets.is_listening()
    }

    pub(super) fn advance_stop(&mut self) {
        let Some(mut stopping) = self.stopping else { return };
        if self.now >= stopping.deadline && !stopping.dropping {
            stopping = Stopping { from: Some((0, 0)), dropping: true, ..stopping };
        }
        for _ in 0..GOODBYES_A_TURN {
            let Some(from) = stopping.from else { break };
            let found = self.conns.next_from(from);
            stopping.from = found.map(|(_, next)| next);
            if let Some((socket, _)) = found {
                self.say_goodbye(socket, stopping.dropping);
            }
        }
        self.stopping = Some(stopping);
    }

    fn say_goodbye(&mut self, socket: Socket, now: bool) {
        let Some(conn) = self.conns.get(socket) else { return };
        match conn.phase {
            _ if now => self.drop_now(socket, CloseReason::Shutdown),
            Phase::Head | Phase::Body => self.drop_now(socket, CloseReason::Shutdown),
            // It has its answer soon, and is closed with it.
            Phase::Answering => {}
            Phase::Open | Phase::Streaming => match conn.session {
                Session::Client { key } => self.disconnect(key, DisconnectCode::SHUTDOWN),
                _ => self.close(socket, CloseCode::Away, "the server stops", CloseReason::Shutdown),
            },
            Phase::Closing | Phase::Lingering | Phase::Leaving => {}
        }
    }
}
