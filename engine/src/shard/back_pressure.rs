//! Back-pressure: throttles publishers while shards do not keep up.
//!
//! In:  connections with messages for other shards, while some mailbox is full; connections with any input, while this
//! shard's own inbox has more than a mailbox holds.
//! Out: the same connections, as soon as that is over.
//!
//! All shards throttle, whichever is congested. The shard that sees the full mailbox may be a channel's owner, which only
//! forwards what clients of a third shard publish; alone, it could only grow or drop. The bound rests on two levels:
//!
//! - While some shard is congested, a connection that sends much at once causes at most what it has sent already; a
//!   complete request with a long body waits, and its body stays in place.
//! - A shard with as much in its outbox as a mailbox holds handles no bytes of any connection. It still takes its own
//!   messages: two shards that waited for each other there would deadlock.
//!
//! A shard's messages to itself wait in its inbox, with the same two levels, but without telling the others: their
//! mailboxes here fill while the inbox is over its bound, and they notice that.
//!
//! Nothing is dropped here, and nothing is answered.

use std::{collections::VecDeque, time::Duration};

use holdfast_ring::{Kernel, Socket};

use crate::{
    conn::{Connections, Session},
    session::{message::Mesh, must_hold, receivers::Hub},
};

/// The most that a light sender sends at a time: a command or two.
const LITTLE_BYTES: usize = 512;

/// The longest sleep of a shard that holds connections because of other shards; no doorbell announces the end of
/// congestion.
pub(super) const THROTTLED_SLEEP_MAX: Duration = Duration::from_millis(1);

/// Throttled connections and requests. Worst case: twice a shard's descriptors in each list, at 8 bytes.
#[derive(Debug, Default)]
pub(crate) struct Throttled {
    /// Connections whose receive is paused.
    pub(super) readers: Vec<Socket>,
    /// Requests that are complete.
    pub(super) requests: VecDeque<Socket>,
}

impl Throttled {
    pub(super) fn is_empty(&self) -> bool {
        self.readers.is_empty() && self.requests.is_empty()
    }
}

impl Throttled {
    /// Pauses a connection that can cause messages. True exactly when it can.
    pub(super) fn throttle_publisher<K: Kernel>(
        &mut self,
        conns: &mut Connections<K>,
        socket: Socket,
    ) -> bool {
        let session = conns.table.get_mut(socket).and_then(|conn| conn.state.session());
        let causes_messages = matches!(session, Some(Session::Broadcast { .. } | Session::Client { .. }));
        if causes_messages {
            conns.sockets.pause_receive(socket);
            if self.readers.len() >= 2 * conns.sockets.slots() {
                self.readers.retain(|&reader| conns.table.get_mut(reader).is_some());
            }
            self.readers.push(socket);
        }
        causes_messages
    }

    /// Accounts for `bytes` of an open connection: under backpressure its receive is paused. A light sender is still read:
    /// its input waits like all other input while nobody may cause more, and it should not wait for heavy senders.
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
            self.throttle_publisher(conns, socket);
        }
    }

    /// True exactly when a request with a body of `body_bytes` must wait; it is resumed later. A short one waits for other
    /// shards and behind other requests, but not for this shard's own inbox unless that is full.
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
                self.requests.retain(|&request| conns.table.get_mut(request).is_some());
            }
            self.requests.push_back(socket);
        }
        holds
    }
}

/// True exactly when nobody may cause more messages: no bytes of connections are handled.
pub(super) fn is_full(mesh: &Mesh, hub: &Hub) -> bool {
    mesh.peers.is_full() || mesh.inbox.is_full() || hub.has_gathered_enough()
}

#[cfg(test)]
mod tests;
