//! Broadcast: every message goes to all connections of `/broadcast`, the sender among them, on all cores.
//!
//! In:  messages of a member.
//! Out: the hub's bytes of this turn.
//!
//! One order for each sender: its messages pass this core's hub, and every queue behind that, in the order in which
//! they came.

use holdfast_protocol::websocket::Message;
use holdfast_ring::{Kernel, Socket};

use crate::shard::Shard;

impl<K: Kernel> Shard<K> {
    pub(crate) fn broadcast(&mut self, sender: Socket, message: &Message<'_>) {
        self.hub.publish(message.kind, &message.payload);
        if self.peers.is_congested() {
            // The other cores do not keep up: whoever publishes now waits until they do.
            self.sockets.pause_receive(sender);
            self.held_publishers.push(sender);
        }
    }
}
