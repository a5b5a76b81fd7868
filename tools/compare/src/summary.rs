//! Summary: from samples to one row a server.
//!
//! In:  the samples of a tournament.
//! Out: a `Comparison`: medians with their range, ratios to the baseline, and everything that went wrong.
//!
//! A ratio is taken within a round, where both servers ran a minute or so apart, and then the median of the ratios:
//! a machine that was slow in one round was slow for both. No figure is dropped, and a run with losses stays visible
//! beside its figure. Pure: no process, no file, no clock.

use serde::Serialize;

use crate::contestant::{BASELINE, HOLDFAST};
use crate::machine::Machine;
use crate::report::LoadReport;
use crate::scenario::{Goal, Scenario};
use crate::tournament::{ComparisonRun, Sample};

/// The whole result; `reports/compare.json` is this.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) machine: Machine,
    pub(crate) rounds: u32,
    /// Broadcasts take `BROADCAST_WINDOW_FACTOR` times as long.
    pub(crate) seconds_per_run: u64,
    pub(crate) baseline: &'static str,
    pub(crate) scenarios: Vec<ScenarioResult>,
}

/// One scenario.
#[derive(Debug, Serialize)]
pub(crate) struct ScenarioResult {
    pub(crate) scenario: Scenario,
    /// `None` where CPU is not what the scenario measures.
    pub(crate) operation: Option<&'static str>,
    pub(crate) rows: Vec<Row>,
}

/// One server in one scenario.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) server: &'static str,
    /// Microseconds of the server's CPU (user and system) an operation.
    pub(crate) cpu_us_per_operation: Option<Spread>,
    /// The same, divided by the baseline's in the same round.
    pub(crate) ratio_to_baseline: Option<Spread>,
    /// Growth of the server's private memory, in bytes a connection.
    pub(crate) bytes_per_connection: Option<Spread>,
    pub(crate) latency_p99_us: Option<Spread>,
    pub(crate) faults: Faults,
    /// True exactly when this is the server that the scenario's goal is for, and it is reached; `None` for others.
    pub(crate) goal_reached: Option<bool>,
}

/// The middle of some values, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

/// What went wrong, over all rounds.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) reordered: u64,
    pub(crate) corrupt: u64,
    /// Runs that the load tool called bad for another reason than the four above.
    pub(crate) bad_runs: u32,
    /// Runs without a figure, and servers that did not stop, in words.
    pub(crate) failures: Vec<String>,
}

impl Comparison {
    pub(crate) fn new(machine: Machine, tournament: &ComparisonRun, samples: &[Sample]) -> Self {
        let servers: Vec<_> = tournament.contestants.iter().map(|contestant| contestant.name).collect();
        let scenarios = tournament
            .scenarios
            .iter()
            .map(|scenario| ScenarioResult::new(scenario, &servers, samples))
            .collect();
        Self {
            machine,
            rounds: tournament.rounds,
            seconds_per_run: tournament.unit.as_secs(),
            baseline: BASELINE,
            scenarios,
        }
    }

    /// True exactly when no run of Holdfast, if there was one, lost anything or failed.
    pub(crate) fn holdfast_is_sound(&self) -> bool {
        let mut rows = self.scenarios.iter().flat_map(|result| &result.rows);
        rows.all(|row| row.server != HOLDFAST || row.faults == Faults::default())
    }
}

impl ScenarioResult {
    fn new(scenario: &Scenario, servers: &[&'static str], samples: &[Sample]) -> Self {
        let samples: Vec<_> = samples.iter().filter(|sample| sample.scenario == scenario.id).collect();
        let rows = servers.iter().map(|server| Row::new(scenario, server, &samples)).collect();
        Self { scenario: scenario.clone(), operation: scenario.operation(), rows }
    }
}

impl Row {
    fn new(scenario: &Scenario, server: &'static str, samples: &[&Sample]) -> Self {
        let cost = |sample: &Sample| cpu_us_per_operation(scenario, sample.outcome.as_ref().ok()?);
        let ratio = |sample: &Sample| {
            let rival = samples.iter().find(|s| s.server == BASELINE && s.round == sample.round)?;
            Some(cost(sample)? / cost(rival).filter(|&cost| cost > 0.0)?)
        };
        let memory = |sample: &Sample| sample.outcome.as_ref().ok()?.bytes_per_connection();
        let p99 = |sample: &Sample| Some(sample.outcome.as_ref().ok()?.latency_us?.p99);

        let own: Vec<&Sample> = samples.iter().copied().filter(|sample| sample.server == server).collect();
        let over = |figure: &dyn Fn(&Sample) -> Option<f64>| {
            Spread::of(own.iter().filter_map(|sample| figure(sample)).collect())
        };
        let mut row = Self {
            server,
            cpu_us_per_operation: over(&cost),
            ratio_to_baseline: over(&ratio),
            bytes_per_connection: over(&memory),
            latency_p99_us: over(&p99),
            faults: Faults::of(&own),
            goal_reached: None,
        };
        if server == HOLDFAST {
            row.goal_reached = row.reaches(scenario.goal);
        }
        row
    }

    fn reaches(&self, goal: Goal) -> Option<bool> {
        match goal {
            Goal::CpuRatioMax(max) => self.ratio_to_baseline.map(|ratio| ratio.median <= max),
            Goal::BytesPerConnectionMax(max) => self.bytes_per_connection.map(|bytes| bytes.median <= max),
        }
    }
}

impl Spread {
    /// `None` of no values.
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, min, max })
    }
}

impl Faults {
    fn of(samples: &[&Sample]) -> Self {
        let mut faults = Self::default();
        for sample in samples {
            match &sample.outcome {
                Ok(report) => faults.count(report),
                Err(words) => faults.failures.push(format!("round {}: {words}", sample.round)),
            }
            if let Some(words) = &sample.stop_failure {
                faults.failures.push(format!("round {}: the server {words}", sample.round));
            }
        }
        faults
    }

    fn count(&mut self, report: &LoadReport) {
        let messages = report.messages;
        self.lost += messages.lost;
        self.repeated += messages.repeated;
        self.reordered += messages.reordered;
        self.corrupt += messages.corrupt;
        let counted = messages.lost + messages.repeated + messages.reordered + messages.corrupt;
        self.bad_runs += u32::from(!report.ok && counted == 0);
    }
}

#[expect(clippy::cast_precision_loss, reason = "no run counts 2^52 operations")]
fn cpu_us_per_operation(scenario: &Scenario, report: &LoadReport) -> Option<f64> {
    let operations = scenario.operations(report).filter(|&count| count > 0)?;
    Some(report.server.cpu_s * 1e6 / operations as f64)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::report::{Latency, Messages, ServerCost};
    use crate::scenario;

    pub(crate) fn scenario(id: &str) -> Scenario {
        scenario::all().into_iter().find(|scenario| scenario.id == id).unwrap()
    }

    /// A run of 1,000,000 operations, so that CPU seconds are microseconds an operation.
    pub(crate) fn sample(scenario: &Scenario, server: &'static str, round: u32, cpu_s: f64) -> Sample {
        let report = LoadReport {
            connections: 1_000,
            messages: Messages { received: 1_000_000, ..Messages::default() },
            deliveries: 1_000_000,
            latency_us: Some(Latency { p99: 250.0 }),
            server: ServerCost { cpu_s, rss_anon_bytes_before: 500_000, rss_anon_bytes_after: 700_000 },
            ok: true,
        };
        Sample { scenario: scenario.id, server, round, outcome: Ok(report), stop_failure: None }
    }

    pub(crate) fn result(scenario: &Scenario, samples: &[Sample]) -> ScenarioResult {
        ScenarioResult::new(scenario, &[HOLDFAST, BASELINE], samples)
    }

    #[test]
    fn median_is_the_middle_or_between_the_two_in_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn ratio_is_taken_within_a_round_before_the_median() {
        let echo = scenario("echo-64");
        // The machine is three times as slow in round 2; the quotient of the medians would be 0.25.
        let samples = [
            sample(&echo, HOLDFAST, 1, 4.0),
            sample(&echo, BASELINE, 1, 8.0),
            sample(&echo, HOLDFAST, 2, 12.0),
            sample(&echo, BASELINE, 2, 24.0),
            sample(&echo, HOLDFAST, 3, 4.0),
            sample(&echo, BASELINE, 3, 16.0),
        ];
        let row = &result(&echo, &samples).rows[0];
        assert_eq!(row.cpu_us_per_operation, Some(Spread { median: 4.0, min: 4.0, max: 12.0 }));
        assert_eq!(row.ratio_to_baseline, Some(Spread { median: 0.5, min: 0.25, max: 0.5 }));
        assert_eq!(row.goal_reached, Some(true));
    }

    #[test]
    fn failed_turn_of_the_baseline_costs_that_rounds_ratio_only() {
        let echo = scenario("echo-64");
        let mut failed = sample(&echo, BASELINE, 1, 8.0);
        failed.outcome = Err("the load tool left no report".to_owned());
        let samples = [
            sample(&echo, HOLDFAST, 1, 1.0),
            failed,
            sample(&echo, HOLDFAST, 2, 6.0),
            sample(&echo, BASELINE, 2, 8.0),
        ];
        let result = result(&echo, &samples);
        assert_eq!(result.rows[0].ratio_to_baseline.unwrap().median, 0.75);
        assert_eq!(result.rows[0].goal_reached, Some(false));
        assert_eq!(result.rows[1].faults.failures, ["round 1: the load tool left no report"]);
    }

    #[test]
    fn losses_of_all_rounds_are_added_and_make_holdfast_unsound() {
        let echo = scenario("echo-64");
        let mut samples = vec![sample(&echo, HOLDFAST, 1, 1.0), sample(&echo, HOLDFAST, 2, 1.0)];
        for sample in &mut samples {
            let report = sample.outcome.as_mut().unwrap();
            report.messages.lost = 3;
            report.ok = false;
        }
        let comparison = comparison(vec![result(&echo, &samples)]);
        assert_eq!(comparison.scenarios[0].rows[0].faults, Faults { lost: 6, ..Faults::default() });
        assert!(!comparison.holdfast_is_sound());
    }

    #[test]
    fn faults_of_a_peer_do_not_make_holdfast_unsound() {
        let echo = scenario("echo-64");
        let mut samples = vec![sample(&echo, HOLDFAST, 1, 1.0), sample(&echo, BASELINE, 1, 1.0)];
        samples[1].outcome.as_mut().unwrap().ok = false;
        let comparison = comparison(vec![result(&echo, &samples)]);
        assert_eq!(comparison.scenarios[0].rows[1].faults.bad_runs, 1);
        assert!(comparison.holdfast_is_sound());
    }

    #[test]
    fn idle_connections_are_judged_by_memory_alone() {
        let idle = scenario("idle");
        let row = &result(&idle, &[sample(&idle, HOLDFAST, 1, 1.0)]).rows[0];
        assert_eq!((row.cpu_us_per_operation, row.ratio_to_baseline), (None, None));
        assert_eq!(row.bytes_per_connection.unwrap().median, 200.0);
        assert_eq!(row.goal_reached, Some(true));
    }

    pub(crate) fn comparison(scenarios: Vec<ScenarioResult>) -> Comparison {
        let machine =
            Machine { kernel: "6.1.0".into(), processor: "Some CPU".into(), cores: 2, memory_gib: 8 };
        Comparison { machine, rounds: 5, seconds_per_run: 5, baseline: BASELINE, scenarios }
    }
}
