//! Request: HTTP requests with a body, and their answers.
//!
//! In:  a head for one of the transports besides WebSocket; then its body, cut anywhere.
//! Out: the body, passed to its session; one answer; and the connection ready for the next request.
//!
//! One request at a time: input that follows a pending request waits, up to the limit of a request head. A client that does
//! not read its answers is not read from, and its next request waits: at most a quarter of `client.queue_max_size` and one
//! answer are queued per connection. A client that ends its side after its requests still gets its answers before the
//! connection closes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use holdfast_protocol::http::{Body, Refusal, RequestHead, Response, Status, Version};
use holdfast_ring::{Kernel, Socket};

use super::{cors::Cors, rejection_of};
use crate::{
    conn::{
        Above, Connections, State,
        http::pending::{Endpoint, Pipelined, Request},
    },
    context::{Context, cost},
    encoding::Encoding,
    metrics::{CloseReason, Metric},
    refusals::Asking,
};

/// How long a connection may stay idle between two requests. Longer than the 60 s of common proxies, so that the proxy
/// closes first and never sends into a connection that is being closed.
const IDLE_MS: u64 = 75_000;

/// The timeout of an answer from another shard; far longer than any answer takes.
const ANSWER_MS: u64 = 10_000;

impl<K: Kernel> Connections<K> {
    /// Answers the pending request of a connection, if there still is one.
    pub(crate) fn answer_request(
        &mut self,
        cx: &mut Context,
        socket: Socket,
        answer: Result<Option<Bytes>, Refusal>,
    ) -> Option<Pipelined> {
        let conn = self.table.get_mut(socket)?;
        let State::Answering(_) = conn.state else { return None };
        let body = match answer {
            Ok(body) => body,
            Err(refusal) => {
                self.refuse(cx, socket, refusal);
                return None;
            }
        };
        let has_ended = conn.has_ended;
        let request = conn.take_answered()?;
        let is_last = has_ended && request.later.is_empty();
        let keeps_alive = request.keeps_alive && !cx.is_stopping && !is_last;
        let mut fields = request.cors.fields();
        fields.push(("Cache-Control", "no-store"));
        if body.is_some() {
            fields.push(("Content-Type", "application/json"));
        }
        if !keeps_alive {
            fields.push(("Connection", "close"));
        }
        let status = if body.is_some() { Status::Ok } else { Status::NoContent };
        let mut out = BytesMut::new();
        Response { status, headers: &fields, body: body.as_deref().unwrap_or_default() }.write(&mut out);
        self.transmit(socket, out.freeze());
        self.next_request(cx, socket, keeps_alive);
        (!request.later.is_empty()).then(|| Pipelined { bytes: request.later, has_ended })
    }

    /// The answer is queued; the connection may read its next request.
    fn next_request(&mut self, cx: &mut Context, socket: Socket, keeps_alive: bool) {
        if !keeps_alive {
            return self.leave(cx, socket, CloseReason::ByPeer);
        }
        let deadline = cx.now.after_ms(IDLE_MS);
        let Some(conn) = self.table.get_mut(socket) else { return };
        conn.answered();
        self.count_partial(cx, socket);
        self.schedule(cx, socket, deadline);
        if self.sockets.queued_bytes(socket) > self.policy.queue.paused_bytes {
            self.pause_for_queue(socket);
        }
    }
}

impl<K: Kernel> Connections<K> {
    /// Handles a head for one of the transports besides WebSocket.
    pub(crate) fn request_came<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        head: &RequestHead<'_>,
        endpoint: Endpoint,
    ) -> Result<(), Refusal> {
        if self.policy.http.transports.body_bytes_max(endpoint).is_none() {
            return Err(Refusal::NotFound);
        }
        head.check_host()?;
        let cors = Cors::admitted(head, &self.policy.http.origins)?;
        if let Err(refusal) = self.begin_request(cx, above, socket, head, endpoint, &cors) {
            let (rejection, asking) = (rejection_of(refusal), Asking::of(head));
            self.refuse_to(cx, socket, rejection, asking, &cors, CloseReason::Refused);
        }
        Ok(())
    }

    fn begin_request<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        head: &RequestHead<'_>,
        endpoint: Endpoint,
        cors: &Cors,
    ) -> Result<(), Refusal> {
        let keeps_alive = head.keeps_alive();
        match (head.method, endpoint) {
            ("OPTIONS", _) => {
                self.answer_preflight(
                    cx,
                    above,
                    socket,
                    head,
                    cors,
                    Body::announced(head, usize::MAX)?.is_complete(),
                );
                return Ok(());
            }
            ("GET", Endpoint::Stream(Encoding::Sse)) => {
                cx.check_room_for_session()?;
                // The body is ignored: no request follows a stream.
                Body::announced(head, usize::MAX)?;
                let query = head.query.unwrap_or_default().as_bytes();
                let connect = form_urlencoded::parse(query).find(|(key, _)| key == "cf_connect");
                let Some((_, commands)) = connect.filter(|(_, commands)| !commands.is_empty()) else {
                    return Err(Refusal::QueryMalformed("cf_connect holds the first commands"));
                };
                let told = self.policy.http.proxied_headers(head);
                above.open_stream(self, cx, socket, Encoding::Sse, cors, told, commands.as_bytes());
                return Ok(());
            }
            ("POST", _) => {}
            (_, Endpoint::Stream(Encoding::Sse)) => return Err(Refusal::MethodNotGetOrPost),
            _ => return Err(Refusal::MethodNotPost),
        }
        let body_bytes_max = self.policy.http.transports.body_bytes_max(endpoint).unwrap_or(0);
        let body = Body::announced(head, body_bytes_max)?;
        let told = self.policy.http.proxied_headers(head);
        let request = Box::new(Request {
            endpoint,
            cors: cors.clone(),
            told,
            keeps_alive,
            is_reused: self.table.get_mut(socket).is_some_and(|conn| conn.state.is_reused()),
            body,
            is_acted_on: false,
            later: BytesMut::new(),
        });
        // RFC 9110 §10.1.1.
        if head.version >= Version::Http11
            && head.header_has_token("Expect", "100-continue")
            && !request.body.is_complete()
        {
            let mut out = BytesMut::new();
            Response { status: Status::Continue, headers: &[], body: b"" }.write(&mut out);
            self.transmit(socket, out.freeze());
        }
        if request.body.is_complete() {
            return self.on_request_complete(cx, above, socket, request);
        }
        if let Some(conn) = self.table.get_mut(socket) {
            conn.state = State::Body(request);
        }
        Ok(())
    }

    /// The answer to a preflight. If its body were parsed as the next request, whoever sends that body could speak for
    /// every client that shares the proxy's connection.
    fn answer_preflight<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        head: &RequestHead<'_>,
        cors: &Cors,
        has_no_body: bool,
    ) {
        let wanted = head.joined_header("Access-Control-Request-Headers");
        let mut fields = cors.preflight_fields(wanted.as_deref());
        let keeps_alive = has_no_body && head.keeps_alive() && !cx.is_stopping;
        if !keeps_alive {
            fields.push(("Connection", "close"));
        }
        let mut out = BytesMut::new();
        Response { status: Status::NoContent, headers: &fields, body: b"" }.write(&mut out);
        self.transmit(socket, out.freeze());
        if has_no_body {
            self.next_request(cx, socket, keeps_alive);
        } else {
            self.end_lingering(cx, above, socket, CloseReason::ByPeer);
        }
    }

    /// Handles bytes of a body. Returns how many of them belong to it.
    pub(crate) fn read_body<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: &[u8],
    ) -> usize {
        let Some(conn) = self.table.get_mut(socket) else { return bytes.len() };
        let State::Body(request) = &mut conn.state else { return bytes.len() };
        let mut rest = bytes;
        if let Err(refusal) = request.body.read(&mut rest) {
            self.refuse(cx, socket, refusal);
            return bytes.len();
        }
        if let Some(request) = conn.take_complete()
            && let Err(refusal) = self.on_request_complete(cx, above, socket, request)
        {
            self.refuse(cx, socket, refusal);
        }
        bytes.len() - rest.len()
    }

    /// A request is complete.
    fn on_request_complete<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        request: Box<Request>,
    ) -> Result<(), Refusal> {
        cx.counters.add(Metric::Requests, 1);
        let Some(conn) = self.table.get_mut(socket) else { return Ok(()) };
        let wait_ms =
            if request.endpoint == Endpoint::Poll { self.policy.http.transports.poll_wait_ms } else { 0 };
        let body_bytes = request.body.buffered_bytes();
        conn.state = State::Answering(request);
        let deadline = cx.now.after_ms(wait_ms + ANSWER_MS);
        self.schedule(cx, socket, deadline);
        if above.hold_request(self, socket, body_bytes) || self.holds_for_queue(socket) {
            return Ok(());
        }
        self.act_on_request(cx, above, socket)
    }

    /// Resumes a held request if its connection still waits for the answer. The request may have been resumed earlier, when
    /// the queue was flushed; the connection's next request may be incomplete.
    pub(crate) fn resume_request<A: Above<K>>(&mut self, cx: &mut Context, above: &mut A, socket: Socket) {
        let waits = self.table.get_mut(socket).is_some_and(|conn| matches!(conn.state, State::Answering(_)));
        if !waits || self.holds_for_queue(socket) {
            return;
        }
        if let Err(refusal) = self.act_on_request(cx, above, socket) {
            self.refuse(cx, socket, refusal);
        }
        self.count_partial(cx, socket);
    }

    /// True exactly when earlier answers are still queued: no further answer is produced until they are flushed.
    fn holds_for_queue(&mut self, socket: Socket) -> bool {
        let holds = self.sockets.queued_bytes(socket) > self.policy.queue.paused_bytes;
        if holds {
            self.pause_for_queue(socket);
        }
        holds
    }

    /// Earlier answers are flushed: resumes the request that was held for them.
    pub(crate) fn act_on_held_request<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
    ) {
        let Some(conn) = self.table.get_mut(socket) else { return };
        let State::Answering(request) = &conn.state else { return };
        if request.is_acted_on {
            return;
        }
        let body_bytes = request.body.buffered_bytes();
        if !above.hold_request(self, socket, body_bytes) {
            self.resume_request(cx, above, socket);
        }
    }

    fn act_on_request<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
    ) -> Result<(), Refusal> {
        let room = cx.check_room_for_session();
        let Some(conn) = self.table.get_mut(socket) else { return Ok(()) };
        let State::Answering(request) = &mut conn.state else { return Ok(()) };
        if std::mem::replace(&mut request.is_acted_on, true) {
            return Ok(());
        }
        let (endpoint, told, body) = (request.endpoint, Arc::clone(&request.told), request.body.take_bytes());
        cx.meter.add_bytes(body.len(), cost::PARSE_KILOBYTE_NS);
        match endpoint {
            Endpoint::Stream(wire) => {
                room?;
                let cors = request.cors.clone();
                above.open_stream(self, cx, socket, wire, &cors, told, &body);
                Ok(())
            }
            Endpoint::Emulation(format) => above.commands(self, cx, socket, format, &body),
            Endpoint::Poll => above.poll(self, cx, socket, told, &body),
        }
    }

    /// Keeps bytes that arrive while an answer is pending.
    pub(crate) fn buffer_pipelined<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: &[u8],
    ) {
        let bytes_max = self.policy.head.bytes_max;
        let Some(conn) = self.table.get_mut(socket) else { return };
        let State::Answering(request) = &mut conn.state else { return };
        if request.later.len() + bytes.len() > bytes_max {
            return self.end_now(cx, above, socket, CloseReason::ProtocolError);
        }
        request.later.extend_from_slice(bytes);
    }
}

impl Request {
    /// The path of its target.
    pub(crate) fn path(&self) -> &'static str {
        self.endpoint.path()
    }

    /// Memory of its body and of what follows it.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.body.buffered_bytes() + self.later.capacity()
    }

    /// True exactly when all of its body has arrived.
    pub(crate) fn is_complete(&self) -> bool {
        self.body.is_complete()
    }
}
