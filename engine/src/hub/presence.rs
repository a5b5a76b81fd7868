//! Presence: the clients in a channel.
//!
//! In:  clients that join and leave.
//! Out: the list of them, or their number; the length of an answer with the list.
//!
//! The counts are maintained. The list is built on request, and shared by all requests until a client joins or leaves.
//!
//! Worst case: one entry per subscription and one per user, about 100 bytes each, and 16 bytes in the list; plus the
//! infos, which are shared with the connection.

use std::{cell::OnceCell, collections::HashMap, sync::Arc};

use super::publication::Info;
use crate::memory::{map_bytes, shrink};

/// All clients of a channel at one time.
pub(crate) type Members = Arc<[Arc<Info>]>;

/// Approximate bytes of an entry in an answer beside its names and infos.
const ENTRY_BYTES: usize = 64;

/// The clients of one channel, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    clients: HashMap<Box<str>, Arc<Info>>,
    /// The number of clients per user.
    users: HashMap<Arc<str>, u32>,
    /// Approximate length of an answer with all clients.
    answer_bytes: usize,
    /// The last list built, unless a client has joined or left since.
    listed: OnceCell<Members>,
    infos_bytes: usize,
}

impl Presence {
    pub(crate) fn add(&mut self, info: Arc<Info>) {
        self.listed.take();
        self.answer_bytes += answer_bytes(&info);
        self.infos_bytes += entry_bytes(&info);
        match self.users.get_mut(&info.user) {
            Some(clients) => *clients += 1,
            None => _ = self.users.insert(Arc::clone(&info.user), 1),
        }
        if let Some(before) = self.clients.insert(info.client.clone(), info) {
            self.forget(&before);
        }
    }

    pub(crate) fn remove(&mut self, client: &str) {
        let Some(info) = self.clients.remove(client) else { return };
        self.listed.take();
        self.forget(&info);
        shrink(&mut self.clients);
        shrink(&mut self.users);
    }

    pub(crate) fn has(&self, client: &str) -> bool {
        self.clients.contains_key(client)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Approximate length of an answer with all clients.
    pub(crate) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    /// Memory of all entries, including what connections share, and of a list of all.
    pub(crate) fn bytes(&self) -> usize {
        let list = self.clients.len() * size_of::<Arc<Info>>();
        map_bytes(&self.clients) + map_bytes(&self.users) + self.infos_bytes + list
    }

    pub(crate) fn all(&self) -> Members {
        Arc::clone(self.listed.get_or_init(|| self.clients.values().cloned().collect()))
    }

    /// The numbers of clients and of distinct users.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.clients.len(), self.users.len())
    }

    /// Removes an entry from the counts.
    fn forget(&mut self, info: &Info) {
        self.answer_bytes -= answer_bytes(info);
        self.infos_bytes -= entry_bytes(info);
        if let Some(clients) = self.users.get_mut(&info.user) {
            *clients -= 1;
            if *clients == 0 {
                self.users.remove(&info.user);
            }
        }
    }
}

/// Approximate length of a client in an answer.
pub(crate) fn answer_bytes(info: &Info) -> usize {
    ENTRY_BYTES + info.client.len() + info.text_bytes()
}

fn entry_bytes(info: &Info) -> usize {
    info.client.len() + info.cost_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(user: &str, client: &str) -> Arc<Info> {
        Arc::new(Info { user: user.into(), client: client.into(), ..Info::default() })
    }

    #[test]
    fn clients_and_users_are_counted_as_they_come_and_go() {
        let mut presence = Presence::default();
        for (user, client) in [("ann", "1"), ("ann", "2"), ("bob", "3"), ("", "4")] {
            presence.add(info(user, client));
        }
        assert_eq!(presence.counts(), (4, 3));
        presence.remove("1");
        presence.remove("1");
        presence.remove("unknown");
        assert_eq!(presence.counts(), (3, 3));
        presence.remove("2");
        assert_eq!(presence.counts(), (2, 2));
        presence.remove("3");
        presence.remove("4");
        assert_eq!((presence.counts(), presence.answer_bytes()), ((0, 0), 0));
    }

    #[test]
    fn a_client_that_comes_once_more_is_there_once() {
        let mut presence = Presence::default();
        presence.add(info("ann", "1"));
        let bytes = presence.answer_bytes();
        presence.add(info("bob", "1"));
        assert_eq!((presence.counts(), presence.answer_bytes()), ((1, 1), bytes));
        assert_eq!(&*presence.all()[0].user, "bob");
    }

    #[test]
    fn a_list_is_made_once_until_somebody_comes_or_goes() {
        let mut presence = Presence::default();
        presence.add(info("ann", "1"));
        let first = presence.all();
        assert!(Arc::ptr_eq(&first, &presence.all()));
        presence.add(info("bob", "2"));
        assert_eq!((first.len(), presence.all().len()), (1, 2));
        presence.remove("1");
        assert_eq!(presence.all().len(), 1);
    }

    #[test]
    fn memory_and_answers_follow_those_who_come_come_once_more_and_go() {
        let mut presence = Presence::default();
        assert_eq!((presence.bytes(), presence.answer_bytes()), (0, 0));
        let told = info("ann", "100");
        let entry = told.client.len() + told.cost_bytes() + size_of::<Arc<Info>>();
        let is_counted = |presence: &Presence, clients: usize| {
            let maps = map_bytes(&presence.clients) + map_bytes(&presence.users);
            assert_eq!(presence.bytes(), maps + clients * entry);
            // The client's id is the key and also part of the info.
            assert_eq!(presence.answer_bytes(), clients * (ENTRY_BYTES + "100".len() + "ann100".len()));
            maps
        };
        for client in 100..1_000 {
            presence.add(info("somebody else", &client.to_string()));
            presence.add(info("ann", &client.to_string()));
        }
        assert!(is_counted(&presence, 900) > 900 * size_of::<(Box<str>, Arc<Info>)>());
        for client in 100..550 {
            presence.remove(&client.to_string());
        }
        is_counted(&presence, 450);
        for client in 550..1_000 {
            presence.remove(&client.to_string());
        }
        assert!(
            is_counted(&presence, 0) < 100 * size_of::<(Box<str>, Arc<Info>)>(),
            "the maps are given back"
        );
    }
}
