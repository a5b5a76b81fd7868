//! Leases: how many connections a user has, over all nodes.
//!
//! In:  connections that come, stay and go, by names that no two of them share.
//! Out: whether one more may be; which ones make room for it, or are in its way.
//!
//! A lease ends by itself, so that a node which dies takes nothing with it for ever. Redis' own clock decides when.

use std::time::Duration;

use bytes::Bytes;
use fred::types::Key;

use super::{
    commands::Commands,
    failure::Failure,
    publish::decimal,
    value::{list, number, text},
};
use crate::scripts::{LEASE_FREE, LEASE_KEEP, LEASE_TAKE, Script};

/// Leases of one call; more of them are several calls.
const BATCH_MAX: usize = 500;

/// How long a lease lasts that nobody keeps. A node keeps those of its connections three times in it.
const LASTS: Duration = Duration::from_secs(15 * 60);

/// How many leases a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseLimit {
    /// At least 1.
    pub most: u32,
    /// True exactly when the oldest one makes room for one more.
    pub is_oldest_evicted: bool,
}

/// What became of a request for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    /// It is taken. These made room for it: their connections have to end.
    Taken(Vec<String>),
    /// There are as many as may be: these, up to a hundred.
    Full(Vec<String>),
}

impl Commands {
    /// How often leases are to be kept.
    pub const KEEP_LEASES_EVERY: Duration = Duration::from_secs(5 * 60);

    /// Takes a lease. One that is taken already is kept.
    ///
    /// # Errors
    ///
    /// See [`Failure`]. Where the answer is lost, the lease may be taken.
    pub async fn take_lease(&self, user: &str, lease: &str, limit: LeaseLimit) -> Result<Leased, Failure> {
        let LeaseLimit { most, is_oldest_evicted } = limit;
        let who_goes = if is_oldest_evicted { "oldest" } else { "newest" };
        let arguments = vec![
            Bytes::copy_from_slice(lease.as_bytes()),
            decimal(most.into()),
            Bytes::from_static(who_goes.as_bytes()),
            lasts(),
        ];
        let run = self.shared.run(&LEASE_TAKE, self.lease_keys(user)?, arguments);
        let mut reply = list(self.shared.ask(run).await?)?.into_iter();
        let is_taken = number(reply.next().ok_or(Failure::Garbled)?)?;
        let named = reply.map(text).collect::<Result<_, _>>()?;
        Ok(if is_taken == 1 { Leased::Taken(named) } else { Leased::Full(named) })
    }

    /// Keeps leases. Returns how many Redis did not know any more; they are counted again.
    ///
    /// # Errors
    ///
    /// See [`Failure`].
    pub async fn keep_leases(&self, user: &str, leases: &[String]) -> Result<u64, Failure> {
        self.in_batches(user, leases, &LEASE_KEEP, &[lasts()]).await
    }

    /// Frees leases. Returns how many there were.
    ///
    /// # Errors
    ///
    /// See [`Failure`]. What is not freed ends by itself.
    pub async fn free_leases(&self, user: &str, leases: &[String]) -> Result<u64, Failure> {
        self.in_batches(user, leases, &LEASE_FREE, &[]).await
    }

    async fn in_batches(
        &self,
        user: &str,
        leases: &[String],
        script: &'static Script,
        head: &[Bytes],
    ) -> Result<u64, Failure> {
        let mut sum = 0;
        for leases in leases.chunks(BATCH_MAX) {
            let leases = leases.iter().map(|lease| Bytes::copy_from_slice(lease.as_bytes()));
            let arguments = head.iter().cloned().chain(leases).collect();
            sum +=
                number(self.shared.ask(self.shared.run(script, self.lease_keys(user)?, arguments)).await?)?;
        }
        Ok(sum)
    }

    fn lease_keys(&self, user: &str) -> Result<Vec<Key>, Failure> {
        let layout = &self.shared.layout;
        layout.check(user)?;
        Ok(vec![layout.leases(user).into(), layout.leases_expire(user).into()])
    }
}

fn lasts() -> Bytes {
    decimal(u64::try_from(LASTS.as_millis()).unwrap_or(u64::MAX))
}
