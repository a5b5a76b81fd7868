//! Seat: the limit of a user's connections.
//!
//! In:  users that connect; what their seats' home says; clients that go.
//! Out: questions to that home; entrance, or code 3504.

use std::sync::Arc;

use holdfast_protocol::client::DisconnectCode;
use holdfast_ring::Kernel;

use super::{Client, Stage};
use crate::{
    hub::message::ClientKey,
    peers::Message,
    seats::{Seated, ToSeats},
    shard::Shard,
};

impl<K: Kernel> Shard<K> {
    /// Asks for a seat, where users have a limit. False where none is needed.
    pub(super) fn ask_for_seat(&mut self, key: ClientKey, user: &Arc<str>) -> bool {
        let is_needed = self.rules.user_connections_max > 0 && !user.is_empty();
        if is_needed {
            let take = ToSeats::Take { user: Arc::clone(user), core: self.index, client: key };
            self.post(self.peers.home_of(user), Message::ToSeats(take));
        }
        is_needed
    }

    /// A question to this core as a home of seats.
    pub(crate) fn at_seats(&mut self, message: ToSeats) {
        match message {
            ToSeats::Take { user, core, client } => {
                let is_granted = self.seats.take(&user, self.rules.user_connections_max);
                self.post(core, Message::Seated(Seated { user, client, is_granted }));
            }
            ToSeats::Free { user } => self.seats.free(&user),
        }
    }

    /// Whether a client may stay.
    pub(crate) fn seated(&mut self, seated: Seated) {
        let Seated { user, client: key, is_granted } = seated;
        match self.clients.get(key) {
            Some(client) if client.stage == Stage::Connecting => {
                client.is_seated = is_granted;
                if is_granted {
                    self.enter(key);
                } else {
                    self.disconnect(key, DisconnectCode::CONNECTION_LIMIT);
                }
            }
            _ if is_granted => self.free_seat(&user),
            _ => {}
        }
    }

    /// A client has gone.
    pub(super) fn give_up_seat(&mut self, client: &Client) {
        if client.is_seated {
            self.free_seat(&client.user);
        }
    }

    fn free_seat(&mut self, user: &Arc<str>) {
        self.post(self.peers.home_of(user), Message::ToSeats(ToSeats::Free { user: Arc::clone(user) }));
    }
}
