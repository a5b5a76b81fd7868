//! Upgrade: requests that become WebSocket connections.
//!
//! In:  a complete request head.
//! Out: the 101 response and an open session, or a refusal.

use holdfast_protocol::{
    client::Format,
    http::{Refusal, RequestHead},
    websocket::handshake_server::{self, Upgrade},
};
use holdfast_ring::{Kernel, Socket};

use super::cors::admitted_origin;
use crate::{
    conn::{Phase, Session, deflate::Deflate, pace::Told},
    memory::Budget,
    session::client::Link,
    shard::Shard,
};

impl<K: Kernel> Shard<K> {
    /// `/echo`.
    pub(super) fn upgrade_to_echo(&mut self, socket: Socket, head: &RequestHead<'_>) -> Result<(), Refusal> {
        if !self.sessions.rules.open_paths.echo {
            return Err(Refusal::NotFound);
        }
        let mut upgrade = handshake_server::upgrade(head, &[])?;
        admitted_origin(head, &self.sessions.rules.origins)?;
        let deflate = self.agree(socket, &mut upgrade);
        self.conns.transmit(socket, upgrade.response());
        self.conns.opened(&mut self.cx, socket, Phase::Open, Session::Echo);
        self.compress(socket, deflate);
        self.conns.begin_heartbeat(&mut self.cx, socket, Told::NOTHING);
        Ok(())
    }

    /// `/broadcast`.
    pub(super) fn upgrade_to_broadcast(
        &mut self,
        socket: Socket,
        head: &RequestHead<'_>,
    ) -> Result<(), Refusal> {
        if !self.sessions.rules.open_paths.broadcast {
            return Err(Refusal::NotFound);
        }
        let mut upgrade = handshake_server::upgrade(head, &[])?;
        admitted_origin(head, &self.sessions.rules.origins)?;
        let deflate = self.agree(socket, &mut upgrade);
        self.conns.transmit(socket, upgrade.response());
        let place = self.hub.broadcast.next_place();
        self.hub.broadcast.join(socket, deflate);
        self.conns.opened(&mut self.cx, socket, Phase::Open, Session::Broadcast { place });
        self.compress(socket, deflate);
        self.conns.begin_heartbeat(&mut self.cx, socket, Told::NOTHING);
        Ok(())
    }

    /// The Centrifuge client protocol.
    pub(super) fn upgrade_to_client(
        &mut self,
        socket: Socket,
        head: &RequestHead<'_>,
    ) -> Result<(), Refusal> {
        const JSON: &str = "centrifuge-json";
        const PROTOBUF: &str = "centrifuge-protobuf";
        if self.sessions.rules.no_websocket {
            return Err(Refusal::NotFound);
        }
        let mut upgrade = handshake_server::upgrade(head, &[PROTOBUF, JSON])?;
        admitted_origin(head, &self.sessions.rules.origins)?;
        self.with_sessions(|sessions| sessions.check_room_for_session())?;
        let asks_for = |wanted: &[&str]| {
            head.query.is_some_and(|query| query.split('&').any(|pair| wanted.contains(&pair)))
        };
        let format = match upgrade.subprotocol() {
            Some(PROTOBUF) => Format::Protobuf,
            None if asks_for(&["cf_protocol=protobuf", "format=protobuf"]) => Format::Protobuf,
            _ => Format::Json,
        };
        let has_native_pings = asks_for(&["cf_ws_frame_ping_pong=true"]);
        let deflate = self.agree(socket, &mut upgrade);
        self.conns.transmit(socket, upgrade.response());
        let key = self.with_sessions(|sessions| {
            sessions.open_client(Link::WebSocket { socket, has_native_pings, deflate }, format)
        });
        let told = self.with_sessions(|sessions| sessions.told_headers(head));
        self.with_sessions(|sessions| sessions.keep_headers(key, told));
        self.conns.opened(&mut self.cx, socket, Phase::Open, Session::Client { key });
        self.compress(socket, deflate);
        // Its connect is part of the handshake: the same time, counted anew.
        let deadline = self.cx.now.after_ms(self.cx.settings.handshake_ms);
        self.conns.schedule(&mut self.cx, socket, deadline);
        Ok(())
    }

    /// Agrees to permessage-deflate, if it is offered and switched on.
    fn agree(&mut self, socket: Socket, upgrade: &mut Upgrade<'_, '_>) -> Deflate {
        let Some(preferences) = self.conns.deflating.preferences() else { return Deflate::Off };
        let windows_bytes = self.conns.deflating.windows_bytes_max();
        // Windows of its own make messages shorter, and are the first thing to be spared.
        let has_room = self.cx.ledger.has_room_for(Budget::Sessions, windows_bytes as u64);
        let lean = self.conns.deflating.lean_preferences().filter(|_| windows_bytes > 0 && !has_room);
        let agreement = upgrade.agree_to_deflate(lean.as_ref().unwrap_or(preferences));
        let (deflate, windows_bytes) = self.conns.deflating.opened(socket, agreement);
        self.cx.ledger.charge(Budget::Sessions, windows_bytes);
        deflate
    }

    fn compress(&mut self, socket: Socket, deflate: Deflate) {
        if let Some(conn) = self.conns.table.get(socket) {
            conn.deflate = deflate;
        }
    }
}
