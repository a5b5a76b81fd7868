//! Limits: the questions that parts of a shard ask about limits.
//!
//! In:  connections and their addresses, requests, commands, bytes, offenses.
//! Out: yes; or a refusal with its reason. Messages to other shards about it wait in `notices`.
//!
//! If nothing is limited, each question is one branch.

use std::net::IpAddr;

use holdfast_protocol::{
    client::DisconnectCode,
    http::{Refusal, RequestHead, client_address},
};
use holdfast_ring::Socket;

use super::Context;
use crate::{
    ids::ClientKey,
    limits::{
        COMMAND_REPLY_BYTES, Charge, Counts, Kind, Notice, Offenders, PeerAddress, Rejection, Stage,
        WallTick, offense_of, penalized,
    },
    metrics::{CloseReason, Metric, Offense, RefusalReason},
};

impl Context {
    /// Housekeeping, about once a second.
    pub(crate) fn housekeep(&mut self) {
        let now = self.moment();
        let Some(limits) = &mut self.limits else { return };
        limits.ledger.tend(&self.limit_tables, now);
        limits.refused.tend(now);
        if let Some(offenders) = &mut limits.offenders {
            offenders.tend(now);
        }
        for (metric, value) in [
            (Metric::LimitsTracked, limits.ledger.len()),
            (Metric::PenaltiesTracked, limits.offenders.as_ref().map_or(0, Offenders::len)),
            (Metric::PenaltiesRefused, limits.refused.len()),
        ] {
            self.counters.set(metric, value as u64);
        }
    }

    /// A turn begins; sets how much each event counts.
    pub(crate) fn weigh_rates(&mut self, weight: f32) {
        if let Some(limits) = &mut self.limits {
            limits.weight = weight;
        }
    }

    /// The time on the common clock of all shards. Nobody can set it: with the time of day, counts would not decay for as
    /// long as that is set back.
    pub(crate) fn moment(&self) -> WallTick {
        WallTick::at(self.uptime)
    }

    /// The head of a request is complete.
    #[inline]
    pub(crate) fn admit_request(&mut self, socket: Socket, head: &RequestHead<'_>) -> Result<(), Rejection> {
        if self.limits.is_none() { Ok(()) } else { self.admit_guest(socket, head) }
    }

    fn admit_guest(&mut self, socket: Socket, head: &RequestHead<'_>) -> Result<(), Rejection> {
        let Some(limits) = &mut self.limits else { return Ok(()) };
        let Some(guest) = limits.peers.get_mut(socket) else { return Ok(()) };
        if let Some(proxy) = &guest.proxy {
            let trusted = &limits.policy.forwarded;
            let client = client_address(head, limits.policy.forwarded_field, proxy.address, |address| {
                trusted.contains(address)
            });
            guest.seen = Some(client);
            if guest.address != Some(client) {
                limits.release(&self.limit_tables, socket);
                // A trusted proxy that names no client is not checked.
                if !limits.policy.forwarded.contains(client) {
                    self.admit_connection(socket, Some(client))?;
                }
            }
        }
        self.end_handshake(socket);
        Ok(())
    }

    /// Checks all lists and limits, and counts the connection.
    pub(crate) fn admit_connection(
        &mut self,
        socket: Socket,
        address: Option<IpAddr>,
    ) -> Result<(), Rejection> {
        let now = self.moment();
        let Some(limits) = &mut self.limits else { return Ok(()) };
        if let Some(guest) = limits.peers.get_mut(socket) {
            guest.seen = address;
        }
        limits.admit(&self.limit_tables, socket, address, now)
    }

    /// Checks all limits for a session that lives without a connection of its own, and counts it as a connection of its
    /// client. With the first request of a connection, it does not count as new in addition. Returns the address that it
    /// counts under until [`Context::session_left`].
    pub(crate) fn admit_session(
        &mut self,
        socket: Socket,
        is_reused: bool,
    ) -> Result<Option<IpAddr>, Rejection> {
        let now = self.moment();
        let what = if is_reused { Counts::Session } else { Counts::SessionOfConnection };
        let Some(limits) = &mut self.limits else { return Ok(None) };
        let Some(guest) = limits.peers.get_mut(socket) else { return Ok(None) };
        // An exempt client has no address here.
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
        let Some(guest) = limits.peers.get_mut(socket).filter(|guest| guest.stage == Stage::Handshake) else {
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
    pub(crate) fn on_closed(&mut self, socket: Socket, reason: CloseReason) {
        if self.limits.is_some() {
            self.forget_guest(socket, reason);
        }
    }

    fn forget_guest(&mut self, socket: Socket, reason: CloseReason) {
        if let Some(offense) = offense_of(reason) {
            self.offended(socket, offense);
        }
        let Some(limits) = &mut self.limits else { return };
        limits.release(&self.limit_tables, socket);
        if let Some(PeerAddress { is_lingering: true, .. }) = limits.peers.remove(socket) {
            limits.lingering -= 1;
        }
    }

    /// A frame of commands arrived.
    #[inline]
    pub(crate) fn charge_frame(&mut self, key: ClientKey, user: &str, bytes: usize) {
        let now = self.moment();
        if let Some(limits) = &mut self.limits {
            limits.charge_frame(&self.limit_tables, key, user, bytes, now);
        }
    }

    /// A command arrived. The error is for a client that does not stop.
    #[inline]
    pub(crate) fn charge_command(&mut self, key: ClientKey, user: &str) -> Result<Charge, DisconnectCode> {
        let now = self.moment();
        let Some(limits) = &mut self.limits else { return Ok(Charge::Done) };
        let Err(excess) = limits.charge_command(&self.limit_tables, key, user, now) else {
            return Ok(Charge::Done);
        };
        self.counters.add(Metric::Throttled(excess), 1);
        if limits.keeps_flooding(key, now) {
            Err(DisconnectCode::TOO_MANY_REQUESTS)
        } else {
            Ok(Charge::TooMany)
        }
    }

    /// A long reply goes to a client: it is the work of many commands, and counts as such.
    #[inline]
    pub(crate) fn charge_reply(&mut self, key: ClientKey, user: &str, bytes: usize) {
        let now = self.moment();
        if let Some(limits) = self.limits.as_mut().filter(|_| bytes >= COMMAND_REPLY_BYTES) {
            limits.charge_reply(&self.limit_tables, key, user, bytes, now);
        }
    }

    /// A request was refused.
    #[inline]
    pub(crate) fn refused_for(&mut self, socket: Socket, refusal: Refusal, reason: RefusalReason) {
        // After a restart every client of a stream or a poll asks for a session that is gone; a late client is an offender
        // when its connection ends.
        let is_offense = !matches!(refusal, Refusal::SessionUnknown | Refusal::HeadTimeout);
        if self.limits.is_some() && reason.is_clients_fault() && is_offense {
            self.offended(socket, Offense::Request);
        }
    }

    /// A client committed an offense.
    pub(crate) fn offended(&mut self, socket: Socket, offense: Offense) {
        let Some(limits) = &mut self.limits else { return };
        let Some(address) = limits.peers.get_mut(socket).and_then(|guest| guest.address) else { return };
        if limits.offenders.is_none() {
            return;
        }
        self.counters.add(Metric::Offenses(offense), 1);
        let address = penalized(address);
        let home = self.limit_tables.key(Kind::Address, address).shard_of(self.shards);
        self.notices.push((home, Notice::Offense { address, offense }));
    }
}
