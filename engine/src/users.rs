//! Users: which of this core's clients belong to whom.
//!
//! In:  clients that connect and go.
//! Out: the clients of a user.
//!
//! Memory: about 80 bytes a user and 8 a client. Anonymous clients, who have an empty name, are not kept.

use std::{collections::HashMap, sync::Arc};

use crate::{hub::message::ClientKey, memory::shrink};

/// The users of a shard.
#[derive(Debug, Default)]
pub(crate) struct Users {
    clients: HashMap<Arc<str>, Vec<ClientKey>>,
}

impl Users {
    /// Adds a client. Returns the user's name as it is kept, shared by all its clients.
    pub(crate) fn add(&mut self, user: &str, client: ClientKey) -> Arc<str> {
        if let Some((name, _)) = self.clients.get_key_value(user) {
            let name = Arc::clone(name);
            self.clients.entry(Arc::clone(&name)).or_default().push(client);
            return name;
        }
        let name: Arc<str> = user.into();
        if !user.is_empty() {
            self.clients.insert(Arc::clone(&name), vec![client]);
        }
        name
    }

    pub(crate) fn remove(&mut self, user: &str, client: ClientKey) {
        let Some(clients) = self.clients.get_mut(user) else { return };
        clients.retain(|&other| other != client);
        if clients.is_empty() {
            self.clients.remove(user);
            shrink(&mut self.clients);
        }
    }

    pub(crate) fn of(&self, user: &str) -> &[ClientKey] {
        self.clients.get(user).map_or(&[], Vec::as_slice)
    }

    /// Users that are connected.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_while_one_of_its_clients_is_there() {
        let mut users = Users::default();
        let keys = [0, 1].map(|place| ClientKey { place, generation: 0 });
        let name = users.add("ann", keys[0]);
        assert!(Arc::ptr_eq(&name, &users.add("ann", keys[1])), "the name is kept once");
        users.remove("ann", keys[0]);
        assert_eq!(users.of("ann"), [keys[1]]);
        users.remove("ann", keys[1]);
        assert_eq!(users.len(), 0);
        users.add("", keys[0]);
        assert_eq!(users.len(), 0);
    }
}
