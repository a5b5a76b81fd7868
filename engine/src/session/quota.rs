//! Quota: the number of connections per user, over all shards of this node.
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

use uuid::Uuid;

use crate::{
    config::UserConnectionPolicy,
    ids::{ClientKey, ShardId},
    memory::{arc_str_bytes, map_bytes, shrink},
};

/// The number of a lease; later leases have greater numbers.
pub(crate) type LeaseNumber = NonZeroU64;

/// To the shard that owns a user's count.
#[derive(Debug)]
pub(crate) enum ToQuota {
    /// A client wants to connect.
    Take { user: Arc<str>, holder: QuotaHolder, client: Uuid },
    /// An admitted client is gone.
    Free { user: Arc<str>, lease: LeaseNumber },
    /// A client is gone that has not heard whether it was admitted.
    Cancel { user: Arc<str>, holder: QuotaHolder },
}

/// From the owner of a user's count.
#[derive(Debug)]
pub(crate) enum FromQuota {
    /// The answer to [`ToQuota::Take`]: the lease, or none if the user is at its limit.
    Granted { user: Arc<str>, client: ClientKey, lease: Option<LeaseNumber> },
    /// A newer client has taken a client's lease.
    Evicted { client: ClientKey },
}

/// A client of some shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuotaHolder {
    pub(crate) shard: ShardId,
    pub(crate) client: ClientKey,
}

/// The outcome of a request for a lease.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Granted(LeaseNumber),
    /// Granted; this client must leave for it.
    Instead(LeaseNumber, QuotaHolder),
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

/// The leases of one user, oldest first. Freed leases leave gaps until the oldest leases are freed too, or until most of
/// the row is gaps: so the amortized cost of freeing any lease is constant.
#[derive(Debug, Default)]
struct UserLeases {
    quota: VecDeque<(LeaseNumber, Option<QuotaHolder>)>,
    taken: usize,
}

impl ConnectionQuota {
    /// Takes a lease if fewer than `max` are taken, or the policy evicts one.
    pub(crate) fn take(
        &mut self,
        user: &Arc<str>,
        holder: QuotaHolder,
        max: usize,
        policy: UserConnectionPolicy,
    ) -> Taken {
        if !self.users.contains_key(user) {
            self.users.insert(Arc::clone(user), UserLeases::default());
            self.rows_bytes += arc_str_bytes(user);
        }
        let row = self.users.get_mut(user).expect("it is there now");
        let before = row.bytes();
        let evicted = match policy {
            _ if row.taken < max => None,
            UserConnectionPolicy::RejectNewest => return Taken::Refused,
            UserConnectionPolicy::DisconnectOldest => row.pop_oldest(),
        };
        self.last += 1;
        let lease = LeaseNumber::new(self.last).expect("it was just made greater");
        row.quota.push_back((lease, Some(holder)));
        row.taken += 1;
        self.rows_bytes = self.rows_bytes - before + row.bytes();
        evicted.map_or(Taken::Granted(lease), |holder| Taken::Instead(lease, holder))
    }

    /// Frees a lease, unless it was given to another client. True exactly when it was freed.
    pub(crate) fn free(&mut self, user: &str, lease: LeaseNumber) -> bool {
        let Some(row) = self.users.get_mut(user) else { return false };
        let before = row.bytes();
        let is_freed = row.free(lease);
        self.rows_bytes = self.rows_bytes - before + row.bytes();
        if row.taken == 0
            && let Some((name, row)) = self.users.remove_entry(user)
        {
            self.rows_bytes -= arc_str_bytes(&name) + row.bytes();
            shrink(&mut self.users);
        }
        is_freed
    }

    /// Frees the lease of a client that has not heard of it, if it was given one. Returns it.
    pub(crate) fn cancel(&mut self, user: &str, holder: QuotaHolder) -> Option<LeaseNumber> {
        let mut newest_first = self.users.get(user).into_iter().flat_map(|row| row.quota.iter().rev());
        let &(lease, _) = newest_first.find(|(_, taken_by)| *taken_by == Some(holder))?;
        self.free(user, lease);
        Some(lease)
    }

    /// Who has a lease.
    pub(crate) fn holder(&self, user: &str, lease: LeaseNumber) -> Option<QuotaHolder> {
        let row = self.users.get(user)?;
        let place = row.quota.binary_search_by_key(&lease, |&(number, _)| number).ok()?;
        row.quota[place].1
    }

    /// Frees the oldest lease of a user that has more than `max`. Returns it, and who had it.
    pub(crate) fn evict_beyond(&mut self, user: &str, max: usize) -> Option<(LeaseNumber, QuotaHolder)> {
        let row = self.users.get(user).filter(|row| row.taken > max)?;
        // The front of a row is always taken.
        let &(lease, holder) = row.quota.front()?;
        self.free(user, lease);
        holder.map(|holder| (lease, holder))
    }

    /// Memory of everything here.
    pub(crate) fn table_bytes(&self) -> usize {
        map_bytes(&self.users) + self.rows_bytes
    }

    /// The number of taken leases, for tests.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> usize {
        self.users.values().map(|row| row.taken).sum()
    }
}

impl UserLeases {
    fn bytes(&self) -> usize {
        self.quota.capacity() * size_of::<(LeaseNumber, Option<QuotaHolder>)>()
    }

    fn pop_oldest(&mut self) -> Option<QuotaHolder> {
        let (_, holder) = self.quota.pop_front()?;
        self.taken -= 1;
        self.close_gaps();
        holder
    }

    fn free(&mut self, lease: LeaseNumber) -> bool {
        let Ok(place) = self.quota.binary_search_by_key(&lease, |&(number, _)| number) else { return false };
        let is_taken = self.quota[place].1.take().is_some();
        if is_taken {
            self.taken -= 1;
            self.close_gaps();
        }
        is_taken
    }

    /// Afterwards the front is taken, and at least half of the row is.
    fn close_gaps(&mut self) {
        while self.quota.front().is_some_and(|(_, holder)| holder.is_none()) {
            self.quota.pop_front();
        }
        if self.quota.len() > 2 * self.taken {
            self.quota.retain(|(_, holder)| holder.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use UserConnectionPolicy::{DisconnectOldest, RejectNewest};

    use super::*;

    fn holder(place: u32) -> QuotaHolder {
        QuotaHolder { shard: ShardId::new(place as usize % 3), client: ClientKey { place, generation: 0 } }
    }

    fn granted(taken: &Taken) -> LeaseNumber {
        match *taken {
            Taken::Granted(lease) | Taken::Instead(lease, _) => lease,
            Taken::Refused => panic!("it was refused"),
        }
    }

    #[test]
    fn a_user_gets_as_many_leases_as_it_may_and_one_more_when_one_is_free() {
        let (mut quota, ann, bob) = (ConnectionQuota::default(), Arc::from("ann"), Arc::from("bob"));
        let take =
            |quota: &mut ConnectionQuota, user, place| quota.take(user, holder(place), 2, RejectNewest);
        let first = granted(&take(&mut quota, &ann, 0));
        granted(&take(&mut quota, &ann, 1));
        assert_eq!(take(&mut quota, &ann, 2), Taken::Refused);
        let others = granted(&take(&mut quota, &bob, 3));
        quota.free("ann", first);
        quota.free("ann", first);
        granted(&take(&mut quota, &ann, 2));
        assert_eq!(take(&mut quota, &ann, 4), Taken::Refused, "a lease is given back once");
        quota.free("bob", others);
        assert_eq!(quota.users.len(), 1, "who has none is forgotten");
    }

    #[test]
    fn the_oldest_that_is_still_there_goes_for_the_newest() {
        let (mut quota, ann) = (ConnectionQuota::default(), Arc::from("ann"));
        let take = |quota: &mut ConnectionQuota, place| quota.take(&ann, holder(place), 3, DisconnectOldest);
        let numbers: Vec<LeaseNumber> = (0..3).map(|place| granted(&take(&mut quota, place))).collect();
        quota.free("ann", numbers[0]);
        granted(&take(&mut quota, 3));
        assert!(matches!(take(&mut quota, 4), Taken::Instead(_, evicted) if evicted == holder(1)));
        quota.free("ann", numbers[1]);
        assert!(
            matches!(take(&mut quota, 5), Taken::Instead(_, evicted) if evicted == holder(2)),
            "who was sent away gives nothing back"
        );
    }

    #[test]
    fn whoever_has_more_than_it_may_loses_its_oldest_and_each_lease_has_its_holder() {
        let (mut quota, ann) = (ConnectionQuota::default(), Arc::from("ann"));
        let take = |quota: &mut ConnectionQuota, place| {
            granted(&quota.take(&ann, holder(place), usize::MAX, DisconnectOldest))
        };
        let numbers: Vec<LeaseNumber> = (0..4).map(|place| take(&mut quota, place)).collect();
        assert_eq!(quota.holder("ann", numbers[2]), Some(holder(2)));
        assert!(quota.free("ann", numbers[0]) && !quota.free("ann", numbers[0]));
        assert_eq!(quota.holder("ann", numbers[0]), None);
        assert_eq!(quota.evict_beyond("ann", 2), Some((numbers[1], holder(1))));
        assert_eq!(quota.evict_beyond("ann", 2), None);
        assert_eq!((quota.evict_beyond("bob", 0), quota.cancel("ann", holder(9))), (None, None));
        assert_eq!(quota.cancel("ann", holder(3)), Some(numbers[3]));
        assert_eq!(quota.evict_beyond("ann", 0), Some((numbers[2], holder(2))));
        assert_eq!((quota.users.len(), quota.rows_bytes), (0, 0));
    }

    #[test]
    fn gaps_are_bounded_whatever_the_order_in_which_leases_are_given_back() {
        let (mut quota, ann) = (ConnectionQuota::default(), Arc::from("ann"));
        let mut numbers: Vec<LeaseNumber> =
            (0..1_000).map(|place| granted(&quota.take(&ann, holder(place), 1_000, RejectNewest))).collect();
        numbers.sort_by_key(|number| number.get() * 7919 % 1_009);
        for number in numbers {
            let row = &quota.users["ann"];
            assert!(row.quota.len() <= 2 * row.taken);
            quota.free("ann", number);
        }
        assert!(quota.users.is_empty());
        assert_eq!(quota.rows_bytes, 0);
    }
}
