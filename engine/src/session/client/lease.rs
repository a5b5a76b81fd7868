//! Lease: the limit of a user's connections.
//!
//! In:  users that connect; answers of the leases' owner, and of Redis, to which all nodes' connections count; clients that
//!      leave.
//! Out: requests to that owner; admission, or code 3504.
//!
//! On one of many nodes a lease is first taken here, then in Redis. Where the newest connection is refused, one that finds no
//! place here needs no question. Where the oldest one goes, only Redis knows which it is. While Redis is away, this node's
//! connections alone count.

use std::sync::Arc;

use holdfast_protocol::client::DisconnectCode;
use holdfast_redis::command::LeaseLimit;
use uuid::Uuid;

use super::{Client, Stage};
use crate::{
    config::UserConnectionPolicy,
    hub::broker::{LeaseCall, LeaseOutcome, ToBroker},
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
        let Some(client) = self.sessions.clients.get(key).map(|client| client.id) else { return false };
        let is_needed = self.is_lease_needed(user);
        if is_needed {
            let holder = QuotaHolder { shard: self.mesh.shard, client: key };
            let take = ToQuota::Take { user: Arc::clone(user), holder, client };
            self.mesh.post(self.mesh.peers.shard_for(user), Message::ToQuota(take));
        }
        is_needed
    }

    /// A request to this shard as an owner of leases.
    pub(crate) fn handle_quota(&mut self, message: ToQuota) {
        match message {
            ToQuota::Take { user, holder, client } => self.take_lease(user, holder, client),
            ToQuota::Free { user, lease } => {
                if self.sessions.quota.free(&user, lease) {
                    self.free_everywhere(user, lease);
                }
            }
            ToQuota::Cancel { user, holder } => {
                if let Some(lease) = self.sessions.quota.cancel(&user, holder) {
                    self.free_everywhere(user, lease);
                }
            }
        }
    }

    fn take_lease(&mut self, user: Arc<str>, holder: QuotaHolder, client: Uuid) {
        let (max, policy) =
            (self.sessions.policy.user_connections_max, self.sessions.policy.user_connection_policy);
        let is_shared = self.hub.owned.is_shared();
        let is_oldest_evicted = policy == UserConnectionPolicy::DisconnectOldest;
        let max_here = if is_shared && is_oldest_evicted { usize::MAX } else { max };
        let lease = match self.sessions.quota.take(&user, holder, max_here, policy) {
            Taken::Granted(lease) => Some(lease),
            Taken::Instead(lease, oldest) => {
                self.evict(oldest);
                Some(lease)
            }
            Taken::Refused => None,
        };
        match lease.filter(|_| is_shared) {
            Some(lease) => {
                let limit = LeaseLimit { most: u32::try_from(max).unwrap_or(u32::MAX), is_oldest_evicted };
                let call = LeaseCall::Take { lease, client, limit };
                self.hub.owned.ask_broker(ToBroker::Lease { user, call });
            }
            None => self.answer_lease(user, holder, lease),
        }
    }

    /// Redis has counted the connections of all nodes.
    pub(crate) fn on_leased(&mut self, user: &Arc<str>, lease: LeaseNumber, outcome: LeaseOutcome) {
        // The client may have left in the meantime.
        let Some(holder) = self.sessions.quota.holder(user, lease) else { return };
        match outcome {
            LeaseOutcome::Taken => {}
            LeaseOutcome::Full => {
                self.sessions.quota.free(user, lease);
                return self.answer_lease(Arc::clone(user), holder, None);
            }
            LeaseOutcome::Unknown => {
                let max = self.sessions.policy.user_connections_max;
                while let Some((lease, oldest)) = self.sessions.quota.evict_beyond(user, max) {
                    self.evict(oldest);
                    self.free_everywhere(Arc::clone(user), lease);
                }
            }
        }
        self.answer_lease(Arc::clone(user), holder, Some(lease));
    }

    fn answer_lease(&mut self, user: Arc<str>, holder: QuotaHolder, lease: Option<LeaseNumber>) {
        let granted = FromQuota::Granted { user, client: holder.client, lease };
        self.mesh.post(holder.shard, Message::FromQuota(granted));
    }

    fn evict(&mut self, holder: QuotaHolder) {
        let evicted = FromQuota::Evicted { client: holder.client };
        self.mesh.post(holder.shard, Message::FromQuota(evicted));
    }

    /// A lease is free here: it is to be in Redis, too.
    fn free_everywhere(&mut self, user: Arc<str>, lease: LeaseNumber) {
        self.hub.owned.ask_broker(ToBroker::Lease { user, call: LeaseCall::Free { lease } });
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
