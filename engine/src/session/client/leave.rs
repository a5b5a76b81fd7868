//! Leave: ends a session.
//!
//! In:  protocol violations, expiries, requests of the application, the end of the transport.
//! Out: a close code with its reason; a free slot; updates to the channels.

use std::{borrow::Cow, sync::Arc};

use holdfast_protocol::{
    client::{DisconnectCode, Format, Push, PushBody, push::DisconnectPush},
    websocket::CloseCode,
};
use rand::Rng as _;

use holdfast_ring::Socket;

use super::{Stage, Transport};
use crate::{
    conn::pace::PingStretch,
    ids::ClientKey,
    metrics::CloseReason,
    session::{Io, SessionCx},
};

impl<I: Io> SessionCx<'_, I> {
    /// Ends a session with a code of the protocol.
    pub(crate) fn disconnect(&mut self, key: ClientKey, code: DisconnectCode) {
        let reason = match code {
            DisconnectCode::NO_PONG => CloseReason::NoPong,
            DisconnectCode::SLOW => CloseReason::Slow,
            DisconnectCode::SHUTDOWN => CloseReason::Shutdown,
            DisconnectCode::STALE => CloseReason::HandshakeTimeout,
            DisconnectCode::BAD_REQUEST => CloseReason::ProtocolError,
            DisconnectCode::INVALID_TOKEN => CloseReason::InvalidToken,
            DisconnectCode::TOO_MANY_REQUESTS => CloseReason::Flood,
            _ => CloseReason::Disconnected,
        };
        self.disconnect_as(key, code, reason);
    }

    /// The same, counted under another reason than the code's default.
    pub(super) fn disconnect_as(&mut self, key: ClientKey, code: DisconnectCode, reason: CloseReason) {
        self.flush_replies(key);
        if self.sessions.clients.get(key).is_none() {
            return;
        }
        self.tell_disconnect(key, code);
        let (close_code, text) = code.close_frame();
        self.part_with(key, close_code, text, reason);
    }

    /// Ends a session with a code of the application.
    pub(crate) fn disconnect_with(&mut self, key: ClientKey, code: u16, text: &str) {
        self.flush_replies(key);
        if self.sessions.clients.get(key).is_none() {
            return;
        }
        self.tell_applications_disconnect(key, code, text);
        self.part_with(key, CloseCode::from(code), text, CloseReason::Disconnected);
    }

    /// Tells a client that its session is over: with a close frame if the transport has one, otherwise with a push.
    fn part_with(&mut self, key: ClientKey, code: CloseCode, text: &str, reason: CloseReason) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        let (link, format) = (client.link, client.format);
        match link {
            Transport::WebSocket { socket, .. } => {
                self.leave_connection(key, socket, reason);
                return self.io.close(self.cx, socket, code, text);
            }
            // Detach before sending the last push: it may exceed the queue's limit, which must not end the session
            // twice.
            Transport::Stream { socket, .. } => {
                self.leave_connection(key, socket, reason);
            }
            Transport::Poll(session) => self.poll_offended(session, reason),
        }
        let code = u32::from(u16::from(code));
        let is_final = (3500..4000).contains(&code) || (4500..5000).contains(&code);
        let body = DisconnectPush { code, reason: Cow::Borrowed(text), reconnect: !is_final };
        self.send_push(link, format, &Push { id: 0, channel: "".into(), body: PushBody::Disconnect(body) });
        match link {
            Transport::Stream { socket, .. } => self.io.linger_for_eof(self.cx, socket),
            Transport::Poll(session) => self.end_poll_client(session),
            Transport::WebSocket { .. } => {}
        }
    }

    /// Detaches the client from its connection, which then closes.
    fn leave_connection(&mut self, key: ClientKey, socket: Socket, reason: CloseReason) {
        self.io.detach(socket, reason);
        self.hub.slow.forget(socket);
        self.forget_client(key);
    }

    /// The transport has ended: the client leaves all its channels.
    pub(crate) fn forget_client(&mut self, key: ClientKey) {
        let Some(client) = self.sessions.clients.remove(key) else { return };
        self.close_account(key, &client);
        self.forget_backlog(key);
        if client.stage != Stage::Fresh {
            self.sessions.users.remove(&client.user, key);
        }
        self.release_lease(key, &client);
        for sub in client.subs {
            self.leave_channel(sub);
        }
        if let Transport::Stream { session, .. } = client.link {
            self.sessions.registry.close(session);
        }
    }

    /// Handles a pong of the protocol. False if none was expected.
    pub(super) fn client_pong(&mut self, key: ClientKey) -> bool {
        let Some(client) = self.sessions.clients.get(key) else { return true };
        let Some((_, socket)) = client.link.connection(client.format) else { return false };
        self.io.pong(self.cx, socket)
    }

    /// The client is connected and has its reply: starts to ping it.
    pub(super) fn begin_pings(&mut self, key: ClientKey, stretch: PingStretch) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        if let Some((_, socket)) = client.link.connection(client.format) {
            self.io.begin_heartbeat(self.cx, socket, stretch);
        }
    }

    /// Opens a session.
    pub(crate) fn open_client(&mut self, link: Transport, format: Format) -> ClientKey {
        let key = self.sessions.clients.insert(
            link,
            format,
            self.sessions.ids.random(),
            Arc::clone(&self.sessions.nobody),
        );
        self.account(key);
        key
    }
}
