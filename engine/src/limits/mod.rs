//! Limits: what one address, network, connection or user may do.
//!
//! In:  connections and their addresses, requests, commands, bytes, offences.
//! Out: yes; or a refusal with its reason: 403, 429, error 111, disconnect 3013.
//!
//! Where nothing is limited there is no [`Limits`], and its hooks in other files are one branch each. The files:
//! `rules` (the configuration), `networks` (sets of addresses), `decayed` (sums that fade), `ledger` (numbers of
//! addresses, networks and users over all cores), `guests` (what is known of each connection), `arrival` (from accept to
//! the request), `flow` (commands and bytes), `penalties` and `offence` (who misbehaves). Decision 0010 says why.

mod arrival;
mod decayed;
mod flow;
mod guests;
mod ledger;
mod networks;
mod offence;
mod penalties;
mod rules;

use holdfast_ring::Kernel;

use self::{
    decayed::Moment,
    flow::Budgets,
    guests::Guests,
    ledger::Ledger,
    penalties::{Offenders, Refused},
};
pub(crate) use self::{flow::Charged, ledger::Tables, offence::Notice, penalties::Penalty, rules::Rules};
pub(crate) use crate::metrics::Offence;
use crate::{metrics::Metric, shard::Shard};

/// What a shard knows of those who are limited.
#[derive(Debug)]
pub(crate) struct Limits {
    rules: Rules,
    ledger: Ledger,
    guests: Guests,
    budgets: Budgets,
    refused: Refused,
    offenders: Option<Offenders>,
    /// Connections that have been refused and are only read to their end.
    lingering: usize,
    /// What one of what is counted counts for: less than 1 while more is read in a second than came in one, because nobody
    /// read before.
    weight: f32,
}

impl Limits {
    pub(crate) fn new(rules: Rules, core: usize) -> Self {
        Self {
            ledger: Ledger::new(core, rules.tracked_max),
            guests: Guests::default(),
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

impl<K: Kernel> Shard<K> {
    /// Housekeeping, about once a second.
    pub(crate) fn tend_limits(&mut self) {
        let now = self.moment();
        let Some(limits) = &mut self.limits else { return };
        limits.ledger.tend(self.peers.limit_tables(), now);
        limits.refused.tend(now);
        if let Some(offenders) = &mut limits.offenders {
            offenders.tend(now);
        }
        for (metric, value) in [
            (Metric::LimitsTracked, limits.ledger.len()),
            (Metric::PenaltiesTracked, limits.offenders.as_ref().map_or(0, Offenders::len)),
            (Metric::PenaltiesRefused, limits.refused.len()),
        ] {
            self.counters.set(metric, value as u64);
        }
    }

    /// A turn begins, after which what has come counts for so much.
    pub(crate) fn weigh_rates(&mut self, weight: f32) {
        if let Some(limits) = &mut self.limits {
            limits.weight = weight;
        }
    }

    /// The time on all cores' common clock. Nobody can set it: were it the time of day, what has been counted would not
    /// fade for as long as that is set back.
    fn moment(&self) -> Moment {
        Moment::at(self.uptime)
    }
}
