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

pub(crate) use self::{
    arrival::TurnedAway,
    decayed::RATE_FADE_MS,
    flow::Charged,
    flow::{amount, hard_limit},
    guests::Stage,
    ledger::Tables,
    offence::{Notice, offence_of},
    penalties::Penalty,
    rules::{Rules, penalized},
};
use self::{
    decayed::Moment,
    flow::Budgets,
    guests::Guests,
    ledger::Ledger,
    penalties::{Offenders, Refused},
};
pub(crate) use crate::metrics::Offence;
use crate::{context::Context, metrics::Metric};

/// What a shard knows of those who are limited.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) rules: Rules,
    ledger: Ledger,
    pub(crate) guests: Guests,
    budgets: Budgets,
    pub(crate) refused: Refused,
    pub(crate) offenders: Option<Offenders>,
    /// Connections that have been refused and are only read to their end.
    pub(crate) lingering: usize,
    /// What one of what is counted counts for: less than 1 while more is read in a second than came in one, because nobody
    /// read before.
    pub(crate) weight: f32,
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

impl Context {
    /// Housekeeping, about once a second.
    pub(crate) fn tend_limits(&mut self) {
        let now = self.moment();
        let Some(limits) = &mut self.limits else { return };
        limits.ledger.tend(&self.limit_tables, now);
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
    pub(crate) fn moment(&self) -> Moment {
        Moment::at(self.uptime)
    }
}
