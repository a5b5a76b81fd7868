//! Broadcast: every message goes to all connections of `/broadcast`, the sender among them, on all cores.
//!
//! In:  messages of a member.
//! Out: the hub's bytes of this turn.
//!
//! One order for each sender: its messages pass this core's hub, and every queue behind that, in the order in which
//! they came.

use holdfast_protocol::websocket::Message;
use holdfast_ring::Kernel;

use crate::shard::Shard;

impl<K: Kernel> Shard<K> {
    pub(crate) fn broadcast(&mut self, message: &Message<'_>) {
        self.cx.meter.publish(message.payload.len());
        self.hub.broadcast.publish(message.kind, &message.payload);
    }
}
