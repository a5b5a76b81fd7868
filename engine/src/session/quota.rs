//! Quota: the number of connections per user, over all shards.
//!
//! In:  clients that connect as a user and leave, from this shard and the others.
//! Out: whether one more is admitted, and which one it replaces.
//!
//! One shard owns a user's count, chosen by a hash of the name, so that shards share no counter. Used only if
//! `client.user_connection_limit` is set. Memory: 60 bytes and the name for each connected user, and 64 bytes for each
//! of its connections at worst.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU64,
    sync::Arc,
};

use crate::{
    config::UserConnectionPolicy,
    ids::ClientKey,
    memory::{arc_str_bytes, map_bytes, shrink},
};

/// The number of a seat; later seats have greater numbers.
pub(crate) type SeatNumber = NonZeroU64;

/// To the shard that owns a user's count.
#[derive(Debug)]
pub(crate) enum ToQuota {
    /// A client wants to connect.
    Take { user: Arc<str>, sitter: QuotaHolder },
    /// An admitted client is gone.
    Free { user: Arc<str>, seat: SeatNumber },
    /// A client is gone that has not heard whether it was admitted.
    Cancel { user: Arc<str>, sitter: QuotaHolder },
}

/// From the owner of a user's count.
#[derive(Debug)]
pub(crate) enum FromQuota {
    /// The answer to [`ToQuota::Take`]: the seat, or none if the user is at its limit.
    Granted { user: Arc<str>, client: ClientKey, seat: Option<SeatNumber> },
    /// A newer client has taken a client's seat.
    Evicted { client: ClientKey },
}

/// A client of some shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuotaHolder {
    pub(crate) core: usize,
    pub(crate) client: ClientKey,
}

/// The outcome of a request for a seat.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Granted(SeatNumber),
    /// Granted; this client must leave for it.
    Instead(SeatNumber, QuotaHolder),
    Refused,
}

/// The users that this shard counts.
#[derive(Debug, Default)]
pub(crate) struct ConnectionQuota {
    users: HashMap<Arc<str>, UserLeases>,
    last: u64,
    /// Memory of all names and rows.
    rows_bytes: usize,
}

/// The seats of one user, oldest first. Freed seats leave gaps until the oldest seats are freed too, or until most of
/// the row is gaps: so the amortized cost of freeing any seat is constant.
#[derive(Debug, Default)]
struct UserLeases {
    seats: VecDeque<(SeatNumber, Option<QuotaHolder>)>,
    taken: usize,
}

impl ConnectionQuota {
    /// Takes a seat if fewer than `max` are taken, or the policy evicts one.
    pub(crate) fn take(
        &mut self,
        user: &Arc<str>,
        sitter: QuotaHolder,
        max: usize,
        policy: UserConnectionPolicy,
    ) -> Taken {
        if !self.users.contains_key(user) {
            self.users.insert(Arc::clone(user), UserLeases::default());
            self.rows_bytes += arc_str_bytes(user);
        }
        let row = self.users.get_mut(user).expect("it is there now");
        let before = row.bytes();
        let unseated = match policy {
            _ if row.taken < max => None,
            UserConnectionPolicy::RejectNewest => return Taken::Refused,
            UserConnectionPolicy::DisconnectOldest => row.pop_oldest(),
        };
        self.last += 1;
        let seat = SeatNumber::new(self.last).expect("it was just made greater");
        row.seats.push_back((seat, Some(sitter)));
        row.taken += 1;
        self.rows_bytes = self.rows_bytes - before + row.bytes();
        unseated.map_or(Taken::Granted(seat), |sitter| Taken::Instead(seat, sitter))
    }

    /// Frees a seat, unless it was given to another client.
    pub(crate) fn free(&mut self, user: &str, seat: SeatNumber) {
        let Some(row) = self.users.get_mut(user) else { return };
        let before = row.bytes();
        row.free(seat);
        self.rows_bytes = self.rows_bytes - before + row.bytes();
        if row.taken == 0
            && let Some((name, row)) = self.users.remove_entry(user)
        {
            self.rows_bytes -= arc_str_bytes(&name) + row.bytes();
            shrink(&mut self.users);
        }
    }

    /// Frees the seat of a client that has not heard of it, if it was given one.
    pub(crate) fn cancel(&mut self, user: &str, sitter: QuotaHolder) {
        let mut newest_first = self.users.get(user).into_iter().flat_map(|row| row.seats.iter().rev());
        if let Some(&(seat, _)) = newest_first.find(|(_, holder)| *holder == Some(sitter)) {
            self.free(user, seat);
        }
    }

    /// Memory of everything here.
    pub(crate) fn table_bytes(&self) -> usize {
        map_bytes(&self.users) + self.rows_bytes
    }

    /// The number of taken seats, for tests.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.users.values().map(|row| row.taken).sum()
    }
}

impl UserLeases {
    fn bytes(&self) -> usize {
        self.seats.capacity() * size_of::<(SeatNumber, Option<QuotaHolder>)>()
    }

    fn pop_oldest(&mut self) -> Option<QuotaHolder> {
        let (_, sitter) = self.seats.pop_front()?;
        self.taken -= 1;
        self.close_gaps();
        sitter
    }

    fn free(&mut self, seat: SeatNumber) {
        let Ok(place) = self.seats.binary_search_by_key(&seat, |&(number, _)| number) else { return };
        if self.seats[place].1.take().is_some() {
            self.taken -= 1;
            self.close_gaps();
        }
    }

    /// Afterwards the front is taken, and at least half of the row is.
    fn close_gaps(&mut self) {
        while self.seats.front().is_some_and(|(_, sitter)| sitter.is_none()) {
            self.seats.pop_front();
        }
        if self.seats.len() > 2 * self.taken {
            self.seats.retain(|(_, sitter)| sitter.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use UserConnectionPolicy::{DisconnectOldest, RejectNewest};

    use super::*;

    fn sitter(place: u32) -> QuotaHolder {
        QuotaHolder { core: place as usize % 3, client: ClientKey { place, generation: 0 } }
    }

    fn granted(taken: &Taken) -> SeatNumber {
        match *taken {
            Taken::Granted(seat) | Taken::Instead(seat, _) => seat,
            Taken::Refused => panic!("it was refused"),
        }
    }

    #[test]
    fn a_user_gets_as_many_seats_as_it_may_and_one_more_when_one_is_free() {
        let (mut seats, ann, bob) = (ConnectionQuota::default(), Arc::from("ann"), Arc::from("bob"));
        let take =
            |seats: &mut ConnectionQuota, user, place| seats.take(user, sitter(place), 2, RejectNewest);
        let first = granted(&take(&mut seats, &ann, 0));
        granted(&take(&mut seats, &ann, 1));
        assert_eq!(take(&mut seats, &ann, 2), Taken::Refused);
        let others = granted(&take(&mut seats, &bob, 3));
        seats.free("ann", first);
        seats.free("ann", first);
        granted(&take(&mut seats, &ann, 2));
        assert_eq!(take(&mut seats, &ann, 4), Taken::Refused, "a seat is given back once");
        seats.free("bob", others);
        assert_eq!(seats.users.len(), 1, "who has none is forgotten");
    }

    #[test]
    fn the_oldest_that_is_still_there_goes_for_the_newest() {
        let (mut seats, ann) = (ConnectionQuota::default(), Arc::from("ann"));
        let take = |seats: &mut ConnectionQuota, place| seats.take(&ann, sitter(place), 3, DisconnectOldest);
        let numbers: Vec<SeatNumber> = (0..3).map(|place| granted(&take(&mut seats, place))).collect();
        seats.free("ann", numbers[0]);
        granted(&take(&mut seats, 3));
        assert!(matches!(take(&mut seats, 4), Taken::Instead(_, unseated) if unseated == sitter(1)));
        seats.free("ann", numbers[1]);
        assert!(
            matches!(take(&mut seats, 5), Taken::Instead(_, unseated) if unseated == sitter(2)),
            "who was sent away gives nothing back"
        );
    }

    #[test]
    fn gaps_are_bounded_whatever_the_order_in_which_seats_are_given_back() {
        let (mut seats, ann) = (ConnectionQuota::default(), Arc::from("ann"));
        let mut numbers: Vec<SeatNumber> =
            (0..1_000).map(|place| granted(&seats.take(&ann, sitter(place), 1_000, RejectNewest))).collect();
        numbers.sort_by_key(|number| number.get() * 7919 % 1_009);
        for number in numbers {
            let row = &seats.users["ann"];
            assert!(row.seats.len() <= 2 * row.taken);
            seats.free("ann", number);
        }
        assert!(seats.users.is_empty());
        assert_eq!(seats.rows_bytes, 0);
    }
}
