//! Bounds: how much worse than without attackers a client may be served.
//!
//! In:  a row.
//! Out: a sentence for each bound that it breaks.

use crate::{
    attack::Attack,
    row::{Row, Served},
};

/// How much worse it may be.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A client's 99th percentile under attack, as a multiple of the one without.
    pub factor: f64,
    /// In milliseconds, what it may be in any case.
    pub floor_ms: f64,
    /// In milliseconds, how long a call of the server API may take.
    pub api_ms: f64,
    /// In milliseconds, how long a stop may take beyond `shutdown.timeout`.
    pub stop_ms: f64,
    /// True exactly when a client may be closed for not reading that is to hear all that the attackers publish: it gets too
    /// little of the processor for that.
    pub may_fall_behind: bool,
}

impl Bounds {
    /// What is promised, on a machine that does nothing else.
    pub const PROMISED: Self =
        Self { factor: 5.0, floor_ms: 50.0, api_ms: 1_000.0, stop_ms: 1_000.0, may_fall_behind: false };

    /// The bounds of a machine that has other things to do, as one has that runs tests. Without fairness a client waits
    /// for as long as the attack goes on, so these still tell.
    pub const BUSY_MACHINE: Self =
        Self { factor: 10.0, floor_ms: 1_000.0, api_ms: 3_000.0, stop_ms: 4_000.0, may_fall_behind: true };

    /// What a row breaks, in words.
    #[must_use]
    pub fn broken_by(&self, row: &Row) -> Vec<String> {
        let mut broken: Vec<String> =
            row.served.iter().filter_map(|served| self.broken_for(row, served)).collect();
        if row.api.attacked.max_ms > self.api_ms {
            broken.push(format!(
                "a call of the server API took {:.0} ms, more than {:.0} ms",
                row.api.attacked.max_ms, self.api_ms
            ));
        }
        broken.extend(row.api.failures.iter().map(|failure| format!("server API: {failure}")));
        let stop_ms_max = row.shutdown_timeout_ms + self.stop_ms;
        match row.stop_ms {
            Some(took_ms) if took_ms <= stop_ms_max => {}
            Some(took_ms) => {
                broken.push(format!("the stop took {took_ms:.0} ms, more than {stop_ms_max:.0} ms"));
            }
            None => broken.push("the daemon did not stop".to_owned()),
        }
        if row.attack_operations == 0 {
            broken.push("the attackers got nothing done: nothing is measured".to_owned());
        }
        broken.iter().map(|what| format!("{}: {what}", row.attack.name())).collect()
    }

    fn broken_for(&self, row: &Row, served: &Served) -> Option<String> {
        let name = served.name;
        let hears_the_attack = row.attack == Attack::Broadcast && name == Attack::Broadcast.name();
        let was_slow = served.failures.len() as u64 <= row.closed_as_slow;
        let is_forgiven = self.may_fall_behind && hears_the_attack && was_slow;
        if let Some(failure) = served.failures.first().filter(|_| !is_forgiven) {
            return Some(format!("{name} failed {} times: {failure}", served.failures.len()));
        }
        if served.quiet.count == 0 || served.attacked.count == 0 {
            return Some(format!("{name} was not served at all"));
        }
        let most_ms = (served.quiet.p99_ms * self.factor).max(self.floor_ms);
        (served.attacked.p99_ms > most_ms).then(|| {
            format!(
                "{name} has a p99 of {:.1} ms, more than {most_ms:.1} ms; without attackers it is {:.1} ms",
                served.attacked.p99_ms, served.quiet.p99_ms
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;

    fn figures(p99_ms: f64) -> Figures {
        Figures { count: 100, p50_ms: 1.0, p99_ms, max_ms: p99_ms }
    }

    fn row(quiet_ms: f64, attacked_ms: f64, api_ms: f64, stop_ms: f64) -> Row {
        let served = |name, quiet_ms, attacked_ms| Served {
            name,
            quiet: figures(quiet_ms),
            attacked: figures(attacked_ms),
            failures: Vec::new(),
        };
        Row {
            attack: Attack::Raw,
            attackers: 1,
            attack_operations: 1,
            attackers_heard: Default::default(),
            attack_s: 1.0,
            closed_as_slow: 0,
            daemon_cpu: 1.0,
            tool_late_ms: 0.0,
            served: vec![served("echo", quiet_ms, attacked_ms)],
            api: served("api", 1.0, api_ms),
            shutdown_timeout_ms: 2_000.0,
            stop_ms: Some(stop_ms),
        }
    }

    #[test]
    fn what_is_within_the_larger_of_both_bounds_breaks_nothing() {
        assert!(Bounds::PROMISED.broken_by(&row(1.0, 49.0, 999.0, 2_999.0)).is_empty());
        assert!(Bounds::PROMISED.broken_by(&row(20.0, 99.0, 1.0, 1.0)).is_empty());
    }

    #[test]
    fn each_bound_is_looked_at() {
        for row in [row(1.0, 51.0, 1.0, 1.0), row(1.0, 1.0, 1_001.0, 1.0), row(1.0, 1.0, 1.0, 3_001.0)] {
            assert_eq!(Bounds::PROMISED.broken_by(&row).len(), 1);
        }
        let mut unserved = row(1.0, 1.0, 1.0, 1.0);
        unserved.served[0].failures.push("closed".to_owned());
        unserved.stop_ms = None;
        unserved.attack_operations = 0;
        assert_eq!(Bounds::PROMISED.broken_by(&unserved).len(), 3);
    }

    #[test]
    fn who_hears_the_attack_may_fall_behind_on_a_busy_machine_alone() {
        let mut row = row(1.0, 1.0, 1.0, 1.0);
        row.served[0].failures.push("it was reset".to_owned());
        assert_eq!(Bounds::BUSY_MACHINE.broken_by(&row).len(), 1, "echo hears nothing of it");
        row.attack = Attack::Broadcast;
        row.served[0].name = "broadcast";
        assert_eq!(Bounds::BUSY_MACHINE.broken_by(&row).len(), 1, "the daemon says that nobody was slow");
        row.closed_as_slow = 1;
        assert!(Bounds::BUSY_MACHINE.broken_by(&row).is_empty());
        assert_eq!(Bounds::PROMISED.broken_by(&row).len(), 1);
    }
}
