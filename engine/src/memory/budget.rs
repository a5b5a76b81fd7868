//! Budget: the kinds of memory, and the limit of each.
//!
//! Worst case in total: the sum of the limits, plus the growth of one turn.

use crate::config::Config;
pub(crate) use crate::metrics::Budget;

impl Budget {
    /// The number of budgets.
    pub(crate) const COUNT: usize = Self::ALL.len();

    /// The option that sets its limit.
    pub(crate) const fn option(self) -> &'static str {
        match self {
            Self::Receive => "client.receive_budget",
            Self::Queues => "client.queue_budget",
            Self::History => "channel.history_budget",
            Self::Channels => "channel.state_budget",
            Self::Commands => "client.command_budget",
            Self::Sessions => "client.session_budget",
            Self::Api => "http_api.memory_budget",
        }
    }
}

/// The limits of each budget, and of all together, over all shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BudgetLimits {
    most: [u64; Budget::COUNT],
    assured: [u64; Budget::COUNT],
    /// Bytes of all budgets together.
    pub(super) total: u64,
}

impl BudgetLimits {
    /// No limit: no account comes near it.
    pub(crate) const NONE: u64 = u64::MAX;

    /// The configured limits, without a total.
    pub(crate) fn of(config: &Config) -> Self {
        let configured = |budget| match budget {
            Budget::Receive => config.client.receive_budget_bytes,
            Budget::Queues => config.client.queue_budget_bytes,
            Budget::History => config.channel.history_budget_bytes,
            Budget::Channels => config.channel.state_budget_bytes,
            Budget::Commands => config.client.command_budget_bytes,
            Budget::Sessions => config.client.session_budget_bytes,
            Budget::Api => config.http_api.memory_budget_bytes,
        };
        let most = Budget::ALL.map(|(budget, _)| match configured(budget) {
            0 => Self::NONE,
            bytes => bytes,
        });
        Self { most, assured: most, total: Self::NONE }
    }

    /// The same limit for each.
    #[cfg(test)]
    pub(crate) fn all(bytes: u64) -> Self {
        Self { most: [bytes; Budget::COUNT], assured: [bytes; Budget::COUNT], total: Self::NONE }
    }

    /// The upper limit of one budget, in bytes.
    pub(crate) const fn most(&self, budget: Budget) -> u64 {
        self.most[budget as usize]
    }

    /// The bytes that one budget may use regardless of the others.
    pub(crate) const fn assured(&self, budget: Budget) -> u64 {
        self.assured[budget as usize]
    }

    /// The limit of all budgets together.
    pub(crate) const fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn set(&mut self, budget: Budget, most: u64, assured: u64) {
        self.most[budget as usize] = most;
        self.assured[budget as usize] = assured;
    }
}
