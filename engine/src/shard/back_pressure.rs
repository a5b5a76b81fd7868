//! Back-pressure: who causes messages waits while cores do not keep up.
//!
//! In:  connections with something for other cores, while some core has messages that another one's mailbox does not take;
//!      connections with anything to do, while this core's own inbox has more than a mailbox holds.
//! Out: the same connections, as soon as that is over.
//!
//! All cores hold, whichever is congested. The one that sees the full mailbox may be a channel's home, which only passes
//! on what clients of a third core publish; had it to make room by itself, it could but grow, or drop. A bound rests on
//! two levels:
//!
//! - While some core is congested, a connection that says much at once causes at most what it has sent already; a request
//!   that is complete waits with its body where it is, if that is long.
//! - A core with as much in its outbox as a mailbox holds handles no bytes of any connection. It goes on to take its own
//!   messages: were two cores to wait for each other there, both would wait for good.
//!
//! What a core has for itself waits in its inbox, and has the same two levels there, with no word to the others: their
//! mailboxes here fill while the inbox is over its bound, and they see that.
//!
//! Nothing is dropped here, and nothing is answered.

use std::{collections::VecDeque, time::Duration};

use holdfast_ring::{Kernel, Socket};

use super::Shard;
use crate::context::cost;
use crate::{
    conn::{Connections, Session},
    hub::Hub,
    mesh::Mesh,
    session::must_hold,
};

/// What requests that were held may cost in one turn, about, when they are taken up.
const REQUESTS_NS: u64 = 300_000;

/// What one who says little says at a time: a command or two.
const LITTLE_BYTES: usize = 512;

/// How long a shard sleeps at most that holds somebody for other shards' sake; no bell tells when they have kept up.
pub(super) const HELD_SLEEP_MAX: Duration = Duration::from_millis(1);

/// Who waits. Worst case: twice a shard's descriptors in each list, at 8 bytes.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Connections that are not read from.
    readers: Vec<Socket>,
    /// Requests that are complete.
    requests: VecDeque<Socket>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.readers.is_empty() && self.requests.is_empty()
    }
}

impl Held {
    /// True exactly when the connection can cause messages, and waits now.
    pub(super) fn hold_publisher<K: Kernel>(&mut self, conns: &mut Connections<K>, socket: Socket) -> bool {
        let session = conns.table.get(socket).map(|conn| conn.session);
        let causes_messages = matches!(session, Some(Session::Broadcast { .. } | Session::Client { .. }));
        if causes_messages {
            conns.sockets.pause_receive(socket);
            if self.readers.len() >= 2 * conns.sockets.slots() {
                self.readers.retain(|&reader| conns.table.get(reader).is_some());
            }
            self.readers.push(socket);
        }
        causes_messages
    }

    /// So many bytes came of an open connection: while cores do not keep up, nothing more does. Who says little is read on:
    /// what it says waits as others' does while nobody may cause more, and it should not wait for those who say much.
    pub(super) fn throttle_reader<K: Kernel>(
        &mut self,
        conns: &mut Connections<K>,
        mesh: &Mesh,
        hub: &Hub,
        socket: Socket,
        bytes: usize,
        has_backlog: bool,
    ) {
        let says_much = bytes > LITTLE_BYTES || has_backlog;
        if says_much && must_hold(mesh, hub) {
            self.hold_publisher(conns, socket);
        }
    }

    /// True exactly when a request with a body of so many bytes is to wait before anything is done about it; it is taken up
    /// later. A short one waits for other cores and behind other requests, but not for this core's own inbox, unless that is
    /// full.
    pub(super) fn hold_request<K: Kernel>(
        &mut self,
        conns: &mut Connections<K>,
        mesh: &Mesh,
        hub: &Hub,
        socket: Socket,
        body_bytes: usize,
    ) -> bool {
        let says_much = body_bytes > LITTLE_BYTES || !self.requests.is_empty();
        let holds = mesh.peers.is_any_congested()
            || if says_much { must_hold(mesh, hub) } else { is_full(mesh, hub) };
        if holds {
            if self.requests.len() >= 2 * conns.sockets.slots() {
                self.requests.retain(|&request| conns.table.get(request).is_some());
            }
            self.requests.push_back(socket);
        }
        holds
    }
}

/// True exactly when nobody may cause more messages: no bytes of connections are handled.
fn is_full(mesh: &Mesh, hub: &Hub) -> bool {
    mesh.peers.is_full() || mesh.inbox.is_full() || hub.has_gathered_enough()
}

impl<K: Kernel> Shard<K> {
    /// True exactly when who causes messages is to wait.
    fn must_hold(&self) -> bool {
        must_hold(&self.mesh, &self.hub)
    }

    /// True exactly when nobody may cause more messages: no bytes of connections are handled.
    pub(super) fn is_full(&self) -> bool {
        is_full(&self.mesh, &self.hub)
    }

    /// Lets go on who waits, if all cores have kept up.
    pub(super) fn release_held(&mut self) {
        if self.held.is_empty() || self.must_hold() {
            return;
        }
        for socket in std::mem::take(&mut self.held.readers) {
            self.with_sessions(|sessions| sessions.read_again(socket));
        }
        let until = self.cx.meter.total_ns() + REQUESTS_NS;
        while self.cx.meter.total_ns() < until
            && !self.must_hold()
            && let Some(socket) = self.held.requests.pop_front()
        {
            self.cx.meter.add(cost::REQUEST_NS);
            self.cx.meter.allow(self.cx.settings.quantum_ns);
            self.with_connections(|conns, cx, above| conns.resume_request(cx, above, socket));
            self.cx.meter.allow_all();
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
