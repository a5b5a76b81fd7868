//! Arrival: admission of a connection, from accept to its request.
//!
//! In:  sockets; PROXY headers and request heads; the limits of their addresses.
//! Out: connections that count against these limits, or one refusal.
//!
//! ```text
//! accepted ──> trusted to send a PROXY header? ── header ──┐
//!                  └── no ─────────────────────────────────┴─> trusted to name clients? ── every request ──┐
//!                                                                   └── no ────────────────────────────────┴─> admit
//! ```

use std::net::IpAddr;

use bytes::BytesMut;
use holdfast_protocol::{
    client::DisconnectCode,
    proxy::{Source, parse_header},
    websocket::CloseCode,
};
use holdfast_ring::{Kernel, Socket};

use super::{Above, Connections, Session, State};
use crate::{
    context::Context,
    limits::{PeerAddress, RATE_FADE_MS, Rejection, Stage, TrustedProxy, amount, hard_limit},
    log::refusal,
    metrics::{CloseReason, Metric, RefusalReason},
    refusals::Asking,
};

/// How many rejected connections per shard may stay open briefly to read the reason; at most an eighth of its table. In a
/// flood the others are closed at once.
const LINGERING_MAX: usize = 1_024;

impl<K: Kernel> Connections<K> {
    /// Rejects a connection. In a flood it is closed without an answer.
    pub(crate) fn reject(
        &mut self,
        cx: &mut Context,
        socket: Socket,
        rejection: Rejection,
        asking: Asking<'_>,
    ) {
        if let Some(limits) = &mut cx.limits {
            if limits.lingering >= LINGERING_MAX.min(self.sockets.slots() / 8) {
                let Rejection { refusal, reason } = rejection;
                self.tell_refusal(cx, socket, refusal, reason, asking);
                cx.counters.add(Metric::Refused(reason), 1);
                self.release_slot(socket);
                return self.abort(cx, socket, CloseReason::Refused);
            }
            if let Some(guest) = limits.peers.get_mut(socket) {
                guest.is_lingering = true;
                limits.lingering += 1;
            }
        }
        self.refuse_asking(cx, socket, rejection, asking);
    }
}

impl<K: Kernel> Connections<K> {
    /// A connection was accepted, and there is room for it.
    #[inline]
    pub(crate) fn on_accept<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        from: Option<IpAddr>,
    ) {
        if cx.limits.is_some() {
            self.meet_guest(cx, above, socket, from);
        }
    }

    fn meet_guest<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        from: Option<IpAddr>,
    ) {
        let Some(limits) = &mut cx.limits else { return };
        let guest = limits.peers.insert(socket, PeerAddress::unknown());
        if !limits.policy.needs_addresses {
            if let Err(turned) = cx.admit_connection(socket, None) {
                self.reject(cx, socket, turned, Asking::default());
            }
            return;
        }
        // The kernel reports the address with the connection. Without an address no limit can be checked.
        let Some(address) = from else { return self.end_now(cx, above, socket, CloseReason::Broken) };
        let address = address.to_canonical();
        if limits.policy.proxy_protocol.contains(address) {
            guest.stage = Stage::AwaitingProxyHeader;
            guest.proxy = Some(TrustedProxy::new(address));
            return;
        }
        self.learn_address(cx, above, socket, address);
    }

    /// The peer address of a connection is known, unless a request names another one.
    fn learn_address<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        _above: &mut A,
        socket: Socket,
        address: IpAddr,
    ) {
        let Some(limits) = &mut cx.limits else { return };
        if limits.policy.forwarded.contains(address) {
            if let Some(guest) = limits.peers.get_mut(socket) {
                guest.stage = Stage::AwaitsRequest;
                guest.proxy = Some(TrustedProxy::new(address));
            }
            return;
        }
        if let Err(turned) = cx.admit_connection(socket, Some(address)) {
            self.reject(cx, socket, turned, Asking::default());
        }
    }

    /// Handles bytes from the network: removes a PROXY header and counts WebSocket bytes. `None` if nothing is left or the
    /// connection has been closed.
    #[inline]
    pub(crate) fn pass_limits<'b, A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: &'b mut [u8],
    ) -> Option<&'b mut [u8]> {
        if cx.limits.is_none() { Some(bytes) } else { self.pass_guest(cx, above, socket, bytes) }
    }

    fn pass_guest<'b, A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: &'b mut [u8],
    ) -> Option<&'b mut [u8]> {
        let Some(limits) = &mut cx.limits else { return Some(bytes) };
        let Some(guest) = limits.peers.get_mut(socket) else { return Some(bytes) };
        if guest.stage == Stage::AwaitingProxyHeader {
            let used = self.read_proxy_header(cx, above, socket, bytes)?;
            return Some(&mut bytes[used..]).filter(|rest| !rest.is_empty());
        }
        self.count_received(cx, above, socket, bytes.len()).then_some(bytes)
    }

    /// Counts bytes that arrived over a WebSocket or from inflating its messages. False if the connection has been closed
    /// because of too many.
    #[inline]
    pub(crate) fn count_received<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: usize,
    ) -> bool {
        cx.limits.is_none() || bytes == 0 || self.count_guest(cx, above, socket, bytes)
    }

    fn count_guest<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: usize,
    ) -> bool {
        let now = cx.moment();
        let Some(limits) = &mut cx.limits else { return true };
        let Some(rate) = limits.policy.connection.bytes else { return true };
        let Some(guest) = limits.peers.get_mut(socket) else { return true };
        let Some(&mut State::Open { session, .. }) = self.table.get_mut(socket).map(|conn| &mut conn.state)
        else {
            return true;
        };
        guest.received.add(amount(bytes) * limits.weight, now, RATE_FADE_MS);
        if guest.received.level(now, RATE_FADE_MS) <= hard_limit(rate, limits.policy.message_bytes_max) {
            return true;
        }
        match session {
            Session::Client { key } => above.end_client(self, cx, key, DisconnectCode::TOO_MANY_REQUESTS),
            _ => {
                self.end_by_close(cx, above, socket, CloseCode::Policy, "too many bytes", CloseReason::Flood);
            }
        }
        false
    }

    /// Returns the length of the header; `None` if more bytes are needed or it is not a PROXY header.
    fn read_proxy_header<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        bytes: &[u8],
    ) -> Option<usize> {
        let guest = cx.limits.as_mut()?.peers.get_mut(socket)?;
        let mut before = guest.proxy.as_mut()?.header.take();
        let came_before = before.as_ref().map_or(0, |before| before.len());
        let parsed = match &mut before {
            None => parse_header(bytes),
            Some(before) => {
                before.extend_from_slice(bytes);
                parse_header(before)
            }
        };
        match parsed {
            Ok(None) => {
                guest.proxy.as_mut()?.header =
                    Some(before.unwrap_or_else(|| Box::new(BytesMut::from(bytes))));
                None
            }
            Ok(Some((source, length))) => {
                let proxy = guest.proxy.take();
                guest.stage = Stage::Free;
                if let Source::Client(address) = source {
                    self.learn_address(cx, above, socket, address.ip().to_canonical());
                } else if let Some(proxy) = proxy {
                    self.learn_own_address(cx, above, socket, proxy.address);
                }
                let is_there =
                    self.table.get_mut(socket).is_some_and(|conn| matches!(conn.state, State::Head { .. }));
                is_there.then_some(length - came_before)
            }
            Err(error) => {
                let allow = "http_server.proxy_protocol.trusted without this address";
                refusal!("proxy_header", %error, address = ?guest.proxy.as_ref().map(|proxy| proxy.address), allow, "a PROXY header was refused");
                cx.counters.add(Metric::Refused(RefusalReason::ProxyHeader), 1);
                self.release_slot(socket);
                self.end_now(cx, above, socket, CloseReason::Refused);
                None
            }
        }
    }

    /// A proxy that speaks for itself: clients that it names in requests still count, but the proxy has no limits of its
    /// own.
    fn learn_own_address<A: Above<K>>(
        &mut self,
        cx: &mut Context,
        above: &mut A,
        socket: Socket,
        address: IpAddr,
    ) {
        if cx.limits.as_ref().is_some_and(|limits| limits.policy.forwarded.contains(address)) {
            self.learn_address(cx, above, socket, address);
        }
    }
}
