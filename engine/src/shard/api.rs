//! Api: calls of the server API that are not for one channel.
//!
//! In:  calls, which every shard gets.
//! Out: what this shard knows of channels, users and addresses; calls for clients, to its sessions.

use std::sync::Arc;

use holdfast_ring::Kernel;

use super::Shard;
use crate::session::calls::{ApiCall, ApiPage, ShardInfo};

impl<K: Kernel> Shard<K> {
    pub(super) fn api_call(&mut self, call: ApiCall) {
        match call {
            ApiCall::Clients { .. } | ApiCall::Rest(_) => {
                self.with_sessions(|sessions| sessions.apply_command(call));
            }
            ApiCall::Channels { from, answer } => {
                let page = ApiPage::of(self.hub.subscriptions.places(), from, |places| {
                    let subscribed =
                        self.hub.subscriptions.channels_at(places).filter(|(_, count)| *count > 0);
                    subscribed.map(|(name, count)| (Arc::clone(name), count))
                });
                drop(answer.send(page));
            }
            ApiCall::Users { from, answer } => {
                let page = ApiPage::of(self.sessions.clients.places(), from, |places| {
                    let users = self.sessions.clients.at(places).map(|(_, client)| &client.user);
                    users.filter(|user| !user.is_empty()).map(Arc::clone)
                });
                drop(answer.send(page));
            }
            ApiCall::Penalties(answer) => drop(answer.send(self.penalties())),
            ApiCall::ClearPenalties { address, done } => {
                self.clear_penalties(address);
                let _ = done.send(());
            }
            ApiCall::Info(answer) => drop(answer.send(ShardInfo {
                clients: self.sessions.clients.len(),
                subscriptions: self.hub.subscriptions.subscribers(),
                channels: self.hub.owned.active(),
                users: self.sessions.users.len(),
            })),
        }
    }
}
