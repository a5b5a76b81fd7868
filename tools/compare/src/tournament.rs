//! ComparisonRun: every server takes its turn in every scenario, round after round.
//!
//! In:  contestants, scenarios, the number of rounds.
//! Out: a sample a run, failed or not.
//!
//! Turns are interleaved (A, B, C, A, B, C, …), so that a machine that slows down for a while slows all of them. A
//! server is started anew for each turn. A turn that fails is recorded and does not end the others.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

use crate::contestant::Peer;
use crate::cores::Core;
use crate::load::LoadTool;
use crate::report::LoadReport;
use crate::scenario::Scenario;
use crate::server::Server;

/// What is to be run.
pub(crate) struct ComparisonRun {
    pub(crate) contestants: Vec<Peer>,
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) rounds: u32,
    /// The measured window of a run; some scenarios take a multiple of it.
    pub(crate) unit: Duration,
    pub(crate) bench: PathBuf,
    pub(crate) server_core: Core,
    pub(crate) load_core: Core,
    pub(crate) reports: PathBuf,
}

/// One server's turn in one scenario.
pub(crate) struct Sample {
    pub(crate) scenario: &'static str,
    pub(crate) server: &'static str,
    pub(crate) round: u32,
    /// The report, or in words why there is none.
    pub(crate) outcome: Result<LoadReport, String>,
    /// Set when the server did not stop as it should.
    pub(crate) stop_failure: Option<String>,
}

impl ComparisonRun {
    /// Runs everything, with a progress bar where there is a terminal.
    pub(crate) fn run(&self) -> Vec<Sample> {
        let load = LoadTool {
            program: &self.bench,
            core: self.load_core,
            unit: self.unit,
            json: self.reports.join("compare-run.json"),
        };
        let turns = self.scenarios.len() * self.contestants.len() * self.rounds as usize;
        let progress = progress_bar(turns as u64);
        let mut samples = Vec::with_capacity(turns);
        for scenario in &self.scenarios {
            for round in 1..=self.rounds {
                for contestant in &self.contestants {
                    let name = contestant.name;
                    progress.set_message(format!("{} · round {round} · {name}", scenario.id));
                    samples.push(self.turn(scenario, contestant, round, &load));
                    progress.inc(1);
                }
            }
        }
        progress.finish_and_clear();
        samples
    }

    fn turn(&self, scenario: &Scenario, contestant: &Peer, round: u32, load: &LoadTool<'_>) -> Sample {
        let log = self.reports.join(format!("compare-{}.log", contestant.name));
        let (report, stopped) = match Server::start(contestant, self.server_core, &log) {
            Ok(server) => (load.run(scenario, &server), server.stop()),
            Err(error) => (Err(error).context("the server did not start"), Ok(())),
        };
        Sample {
            scenario: scenario.id,
            server: contestant.name,
            round,
            outcome: report.map_err(|error| format!("{error:#}")),
            stop_failure: stopped.err().map(|error| format!("{error:#}")),
        }
    }
}

fn progress_bar(turns: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} (left: {eta}) {msg}")
        .expect("the template is a constant");
    let progress = ProgressBar::new(turns).with_style(style);
    progress.enable_steady_tick(Duration::from_secs(1));
    progress
}
