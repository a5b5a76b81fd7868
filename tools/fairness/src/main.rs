//! `holdfast-fairness`: what `make fairness` runs.
//!
//! In:  the built daemon; which paths, how many attackers, for how long.
//! Out: `reports/fairness.json`, `reports/fairness.md`, and the same Markdown on stdout. The exit code is 1 where a bound
//! is broken.
#![forbid(unsafe_code)]

use std::{fs, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use clap::Parser;
use holdfast_fairness::{Attack, Bounds, Plan, markdown, measure};

/// Measures how well clients are served while others use one path of the daemon as hard as they can.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Only these paths (may be repeated).
    #[arg(long = "path", value_name = "NAME", value_parser = path)]
    paths: Vec<Attack>,
    /// How many attackers use the path.
    #[arg(long, default_value = "16", value_parser = clap::value_parser!(u16).range(1..=1000))]
    attackers: u16,
    /// Seconds that clients are measured, without attackers and with them, for each path.
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// The daemon.
    #[arg(long, default_value = "target/release/holdfast")]
    daemon: PathBuf,
    /// Directory that the reports are written to.
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
}

fn path(name: &str) -> Result<Attack, String> {
    let found = Attack::ALL.into_iter().find(|attack| attack.name() == name);
    found.ok_or_else(|| format!("expected one of {}", Attack::ALL.map(Attack::name).join(", ")))
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("holdfast-fairness: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// True exactly when all bounds held.
fn run(options: &Options) -> anyhow::Result<bool> {
    fs::create_dir_all(&options.reports)?;
    let plan = Plan {
        binary: options.daemon.clone(),
        folder: options.reports.clone(),
        attackers: usize::from(options.attackers),
        quiet: Duration::from_secs(options.seconds),
        attacked: Duration::from_secs(options.seconds),
        interval: Duration::from_millis(10),
    };
    let paths = if options.paths.is_empty() { Attack::ALL.to_vec() } else { options.paths.clone() };
    let (mut rows, mut all_hold) = (Vec::new(), true);
    for attack in paths {
        let row = measure(&plan, attack).with_context(|| format!("{attack}"))?;
        for broken in Bounds::PROMISED.broken_by(&row) {
            eprintln!("{broken}");
            all_hold = false;
        }
        rows.push(row);
    }
    let table = markdown(&rows, &Bounds::PROMISED);
    fs::write(options.reports.join("fairness.json"), serde_json::to_string_pretty(&rows)?)?;
    fs::write(options.reports.join("fairness.md"), &table)?;
    println!("{table}");
    Ok(all_hold)
}
