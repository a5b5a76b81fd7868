//! Intake: from an accepted connection to an open session, or to a refusal.
//!
//! In:  accepted sockets and the first bytes that they bring.
//! Out: an upgraded connection handed to its session, or one complete HTTP answer.
//!
//! Nothing here waits for anybody: a head that comes in part is kept, up to its limit and its deadline.

use bytes::BytesMut;
use holdfast_protocol::{
    client::Format,
    http::{Refusal, RequestHead},
    websocket::handshake_server,
};
use holdfast_ring::{Errno, Kernel, Socket};

use crate::{
    conn::{Conn, Phase, Session},
    metrics::{CloseReason, Metric, RefusalReason},
    session::client::Link,
    shard::Shard,
};

/// What we ask of clients that come while there is no room.
const RETRY_AFTER_S: u32 = 5;

impl<K: Kernel> Shard<K> {
    pub(crate) fn accepted(&mut self, socket: Socket) {
        self.counters.add(Metric::Accepted, 1);
        let deadline = self.now.after_ms(self.settings.handshake_ms);
        self.conns.insert(socket, deadline);
        self.places_taken += 1;
        self.schedule(socket, deadline);
        if !self.has_capacity() {
            self.refuse(socket, Refusal::Unavailable { retry_after_s: RETRY_AFTER_S });
        }
    }

    pub(crate) fn accept_failed(&mut self, error: Errno) {
        self.counters.add(Metric::AcceptErrors, 1);
        tracing::warn!(shard = self.index, %error, "accepting failed; open connections stay, the next try is in a second");
    }

    /// True exactly when the connection that came last may stay. A few descriptors are kept for telling others that
    /// they may not.
    fn has_capacity(&self) -> bool {
        let reserve = (self.sockets.slots() / 8).min(64);
        self.places_taken <= (self.sockets.slots() - reserve) as u64
            && self.peers.places_taken(self.index, self.places_taken) <= self.settings.connections_max
            && !self.peers.is_memory_short()
            && self.stopping.is_none()
    }

    /// Bytes of a connection whose request is not complete.
    pub(crate) fn read_head(&mut self, socket: Socket, bytes: &mut [u8]) {
        let Some(conn) = self.conns.get(socket) else { return };
        let Some(mut head) = conn.head.take() else {
            // Nearly always the whole request comes at once, and is read where it lies.
            match RequestHead::parse(bytes, &self.settings.head) {
                Ok(Some((head, used))) => match self.answer(socket, &head) {
                    Ok(()) => self.read(socket, &mut bytes[used..]),
                    Err(refusal) => self.refuse(socket, refusal),
                },
                Ok(None) => conn.head = Some(Box::new(BytesMut::from(&*bytes))),
                Err(refusal) => self.refuse(socket, refusal),
            }
            return;
        };
        head.extend_from_slice(bytes);
        match RequestHead::parse(&head, &self.settings.head) {
            Ok(Some((parsed, used))) => match self.answer(socket, &parsed) {
                Ok(()) => self.read(socket, &mut head[used..]),
                Err(refusal) => self.refuse(socket, refusal),
            },
            Ok(None) => conn.head = Some(head),
            Err(refusal) => self.refuse(socket, refusal),
        }
    }

    /// Answers a complete request head.
    fn answer(&mut self, socket: Socket, head: &RequestHead<'_>) -> Result<(), Refusal> {
        let session = match head.path {
            "/echo" => Session::Echo,
            "/broadcast" => Session::Broadcast { place: self.hub.next_place() },
            "/connection/websocket" => return self.answer_client(socket, head),
            _ => return Err(Refusal::NotFound),
        };
        let upgrade = handshake_server::upgrade(head, &[])?;
        self.sockets.send(socket, upgrade.response());
        self.counters.add(Metric::Handshakes, 1);
        if matches!(session, Session::Broadcast { .. }) {
            self.hub.join(socket);
        }
        if let Some(conn) = self.conns.get(socket) {
            conn.phase = Phase::Open;
            conn.session = session;
        }
        self.sessions += 1;
        self.begin_heartbeat(socket);
        Ok(())
    }

    /// Answers a request for the Centrifuge client protocol over WebSocket.
    fn answer_client(&mut self, socket: Socket, head: &RequestHead<'_>) -> Result<(), Refusal> {
        const JSON: &str = "centrifuge-json";
        const PROTOBUF: &str = "centrifuge-protobuf";
        if self.rules.no_websocket {
            return Err(Refusal::NotFound);
        }
        let upgrade = handshake_server::upgrade(head, &[PROTOBUF, JSON])?;
        if !self.rules.origins.admit(head.header("Origin")) {
            return Err(Refusal::OriginForbidden);
        }
        let asks_for_protobuf = |query: &str| {
            query.split('&').any(|pair| matches!(pair, "cf_protocol=protobuf" | "format=protobuf"))
        };
        let format = match upgrade.subprotocol() {
            Some(PROTOBUF) => Format::Protobuf,
            None if head.query.is_some_and(asks_for_protobuf) => Format::Protobuf,
            _ => Format::Json,
        };
        self.sockets.send(socket, upgrade.response());
        self.counters.add(Metric::Handshakes, 1);
        let session = self.open_client(Link::WebSocket(socket), format);
        self.keep_headers(session, head);
        if let Some(conn) = self.conns.get(socket) {
            conn.phase = Phase::Open;
            conn.session = session;
        }
        self.sessions += 1;
        // Its connect is part of the handshake: the same time, counted anew.
        self.schedule(socket, self.now.after_ms(self.settings.handshake_ms));
        Ok(())
    }

    /// Sends a refusal and gives the peer a moment to read it.
    pub(crate) fn refuse(&mut self, socket: Socket, refusal: Refusal) {
        let reason = match refusal {
            Refusal::Unavailable { .. } => RefusalReason::Capacity,
            _ => RefusalReason::Request,
        };
        self.counters.add(Metric::Refused(reason), 1);
        self.sockets.send(socket, refusal.response());
        self.give_up_place(socket);
        self.linger(socket, CloseReason::Refused);
    }

    /// Makes room for another connection. Who is refused holds a descriptor a moment longer, but no place.
    pub(crate) fn give_up_place(&mut self, socket: Socket) {
        if let Some(conn) = self.conns.get(socket)
            && std::mem::take(&mut conn.has_place)
        {
            self.places_taken -= 1;
        }
    }

    /// The handshake's deadline has come.
    pub(crate) fn head_timed_out(&mut self, socket: Socket) {
        self.refuse(socket, Refusal::HeadTimeout);
        if let Some(Conn { close_reason, .. }) = self.conns.get(socket) {
            *close_reason = Some(CloseReason::HandshakeTimeout);
        }
    }
}
