//! Seat: the limit of a user's connections.
//!
//! In:  users that connect; answers of the seats' owner; clients that leave.
//! Out: requests to that owner; admission, or code 3504.

use std::sync::Arc;

use holdfast_protocol::client::DisconnectCode;

use super::{Client, Stage};
use crate::{
    ids::ClientKey,
    session::message::Message,
    session::{
        Io, SessionCx,
        quota::{FromQuota, QuotaHolder, SeatNumber, Taken, ToQuota},
    },
};

impl<I: Io> SessionCx<'_, I> {
    /// Requests a seat, if users have a limit. False if none is needed.
    pub(super) fn ask_for_seat(&mut self, key: ClientKey, user: &Arc<str>) -> bool {
        let is_needed = self.is_seat_needed(user);
        if is_needed {
            let sitter = QuotaHolder { core: self.mesh.index, client: key };
            let take = ToQuota::Take { user: Arc::clone(user), sitter };
            self.mesh.post(self.mesh.peers.shard_for(user), Message::ToQuota(take));
        }
        is_needed
    }

    /// A request to this shard as an owner of seats.
    pub(crate) fn at_seats(&mut self, message: ToQuota) {
        match message {
            ToQuota::Take { user, sitter } => {
                let (max, policy) =
                    (self.sessions.policy.user_connections_max, self.sessions.policy.user_connection_policy);
                let seat = match self.sessions.seats.take(&user, sitter, max, policy) {
                    Taken::Granted(seat) => Some(seat),
                    Taken::Instead(seat, oldest) => {
                        let unseated = FromQuota::Evicted { client: oldest.client };
                        self.mesh.post(oldest.core, Message::FromQuota(unseated));
                        Some(seat)
                    }
                    Taken::Refused => None,
                };
                let seated = FromQuota::Granted { user, client: sitter.client, seat };
                self.mesh.post(sitter.core, Message::FromQuota(seated));
            }
            ToQuota::Free { user, seat } => self.sessions.seats.free(&user, seat),
            ToQuota::Cancel { user, sitter } => self.sessions.seats.cancel(&user, sitter),
        }
    }

    /// An answer of the owner of a user's seats.
    pub(crate) fn on_quota_result(&mut self, message: FromQuota) {
        match message {
            FromQuota::Granted { user, client, seat } => self.seated(&user, client, seat),
            FromQuota::Evicted { client } => self.disconnect(client, DisconnectCode::CONNECTION_LIMIT),
        }
    }

    /// Admits a client, or disconnects it.
    fn seated(&mut self, user: &Arc<str>, key: ClientKey, seat: Option<SeatNumber>) {
        match (self.sessions.clients.get(key), seat) {
            (Some(client), Some(_)) if client.stage == Stage::Connecting => {
                client.seat = seat;
                self.enter(key);
            }
            (Some(client), None) if client.stage == Stage::Connecting => {
                self.disconnect(key, DisconnectCode::CONNECTION_LIMIT);
            }
            (_, Some(seat)) => self.free_seat(user, seat),
            (_, None) => {}
        }
    }

    /// A client is gone: returns its seat, or the one it has asked for.
    pub(super) fn give_up_seat(&mut self, key: ClientKey, client: &Client) {
        let user = &client.user;
        if let Some(seat) = client.seat {
            self.free_seat(user, seat);
        } else if client.stage == Stage::Connecting && self.is_seat_needed(user) {
            // Its owner hears this before the client's next attempt to connect, which might not fit beside this one.
            let sitter = QuotaHolder { core: self.mesh.index, client: key };
            let cancel = ToQuota::Cancel { user: Arc::clone(user), sitter };
            self.mesh.post(self.mesh.peers.shard_for(user), Message::ToQuota(cancel));
        }
    }

    fn is_seat_needed(&self, user: &str) -> bool {
        self.sessions.policy.user_connections_max > 0 && !user.is_empty()
    }

    fn free_seat(&mut self, user: &Arc<str>, seat: SeatNumber) {
        let free = ToQuota::Free { user: Arc::clone(user), seat };
        self.mesh.post(self.mesh.peers.shard_for(user), Message::ToQuota(free));
    }
}
