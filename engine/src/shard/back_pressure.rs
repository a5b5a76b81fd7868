//! Back-pressure: who causes messages to other cores waits while cores do not keep up.
//!
//! In:  connections with something for other cores, while some core has messages that another one's mailbox does not take.
//! Out: the same connections, as soon as no core has.
//!
//! All cores hold, whichever is congested. The one that sees the full mailbox may be a channel's home, which only passes
//! on what clients of a third core publish; had it to make room by itself, it could but grow, or drop. A bound rests on
//! two levels:
//!
//! - While some core is congested, a connection causes at most what it has sent already; a request that is complete waits
//!   with its body where it is.
//! - A core with as much in its outbox as a mailbox holds handles no bytes of any connection. It goes on to take its own
//!   messages: were two cores to wait for each other there, both would wait for good.
//!
//! Nothing is dropped here, and nothing is answered.

use std::{collections::VecDeque, time::Duration};

use holdfast_ring::{Kernel, Socket};

use super::Shard;
use crate::conn::Session;

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

impl<K: Kernel> Shard<K> {
    /// Something came of an open connection: while cores do not keep up, nothing more does.
    pub(crate) fn hold_reader(&mut self, socket: Socket) {
        if !self.peers.is_any_congested() {
            return;
        }
        let session = self.conns.get(socket).map(|conn| conn.session);
        if let Some(Session::Broadcast { .. } | Session::Client { .. }) = session {
            self.sockets.pause_receive(socket);
            if self.held.readers.len() >= 2 * self.sockets.slots() {
                self.held.readers.retain(|&reader| self.conns.get(reader).is_some());
            }
            self.held.readers.push(socket);
        }
    }

    /// True exactly when a request is to wait before anything is done about it; it is taken up later.
    pub(crate) fn hold_request(&mut self, socket: Socket) -> bool {
        let holds = self.peers.is_any_congested();
        if holds {
            if self.held.requests.len() >= 2 * self.sockets.slots() {
                self.held.requests.retain(|&request| self.conns.get(request).is_some());
            }
            self.held.requests.push_back(socket);
        }
        holds
    }

    /// Lets go on who waits, if all cores have kept up.
    pub(super) fn release_held(&mut self) {
        if self.held.is_empty() || self.peers.is_any_congested() {
            return;
        }
        for socket in std::mem::take(&mut self.held.readers) {
            self.read_on(socket);
        }
        while !self.peers.is_full()
            && let Some(socket) = self.held.requests.pop_front()
        {
            self.take_up_request(socket);
        }
    }
}

#[cfg(test)]
mod tests;
