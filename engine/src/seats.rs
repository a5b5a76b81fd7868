//! Seats: how many connections a user has, over all cores.
//!
//! In:  clients that connect as a user and go, from this core and the others.
//! Out: whether one more may stay.
//!
//! A user's connections are counted at one core, by a hash of its name, so that no core shares a counter with another.
//! Only there where `client.user_connection_limit` is set. Memory: 60 bytes and the name for each connected user.

use std::{collections::HashMap, sync::Arc};

use crate::hub::message::ClientKey;

/// To the core at which a user's connections are counted.
#[derive(Debug)]
pub(crate) enum ToSeats {
    /// A client wants to connect.
    Take { user: Arc<str>, core: usize, client: ClientKey },
    /// A client that was let in has gone.
    Free { user: Arc<str> },
}

/// The answer to [`ToSeats::Take`].
#[derive(Debug)]
pub(crate) struct Seated {
    pub(crate) user: Arc<str>,
    pub(crate) client: ClientKey,
    /// False where the user has as many connections as it may.
    pub(crate) is_granted: bool,
}

/// The users that are counted here.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: HashMap<Arc<str>, usize>,
}

impl Seats {
    /// Takes a seat, if fewer than `max` are taken.
    pub(crate) fn take(&mut self, user: &Arc<str>, max: usize) -> bool {
        if let Some(taken) = self.taken.get_mut(user) {
            let is_granted = *taken < max;
            *taken += usize::from(is_granted);
            return is_granted;
        }
        self.taken.insert(Arc::clone(user), 1);
        true
    }

    /// Gives a seat back that was taken.
    pub(crate) fn free(&mut self, user: &str) {
        let Some(taken) = self.taken.get_mut(user) else { return };
        *taken -= 1;
        if *taken == 0 {
            self.taken.remove(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_gets_as_many_seats_as_it_may_and_one_more_when_one_is_free() {
        let (mut seats, ann, bob) = (Seats::default(), Arc::from("ann"), Arc::from("bob"));
        assert!(seats.take(&ann, 2) && seats.take(&ann, 2) && !seats.take(&ann, 2));
        assert!(seats.take(&bob, 2), "another user has seats of its own");
        seats.free("ann");
        assert!(seats.take(&ann, 2) && !seats.take(&ann, 2));
        seats.free("bob");
        assert_eq!(seats.taken.len(), 1, "who has none is forgotten");
    }
}
