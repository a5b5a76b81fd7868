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
    conn::{Above, Connections, Handshake, Session, State, deflate::Deflate, pace::PingStretch},
    context::Context,
    memory::Budget,
};

impl<K: Kernel> Connections<K> {
    /// `/echo`.
    pub(crate) fn upgrade_to_echo<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        _above: &mut A,
        socket: Socket,
        head: &RequestHead<'_>,
    ) -> Result<(), Refusal> {
        if !self.policy.http.open_paths.echo {
            return Err(Refusal::NotFound);
        }
        let mut upgrade = handshake_server::upgrade(head, &[])?;
        admitted_origin(head, &self.policy.http.origins)?;
        self.agree(cx, socket, &mut upgrade);
        self.transmit(socket, upgrade.response());
        self.opened(cx, socket, State::open(Session::Echo));
        self.begin_heartbeat(cx, socket, PingStretch::NOTHING);
        Ok(())
    }

    /// `/broadcast`.
    pub(crate) fn upgrade_to_broadcast<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        head: &RequestHead<'_>,
    ) -> Result<(), Refusal> {
        if !self.policy.http.open_paths.broadcast {
            return Err(Refusal::NotFound);
        }
        let mut upgrade = handshake_server::upgrade(head, &[])?;
        admitted_origin(head, &self.policy.http.origins)?;
        let deflate = self.agree(cx, socket, &mut upgrade);
        self.transmit(socket, upgrade.response());
        let place = above.join_broadcast(socket, deflate);
        self.opened(cx, socket, State::open(Session::Broadcast { place }));
        self.begin_heartbeat(cx, socket, PingStretch::NOTHING);
        Ok(())
    }

    /// The Centrifuge client protocol.
    pub(crate) fn upgrade_to_client<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        head: &RequestHead<'_>,
    ) -> Result<(), Refusal> {
        const JSON: &str = "centrifuge-json";
        const PROTOBUF: &str = "centrifuge-protobuf";
        if self.policy.http.no_websocket {
            return Err(Refusal::NotFound);
        }
        let mut upgrade = handshake_server::upgrade(head, &[PROTOBUF, JSON])?;
        admitted_origin(head, &self.policy.http.origins)?;
        cx.check_room_for_session()?;
        let asks_for = |wanted: &[&str]| {
            head.query.is_some_and(|query| query.split('&').any(|pair| wanted.contains(&pair)))
        };
        let format = match upgrade.subprotocol() {
            Some(PROTOBUF) => Format::Protobuf,
            None if asks_for(&["cf_protocol=protobuf", "format=protobuf"]) => Format::Protobuf,
            _ => Format::Json,
        };
        let has_native_pings = asks_for(&["cf_ws_frame_ping_pong=true"]);
        let deflate = self.agree(cx, socket, &mut upgrade);
        self.transmit(socket, upgrade.response());
        let told = self.policy.http.proxied_headers(head);
        let client = Handshake { has_native_pings, deflate, format };
        let key = above.open_client(self, cx, socket, client, told);
        self.opened(cx, socket, State::open(Session::Client { key }));
        // The connect is part of the handshake: it gets the same timeout, started again.
        let deadline = cx.now.after_ms(self.policy.handshake_ms);
        self.schedule(cx, socket, deadline);
        Ok(())
    }

    /// Accepts permessage-deflate if it is offered and enabled.
    fn agree(&mut self, cx: &mut Context, socket: Socket, upgrade: &mut Upgrade<'_, '_>) -> Deflate {
        let Some(preferences) = self.deflating.preferences() else { return Deflate::Off };
        let windows_bytes = self.deflating.windows_bytes_max();
        // Context takeover makes messages shorter; it is the first thing to drop when memory is short.
        let has_room = cx.ledger.has_room_for(Budget::Sessions, windows_bytes as u64);
        let lean = self.deflating.lean_preferences().filter(|_| windows_bytes > 0 && !has_room);
        let agreement = upgrade.agree_to_deflate(lean.as_ref().unwrap_or(preferences));
        let (deflate, windows_bytes) = self.deflating.opened(socket, agreement);
        cx.ledger.charge(Budget::Sessions, windows_bytes);
        if let Some(conn) = self.table.get_mut(socket) {
            conn.deflate = deflate;
        }
        deflate
    }
}
