//! Messages: handles messages of shards and of the control thread.
//!
//! In:  stop orders and control messages; this shard's inbox; the queue of every other shard; calls for channels.
//! Out: calls of the files that handle them.
//!
//! Control messages come first and all of them in every turn: their queues are small, and clients cannot fill them. The
//! senders of all other messages take turns, each with its part, as long as the schedule allows. While the inbox is full
//! nothing is taken from other shards, because that would add to it; messages in the inbox cause none that must wait, so it
//! drains. A flood of this shard's own clients keeps the inbox nearly full, but not at the end of a turn: other shards get
//! their part.

use std::time::Duration;

use holdfast_ring::Kernel;

use super::Shard;
use crate::{backend::Answer, mesh::Inlet, session::message::Message};

impl<K: Kernel> Shard<K> {
    /// Handles all stop orders and control messages in the queues.
    pub(super) fn take_control(&mut self) {
        while let Some(order) = self.mesh.peers.mailboxes().pop_order() {
            self.begin_stop(order);
        }
        for _ in 0..self.mesh.peers.mailboxes().control_len() {
            let Some(message) = self.mesh.peers.mailboxes().pop_control() else { return };
            self.handle_message(message);
        }
    }

    /// True exactly when there are messages that may be taken.
    pub(super) fn has_messages(&self) -> bool {
        let any = || self.mesh.peers.mailboxes().inlets().iter().any(|inlet| !inlet.is_empty());
        !self.hub.has_gathered_enough() && (!self.mesh.inbox.is_empty() || any())
    }

    /// Takes messages of all senders in turns, until they have cost `part_ns` or there are none.
    pub(super) fn drain_mailbox(&mut self, part_ns: u64, elapsed: &mut impl FnMut() -> Duration) {
        let until = self.cx.meter.total_ns().saturating_add(part_ns);
        let mut idle = 0;
        while idle < self.senders.len() && self.cx.meter.total_ns() < until && !self.hub.has_gathered_enough()
        {
            let (sender, part_ns) = self.senders.next();
            let began = self.cx.meter.total_ns();
            let mut taken = 0;
            if let Some(part_ns) = part_ns {
                let until = until.min(began.saturating_add(part_ns));
                while (taken == 0 || self.cx.meter.total_ns() < until)
                    && !self.hub.has_gathered_enough()
                    && let Some(message) = self.next_message_of(sender)
                {
                    taken += 1;
                    self.handle_message(message);
                    self.look_at_clock(elapsed);
                }
            } else if self.has_message_of(sender) {
                idle = 0;
            }
            idle = if taken == 0 { idle + 1 } else { 0 };
            let used_ns = self.cx.meter.total_ns().saturating_sub(began);
            if sender == self.mesh.shard.index() && taken > 0 {
                self.mesh.inbox.took(taken, used_ns);
            }
            self.senders.used(used_ns);
        }
    }

    /// The queue of messages from a sender; none for this shard itself, whose messages wait in the inbox.
    fn inlet(&self, sender: usize) -> Option<&Inlet<Message>> {
        let inlets = self.mesh.peers.mailboxes().inlets();
        (sender != self.mesh.shard.index()).then(|| &inlets[sender])
    }

    fn has_message_of(&self, sender: usize) -> bool {
        match self.inlet(sender) {
            None => !self.mesh.inbox.is_empty(),
            Some(inlet) => !self.mesh.inbox.is_full() && !inlet.is_empty(),
        }
    }

    fn next_message_of(&mut self, sender: usize) -> Option<Message> {
        match self.inlet(sender) {
            None => self.mesh.inbox.pop(),
            Some(_) if self.mesh.inbox.is_full() => None,
            Some(inlet) => inlet.pop(),
        }
    }

    fn handle_message(&mut self, message: Message) {
        self.cx.meter.add(message.work_ns());
        // As for bytes (`events.rs`).
        self.cx.why = None;
        // Commands in a message are cut at the same quantum as a connection's.
        self.cx.meter.allow(self.quantum_ns);
        match message {
            Message::Broadcast(frames) => {
                self.cx.meter.publish(frames.bytes.len());
                self.hub.broadcast.relay(&frames);
            }
            Message::ToOwner(message) => self.with_sessions(|sessions| sessions.handle_as_owner(message)),
            Message::FromOwner(message) => self.with_sessions(|sessions| sessions.handle_from_owner(message)),
            Message::FromBroker(message) => {
                self.with_sessions(|sessions| sessions.handle_from_broker(*message));
            }
            Message::ToSession(asked) => self.with_sessions(|sessions| sessions.handle_request(*asked)),
            Message::Answer { socket, answer } => {
                self.with_sessions(|sessions| sessions.answer_request(socket, answer));
            }
            Message::Limits(notice) => self.noticed(notice),
            Message::Api(call) => self.api_call(call),
            Message::Certificates(config) => {
                if let Some(listener) = &mut self.conns.tls {
                    listener.renew(config);
                }
            }
            Message::Backend(Answer::ProxyResult(back, said)) => {
                self.with_sessions(|sessions| sessions.on_proxy_result(back, *said));
            }
            Message::Backend(Answer::Keys(news)) => self.with_sessions(|sessions| sessions.on_keys(&news)),
            Message::ToQuota(message) => self.with_sessions(|sessions| sessions.handle_quota(message)),
            Message::FromQuota(message) => self.with_sessions(|sessions| sessions.on_quota_result(message)),
        }
        self.cx.meter.allow_all();
    }
}
