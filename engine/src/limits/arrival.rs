//! Arrival: whether a connection may come, from accept to its request.
//!
//! In:  sockets; PROXY headers and request heads; the numbers of their addresses.
//! Out: connections that count in these numbers, or one refusal.
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
    http::{Refusal, RequestHead, client_address},
    proxy::{Source, parse_header},
    websocket::CloseCode,
};
use holdfast_ring::{Kernel, Socket};

use super::{
    Limits,
    decayed::{Moment, RATE_FADE_MS, Rate},
    flow,
    guests::{Guest, Stage},
    ledger::{Key, Kind, Tables},
    offence::offence_of,
    rules::{Host, penalized},
};
use crate::{
    conn::Connections,
    conn::{Phase, Session},
    context::Context,
    log::refusal,
    metrics::{CloseReason, Metric, RefusalReason},
    refusals::Asking,
    shard::Shard,
};

/// What we ask of clients whose address has as much as it may.
const RETRY_AFTER_S: u32 = 5;

/// Refused connections that may stay for a moment to read why, on each core, and at most an eighth of its table. In a
/// flood the others are closed at once.
const LINGERING_MAX: usize = 1_024;

/// A refusal, and what it is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnedAway {
    refusal: Refusal,
    reason: RefusalReason,
}

const DENIED: TurnedAway = TurnedAway { refusal: Refusal::AddressForbidden, reason: RefusalReason::Denied };

fn too_many(retry_after_s: u32, reason: RefusalReason) -> TurnedAway {
    TurnedAway { refusal: Refusal::TooManyRequests { retry_after_s }, reason }
}

impl<K: Kernel> Connections<K> {
    /// Refuses a connection. Who cannot be told in a flood is only closed.
    pub(crate) fn turn_away(
        &mut self,
        cx: &mut Context,
        socket: Socket,
        turned_away: TurnedAway,
        asking: Asking<'_>,
    ) {
        let TurnedAway { refusal, reason } = turned_away;
        if let Some(limits) = &mut cx.limits {
            if limits.lingering >= LINGERING_MAX.min(self.sockets.slots() / 8) {
                self.tell_refusal(cx, socket, refusal, reason, asking);
                cx.counters.add(Metric::Refused(reason), 1);
                self.give_up_place(socket);
                return self.drop_now(cx, socket, CloseReason::Refused);
            }
            if let Some(guest) = limits.guests.get(socket) {
                guest.is_lingering = true;
                limits.lingering += 1;
            }
        }
        self.refuse_asking(cx, socket, refusal, reason, asking);
    }
}

impl<K: Kernel> Shard<K> {
    /// A connection was accepted and there is room for it.
    #[inline]
    pub(crate) fn meet(&mut self, socket: Socket, from: Option<IpAddr>) {
        if self.cx.limits.is_some() {
            self.meet_guest(socket, from);
        }
    }

    fn meet_guest(&mut self, socket: Socket, from: Option<IpAddr>) {
        let Some(limits) = &mut self.cx.limits else { return };
        let guest = limits.guests.insert(socket);
        if !limits.rules.needs_addresses {
            if let Err(turned) = self.cx.let_in(socket, None) {
                self.conns.turn_away(&mut self.cx, socket, turned, Asking::default());
            }
            return;
        }
        // The kernel tells it with the connection. Of what has none nobody could say whether it may come.
        let Some(address) = from else { return self.drop_now(socket, CloseReason::Broken) };
        let address = address.to_canonical();
        if limits.rules.proxy_protocol.contains(address) {
            guest.stage = Stage::AwaitsHeader;
            guest.proxy = Some(Box::new(address));
            return;
        }
        self.learn_address(socket, address);
    }

    /// The address that a connection comes from is known, as far as no request says otherwise.
    fn learn_address(&mut self, socket: Socket, address: IpAddr) {
        let Some(limits) = &mut self.cx.limits else { return };
        if limits.rules.forwarded.contains(address) {
            if let Some(guest) = limits.guests.get(socket) {
                guest.stage = Stage::AwaitsRequest;
                guest.proxy = Some(Box::new(address));
            }
            return;
        }
        if let Err(turned) = self.cx.let_in(socket, Some(address)) {
            self.conns.turn_away(&mut self.cx, socket, turned, Asking::default());
        }
    }

    /// Bytes came from outside: a PROXY header is taken off, and what a WebSocket brings is counted. `None` where nothing
    /// is left, or the connection has been closed.
    #[inline]
    pub(crate) fn pass_limits<'b>(&mut self, socket: Socket, bytes: &'b mut [u8]) -> Option<&'b mut [u8]> {
        if self.cx.limits.is_none() { Some(bytes) } else { self.pass_guest(socket, bytes) }
    }

    fn pass_guest<'b>(&mut self, socket: Socket, bytes: &'b mut [u8]) -> Option<&'b mut [u8]> {
        let Some(limits) = &mut self.cx.limits else { return Some(bytes) };
        let Some(guest) = limits.guests.get(socket) else { return Some(bytes) };
        if guest.stage == Stage::AwaitsHeader {
            let used = self.read_proxy_header(socket, bytes)?;
            return Some(&mut bytes[used..]).filter(|rest| !rest.is_empty());
        }
        self.count_received(socket, bytes.len()).then_some(bytes)
    }

    /// Bytes came over a WebSocket, or out of its compressed messages. False where it has been closed because there were too
    /// many.
    #[inline]
    pub(crate) fn count_received(&mut self, socket: Socket, bytes: usize) -> bool {
        self.cx.limits.is_none() || bytes == 0 || self.count_guest(socket, bytes)
    }

    fn count_guest(&mut self, socket: Socket, bytes: usize) -> bool {
        let now = self.cx.moment();
        let Some(limits) = &mut self.cx.limits else { return true };
        let Some(rate) = limits.rules.connection.bytes else { return true };
        let Some(guest) = limits.guests.get(socket) else { return true };
        let Some(conn) = self.conns.table.get(socket).filter(|conn| conn.phase == Phase::Open) else {
            return true;
        };
        guest.received.add(flow::amount(bytes) * limits.weight, now, RATE_FADE_MS);
        if guest.received.level(now, RATE_FADE_MS) <= flow::hard_limit(rate, limits.rules.message_bytes_max) {
            return true;
        }
        match conn.session {
            Session::Client { key } => {
                self.with_sessions(|sessions| sessions.disconnect(key, DisconnectCode::TOO_MANY_REQUESTS))
            }
            _ => self.close(socket, CloseCode::Policy, "too many bytes", CloseReason::Flood),
        }
        false
    }

    /// Returns how many bytes the header took; `None` where more are needed, or it is none.
    fn read_proxy_header(&mut self, socket: Socket, bytes: &[u8]) -> Option<usize> {
        let guest = self.cx.limits.as_mut()?.guests.get(socket)?;
        let mut before = guest.header.take();
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
                guest.header = Some(before.unwrap_or_else(|| Box::new(BytesMut::from(bytes))));
                None
            }
            Ok(Some((source, length))) => {
                let proxy = guest.proxy.take();
                guest.stage = Stage::Free;
                if let Source::Client(address) = source {
                    self.learn_address(socket, address.ip().to_canonical());
                } else if let Some(proxy) = proxy {
                    self.learn_own_address(socket, *proxy);
                }
                let is_there = self.conns.table.get(socket).is_some_and(|conn| conn.phase == Phase::Head);
                is_there.then_some(length - came_before)
            }
            Err(error) => {
                let allow = "http_server.proxy_protocol.trusted without this address";
                refusal!("proxy_header", %error, address = ?guest.proxy, allow, "a PROXY header is refused");
                self.cx.counters.add(Metric::Refused(RefusalReason::ProxyHeader), 1);
                self.conns.give_up_place(socket);
                self.drop_now(socket, CloseReason::Refused);
                None
            }
        }
    }

    /// A proxy that speaks for itself: what it names in its requests still counts, but it has no limits of its own.
    fn learn_own_address(&mut self, socket: Socket, address: IpAddr) {
        if self.cx.limits.as_ref().is_some_and(|limits| limits.rules.forwarded.contains(address)) {
            self.learn_address(socket, address);
        }
    }
}

impl Context {
    /// The head of a request has come.
    #[inline]
    pub(crate) fn admit_request(&mut self, socket: Socket, head: &RequestHead<'_>) -> Result<(), TurnedAway> {
        if self.limits.is_none() { Ok(()) } else { self.admit_guest(socket, head) }
    }

    fn admit_guest(&mut self, socket: Socket, head: &RequestHead<'_>) -> Result<(), TurnedAway> {
        let Some(limits) = &mut self.limits else { return Ok(()) };
        let Some(guest) = limits.guests.get(socket) else { return Ok(()) };
        if let Some(proxy) = &guest.proxy {
            let trusted = &limits.rules.forwarded;
            let client = client_address(head, limits.rules.forwarded_field, **proxy, |address| {
                trusted.contains(address)
            });
            guest.seen = Some(client);
            if guest.address != Some(client) {
                limits.release(&self.limit_tables, socket);
                // Of a trusted proxy that names nobody nothing is asked.
                if !limits.rules.forwarded.contains(client) {
                    self.let_in(socket, Some(client))?;
                }
            }
        }
        self.end_handshake(socket);
        Ok(())
    }

    /// Asks all lists and limits, and counts the connection.
    fn let_in(&mut self, socket: Socket, address: Option<IpAddr>) -> Result<(), TurnedAway> {
        let now = self.moment();
        let Some(limits) = &mut self.limits else { return Ok(()) };
        if let Some(guest) = limits.guests.get(socket) {
            guest.seen = address;
        }
        limits.admit(&self.limit_tables, socket, address, now)
    }

    /// Asks all limits for a session that lives without a connection of its own, and counts it as a connection of who
    /// opens it. With the first request of a connection it is not a new one beside that. Answers with the address that it
    /// counts with until [`Context::session_left`].
    pub(crate) fn admit_session(
        &mut self,
        socket: Socket,
        is_reused: bool,
    ) -> Result<Option<IpAddr>, TurnedAway> {
        let now = self.moment();
        let what = if is_reused { Counts::Session } else { Counts::SessionOfConnection };
        let Some(limits) = &mut self.limits else { return Ok(None) };
        let Some(guest) = limits.guests.get(socket) else { return Ok(None) };
        // Who is exempt has no address here.
        let address = guest.address;
        limits.count_in(&self.limit_tables, address, what, now)?;
        Ok(address)
    }

    /// Such a session has ended.
    pub(crate) fn session_left(&mut self, address: Option<IpAddr>) {
        let (Some(limits), Some(address)) = (&mut self.limits, address) else { return };
        let tables = &self.limit_tables;
        for (key, ..) in limits.counted(tables, address).into_iter().flatten() {
            limits.ledger.change(tables, key, |entry| entry.open = entry.open.saturating_sub(1));
        }
    }

    fn end_handshake(&mut self, socket: Socket) {
        let Some(limits) = &mut self.limits else { return };
        let Some(guest) = limits.guests.get(socket).filter(|guest| guest.stage == Stage::Handshake) else {
            return;
        };
        guest.stage = Stage::Open;
        if let Some(address) = guest.address {
            let tables = &self.limit_tables;
            for (key, ..) in limits.counted(tables, address).into_iter().flatten() {
                limits
                    .ledger
                    .change(tables, key, |entry| entry.handshakes = entry.handshakes.saturating_sub(1));
            }
        }
    }

    /// A connection is gone.
    #[inline]
    pub(crate) fn guest_left(&mut self, socket: Socket, reason: CloseReason) {
        if self.limits.is_some() {
            self.forget_guest(socket, reason);
        }
    }

    fn forget_guest(&mut self, socket: Socket, reason: CloseReason) {
        if let Some(offence) = offence_of(reason) {
            self.offended(socket, offence);
        }
        let Some(limits) = &mut self.limits else { return };
        limits.release(&self.limit_tables, socket);
        if let Some(Guest { is_lingering: true, .. }) = limits.guests.remove(socket) {
            limits.lingering -= 1;
        }
    }
}

impl Limits {
    /// Who is at the other end of a connection, where it is known: its client, or the proxy that has not named one yet.
    pub(crate) fn address_of(&mut self, socket: Socket) -> Option<IpAddr> {
        let guest = self.guests.get(socket)?;
        guest.seen.or(guest.proxy.as_deref().copied())
    }

    fn admit(
        &mut self,
        tables: &Tables,
        socket: Socket,
        address: Option<IpAddr>,
        now: Moment,
    ) -> Result<(), TurnedAway> {
        let rules = &self.rules;
        let is_exempt = address.is_some_and(|address| rules.exempt.contains(address));
        if let Some(address) = address {
            if rules.deny.contains(address) || !(rules.allow.is_empty() || rules.allow.contains(address)) {
                return Err(DENIED);
            }
            if !is_exempt && let Some(for_ms) = self.refused.for_ms(penalized(address), now) {
                let for_s = u32::try_from(for_ms.div_ceil(1_000)).unwrap_or(u32::MAX);
                return Err(too_many(for_s, RefusalReason::Penalty));
            }
        }
        if is_exempt {
            return Ok(());
        }
        self.count_in(tables, address, Counts::Connection, now)?;
        if let Some(guest) = self.guests.get(socket) {
            guest.address = address;
            guest.stage = Stage::Handshake;
        }
        Ok(())
    }

    /// Asks an address's limits, and counts one more in its numbers and in those of the daemon.
    fn count_in(
        &mut self,
        tables: &Tables,
        address: Option<IpAddr>,
        what: Counts,
        now: Moment,
    ) -> Result<(), TurnedAway> {
        let is_new = what != Counts::SessionOfConnection;
        if is_new {
            self.admit_to_daemon(tables, now)?;
        }
        let counted = address.map_or([None; 2], |address| self.counted(tables, address));
        for (key, host, reasons) in counted.into_iter().flatten() {
            let host = if is_new { host } else { Host { rate: None, ..host } };
            self.check(tables, key, host, reasons, now)?;
        }
        // Only now: who is refused counts nowhere.
        for (key, ..) in counted.into_iter().flatten() {
            self.ledger.change(tables, key, |entry| {
                entry.open += 1;
                entry.handshakes += u32::from(what == Counts::Connection);
                if is_new {
                    entry.first.add(self.weight, now, RATE_FADE_MS);
                }
            });
        }
        if is_new && self.rules.daemon.is_some() {
            self.ledger.change(tables, tables.key(Kind::Daemon, ()), |entry| {
                // As if it had a connection: a flood from very many addresses must not wash it out.
                entry.open = 1;
                entry.first.add(1.0, now, RATE_FADE_MS);
            });
        }
        Ok(())
    }

    fn admit_to_daemon(&self, tables: &Tables, now: Moment) -> Result<(), TurnedAway> {
        let Some(rate) = self.rules.daemon else { return Ok(()) };
        let level = self.ledger.sum(tables, tables.key(Kind::Daemon, ()), now).first;
        admit_at(rate, level, RefusalReason::DaemonRate)
    }

    fn check(
        &self,
        tables: &Tables,
        key: Key,
        host: Host,
        [connections, rate, handshakes]: [RefusalReason; 3],
        now: Moment,
    ) -> Result<(), TurnedAway> {
        let sum = self.ledger.sum(tables, key, now);
        let is_full = |max: u64, taken: u64| max > 0 && taken >= max;
        if is_full(host.connections_max, sum.open) {
            return Err(too_many(RETRY_AFTER_S, connections));
        }
        // Who had to wait to be accepted had to wait to be read from.
        let is_late = self.weight < 1.0;
        if !is_late && is_full(host.handshakes_max, sum.handshakes) {
            return Err(too_many(RETRY_AFTER_S, handshakes));
        }
        host.rate.map_or(Ok(()), |limit| admit_at(limit, sum.first, rate))
    }

    /// What an address counts in: its own numbers and its network's, as far as there are limits to them.
    fn counted(&self, tables: &Tables, address: IpAddr) -> [Option<(Key, Host, [RefusalReason; 3])>; 2] {
        use RefusalReason as R;
        let rules = &self.rules;
        let own = rules.address.is_limited().then(|| {
            let reasons = [R::AddressConnections, R::AddressRate, R::AddressHandshakes];
            (tables.key(Kind::Address, address), rules.address, reasons)
        });
        let subnet = rules.subnet_of(address).map(|subnet| {
            let reasons = [R::SubnetConnections, R::SubnetRate, R::SubnetHandshakes];
            (tables.key(Kind::Subnet, subnet), rules.subnet, reasons)
        });
        [own, subnet]
    }

    /// A connection counts no more.
    fn release(&mut self, tables: &Tables, socket: Socket) {
        let Some(guest) = self.guests.get(socket) else { return };
        let stage = std::mem::replace(&mut guest.stage, Stage::Free);
        let Some(address) = guest.address.take() else { return };
        for (key, ..) in self.counted(tables, address).into_iter().flatten() {
            self.ledger.change(tables, key, |entry| {
                entry.open = entry.open.saturating_sub(1);
                if stage == Stage::Handshake {
                    entry.handshakes = entry.handshakes.saturating_sub(1);
                }
            });
        }
    }
}

/// What counts in the numbers of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// A connection, whose handshake has begun.
    Connection,
    /// A session without one.
    Session,
    /// The same, where the connection was new for it.
    SessionOfConnection,
}

fn admit_at(rate: Rate, level: f32, reason: RefusalReason) -> Result<(), TurnedAway> {
    if rate.admits(level) { Ok(()) } else { Err(too_many(rate.wait_s(level), reason)) }
}
