//! Fan-out: sends what was published in a turn to this shard's members, and once to every other shard.
//!
//! In:  the hub's joined frames; other shards' frames from the mailbox.
//! Out: one piece on every member's queue; one message per shard.
//!
//! A turn of a channel is one piece too, per encoding.
//!
//! The bytes are shared, never copied per receiver.
//!
//! While writes of the last fan-out are pending, publications are only gathered: they are joined, and follow in one write
//! per receiver. The gathered bytes are bounded, more tightly for many receivers; at the bound publishers wait. So a
//! publication waits for at most one earlier fan-out, and no queue grows because the shard itself is late.

use holdfast_ring::Kernel;

use super::Shard;
use crate::{metrics::Metric, session::message::Message};

/// How often queues that took more than one write are waited for again. Not longer: some receiver always has more to write.
const MORE_WRITES_MAX: u32 = 4;

impl<K: Kernel> Shard<K> {
    /// Ends the publishing of a turn.
    pub(crate) fn fan_out(&mut self) {
        // A client hears all earlier publications before it is closed.
        if self.is_last_fan_out_written() || self.cx.is_stopping {
            self.fan_out_gathered();
        }
        self.with_sessions(|sessions| sessions.flush_polls());
        if let Some(frames) = self.hub.broadcast.take_outgoing() {
            self.mesh.peers.send_to_others(self.mesh.shard, || Message::Broadcast(frames.clone()));
        }
        self.mesh.peers.flush(|bell| self.conns.sockets.wake(bell));
    }

    fn is_last_fan_out_written(&mut self) -> bool {
        let gathered = &mut self.hub.gathered;
        if gathered.is_all_written {
            return true;
        }
        if !self.conns.sockets.has_passed(gathered.mark) {
            return false;
        }
        gathered.more_writes += 1;
        gathered.mark = self.conns.sockets.mark();
        gathered.more_writes > MORE_WRITES_MAX
    }

    fn fan_out_gathered(&mut self) {
        if !self.hub.is_gathering() {
            return;
        }
        for channel in self.hub.subscriptions.take_touched() {
            self.with_sessions(|sessions| sessions.fan_out_channel(channel));
        }
        if let Some(frames) = self.hub.broadcast.take_local() {
            let mut place = 0;
            // From the back: a member that is dropped for being slow is replaced by one that has been served.
            let members = self.hub.broadcast.members().len();
            self.cx.counters.add(Metric::MessagesOut, u64::from(frames.messages) * members as u64);
            while place < members {
                place += 1;
                if let Some((member, deflate)) = self.hub.broadcast.members().get(members - place) {
                    let bytes = self.conns.deflating.shared_frames(member, deflate, &frames.bytes);
                    self.with_connections(|conns, cx, above| conns.send(cx, above, member, bytes));
                }
            }
            self.conns.deflating.end_turn();
        }
        self.hub.gathered.channel_bytes = 0;
        self.hub.gathered.receivers = 0;
        self.hub.gathered.mark = self.conns.sockets.mark();
        self.hub.gathered.more_writes = 0;
    }
}
