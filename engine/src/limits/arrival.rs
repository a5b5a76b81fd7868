//! Arrival: admits or rejects connections, from the accept to the request.
//!
//! In:  sockets; PROXY headers and request heads; the counts of their addresses.
//! Out: admitted connections, which are counted; or a rejection.
//!
//! ```text
//! accepted ──> trusted to send a PROXY header? ── header ──┐
//!                  └── no ─────────────────────────────────┴─> trusted to name clients? ── every request ──┐
//!                                                                   └── no ────────────────────────────────┴─> admit
//! ```

use std::net::IpAddr;

use holdfast_protocol::http::Refusal;
use holdfast_ring::Socket;

use super::{
    addresses::Stage,
    decaying::{RATE_FADE_MS, Rate, WallTick},
    state::Limits,
    usage::{Key, Kind, Tables},
};
use crate::{
    limits::{penalized, policy::Host},
    metrics::RefusalReason,
};

/// `Retry-After`, in seconds, for clients that hit a limit of their address.
const RETRY_AFTER_S: u32 = 5;

/// A rejection, and the reason under which it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub(crate) refusal: Refusal,
    pub(crate) reason: RefusalReason,
}

const DENIED: Rejection = Rejection { refusal: Refusal::AddressForbidden, reason: RefusalReason::Denied };

fn too_many(retry_after_s: u32, reason: RefusalReason) -> Rejection {
    Rejection { refusal: Refusal::TooManyRequests { retry_after_s }, reason }
}

impl Limits {
    /// The known address of a connection's peer: the client, or a proxy that has not named its client yet.
    pub(crate) fn address_of(&mut self, socket: Socket) -> Option<IpAddr> {
        let guest = self.peers.get_mut(socket)?;
        guest.seen.or(guest.proxy.as_ref().map(|proxy| proxy.address))
    }

    pub(crate) fn admit(
        &mut self,
        tables: &Tables,
        socket: Socket,
        address: Option<IpAddr>,
        now: WallTick,
    ) -> Result<(), Rejection> {
        let policy = &self.policy;
        let is_exempt = address.is_some_and(|address| policy.exempt.contains(address));
        if let Some(address) = address {
            if policy.deny.contains(address) || !(policy.allow.is_empty() || policy.allow.contains(address)) {
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
        if let Some(guest) = self.peers.get_mut(socket) {
            guest.address = address;
            guest.stage = Stage::Handshake;
        }
        Ok(())
    }

    /// Checks the limits of an address. On success, counts one more for the address and the daemon.
    pub(crate) fn count_in(
        &mut self,
        tables: &Tables,
        address: Option<IpAddr>,
        what: Counts,
        now: WallTick,
    ) -> Result<(), Rejection> {
        let is_new = what != Counts::SessionOfConnection;
        if is_new {
            self.admit_to_daemon(tables, now)?;
        }
        let counted = address.map_or([None; 2], |address| self.counted(tables, address));
        for (key, host, reasons) in counted.into_iter().flatten() {
            let host = if is_new { host } else { Host { rate: None, ..host } };
            self.check(tables, key, host, reasons, now)?;
        }
        // After all checks, so that a rejected connection is not counted.
        for (key, ..) in counted.into_iter().flatten() {
            self.ledger.change(tables, key, |entry| {
                entry.open += 1;
                entry.handshakes += u32::from(what == Counts::Connection);
                if is_new {
                    entry.first.add(self.weight, now, RATE_FADE_MS);
                }
            });
        }
        if is_new && self.policy.daemon.is_some() {
            self.ledger.change(tables, tables.key(Kind::Daemon, ()), |entry| {
                // Marks the entry as in use, so that a flood from many addresses does not evict it.
                entry.open = 1;
                entry.first.add(1.0, now, RATE_FADE_MS);
            });
        }
        Ok(())
    }

    fn admit_to_daemon(&self, tables: &Tables, now: WallTick) -> Result<(), Rejection> {
        let Some(rate) = self.policy.daemon else { return Ok(()) };
        let level = self.ledger.sum(tables, tables.key(Kind::Daemon, ()), now).first;
        admit_at(rate, level, RefusalReason::DaemonRate)
    }

    fn check(
        &self,
        tables: &Tables,
        key: Key,
        host: Host,
        [connections, rate, handshakes]: [RefusalReason; 3],
        now: WallTick,
    ) -> Result<(), Rejection> {
        let sum = self.ledger.sum(tables, key, now);
        let is_full = |max: u64, taken: u64| max > 0 && taken >= max;
        if is_full(host.connections_max, sum.open) {
            return Err(too_many(RETRY_AFTER_S, connections));
        }
        // While a backlog is read, handshakes are not limited: clients that waited for their accept also waited to be
        // read.
        let is_late = self.weight < 1.0;
        if !is_late && is_full(host.handshakes_max, sum.handshakes) {
            return Err(too_many(RETRY_AFTER_S, handshakes));
        }
        host.rate.map_or(Ok(()), |limit| admit_at(limit, sum.first, rate))
    }

    /// The keys under which an address is counted: its own and its network's, each only if limited.
    pub(crate) fn counted(
        &self,
        tables: &Tables,
        address: IpAddr,
    ) -> [Option<(Key, Host, [RefusalReason; 3])>; 2] {
        use RefusalReason as R;
        let policy = &self.policy;
        let own = policy.address.is_limited().then(|| {
            let reasons = [R::AddressConnections, R::AddressRate, R::AddressHandshakes];
            (tables.key(Kind::Address, address), policy.address, reasons)
        });
        let subnet = policy.subnet_of(address).map(|subnet| {
            let reasons = [R::SubnetConnections, R::SubnetRate, R::SubnetHandshakes];
            (tables.key(Kind::Subnet, subnet), policy.subnet, reasons)
        });
        [own, subnet]
    }

    /// Stops counting a connection.
    pub(crate) fn release(&mut self, tables: &Tables, socket: Socket) {
        let Some(guest) = self.peers.get_mut(socket) else { return };
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

/// What is counted for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counts {
    /// A connection whose handshake has begun.
    Connection,
    /// A session without a connection.
    Session,
    /// A session opened by the first request of a connection that is already counted.
    SessionOfConnection,
}

fn admit_at(rate: Rate, level: f32, reason: RefusalReason) -> Result<(), Rejection> {
    if rate.admits(level) { Ok(()) } else { Err(too_many(rate.wait_s(level), reason)) }
}
