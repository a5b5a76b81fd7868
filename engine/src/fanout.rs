//! Fan-out: what was published in a turn goes to this core's members, and once to every other core.
//!
//! In:  the hub's joined frames; other cores' frames out of the mailbox.
//! Out: one piece on every member's queue; one message a core.
//!
//! The bytes are shared, never copied for a receiver.

use holdfast_ring::Kernel;

use crate::{metrics::Metric, peers::Message, shard::Shard};

impl<K: Kernel> Shard<K> {
    /// Ends a turn's publishing.
    pub(crate) fn fan_out(&mut self) {
        if let Some(frames) = self.hub.take_local() {
            let mut place = 0;
            // From the back: a member that is dropped for being slow gives its place to one that has been served.
            let members = self.hub.members();
            self.counters.add(Metric::MessagesOut, u64::from(frames.messages) * members as u64);
            while place < members {
                place += 1;
                if let Some(member) = self.hub.member(members - place) {
                    self.send(member, frames.bytes.clone());
                }
            }
        }
        if let Some(frames) = self.hub.take_outgoing() {
            self.peers.post_all(self.index, || Message::Broadcast(frames.clone()));
        }
        self.peers.push_out(|bell| self.sockets.wake(bell));
        if !self.held_publishers.is_empty() && !self.peers.is_congested() {
            for publisher in std::mem::take(&mut self.held_publishers) {
                self.sockets.resume_receive(publisher);
            }
        }
    }
}
