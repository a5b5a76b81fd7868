//! Seat: the limit of a user's connections.
//!
//! In:  users that connect; what their seats' home says; clients that go.
//! Out: questions to that home; entrance, or code 3504.

use std::sync::Arc;

use holdfast_protocol::client::DisconnectCode;

use super::{Client, Stage};
use crate::{
    ids::ClientKey,
    mesh::Message,
    session::seats::{FromSeats, SeatNumber, Sitter, Taken, ToSeats},
    session::{Io, SessionCx},
};

impl<I: Io> SessionCx<'_, I> {
    /// Asks for a seat, where users have a limit. False where none is needed.
    pub(super) fn ask_for_seat(&mut self, key: ClientKey, user: &Arc<str>) -> bool {
        let is_needed = self.sessions.rules.user_connections_max > 0 && !user.is_empty();
        if is_needed {
            let sitter = Sitter { core: self.mesh.index, client: key };
            let take = ToSeats::Take { user: Arc::clone(user), sitter };
            self.mesh.post(self.mesh.peers.home_of(user), Message::ToSeats(take));
        }
        is_needed
    }

    /// A question to this core as a home of seats.
    pub(crate) fn at_seats(&mut self, message: ToSeats) {
        match message {
            ToSeats::Take { user, sitter } => {
                let (max, policy) =
                    (self.sessions.rules.user_connections_max, self.sessions.rules.user_connection_policy);
                let seat = match self.sessions.seats.take(&user, sitter, max, policy) {
                    Taken::Granted(seat) => Some(seat),
                    Taken::Instead(seat, oldest) => {
                        let unseated = FromSeats::Unseated { client: oldest.client };
                        self.mesh.post(oldest.core, Message::FromSeats(unseated));
                        Some(seat)
                    }
                    Taken::Refused => None,
                };
                let seated = FromSeats::Seated { user, client: sitter.client, seat };
                self.mesh.post(sitter.core, Message::FromSeats(seated));
            }
            ToSeats::Free { user, seat } => self.sessions.seats.free(&user, seat),
        }
    }

    /// What the home of a user's seats says.
    pub(crate) fn seats_said(&mut self, message: FromSeats) {
        match message {
            FromSeats::Seated { user, client, seat } => self.seated(&user, client, seat),
            FromSeats::Unseated { client } => self.disconnect(client, DisconnectCode::CONNECTION_LIMIT),
        }
    }

    /// Whether a client may stay.
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

    /// A client has gone.
    pub(super) fn give_up_seat(&mut self, client: &Client) {
        if let Some(seat) = client.seat {
            self.free_seat(&client.user, seat);
        }
    }

    fn free_seat(&mut self, user: &Arc<str>, seat: SeatNumber) {
        let free = ToSeats::Free { user: Arc::clone(user), seat };
        self.mesh.post(self.mesh.peers.home_of(user), Message::ToSeats(free));
    }
}
