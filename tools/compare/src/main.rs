//! `holdfast-compare`: what `make compare` runs.
//!
//! In:  the built servers and `holdfast-bench`; flags for what to run and how long.
//! Out: `reports/compare.json`, `reports/compare.md`, and the same Markdown on stdout.
//!
//! Nothing is built here and nothing is judged by the clock: a figure past its goal is shown as such and fails
//! nothing. The exit code is 1 when Holdfast itself lost a message or could not be measured, since that is never
//! noise.
#![forbid(unsafe_code)]

mod contestant;
mod cores;
mod load;
mod machine;
mod render;
mod report;
mod scenario;
mod server;
mod summary;
mod tournament;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::contestant::Peer;
use crate::cores::Core;
use crate::scenario::Scenario;
use crate::summary::Comparison;
use crate::tournament::ComparisonRun;

/// Runs Holdfast and its peers in turn on one core and compares what each operation costs them.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Two short rounds: a first impression in a few minutes, not figures to publish.
    #[arg(long)]
    quick: bool,
    /// Rounds; in each, every server runs every scenario once [default: 5, or 2 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Seconds each run is measured for; broadcasts take three times as long [default: 5, or 2 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: Option<u64>,
    /// Only these scenarios (may be repeated).
    #[arg(long = "scenario", value_name = "ID", value_parser = scenario::ids())]
    scenarios: Vec<String>,
    /// Only these servers (may be repeated); ratios need `gorilla` among them.
    #[arg(long = "server", value_name = "NAME", value_parser = contestant::names())]
    servers: Vec<String>,
    /// Core that the servers run on.
    #[arg(long, default_value = "0")]
    server_core: Core,
    /// Core that the load tool runs on.
    #[arg(long, default_value = "1")]
    load_core: Core,
    /// Directory of `holdfast`, `holdfast-bench` and the Rust peers.
    #[arg(long, default_value = "target/release")]
    binaries: PathBuf,
    /// Directory of the gorilla peer.
    #[arg(long, default_value = "target/peers")]
    peers: PathBuf,
    /// Directory that the reports are written to.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("holdfast-compare: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True exactly when nothing went wrong in Holdfast's own runs.
fn run(options: &Options) -> anyhow::Result<bool> {
    let tournament = plan(options)?;
    raise_descriptor_limit(&tournament.scenarios)?;
    fs::create_dir_all(&options.reports)
        .with_context(|| format!("cannot create {}", options.reports.display()))?;

    let machine = machine::describe();
    let samples = tournament.run();
    let comparison = Comparison::new(machine, &tournament, &samples);

    let table = render::markdown(&comparison);
    write(&options.reports.join("compare.json"), &serde_json::to_string_pretty(&comparison)?)?;
    write(&options.reports.join("compare.md"), &table)?;
    println!("{table}");
    Ok(comparison.holdfast_is_sound())
}

fn plan(options: &Options) -> anyhow::Result<ComparisonRun> {
    ensure!(
        options.server_core != options.load_core,
        "the servers and the load tool need a core each: --server-core and --load-core are both {}",
        options.server_core
    );
    cores::must_exist(&[options.server_core, options.load_core])?;

    let wanted = |list: &[String], name: &str| list.is_empty() || list.iter().any(|item| item == name);
    let bench = options.binaries.join("holdfast-bench");
    let contestants: Vec<Peer> = contestant::all(&options.binaries, &options.peers)
        .into_iter()
        .filter(|contestant| wanted(&options.servers, contestant.name))
        .collect();
    for program in contestants.iter().map(|contestant| &contestant.program).chain([&bench]) {
        ensure!(program.exists(), "{} is missing: `make compare` builds it", program.display());
    }
    Ok(ComparisonRun {
        contestants,
        scenarios: scenario::all().into_iter().filter(|s| wanted(&options.scenarios, s.id)).collect(),
        rounds: options.rounds.unwrap_or(if options.quick { 2 } else { 5 }),
        unit: Duration::from_secs(options.seconds.unwrap_or(if options.quick { 2 } else { 5 })),
        bench,
        server_core: options.server_core,
        load_core: options.load_core,
        reports: options.reports.clone(),
    })
}

/// The peers hold a descriptor a connection: all children inherit the most that this process may ask for.
fn raise_descriptor_limit(scenarios: &[Scenario]) -> anyhow::Result<()> {
    /// What a server needs besides its connections.
    const SPARE: u64 = 1_000;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let needed = scenarios.iter().map(|s| u64::from(s.connections)).max().unwrap_or(0) + SPARE;
    if let Some(maximum) = maximum {
        ensure!(
            maximum >= needed,
            "the peers need {needed} descriptors and the hard limit (`ulimit -Hn`) is {maximum}: raise it, or \
             leave the scenario out with --scenario"
        );
    }
    setrlimit(Resource::Nofile, Rlimit { current: maximum.or(Some(needed)), maximum })
        .context("cannot raise the limit of open files")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
