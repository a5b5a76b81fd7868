//! Lease: the limit of a user's connections.
//!
//! In:  users that connect; answers of the leases' owner; clients that leave.
//! Out: requests to that owner; admission, or code 3504.

use std::sync::Arc;

use holdfast_protocol::client::DisconnectCode;

use super::{Client, Stage};
use crate::{
    ids::ClientKey,
    session::{
        Io, SessionCx,
        message::Message,
        quota::{FromQuota, LeaseNumber, QuotaHolder, Taken, ToQuota},
    },
};

impl<I: Io> SessionCx<'_, I> {
    /// Requests a lease, if users have a limit. False if none is needed.
    pub(super) fn ask_for_lease(&mut self, key: ClientKey, user: &Arc<str>) -> bool {
        let is_needed = self.is_lease_needed(user);
        if is_needed {
            let holder = QuotaHolder { shard: self.mesh.shard, client: key };
            let take = ToQuota::Take { user: Arc::clone(user), holder };
            self.mesh.post(self.mesh.peers.shard_for(user), Message::ToQuota(take));
        }
        is_needed
    }

    /// A request to this shard as an owner of leases.
    pub(crate) fn handle_quota(&mut self, message: ToQuota) {
        match message {
            ToQuota::Take { user, holder } => {
                let (max, policy) =
                    (self.sessions.policy.user_connections_max, self.sessions.policy.user_connection_policy);
                let lease = match self.sessions.quota.take(&user, holder, max, policy) {
                    Taken::Granted(lease) => Some(lease),
                    Taken::Instead(lease, oldest) => {
                        let evicted = FromQuota::Evicted { client: oldest.client };
                        self.mesh.post(oldest.shard, Message::FromQuota(evicted));
                        Some(lease)
                    }
                    Taken::Refused => None,
                };
                let granted = FromQuota::Granted { user, client: holder.client, lease };
                self.mesh.post(holder.shard, Message::FromQuota(granted));
            }
            ToQuota::Free { user, lease } => self.sessions.quota.free(&user, lease),
            ToQuota::Cancel { user, holder } => self.sessions.quota.cancel(&user, holder),
        }
    }

    /// An answer of the owner of a user's leases.
    pub(crate) fn on_quota_result(&mut self, message: FromQuota) {
        match message {
            FromQuota::Granted { user, client, lease } => self.on_granted(&user, client, lease),
            FromQuota::Evicted { client } => self.disconnect(client, DisconnectCode::CONNECTION_LIMIT),
        }
    }

    /// Admits a client, or disconnects it.
    fn on_granted(&mut self, user: &Arc<str>, key: ClientKey, lease: Option<LeaseNumber>) {
        match (self.sessions.clients.get(key), lease) {
            (Some(client), Some(_)) if client.stage == Stage::Connecting => {
                client.lease = lease;
                self.admit(key);
            }
            (Some(client), None) if client.stage == Stage::Connecting => {
                self.disconnect(key, DisconnectCode::CONNECTION_LIMIT);
            }
            (_, Some(lease)) => self.free_lease(user, lease),
            (_, None) => {}
        }
    }

    /// A client is gone: returns its lease, or the one it has asked for.
    pub(super) fn release_lease(&mut self, key: ClientKey, client: &Client) {
        let user = &client.user;
        if let Some(lease) = client.lease {
            self.free_lease(user, lease);
        } else if client.stage == Stage::Connecting && self.is_lease_needed(user) {
            // Its owner hears this before the client's next attempt to connect, which might not fit beside this one.
            let holder = QuotaHolder { shard: self.mesh.shard, client: key };
            let cancel = ToQuota::Cancel { user: Arc::clone(user), holder };
            self.mesh.post(self.mesh.peers.shard_for(user), Message::ToQuota(cancel));
        }
    }

    fn is_lease_needed(&self, user: &str) -> bool {
        self.sessions.policy.user_connections_max > 0 && !user.is_empty()
    }

    fn free_lease(&mut self, user: &Arc<str>, lease: LeaseNumber) {
        let free = ToQuota::Free { user: Arc::clone(user), lease };
        self.mesh.post(self.mesh.peers.shard_for(user), Message::ToQuota(free));
    }
}
