//! Refusals: log lines for refused requests and ended connections.
//!
//! In:  a refusal or an end, with its connection.
//! Out: a line, once the address of the connection is known.

use std::net::IpAddr;

use holdfast_protocol::http::Refusal;
use holdfast_ring::{Kernel, Socket};

use super::{Connections, Session, http::cors::Cors};
use crate::{
    context::Context,
    log,
    metrics::{CloseReason, RefusalReason},
    refusals::{Asking, Line, UNTOLD_MAX, allow, excerpt, line_of_end},
};

impl<'a> Asking<'a> {
    /// If the head is gone: the part of the request that is kept.
    pub(crate) fn or_of(self, path: Option<&'a str>, cors: &'a Cors) -> Self {
        if self.path.is_none() && path.is_some() {
            Self { path, origin: cors.origin().map(str::as_bytes), ..self }
        } else {
            self
        }
    }
}

impl<K: Kernel> Connections<K> {
    /// Logs a refused request, or a refused connection that has not sent one.
    pub(crate) fn tell_refusal(
        &mut self,
        cx: &mut Context,
        socket: Socket,
        refusal: Refusal,
        reason: RefusalReason,
        asking: Asking<'_>,
    ) {
        let name = if reason.is_in_words() { refusal.name() } else { reason.name() };
        if !log::shows_refusal("request", name) {
            return;
        }
        let allow = allow::of_refusal(refusal, reason, asking.path);
        let line = Line {
            message: "a request was refused",
            event: "request",
            reason: name,
            code: Some(u32::from(refusal.status().code())),
            path: asking.path.map(excerpt),
            origin: asking.origin.map(|origin| excerpt(&String::from_utf8_lossy(origin))),
            error: Some(refusal.to_string().into()),
            allow,
            ..Line::default()
        };
        self.tell_of_socket(cx, socket, line);
    }

    pub(crate) fn tell_of_socket(&mut self, cx: &mut Context, socket: Socket, line: Line) {
        if let Some(address) = cx.limits.as_mut().and_then(|limits| limits.address_of(socket)) {
            return line.tell(Some(address));
        }
        if self.untold.0.len() < UNTOLD_MAX && self.sockets.ask_peer_address(socket) {
            self.untold.0.push((socket, line));
        } else {
            line.tell(None);
        }
    }

    /// The kernel has reported an address.
    pub(crate) fn address_came(&mut self, socket: Socket, address: Option<IpAddr>) {
        if let Some(at) = self.untold.0.iter().position(|(waiting, _)| *waiting == socket) {
            let (_, line) = self.untold.0.remove(at);
            line.tell(address);
        }
    }

    /// Logs the end of a connection without a client, for something its peer did or failed to do.
    pub(crate) fn tell_end(&mut self, cx: &mut Context, socket: Socket, reason: CloseReason) {
        let Some(conn) = self.table.get_mut(socket).filter(|conn| conn.state.close_reason().is_none()) else {
            return;
        };
        let path = match conn.state.session() {
            Some(Session::Echo) => Some("/echo".into()),
            Some(Session::Broadcast { .. }) => Some("/broadcast".into()),
            Some(Session::Client { .. }) | None => None,
        };
        if let Some(line) = line_of_end(cx.why.take(), reason) {
            self.tell_of_socket(cx, socket, Line { path, ..line });
        }
    }
}
