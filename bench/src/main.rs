//! The `holdfast-bench` command.
//!
//! In:  the command line.
//! Out: a report on standard output and in files; an exit code that says what it comes to.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use holdfast_bench::cli::Cli;
use holdfast_bench::plan::{Outputs, Plan};
use holdfast_bench::report::{hgrm, html, table};
use holdfast_bench::run::{Outcome, run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SERVER_FAILED: u8 = 1;
/// Also what clap exits with on a wrong flag.
const NOTHING_MEASURED: u8 = 2;

fn main() -> ExitCode {
    match load(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("holdfast-bench: {error}");
            ExitCode::from(NOTHING_MEASURED)
        }
    }
}

fn load(cli: Cli) -> Result<ExitCode, String> {
    let plan = Plan::new(cli.command)?;
    let command = shown(std::env::args());
    let outcome = run(&plan, command)?;
    write(&plan.outputs, &outcome)?;
    let report = &outcome.report;
    Ok(match report.ok {
        true => ExitCode::SUCCESS,
        false if report.is_unreachable() => {
            eprintln!("holdfast-bench: not one connection to {} could be made", report.target);
            ExitCode::from(NOTHING_MEASURED)
        }
        false => ExitCode::from(SERVER_FAILED),
    })
}

fn write(outputs: &Outputs, outcome: &Outcome) -> Result<(), String> {
    let report = &outcome.report;
    let on_stdout = outputs.json.as_deref() == Some(Path::new("-"));
    if on_stdout {
        println!("{}", report.to_json());
    } else if !outputs.quiet {
        print!("{}", table::render(report));
    }
    if let Some(path) = outputs.json.as_deref().filter(|_| !on_stdout) {
        write_file(path, &report.to_json())?;
    }
    if let Some(path) = &outputs.hgrm {
        let text =
            outcome.histograms.first().map(|(_, histogram)| hgrm::render(histogram)).unwrap_or_default();
        write_file(path, &text)?;
    }
    if let Some(path) = &outputs.html {
        let histograms: Vec<_> =
            outcome.histograms.iter().map(|(name, histogram)| (*name, histogram)).collect();
        write_file(path, &html::render(report, &histograms))?;
    }
    Ok(())
}

fn write_file(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// The command line for the report, which others read: without secrets.
fn shown(words: impl Iterator<Item = String>) -> String {
    let mut is_secret = false;
    let mut line = Vec::new();
    for word in words {
        let flag = word.split_once('=').map_or(&*word, |(flag, _)| flag);
        let has_secret = matches!(flag, "--api-key" | "--token");
        line.push(match (is_secret, has_secret) {
            (true, _) => "…".to_owned(),
            (false, true) if flag.len() < word.len() => format!("{flag}=…"),
            (false, _) => quoted(&word),
        });
        is_secret = has_secret && flag.len() == word.len() && !is_secret;
    }
    line.join(" ")
}

/// A word as a shell takes it back. The program's own path is of no interest to a reader.
fn quoted(word: &str) -> String {
    let word = if word.ends_with("/holdfast-bench") { "holdfast-bench" } else { word };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
