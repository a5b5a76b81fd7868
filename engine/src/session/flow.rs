//! Flow: the order of client input that cannot be handled immediately.
//!
//! In:  unhandled commands.
//! Out: the same, in the client's next share of a turn (`shard/backlog`).

use holdfast_ring::Socket;

use super::{
    Io, SessionCx,
    client::{KeysCame, Transport},
    must_hold,
};
use crate::{
    conn::{Commands, Session},
    ids::ClientKey,
    session::{Class, Deferred, FlowKey},
    time::Tick,
};

/// Bytes of waiting commands for a client that sends them in requests.
const COMMAND_BYTES_MAX: usize = 256 * 1024;

/// How long to wait until all shards have read their input, if one falls behind (60 s).
const READ_UP_TICKS_MAX: u32 = 1200;

impl<I: Io> SessionCx<'_, I> {
    /// A frame of commands from a request. It waits for the frames before it.
    pub(crate) fn frame_came(&mut self, client: ClientKey, frame: &[u8]) {
        let key = FlowKey::Client(client);
        if self.io.has_deferred(key) {
            if !self.has_room_in_backlog(client, frame.len()) {
                return self.disconnect(client, holdfast_protocol::client::DisconnectCode::SLOW);
            }
            let commands = Commands::rest(frame, false);
            self.io.defer_last(key, Class::Sessions, Deferred::Commands(commands));
        } else if let Some(at) = self.receive_commands(client, frame) {
            let commands = Commands::rest(&frame[at..], true);
            self.io.defer_first(key, Deferred::Commands(commands));
        }
    }

    /// Parked commands of a client are handled in its next share of a turn, before its later input.
    pub(crate) fn schedule_parked(&mut self, client: ClientKey) {
        let key = self.flow_of(client);
        self.io.defer_first(key, Deferred::Parked);
    }

    /// True exactly when a client that sends commands in requests has room for so many more bytes.
    pub(crate) fn has_room_in_backlog(&self, client: ClientKey, bytes: usize) -> bool {
        let key = FlowKey::Client(client);
        !self.io.has_deferred(key) || self.io.deferred_bytes(key) + bytes <= COMMAND_BYTES_MAX
    }

    /// Keys have arrived for a command that waits for them.
    pub(crate) fn retry_later(&mut self, client: ClientKey, came: KeysCame) {
        let key = self.flow_of(client);
        self.io.defer_last(key, Class::Arrivals, Deferred::Retry(client, came));
    }

    /// The queue for a client's input.
    fn flow_of(&mut self, client: ClientKey) -> FlowKey {
        match self.sessions.clients.get(client).map(|client| client.link) {
            Some(Transport::WebSocket { socket, .. }) => FlowKey::Socket(socket),
            Some(Transport::Stream { .. } | Transport::Poll(_)) | None => FlowKey::Client(client),
        }
    }

    /// A client is gone.
    pub(crate) fn forget_backlog(&mut self, client: ClientKey) {
        self.io.forget_deferred(FlowKey::Client(client));
    }

    /// True exactly when all shards have read their input up to then, and this shard has handled its part; or when that
    /// takes too long.
    pub(crate) fn has_all_read_up_to(&self, then: Tick) -> bool {
        let is_read = self.mesh.peers.all_have_read_up_to() >= then
            && self.mesh.peers.mailboxes().is_empty()
            && self.mesh.inbox.is_empty()
            && self.io.is_caught_up();
        is_read || self.cx.uptime >= then.after(READ_UP_TICKS_MAX)
    }

    /// A paused connection may be read again, unless there is another reason to pause it.
    pub(crate) fn read_again(&mut self, socket: Socket) {
        let waits = match self.io.session_on(socket) {
            Some(Session::Client { key }) => {
                self.sessions.clients.get(key).is_some_and(|client| client.is_unread())
            }
            Some(Session::Echo | Session::Broadcast { .. }) | None => false,
        };
        if !waits {
            let must_hold = must_hold(self.mesh, self.hub);
            self.io.read_again(socket, must_hold);
        }
    }
}
