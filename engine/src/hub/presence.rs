//! Presence: who is in a channel.
//!
//! In:  clients that come and go.
//! Out: all of them, or how many.
//!
//! Worst case: one entry a subscription, about 100 bytes and the infos, which are shared with the connection.

use std::{collections::HashMap, sync::Arc};

use super::publication::Info;
use crate::memory::{map_bytes, shrink};

/// The clients of one channel, by their ids.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    clients: HashMap<Box<str>, Arc<Info>>,
    infos_bytes: usize,
}

impl Presence {
    pub(crate) fn add(&mut self, info: Arc<Info>) {
        self.infos_bytes += entry_bytes(&info);
        if let Some(before) = self.clients.insert(info.client.clone(), info) {
            self.infos_bytes -= entry_bytes(&before);
        }
    }

    pub(crate) fn remove(&mut self, client: &str) {
        if let Some(info) = self.clients.remove(client) {
            self.infos_bytes -= entry_bytes(&info);
        }
        shrink(&mut self.clients);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Memory of all entries, also what connections share with them.
    pub(crate) fn bytes(&self) -> usize {
        map_bytes(&self.clients) + self.infos_bytes
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

fn entry_bytes(info: &Info) -> usize {
    info.client.len() + info.cost_bytes()
}
