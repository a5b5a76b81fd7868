//! Users: an index from users to their clients on this shard.
//!
//! In:  clients that connect and leave.
//! Out: the clients of a user.
//!
//! Memory: about 80 bytes a user and 8 a client; 34 a client for a user with many. Anonymous clients, whose name is
//! empty, are not indexed.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use crate::{ids::ClientKey, memory::shrink};

/// Up to this many clients, a linear search finds one.
const FEW: usize = 32;

/// The users of a shard.
#[derive(Debug, Default)]
pub(crate) struct Users {
    clients: HashMap<Arc<str>, ClientsOf>,
}

/// The clients of one user.
#[derive(Debug, Default)]
struct ClientsOf {
    all: Vec<ClientKey>,
    /// Positions in `all`, for users that once had more than [`FEW`] clients.
    #[expect(
        clippy::box_collection,
        reason = "nearly all users have few clients: eight bytes are less than a map"
    )]
    places: Option<Box<HashMap<ClientKey, u32>>>,
}

impl Users {
    /// Adds a client. Returns the user's name as stored, shared by all its clients.
    pub(crate) fn add(&mut self, user: &str, client: ClientKey) -> Arc<str> {
        let name: Arc<str> = match self.clients.get_key_value(user) {
            Some((name, _)) => Arc::clone(name),
            None => user.into(),
        };
        if !user.is_empty() {
            match self.clients.entry(Arc::clone(&name)) {
                Entry::Occupied(clients) => clients.into_mut().add(client),
                Entry::Vacant(place) => drop(place.insert(ClientsOf { all: vec![client], places: None })),
            }
        }
        name
    }

    pub(crate) fn remove(&mut self, user: &str, client: ClientKey) {
        let Some(clients) = self.clients.get_mut(user) else { return };
        clients.remove(client);
        if clients.all.is_empty() {
            self.clients.remove(user);
            shrink(&mut self.clients);
        }
    }

    pub(crate) fn of(&self, user: &str) -> &[ClientKey] {
        self.clients.get(user).map_or(&[], |clients| &clients.all)
    }

    /// The number of connected users.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }
}

impl ClientsOf {
    fn add(&mut self, client: ClientKey) {
        self.all.push(client);
        if let Some(places) = &mut self.places {
            places.insert(client, last_place(&self.all));
        } else if self.all.len() > FEW {
            self.places = Some(Box::new(self.all.iter().copied().zip(0..).collect()));
        }
    }

    fn remove(&mut self, client: ClientKey) {
        let place = match &mut self.places {
            Some(places) => places.remove(&client).map(|place| place as usize),
            None => self.all.iter().position(|&other| other == client),
        };
        let Some(place) = place else { return };
        self.all.swap_remove(place);
        if let (Some(places), Some(&moved)) = (&mut self.places, self.all.get(place)) {
            places.insert(moved, u32::try_from(place).expect("fewer clients than 2^32"));
        }
        if self.all.capacity() > 4 * self.all.len().max(FEW) {
            self.all.shrink_to(2 * self.all.len());
        }
        if let Some(places) = &mut self.places {
            shrink(places);
        }
    }
}

fn last_place(clients: &[ClientKey]) -> u32 {
    u32::try_from(clients.len() - 1).expect("fewer clients than 2^32")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(place: u32) -> ClientKey {
        ClientKey { place, generation: 0 }
    }

    #[test]
    fn a_user_is_known_while_one_of_its_clients_is_there() {
        let mut users = Users::default();
        let keys = [key(0), key(1)];
        let name = users.add("ann", keys[0]);
        assert!(Arc::ptr_eq(&name, &users.add("ann", keys[1])), "the name is kept once");
        users.remove("ann", keys[0]);
        assert_eq!(users.of("ann"), [keys[1]]);
        users.remove("ann", keys[1]);
        assert_eq!(users.len(), 0);
        users.add("", keys[0]);
        assert_eq!(users.len(), 0);
    }

    #[test]
    fn of_many_clients_of_one_user_those_are_known_that_have_not_gone() {
        const MANY: u32 = 100_000;
        let mut users = Users::default();
        (0..MANY).for_each(|place| drop(users.add("ann", key(place))));
        users.remove("ann", key(MANY));
        (0..MANY).filter(|place| place % 3 > 0).for_each(|place| users.remove("ann", key(place)));
        let mut left = users.of("ann").to_vec();
        left.sort_unstable();
        assert!(left.into_iter().eq((0..MANY).step_by(3).map(key)));
        (0..MANY).for_each(|place| users.remove("ann", key(place)));
        assert_eq!(users.len(), 0);
    }
}
