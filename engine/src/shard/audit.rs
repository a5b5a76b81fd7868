//! Audit: invariants of a shard between two turns.
//!
//! In:  a shard, in a simulation.
//! Out: a panic that names the broken invariant.

use holdfast_ring::Kernel;

use super::Shard;
use crate::{
    conn::Session,
    memory::Budget,
    session::client::{SubState, Transport},
};

/// A queue may exceed its bound by the input of one turn.
const TURN_QUEUE_BYTES_MAX: usize = 1 << 20;

impl<K: Kernel> Shard<K> {
    /// Checks that all accounts agree and every queue is within its bound.
    pub(crate) fn audit(&mut self) {
        assert!(
            self.conns.out.is_empty() && self.sessions.replies.is_empty(),
            "a turn leaves nothing unsent"
        );
        assert!(
            self.conns.long_queues.is_empty() && !self.conns.is_fanning_out,
            "a fan-out is done when it is done"
        );
        let sockets: Vec<_> = self.conns.table.sockets().collect();
        assert!(
            self.events.is_empty() && self.conns.cut.is_none(),
            "what came is handled, or waits for its part"
        );
        assert_eq!(self.conns.sockets.open_sockets(), sockets.len(), "every socket is a connection");
        let (mut sessions, mut places, mut members, mut clients, mut partial_bytes) = (0, 0, 0, 0, 0);
        for &socket in &sockets {
            let queued_bytes = self.conns.sockets.queued_bytes(socket);
            let bound = self.queue_bound();
            assert!(queued_bytes <= bound, "{queued_bytes} bytes wait for {socket:?}");
            let conn = self.conns.table.get_mut(socket).expect("it was found");
            places += u64::from(conn.counts_toward_limit);
            partial_bytes += u64::from(conn.partial_kib()) * 1024;
            sessions += u64::from(conn.state.session().is_some());
            match conn.state.session() {
                Some(Session::Broadcast { place }) => {
                    members += 1;
                    assert_eq!(
                        self.hub.broadcast.members().get(place as usize).map(|(member, _)| member),
                        Some(socket),
                        "a member has its place"
                    );
                }
                Some(Session::Client { key }) => {
                    clients += 1;
                    assert!(self.sessions.clients.get(key).is_some(), "a client's connection has a client");
                }
                _ => {}
            }
        }
        assert_eq!(self.cx.ledger.bytes(Budget::Receive), partial_bytes, "what came in part is counted");
        let polls = self.sessions.registry.polls() as u64;
        assert_eq!(self.conns.places_taken, places + polls, "places are counted, those of polls among them");
        let (command_bytes, session_bytes) = self.with_sessions(|sessions| sessions.audit_accounts());
        assert!(
            self.cx.ledger.bytes(Budget::Commands) >= command_bytes as u64,
            "commands that wait are counted"
        );
        assert!(
            self.cx.ledger.bytes(Budget::Sessions) >= session_bytes as u64,
            "records of clients are counted"
        );
        assert_eq!(self.conns.open, sessions, "sessions are counted");
        assert_eq!(self.hub.broadcast.members().len(), members, "members are counted");
        assert_eq!(
            self.sessions.clients.len(),
            clients + self.audit_polls(),
            "every client has a connection, or polls"
        );
        let taken = |place: SubState| matches!(place, SubState::Active(_));
        let subscribed = self.sessions.clients.iter().flat_map(|(_, client)| &client.subs);
        let subscribed = subscribed.filter(|sub| taken(sub.place)).count();
        assert_eq!(self.hub.subscriptions.subscribers(), subscribed, "subscribers are counted");
    }

    /// The most that may be queued for a client (`conn/lag`).
    fn queue_bound(&self) -> usize {
        2 * self.conns.policy.queue.bytes_max + self.sessions.policy.reply_bytes_max + TURN_QUEUE_BYTES_MAX
    }

    /// Checks the sessions of polls. Returns how many of them have a client.
    fn audit_polls(&mut self) -> usize {
        assert!(self.sessions.touched_polls.is_empty(), "a turn leaves no poll without its answer");
        let places: Vec<_> = (0..self.sessions.registry.places())
            .filter_map(|place| self.sessions.registry.poll_at(place))
            .collect();
        assert_eq!(self.sessions.registry.polls(), places.len(), "sessions of polls are counted");
        let (mut clients, mut reply_bytes, mut owed) = (0, 0, 0);
        for place in places {
            let poll = self.sessions.registry.poll(place).expect("it was found");
            assert!(
                poll.waiting.is_none() || !poll.has_replies(),
                "a poll does not wait while there is something"
            );
            let queued_bytes = poll.queued_bytes();
            reply_bytes += poll.cost_bytes();
            owed += usize::from(poll.cost_bytes() > 0);
            let bound = self.queue_bound();
            assert!(queued_bytes <= bound, "{queued_bytes} bytes wait for a session of polls");
            if let Some(key) = self.sessions.registry.client(place) {
                clients += 1;
                let link = self.sessions.clients.get(key).map(|client| client.link);
                assert_eq!(link, Some(Transport::Poll(place)), "a session of polls has its client");
            }
        }
        assert_eq!(self.sessions.registry.owed().count(), owed, "polls for which replies wait are known");
        assert!(self.cx.ledger.bytes(Budget::Queues) >= reply_bytes as u64, "replies to polls are counted");
        clients
    }

    /// Checks that nothing is left of a stopped shard.
    pub(crate) fn audit_stopped(&mut self) {
        self.audit();
        assert_eq!(self.conns.sockets.open_sockets(), 0, "all sockets are closed");
        assert_eq!(
            (self.sessions.clients.len(), self.sessions.users.len()),
            (0, 0),
            "all clients are forgotten"
        );
        assert_eq!(
            self.hub.subscriptions.channels_at(0..self.hub.subscriptions.places()).count(),
            0,
            "all channels are left"
        );
        let polls = self.sessions.registry.polls() as u64;
        assert_eq!(
            self.conns.places_taken, polls,
            "all places are free, but for those of polls whose last words wait"
        );
        assert_eq!(
            self.with_sessions(|sessions| sessions.audit_accounts()),
            (0, 0),
            "all accounts are closed"
        );
    }

    /// Leases given here, and clients of this shard that have one, here or on another shard.
    pub(crate) fn leases(&self) -> (usize, usize) {
        let told = self.sessions.clients.iter().filter(|(_, client)| client.lease.is_some()).count();
        (self.sessions.quota.taken(), told)
    }

    /// Sessions of polls.
    pub(crate) fn poll_sessions(&mut self) -> usize {
        self.sessions.registry.polls()
    }

    /// Bytes that the ledger holds or that are flushed in the next turns, and connections.
    pub(crate) fn accounts(&mut self) -> (u64, u64) {
        let mut bytes = Budget::ALL.iter().map(|&(budget, _)| self.cx.ledger.bytes(budget)).sum();
        for socket in self.conns.table.sockets() {
            if !self.conns.sockets.is_backlogged(socket) {
                bytes += self.conns.sockets.queued_bytes(socket) as u64;
            }
        }
        (bytes, self.conns.sockets.open_sockets() as u64)
    }

    /// Messages that other shards have not taken.
    pub(crate) fn outbox_messages(&self) -> usize {
        self.mesh.peers.outbox_messages()
    }

    /// Receive buffers held for the next turn.
    pub(crate) fn waiting_buffers(&self) -> usize {
        self.backlog.buffers()
    }
}
