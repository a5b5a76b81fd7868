//! Limits: what one address, network, connection or user may do.
//!
//! In:  connections and their addresses, requests, commands, bytes, offenses.
//! Out: yes; or a refusal with its reason: 403, 429, error 111, disconnect 3013.
//!
//! If nothing is limited there is no [`Limits`], and its hooks in other files are one branch each. The files: `rules` (the
//! configuration), `networks` (sets of addresses), `decaying` (sums that decay), `usage` (counts of addresses, networks and
//! users over all shards), `addresses` (the peer of each connection), `arrival` (from accept to the request), `flow`
//! (commands and bytes), `penalties` and `offense` (misbehaving addresses). Decision 0010 gives the reasons.

mod addresses;
mod arrival;
mod decaying;
mod flow;
mod networks;
mod offense;
mod penalties;
mod rules;
mod usage;

use self::{addresses::PeerAddresses, flow::Budgets, penalties::Refused, usage::UsageTable};
pub(crate) use self::{
    addresses::{PeerAddress, Stage},
    arrival::{Counts, Rejection},
    decaying::{Moment, RATE_FADE_MS},
    flow::{COMMAND_REPLY_BYTES, Charge, amount, hard_limit},
    offense::{Notice, offense_of},
    penalties::{Offenders, Penalty},
    rules::{Rules, penalized},
    usage::{Kind, Tables},
};
pub(crate) use crate::metrics::Offense;

/// A shard's state of all limits.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) rules: Rules,
    pub(crate) ledger: UsageTable,
    pub(crate) guests: PeerAddresses,
    pub(crate) budgets: Budgets,
    pub(crate) refused: Refused,
    pub(crate) offenders: Option<Offenders>,
    /// Connections that have been rejected and are only read to their end.
    pub(crate) lingering: usize,
    /// How much one event counts: less than 1 while more is read in a second than arrived in one, because nobody read
    /// before.
    pub(crate) weight: f32,
}

impl Limits {
    pub(crate) fn new(rules: Rules, core: usize) -> Self {
        Self {
            ledger: UsageTable::new(core, rules.tracked_max),
            guests: PeerAddresses::default(),
            budgets: Budgets::default(),
            refused: Refused::new(rules.penalty.map_or(0, |penalty| penalty.tracked_max)),
            offenders: rules.penalty.map(Offenders::new),
            lingering: 0,
            weight: 1.0,
            rules,
        }
    }

    /// Memory of all tables.
    pub(crate) fn table_bytes(&self) -> usize {
        self.ledger.table_bytes()
            + self.guests.table_bytes()
            + self.budgets.table_bytes()
            + self.refused.table_bytes()
            + self.offenders.as_ref().map_or(0, Offenders::table_bytes)
    }
}
