//! Intake: from an accepted connection to an open session or a refusal.
//!
//! In:  accepted sockets and their requests.
//! Out: an upgraded connection passed to its session (`upgrade`); a request passed to its session and answered (`request`,
//! with browser fields in `cors`); or one complete refusal.
//!
//! Nothing here blocks: an incomplete head is kept, up to its limit and its deadline.

pub(crate) mod cors;
pub(crate) mod pending;
pub(crate) mod request;
mod upgrade;

use std::net::IpAddr;

use bytes::BytesMut;
use holdfast_protocol::{
    client::Format,
    http::{Refusal, RequestHead},
};
use holdfast_ring::{Errno, Kernel, Socket};

use self::{cors::Cors, pending::Endpoint};
use crate::{
    conn::{Above, Conn, Connections, State, TlsListener},
    context::{Context, RETRY_AFTER_S, cost},
    encoding::Encoding,
    limits::Rejection,
    metrics::{CloseReason, Metric, RefusalReason},
    refusals::Asking,
};

impl<K: Kernel> Connections<K> {
    /// True exactly when the newest connection may stay, counting those on other shards. A few descriptors are reserved for
    /// refusing the others.
    pub(crate) fn has_capacity(&self, taken_elsewhere: u64) -> bool {
        let reserve = (self.sockets.slots() / 8).min(64);
        self.places_taken <= (self.sockets.slots() - reserve) as u64
            && self.places_taken + taken_elsewhere <= self.policy.connections_max
    }

    /// The handshake is complete.
    pub(crate) fn opened(&mut self, cx: &mut Context, socket: Socket, state: State) {
        cx.counters.add(Metric::Handshakes, 1);
        self.open += 1;
        if let Some(conn) = self.table.get_mut(socket) {
            conn.state = state;
        }
    }

    /// Sends a refusal and gives the peer a moment to read it.
    pub(crate) fn refuse(&mut self, cx: &mut Context, socket: Socket, refusal: Refusal) {
        self.refuse_asking(cx, socket, rejection_of(refusal), Asking::default());
    }

    /// The same, with the known parts of the request, and with a reason that the refusal may not reveal.
    pub(crate) fn refuse_asking(
        &mut self,
        cx: &mut Context,
        socket: Socket,
        rejection: Rejection,
        asking: Asking<'_>,
    ) {
        self.refuse_as(cx, socket, rejection, asking, CloseReason::Refused);
    }

    /// The same, with the reason that the close counts in.
    fn refuse_as(
        &mut self,
        cx: &mut Context,
        socket: Socket,
        rejection: Rejection,
        asking: Asking<'_>,
        close_reason: CloseReason,
    ) {
        let request = self.table.get_mut(socket).and_then(|conn| conn.state.request());
        let (path, cors) = match request {
            Some(request) => (Some(request.path()), request.cors.clone()),
            None => (None, Cors::default()),
        };
        let asking = asking.or_of(path, &cors);
        self.refuse_to(cx, socket, rejection, asking, &cors, close_reason);
    }

    fn refuse_to(
        &mut self,
        cx: &mut Context,
        socket: Socket,
        Rejection { refusal, reason }: Rejection,
        asking: Asking<'_>,
        cors: &Cors,
        close_reason: CloseReason,
    ) {
        self.tell_refusal(cx, socket, refusal, reason, asking);
        cx.refused_for(socket, refusal, reason);
        cx.counters.add(Metric::Refused(reason), 1);
        let mut out = BytesMut::new();
        refusal.write_to(asking.asked, &cors.fields(), &mut out);
        self.transmit(socket, out.freeze());
        self.release_slot(socket);
        // The refusal was logged; its close is not logged again.
        cx.why = None;
        self.detach(socket, close_reason);
        self.linger(cx, socket, close_reason);
    }

    /// Makes room for another connection. A refused one keeps its descriptor a moment longer, but no place.
    pub(crate) fn release_slot(&mut self, socket: Socket) {
        if let Some(conn) = self.table.get_mut(socket)
            && std::mem::take(&mut conn.counts_toward_limit)
        {
            self.places_taken -= 1;
        }
    }
}

impl<K: Kernel> Connections<K> {
    /// A connection was accepted; `from` is its address if addresses are used.
    pub(crate) fn accepted<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        from: Option<IpAddr>,
    ) {
        cx.counters.add(Metric::Accepted, 1);
        let deadline = cx.now.after_ms(self.policy.handshake_ms);
        let tls = self.tls.as_ref().and_then(TlsListener::accept);
        self.table.insert(socket, Conn::accepted(deadline, tls));
        self.places_taken += 1;
        self.schedule(cx, socket, deadline);
        if !above.places_taken_elsewhere().is_some_and(|taken| self.has_capacity(taken)) {
            return self.refuse(cx, socket, Refusal::Unavailable { retry_after_s: RETRY_AFTER_S });
        }
        self.on_accept(cx, above, socket, from);
    }

    pub(crate) fn accept_failed(&mut self, cx: &mut Context, error: Errno) {
        cx.counters.add(Metric::AcceptErrors, 1);
        tracing::warn!(shard = cx.shard.index(), %error, "cannot accept connections: open ones stay, and the next attempt is in one second; `holdfast doctor` checks the limits of this machine");
    }

    /// Handles bytes of a connection whose request head is incomplete. Returns how many of them belong to it.
    pub(crate) fn read_head<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: &[u8],
    ) -> usize {
        cx.meter.add(cost::REQUEST_NS);
        let Some(conn) = self.table.get_mut(socket) else { return bytes.len() };
        let State::Head { partial, is_reused } = &mut conn.state else { return bytes.len() };
        match partial.take() {
            // Almost always the whole head arrives at once and is parsed in place.
            None => match RequestHead::parse(bytes, &self.policy.head) {
                Ok(Some((head, used))) => {
                    self.answer_or_refuse(cx, above, socket, &head);
                    used
                }
                Ok(None) => {
                    *partial = Some(Box::new(BytesMut::from(bytes)));
                    if *is_reused {
                        let deadline = cx.now.after_ms(self.policy.handshake_ms);
                        self.schedule(cx, socket, deadline);
                    }
                    bytes.len()
                }
                Err(refusal) => {
                    self.refuse(cx, socket, refusal);
                    bytes.len()
                }
            },
            Some(mut before) => {
                let came_before = before.len();
                before.extend_from_slice(bytes);
                match RequestHead::parse(&before, &self.policy.head) {
                    Ok(Some((head, used))) => {
                        self.answer_or_refuse(cx, above, socket, &head);
                        used - came_before
                    }
                    Ok(None) => {
                        *partial = Some(before);
                        bytes.len()
                    }
                    Err(refusal) => {
                        self.refuse(cx, socket, refusal);
                        bytes.len()
                    }
                }
            }
        }
    }

    fn answer_or_refuse<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        head: &RequestHead<'_>,
    ) {
        let asking = Asking::of(head);
        if let Err(rejection) = cx.admit_request(socket, head) {
            self.reject(cx, socket, rejection, asking);
        } else if let Err(refusal) = self.answer(cx, above, socket, head) {
            self.refuse_asking(cx, socket, rejection_of(refusal), asking);
        }
    }

    /// All paths served on this port.
    fn answer<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        head: &RequestHead<'_>,
    ) -> Result<(), Refusal> {
        let format = if is_protobuf(head)? { Format::Protobuf } else { Format::Json };
        match head.path {
            "/echo" => self.upgrade_to_echo(cx, above, socket, head),
            "/broadcast" => self.upgrade_to_broadcast(cx, above, socket, head),
            "/connection/websocket" => self.upgrade_to_client(cx, above, socket, head),
            "/connection/sse" => self.request_came(cx, above, socket, head, Endpoint::Stream(Encoding::Sse)),
            "/connection/http_stream" => {
                self.request_came(cx, above, socket, head, Endpoint::Stream(Encoding::Stream(format)))
            }
            "/emulation" => self.request_came(cx, above, socket, head, Endpoint::Emulation(format)),
            "/connection/poll" => self.request_came(cx, above, socket, head, Endpoint::Poll),
            _ => Err(Refusal::NotFound),
        }
    }

    /// The deadline of a request has passed, or that of an idle connection between requests.
    pub(crate) fn request_timed_out<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        let refusal = match conn.state {
            State::Head { partial: None, is_reused: true } => {
                return self.end_now(cx, above, socket, CloseReason::ByPeer);
            }
            State::Answering(_) => Refusal::Unavailable { retry_after_s: RETRY_AFTER_S },
            _ => Refusal::HeadTimeout,
        };
        let (rejection, close_reason) = (rejection_of(refusal), CloseReason::HandshakeTimeout);
        self.refuse_as(cx, socket, rejection, Asking::default(), close_reason);
    }
}

/// A refusal, with the metric that it counts in.
fn rejection_of(refusal: Refusal) -> Rejection {
    let reason = match refusal {
        Refusal::Unavailable { .. } => RefusalReason::Capacity,
        Refusal::OriginForbidden => RefusalReason::Origin,
        Refusal::NotFound => RefusalReason::Path,
        Refusal::SessionUnknown => RefusalReason::Session,
        Refusal::HeadTimeout => RefusalReason::Timeout,
        Refusal::TlsOnPlainPort | Refusal::PlainOnTlsPort => RefusalReason::Tls,
        _ => RefusalReason::Request,
    };
    Rejection { refusal, reason }
}

/// Centrifuge SDKs declare the format in `Content-Type`.
fn is_protobuf(head: &RequestHead<'_>) -> Result<bool, Refusal> {
    let media_type = head.header("Content-Type")?.unwrap_or_default().split(|&byte| byte == b';').next();
    Ok(media_type.is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"application/octet-stream")))
}
