//! Echo: every message goes back as it came.
//!
//! In:  messages of a connection of `/echo`.
//! Out: the same, text as text and binary as binary, in order.

use holdfast_protocol::websocket::Message;
use holdfast_ring::{Kernel, Socket};

use crate::{conn::deflate::Deflate, shard::Shard};

impl<K: Kernel> Shard<K> {
    pub(crate) fn echo(&mut self, socket: Socket, deflate: Deflate, message: &Message<'_>) {
        self.write_message(socket, deflate, message);
    }
}
