//! State: everything a shard keeps for its limits.
//!
//! In:  the policy.
//! Out: empty tables of addresses, users, clients and refused addresses.

use super::{
    addresses::PeerAddresses,
    decaying::DecayingCounter,
    penalties::{Offenders, Refused},
    policy::LimitPolicy,
    usage::UsageTable,
};
use crate::{
    ids::{ClientKey, ShardId, slab::SideTable},
    metrics::LimitExceeded,
};

/// A shard's state for all limits.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) policy: LimitPolicy,
    pub(crate) ledger: UsageTable,
    pub(crate) peers: PeerAddresses,
    pub(crate) budgets: Budgets,
    pub(crate) refused: Refused,
    pub(crate) offenders: Option<Offenders>,
    /// Rejected connections whose remaining input is still read.
    pub(crate) lingering: usize,
    /// How much one event counts. It is below 1 while the shard reads a backlog: more events are read per second than
    /// arrived per second.
    pub(crate) weight: f32,
}

impl Limits {
    pub(crate) fn new(policy: LimitPolicy, shard: ShardId) -> Self {
        Self {
            ledger: UsageTable::new(shard, policy.tracked_max),
            peers: PeerAddresses::default(),
            budgets: Budgets::default(),
            refused: Refused::new(policy.penalty.map_or(0, |penalty| penalty.tracked_max)),
            offenders: policy.penalty.map(Offenders::new),
            lingering: 0,
            weight: 1.0,
            policy,
        }
    }

    /// The memory of all tables, in bytes.
    pub(crate) fn table_bytes(&self) -> usize {
        self.ledger.table_bytes()
            + self.peers.table_bytes()
            + self.budgets.table_bytes()
            + self.refused.table_bytes()
            + self.offenders.as_ref().map_or(0, Offenders::table_bytes)
    }
}

/// The usage of a client.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    pub(super) commands: DecayingCounter,
    pub(super) bytes: DecayingCounter,
    /// Refused commands.
    pub(super) refused: DecayingCounter,
    /// The limit that the bytes of the current frame exceed.
    pub(super) excess: Option<LimitExceeded>,
}

/// The usage of each client of a shard. Memory: 32 bytes for each place of the table of clients that was ever used.
pub(crate) type Budgets = SideTable<ClientKey, Budget>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_small() {
        let bytes = Budgets::SLOT_BYTES;
        assert!(bytes <= 32, "{bytes} bytes");
    }
}
