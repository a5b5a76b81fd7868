//! I/O: carries out what sessions do to connections.
//!
//! In:  calls of sessions.
//! Out: calls of the shard's connections, and changes of their backlog.

use bytes::{Bytes, BytesMut};
use holdfast_protocol::{
    http::Refusal,
    websocket::{CloseCode, MessageKind},
};
use holdfast_ring::{Ended, Kernel, Socket};

use super::{
    Shard,
    back_pressure::Throttled,
    backlog::{Backlog, Item, Received},
};
use crate::{
    conn::{
        Connections, Session, State,
        deflate::Deflate,
        http::pending::Pipelined,
        lag::{Cause, LongQueue, TooSlow},
        pace::{Beat, PingStretch},
    },
    context::Context,
    limits::Rejection,
    metrics::CloseReason,
    refusals::{Asking, Line},
    session::{Class, Deferred, FlowKey, Io, SessionCx},
};

/// A shard's connections as its sessions see them.
pub(crate) struct ShardIo<'a, K: Kernel> {
    pub(super) conns: &'a mut Connections<K>,
    pub(super) backlog: &'a mut Backlog<K::Buffer>,
    pub(super) throttled: &'a mut Throttled,
}

impl<K: Kernel> Shard<K> {
    /// Runs `act` on the shard's sessions.
    pub(crate) fn with_sessions<T>(
        &mut self,
        act: impl FnOnce(&mut SessionCx<'_, ShardIo<'_, K>>) -> T,
    ) -> T {
        let Self { sessions, hub, mesh, cx, conns, backlog, throttled, .. } = self;
        let mut io = ShardIo { conns, backlog, throttled };
        act(&mut SessionCx { sessions, hub, mesh, cx, io: &mut io })
    }
}

impl<K: Kernel> Io for ShardIo<'_, K> {
    fn send(&mut self, cx: &mut Context, to: Socket, bytes: Bytes, cause: Cause) -> Option<TooSlow> {
        self.conns.send_for(cx, to, bytes, cause)
    }

    fn send_head(&mut self, to: Socket, bytes: Bytes) {
        self.conns.transmit(to, bytes);
    }

    fn deflate(&mut self, to: Socket, deflate: Deflate, kind: MessageKind, message: &[u8]) -> Bytes {
        let mut frame = BytesMut::with_capacity(message.len() + 10);
        self.conns.deflating.append(to, deflate, kind, message, &mut frame);
        frame.freeze()
    }

    fn deflate_frames(&mut self, to: Socket, deflate: Deflate, plain: &Bytes, is_shared: bool) -> Bytes {
        match is_shared {
            true => self.conns.deflating.shared_frames(to, deflate, plain),
            false => self.conns.deflating.frames(to, deflate, plain),
        }
    }

    fn begin_turn_of_channel(&mut self) {
        self.conns.is_fanning_out = true;
    }

    fn end_turn_of_channel(&mut self) -> Vec<LongQueue> {
        self.conns.is_fanning_out = false;
        self.conns.deflating.end_turn();
        std::mem::take(&mut self.conns.long_queues)
    }

    fn slow_down(&mut self, cx: &mut Context, long: LongQueue) -> Option<TooSlow> {
        self.conns.on_backlog(cx, long)
    }

    fn queued_bytes(&mut self, of: Socket) -> usize {
        self.conns.sockets.queued_bytes(of)
    }

    fn is_backlogged(&mut self, socket: Socket) -> bool {
        self.conns.sockets.is_backlogged(socket)
    }

    fn notify_drained(&mut self, socket: Socket) {
        self.conns.sockets.notify_drained(socket);
    }

    fn pause(&mut self, socket: Socket) {
        self.conns.sockets.pause_receive(socket);
    }

    fn read_again(&mut self, socket: Socket, must_hold: bool) {
        let is_paused = self.conns.table.get_mut(socket).is_none_or(|conn| conn.is_paused);
        if is_paused || self.backlog.is_paused(FlowKey::Socket(socket)) {
            return;
        }
        if !must_hold || !self.throttled.throttle_publisher(self.conns, socket) {
            self.conns.sockets.resume_receive(socket);
        }
    }

    fn session_on(&mut self, socket: Socket) -> Option<Session> {
        self.conns.table.get_mut(socket).and_then(|conn| conn.state.session())
    }

    fn stream_opened(&mut self, cx: &mut Context, socket: Socket, session: Session) {
        self.conns.opened(cx, socket, State::streaming(session));
    }

    fn begin_handshake(&mut self, cx: &mut Context, socket: Socket) {
        let deadline = cx.now.after_ms(self.conns.policy.handshake_ms);
        self.conns.schedule(cx, socket, deadline);
    }

    fn pings(&self) -> PingStretch {
        self.conns.pace.tell()
    }

    fn begin_heartbeat(&mut self, cx: &mut Context, socket: Socket, told: PingStretch) {
        self.conns.begin_heartbeat(cx, socket, told);
    }

    fn pong(&mut self, cx: &mut Context, socket: Socket) -> bool {
        let is_awaited =
            self.conns.table.get_mut(socket).is_some_and(|conn| conn.state.beat() == Beat::Awaits);
        if is_awaited {
            self.conns.pong(cx, socket);
        }
        is_awaited
    }

    fn detach(&mut self, socket: Socket, reason: CloseReason) {
        self.conns.detach(socket, reason);
    }

    fn close(&mut self, cx: &mut Context, socket: Socket, code: CloseCode, text: &str) {
        self.conns.close(cx, socket, code, text);
    }

    fn linger_for_eof(&mut self, cx: &mut Context, socket: Socket) {
        self.conns.linger_for_eof(cx, socket);
    }

    fn answer(&mut self, cx: &mut Context, socket: Socket, answer: Result<Option<Bytes>, Refusal>) {
        let Some(Pipelined { bytes, has_ended }) = self.conns.answer_request(cx, socket, answer) else {
            return;
        };
        let (key, class) = (FlowKey::Socket(socket), Class::Sessions);
        if has_ended {
            self.backlog.push_front(key, class, 0, Item::Ended(Ended::ByPeer));
        }
        self.backlog.push_front(key, class, 0, Item::Received(Received::plain(bytes.into())));
    }

    fn reject(&mut self, cx: &mut Context, socket: Socket, rejection: Rejection) {
        self.conns.reject(cx, socket, rejection, Asking::default());
    }

    fn is_reused(&mut self, socket: Socket) -> bool {
        self.conns.table.get_mut(socket).is_some_and(|conn| conn.state.is_reused())
    }

    fn take_place(&mut self, taken_elsewhere: u64) -> bool {
        self.conns.places_taken += 1;
        let has_capacity = self.conns.has_capacity(taken_elsewhere);
        if !has_capacity {
            self.conns.places_taken -= 1;
        }
        has_capacity
    }

    fn give_place_back(&mut self) {
        self.conns.places_taken -= 1;
    }

    fn tell(&mut self, cx: &mut Context, socket: Socket, line: Line) {
        self.conns.tell_of_socket(cx, socket, line);
    }

    fn table_bytes(&self) -> usize {
        self.conns.partial.bytes()
    }

    fn defer_last(&mut self, flow: FlowKey, class: Class, what: Deferred) {
        self.backlog.push_back(flow, class, Item::Deferred(what));
    }

    fn defer_first(&mut self, flow: FlowKey, what: Deferred) {
        self.backlog.push_front(flow, Class::Sessions, 0, Item::Deferred(what));
    }

    fn has_deferred(&self, flow: FlowKey) -> bool {
        self.backlog.waits(flow)
    }

    fn deferred_bytes(&self, flow: FlowKey) -> usize {
        self.backlog.command_bytes(flow)
    }

    fn forget_deferred(&mut self, flow: FlowKey) {
        self.backlog.remove(flow);
    }

    fn is_caught_up(&self) -> bool {
        self.backlog.are_all_asleep()
    }
}
