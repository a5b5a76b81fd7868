//! Presence: who is in a channel.
//!
//! In:  clients that come and go.
//! Out: all of them, or how many.
//!
//! Worst case: one entry a subscription, about 100 bytes and the infos, which are shared with the connection.

use std::{collections::HashMap, sync::Arc};

use super::publication::Info;

/// The clients of one channel, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    clients: HashMap<Box<str>, Arc<Info>>,
}

impl Presence {
    pub(crate) fn add(&mut self, info: Arc<Info>) {
        self.clients.insert(info.client.clone(), info);
    }

    pub(crate) fn remove(&mut self, client: &str) {
        self.clients.remove(client);
        if self.clients.is_empty() {
            self.clients.shrink_to_fit();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Info>> {
        self.clients.values().cloned().collect()
    }

    /// Clients, and users among them.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let users: std::collections::HashSet<&str> = self.clients.values().map(|info| &*info.user).collect();
        (self.clients.len(), users.len())
    }
}
