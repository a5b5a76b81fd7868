//! Above: forwards events of connections to sessions, the hub, and the backlog.
//!
//! In:  calls of connections.
//! Out: calls of the parts concerned.

use std::sync::Arc;

use holdfast_protocol::{
    client::{DisconnectCode, Format},
    http::Refusal,
    websocket::{Message, encoder},
};
use holdfast_ring::{Kernel, Socket};

use super::{Shard, back_pressure::Throttled, backlog::Backlog, session_io::ShardIo};
use crate::{
    conn::{
        Above, Connections, Handshake, Session,
        deflate::Deflate,
        http::{cors::Cors, pending::Header},
    },
    context::Context,
    encoding::Encoding,
    ids::ClientKey,
    metrics::CloseReason,
    session::{
        Class, FlowKey, SessionCx, Sessions,
        client::{Stage, Transport},
        message::Mesh,
        receivers::Hub,
    },
    time::Tick,
};

/// All parts of a shard above its connections.
pub(crate) struct Upper<'a, K: Kernel> {
    sessions: &'a mut Sessions,
    hub: &'a mut Hub,
    mesh: &'a mut Mesh,
    backlog: &'a mut Backlog<K::Buffer>,
    throttled: &'a mut Throttled,
}

impl<K: Kernel> Shard<K> {
    /// Runs `act` on the shard's connections, which may call the layer above.
    pub(crate) fn with_connections<T>(
        &mut self,
        act: impl FnOnce(&mut Connections<K>, &mut Context, &mut Upper<'_, K>) -> T,
    ) -> T {
        let Self { sessions, hub, mesh, cx, conns, backlog, throttled, .. } = self;
        act(conns, cx, &mut Upper { sessions, hub, mesh, backlog, throttled })
    }
}

impl<K: Kernel> Upper<'_, K> {
    fn with_sessions<T>(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        act: impl FnOnce(&mut SessionCx<'_, ShardIo<'_, K>>) -> T,
    ) -> T {
        let Self { sessions, hub, mesh, backlog, throttled } = self;
        act(&mut SessionCx { sessions, hub, mesh, cx, io: &mut ShardIo { conns, backlog, throttled } })
    }
}

impl<K: Kernel> Above<K> for Upper<'_, K> {
    fn places_taken_elsewhere(&self) -> Option<u64> {
        let peers = &self.mesh.peers;
        (!peers.is_memory_short()).then(|| peers.places_taken(self.mesh.shard, 0))
    }

    fn open_client(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        socket: Socket,
        handshake: Handshake,
        told: Arc<[Header]>,
    ) -> ClientKey {
        let Handshake { has_native_pings, deflate, format } = handshake;
        self.with_sessions(conns, cx, |sessions| {
            let key =
                sessions.open_client(Transport::WebSocket { socket, has_native_pings, deflate }, format);
            sessions.store_headers(key, told);
            key
        })
    }

    fn join_broadcast(&mut self, socket: Socket, deflate: Deflate) -> u32 {
        self.hub.broadcast.members_mut().join((socket, deflate))
    }

    fn open_stream(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        socket: Socket,
        wire: Encoding,
        cors: &Cors,
        told: Arc<[Header]>,
        commands: &[u8],
    ) {
        self.with_sessions(conns, cx, |sessions| sessions.open_stream(socket, wire, cors, told, commands));
    }

    fn commands(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        socket: Socket,
        format: Format,
        body: &[u8],
    ) -> Result<(), Refusal> {
        self.with_sessions(conns, cx, |sessions| sessions.emulation_came(socket, format, body))
    }

    fn poll(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        socket: Socket,
        told: Arc<[Header]>,
        body: &[u8],
    ) -> Result<(), Refusal> {
        self.with_sessions(conns, cx, |sessions| sessions.poll_came(socket, told, body))
    }

    fn hold_request(&mut self, conns: &mut Connections<K>, socket: Socket, body_bytes: usize) -> bool {
        self.throttled.hold_request(conns, self.mesh, self.hub, socket, body_bytes)
    }

    fn message(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        session: Session,
        message: &Message<'_>,
    ) -> Option<usize> {
        match session {
            Session::Broadcast { .. } => {
                cx.meter.publish(message.payload.len());
                let (kind, payload) = (message.kind, &message.payload);
                self.hub.broadcast.publish(|out| encoder::encode_message(out, kind, None, payload));
                None
            }
            Session::Client { key } => {
                self.with_sessions(conns, cx, |sessions| sessions.receive_commands(key, &message.payload))
            }
            Session::Echo => None,
        }
    }

    fn has_read(&mut self, conns: &mut Connections<K>, socket: Socket, bytes: usize) {
        let has_backlog = self.backlog.waits(FlowKey::Socket(socket));
        self.throttled.throttle_reader(conns, self.mesh, self.hub, socket, bytes, has_backlog);
    }

    fn has_deferred(&self, socket: Socket) -> bool {
        self.backlog.is_awake(FlowKey::Socket(socket))
    }

    fn drained(&mut self, conns: &mut Connections<K>, cx: &mut Context, socket: Socket) {
        self.with_sessions(conns, cx, |sessions| sessions.feed(socket));
    }

    fn read_again(&mut self, conns: &mut Connections<K>, cx: &mut Context, socket: Socket) {
        let flow = FlowKey::Socket(socket);
        if self.backlog.waits(flow) {
            let class = class_of(conns, self.sessions, flow);
            self.backlog.wake(flow, class);
        }
        self.with_sessions(conns, cx, |sessions| sessions.read_again(socket));
    }

    fn go_on(&mut self, conns: &mut Connections<K>, cx: &mut Context, key: ClientKey) {
        self.with_sessions(conns, cx, |sessions| sessions.go_on(key));
    }

    fn ping_of(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        key: ClientKey,
    ) -> Option<Option<Encoding>> {
        let client = self.sessions.clients.get(key)?;
        let own_pings = client.link.is_pinged().then(|| client.link.connection(client.format));
        let wire = own_pings.flatten().map(|(wire, _)| wire);
        self.with_sessions(conns, cx, |sessions| sessions.check_expiry(key)).then_some(wire)
    }

    fn is_connecting(&mut self, key: ClientKey) -> bool {
        self.sessions.clients.get(key).is_some_and(|client| client.stage == Stage::Connecting)
    }

    fn has_all_read_up_to(&mut self, conns: &mut Connections<K>, cx: &mut Context, then: Tick) -> bool {
        self.with_sessions(conns, cx, |sessions| sessions.has_all_read_up_to(then))
    }

    fn end_client(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        key: ClientKey,
        code: DisconnectCode,
    ) {
        self.with_sessions(conns, cx, |sessions| sessions.disconnect(key, code));
    }

    fn tell_end(
        &mut self,
        conns: &mut Connections<K>,
        cx: &mut Context,
        key: ClientKey,
        reason: CloseReason,
    ) {
        self.with_sessions(conns, cx, |sessions| sessions.tell_client_end(key, reason));
    }

    fn left(&mut self, conns: &mut Connections<K>, cx: &mut Context, socket: Socket, session: Session) {
        self.hub.slow.forget(socket);
        match session {
            Session::Broadcast { place } => {
                if let Some((moved, _)) = self.hub.broadcast.members_mut().leave(place)
                    && let Some(conn) = conns.table.get_mut(moved)
                {
                    conn.state.move_member(place);
                }
            }
            Session::Client { key } => {
                self.with_sessions(conns, cx, |sessions| sessions.forget_client(key));
            }
            Session::Echo => {}
        }
    }
}

/// The class of a flow.
pub(super) fn class_of<K: Kernel>(
    conns: &mut Connections<K>,
    sessions: &mut Sessions,
    flow: FlowKey,
) -> Class {
    let FlowKey::Socket(socket) = flow else { return Class::Sessions };
    let Some(conn) = conns.table.get_mut(socket) else { return Class::Sessions };
    let is_arriving = match conn.state.session() {
        Some(Session::Client { key }) => {
            sessions.clients.get(key).is_some_and(|client| client.stage == Stage::Fresh)
        }
        Some(Session::Echo | Session::Broadcast { .. }) => false,
        None => conn.state.awaits_request() && !conn.state.is_reused(),
    };
    if is_arriving { Class::Arrivals } else { Class::Sessions }
}
