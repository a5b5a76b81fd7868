//! Flow: limits the rate of what clients send.
//!
//! In:  frames of commands, by client; the counts of the clients' users.
//! Out: commands to execute; commands to refuse with error 111; clients to disconnect because they keep flooding.

use super::{
    decaying::{RATE_FADE_MS, Rate, WallTick},
    state::Limits,
    usage::{Kind, Tables},
};
use crate::{ids::ClientKey, metrics::LimitExceeded};

/// The fade time of refused commands.
const REFUSED_FADE_MS: f32 = 5_000.0;

/// Refused commands, after decay, that disconnect the client. The threshold is higher if the rate limit is higher.
const REFUSED_MIN: f32 = 10.0;

/// This many bytes of a reply to a read (history, recovery, presence) count as one command.
pub(crate) const COMMAND_REPLY_BYTES: usize = 16 * 1024;

/// The result of charging a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charge {
    /// Execute it.
    Done,
    /// Refuse it with error 111.
    TooMany,
}

impl Limits {
    pub(crate) fn charge_frame(
        &mut self,
        tables: &Tables,
        key: ClientKey,
        user: &str,
        bytes: usize,
        now: WallTick,
    ) {
        let bytes = amount(bytes) * self.weight;
        let budget = self.budgets.of(key);
        budget.excess = None;
        if let Some(rate) = self.policy.connection.bytes {
            budget.excess =
                excess(rate, budget.bytes.level(now, RATE_FADE_MS), LimitExceeded::ConnectionBytes).err();
            budget.bytes.add(bytes, now, RATE_FADE_MS);
        }
        if let Some(rate) = self.policy.user.bytes
            && !user.is_empty()
        {
            let key = tables.key(Kind::User, user);
            let over = excess(rate, self.ledger.sum(tables, key, now).second, LimitExceeded::UserBytes).err();
            budget.excess = budget.excess.or(over);
            self.ledger.change(tables, key, |entry| entry.second.add(bytes, now, RATE_FADE_MS));
        }
    }

    pub(crate) fn charge_command(
        &mut self,
        tables: &Tables,
        key: ClientKey,
        user: &str,
        now: WallTick,
    ) -> Result<(), LimitExceeded> {
        let budget = self.budgets.of(key);
        if let Some(over) = budget.excess {
            return Err(over);
        }
        if let Some(rate) = self.policy.connection.commands {
            excess(rate, budget.commands.level(now, RATE_FADE_MS), LimitExceeded::ConnectionCommands)?;
        }
        if let Some(rate) = self.policy.user.commands
            && !user.is_empty()
        {
            let key = tables.key(Kind::User, user);
            excess(rate, self.ledger.sum(tables, key, now).first, LimitExceeded::UserCommands)?;
            self.ledger.change(tables, key, |entry| entry.first.add(self.weight, now, RATE_FADE_MS));
        }
        budget.commands.add(self.weight, now, RATE_FADE_MS);
        Ok(())
    }

    pub(crate) fn charge_reply(
        &mut self,
        tables: &Tables,
        key: ClientKey,
        user: &str,
        bytes: usize,
        now: WallTick,
    ) {
        let commands = amount(bytes / COMMAND_REPLY_BYTES) * self.weight;
        self.budgets.of(key).commands.add(commands, now, RATE_FADE_MS);
        if self.policy.user.commands.is_some() && !user.is_empty() {
            let key = tables.key(Kind::User, user);
            self.ledger.change(tables, key, |entry| entry.first.add(commands, now, RATE_FADE_MS));
        }
    }

    /// Counts a refused command. True exactly when there are too many, and the client must be disconnected.
    pub(crate) fn keeps_flooding(&mut self, key: ClientKey, now: WallTick) -> bool {
        let allowed = self.policy.connection.commands.or(self.policy.user.commands);
        let max = allowed.map_or(0.0, |rate| 2.0 * rate.level_max()).max(REFUSED_MIN);
        let budget = self.budgets.of(key);
        budget.refused.add(1.0, now, REFUSED_FADE_MS);
        budget.refused.level(now, REFUSED_FADE_MS) > max
    }
}

fn excess(rate: Rate, level: f32, what: LimitExceeded) -> Result<(), LimitExceeded> {
    if rate.admits(level) { Ok(()) } else { Err(what) }
}

/// A number of bytes as an amount to count.
pub(crate) fn amount(bytes: usize) -> f32 {
    #[expect(clippy::cast_precision_loss, reason = "what is lost is less than a ten-millionth")]
    let amount = bytes as f32;
    amount
}

/// The level of received bytes above which the client gets no more errors 111: twice the burst, plus two messages.
/// Pings and fragments count too.
pub(crate) fn hard_limit(rate: Rate, message_bytes_max: u32) -> f32 {
    2.0 * (rate.level_max() + amount(message_bytes_max as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;
    use crate::{config::Config, limits::LimitPolicy};

    const KEY: ClientKey = ClientKey { place: 3, generation: 1 };

    fn limits(set: impl FnOnce(&mut Config)) -> Limits {
        let mut config = Config::default();
        set(&mut config);
        Limits::new(LimitPolicy::new(&config).expect("a configured limit"), ShardId::FIRST)
    }

    #[test]
    fn a_client_goes_on_after_ten_refusals_at_once_or_twice_what_may_come_at_once() {
        let refusals = |mut limits: Limits| (1..1_000).find(|_| limits.keeps_flooding(KEY, WallTick(0)));
        assert_eq!(refusals(limits(|config| config.limits.connection.commands_per_s = 1)), Some(11));
        assert_eq!(refusals(limits(|config| config.limits.user.bytes_per_s = 1)), Some(11));
        // At a hundred per second, the level settles at 99.5.
        assert_eq!(refusals(limits(|config| config.limits.connection.commands_per_s = 100)), Some(200));
        assert_eq!(refusals(limits(|config| config.limits.user.commands_per_s = 100)), Some(200));
    }

    #[test]
    fn a_client_that_is_refused_once_a_second_does_not_go_on_nor_does_the_next_one_at_its_place() {
        let mut limits = limits(|config| config.limits.connection.commands_per_s = 1);
        assert!((0..200).all(|second| !limits.keeps_flooding(KEY, WallTick(second * 20))));
        let now = WallTick(200 * 20);
        assert!((0..20).any(|_| limits.keeps_flooding(KEY, now)));
        assert!(!limits.keeps_flooding(ClientKey { generation: 2, ..KEY }, now));
    }

    #[test]
    fn received_bytes_end_a_session_over_twice_what_may_come_at_once_and_two_messages() {
        let limit = hard_limit(Rate::new(1_000).expect("a rate above 0"), 64);
        assert!((limit - 2.0 * (999.5 + 64.0)).abs() < 1.0, "{limit}");
    }
}
