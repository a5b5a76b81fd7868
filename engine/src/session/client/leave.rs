//! Leave: how a session ends.
//!
//! In:  faults, expiries, the wish of the application, the end of the transport.
//! Out: a close code with its reason; an empty place, and channels that know of it.

use std::sync::Arc;

use holdfast_protocol::{client::DisconnectCode, websocket::CloseCode};
use holdfast_ring::Kernel;
use rand::Rng as _;

use super::{Link, Stage};
use crate::{
    conn::Session,
    hub::message::ClientKey,
    metrics::{CloseReason, Metric},
    shard::Shard,
};

impl<K: Kernel> Shard<K> {
    /// Ends a session with a code of the protocol.
    pub(crate) fn disconnect(&mut self, key: ClientKey, code: DisconnectCode) {
        self.flush_replies(key);
        let Some(client) = self.clients.get(key) else { return };
        let reason = match code {
            DisconnectCode::NO_PONG => CloseReason::NoPong,
            DisconnectCode::SLOW => CloseReason::Slow,
            DisconnectCode::SHUTDOWN => CloseReason::Shutdown,
            DisconnectCode::STALE => CloseReason::HandshakeTimeout,
            DisconnectCode::BAD_REQUEST => CloseReason::ProtocolError,
            _ => CloseReason::Disconnected,
        };
        self.counters.add(Metric::Disconnects, 1);
        match client.link {
            Link::WebSocket(socket) => {
                let (code, text) = code.close_frame();
                self.close(socket, code, text, reason);
            }
        }
    }

    /// The application's own code.
    pub(crate) fn disconnect_with(&mut self, key: ClientKey, code: u16, text: &str) {
        self.flush_replies(key);
        let Some(client) = self.clients.get(key) else { return };
        self.counters.add(Metric::Disconnects, 1);
        match client.link {
            Link::WebSocket(socket) => {
                self.close(socket, CloseCode::from(code), text, CloseReason::Disconnected);
            }
        }
    }

    /// The transport has ended: the client leaves all its channels.
    pub(crate) fn forget_client(&mut self, key: ClientKey) {
        let Some(client) = self.clients.remove(key) else { return };
        if client.stage != Stage::Fresh {
            self.users.remove(&client.user, key);
        }
        for sub in client.subs {
            self.leave_channel(sub);
        }
    }

    /// A pong of the protocol's own. False where none was awaited.
    pub(super) fn client_pong(&mut self, key: ClientKey) -> bool {
        let Some(client) = self.clients.get(key) else { return true };
        let Link::WebSocket(socket) = client.link;
        let is_awaited = self.conns.get(socket).is_some_and(|conn| conn.pinged.is_some());
        if is_awaited {
            self.pong(socket);
        }
        is_awaited
    }

    /// The client is connected: from now on it is pinged.
    pub(super) fn begin_pings(&mut self, key: ClientKey) {
        let Some(client) = self.clients.get(key) else { return };
        let Link::WebSocket(socket) = client.link;
        self.begin_heartbeat(socket);
    }

    /// Opens a session on an upgraded connection.
    pub(crate) fn open_client(&mut self, link: Link, format: holdfast_protocol::client::Format) -> Session {
        let id = uuid::Builder::from_random_bytes(self.ids.random()).into_uuid();
        let key = self.clients.insert(link, format, id, Arc::clone(&self.rules.nobody));
        Session::Client { key }
    }
}
