//! Limits: charges client input to rate limits, and counts offenses.
//!
//! In:  frames, commands and replies of clients; ends of sessions.
//! Out: the same for the limits, with the client's user, or the connection behind it.

use holdfast_protocol::client::DisconnectCode;

use super::{Io, SessionCx, client::Transport};
use crate::{
    ids::ClientKey,
    limits::{Charge, Notice, Offense, offense_of},
    metrics::CloseReason,
    session::request::{RequestOrigin, SessionIndex},
};

impl<I: Io> SessionCx<'_, I> {
    /// A frame of commands has arrived.
    pub(crate) fn charge_frame(&mut self, key: ClientKey, bytes: usize) {
        if let Some(client) = self.sessions.clients.get(key) {
            self.cx.charge_frame(key, &client.user, bytes);
        }
    }

    /// A command has arrived.
    pub(crate) fn charge_command(&mut self, key: ClientKey) -> Result<Charge, DisconnectCode> {
        let Some(client) = self.sessions.clients.get(key) else { return Ok(Charge::Done) };
        self.cx.charge_command(key, &client.user)
    }

    /// A potentially long reply goes to a client.
    pub(crate) fn charge_reply(&mut self, key: ClientKey, bytes: usize) {
        if let Some(client) = self.sessions.clients.get(key) {
            self.cx.charge_reply(key, &client.user, bytes);
        }
    }

    /// A client has committed an offense; its session continues.
    pub(crate) fn client_offended(&mut self, key: ClientKey, offense: Offense) {
        let Some(client) = self.sessions.clients.get(key) else { return };
        match client.link {
            Transport::WebSocket { socket, .. } | Transport::Stream { socket, .. } => {
                self.cx.offended(socket, offense);
            }
            Transport::Poll(session) => self.origin_offended(session, offense),
        }
    }

    /// A polling session has ended.
    pub(crate) fn poll_offended(&mut self, place: SessionIndex, reason: CloseReason) {
        if let Some(offense) = offense_of(reason) {
            self.origin_offended(place, offense);
        }
    }

    /// A polling session has no connection of its own, but the waiting request has one, maybe on another shard.
    fn origin_offended(&mut self, place: SessionIndex, offense: Offense) {
        let origin = self.sessions.registry.poll(place).and_then(|poll| poll.waiting);
        let Some(origin) = origin.filter(|_| self.cx.limits.is_some()) else { return };
        match origin {
            RequestOrigin::Connection { shard, socket } if shard == self.mesh.shard => {
                self.cx.offended(socket, offense);
            }
            RequestOrigin::Connection { shard, socket } => {
                self.cx.notices.push((shard, Notice::OffenseOf { socket, offense }));
            }
            // Its address is known to its own node only.
            RequestOrigin::Node { .. } => {}
        }
    }
}
