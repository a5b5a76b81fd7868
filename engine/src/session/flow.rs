//! Flow: in which order what clients send is handled, where it cannot be handled at once.
//!
//! In:  what is left of commands.
//! Out: the same, when the client has its next part of a turn (`shard/backlog`).

use holdfast_ring::Socket;

use super::{
    Io, SessionCx,
    client::{KeysCame, Transport},
    must_hold,
};
use crate::{
    conn::{Commands, Session},
    ids::ClientKey,
    time::Tick,
};

/// Bytes of commands that may wait for a client that sends them by requests.
const COMMAND_BYTES_MAX: usize = 256 * 1024;

/// How long it is waited until all shards have read what came to them, where one does not get to that (60 s).
const READ_UP_TICKS_MAX: u32 = 1200;

/// Something of a client that waits for its part of a turn.
#[derive(Debug)]
pub(crate) enum Deferred {
    /// A frame of commands, or what is left of it.
    Commands(Commands),
    /// Commands of a client that had to wait may be handled; the client has them.
    Parked,
    /// Keys have come that a command waits for.
    Retry(ClientKey, KeysCame),
}

/// Who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum FlowKey {
    /// A connection.
    Socket(Socket),
    /// A client whose commands come by requests.
    Client(ClientKey),
}

/// With whom it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Those that have a session.
    Sessions,
    /// Those that are about to get one.
    Arrivals,
}

impl<I: Io> SessionCx<'_, I> {
    /// A frame of commands that a request has brought. It waits for those before it.
    pub(crate) fn frame_came(&mut self, client: ClientKey, frame: &[u8]) {
        let key = FlowKey::Client(client);
        if self.io.has_deferred(key) {
            if !self.has_room_in_backlog(client, frame.len()) {
                return self.disconnect(client, holdfast_protocol::client::DisconnectCode::SLOW);
            }
            let commands = Commands::rest(frame, false);
            self.io.defer_last(key, Class::Sessions, Deferred::Commands(commands));
        } else if let Some(at) = self.commands_came(client, frame) {
            let commands = Commands::rest(&frame[at..], true);
            self.io.defer_first(key, Deferred::Commands(commands));
        }
    }

    /// Commands of a client that had to wait are handled in its next part of a turn, before all that it has sent since.
    pub(crate) fn schedule_parked(&mut self, client: ClientKey) {
        let key = self.flow_of(client);
        self.io.defer_first(key, Deferred::Parked);
    }

    /// True exactly when so many bytes of commands more may wait for a client that sends them by requests.
    pub(crate) fn has_room_in_backlog(&self, client: ClientKey, bytes: usize) -> bool {
        let key = FlowKey::Client(client);
        !self.io.has_deferred(key) || self.io.deferred_bytes(key) + bytes <= COMMAND_BYTES_MAX
    }

    /// Keys have come for a command that waits for them.
    pub(crate) fn retry_later(&mut self, client: ClientKey, came: KeysCame) {
        let key = self.flow_of(client);
        self.io.defer_last(key, Class::Arrivals, Deferred::Retry(client, came));
    }

    /// In which order what a client sends is handled.
    fn flow_of(&mut self, client: ClientKey) -> FlowKey {
        match self.sessions.clients.get(client).map(|client| client.link) {
            Some(Transport::WebSocket { socket, .. }) => FlowKey::Socket(socket),
            Some(Transport::Stream { .. } | Transport::Poll(_)) | None => FlowKey::Client(client),
        }
    }

    /// A client has gone.
    pub(crate) fn forget_backlog(&mut self, client: ClientKey) {
        self.io.forget_deferred(FlowKey::Client(client));
    }

    /// True exactly when all shards have read what had come to them by then, and what they had for this one has been
    /// handled; or when that takes too long.
    pub(crate) fn has_all_read_up_to(&self, then: Tick) -> bool {
        let is_read = self.mesh.peers.all_have_read_up_to() >= then
            && self.mesh.peers.mailboxes().is_empty()
            && self.mesh.inbox.is_empty()
            && self.io.is_caught_up();
        is_read || self.cx.uptime >= then.after(READ_UP_TICKS_MAX)
    }

    /// A connection that was not read from may be again, unless there is another reason.
    pub(crate) fn read_again(&mut self, socket: Socket) {
        let waits = match self.io.session_on(socket) {
            None => return,
            Some(Session::Client { key }) => {
                self.sessions.clients.get(key).is_some_and(|client| client.is_unread())
            }
            Some(_) => false,
        };
        if !waits {
            let must_hold = must_hold(self.mesh, self.hub);
            self.io.read_again(socket, must_hold);
        }
    }
}
