//! holdfast-fuzz: runs targets, and single inputs again.
//!
//! In:  the command line.
//! Out: a line for each target; a finding's file and the command that replays it.

#![forbid(unsafe_code)]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};
use holdfast_fuzz::{
    TARGETS, Target, find,
    run::{self, End},
};

/// Fuzzes everything that reads a peer's bytes.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the targets.
    List,
    /// Change inputs at random until the time is over.
    Run {
        /// A target's name, or all.
        target: String,
        /// Seconds for each target.
        #[arg(long, default_value_t = 30)]
        seconds: u64,
        /// Makes the same inputs again.
        #[arg(long)]
        seed: Option<u64>,
        /// Where findings are kept.
        #[arg(long, default_value = "target/fuzz")]
        findings: PathBuf,
    },
    /// Feed inputs once more.
    Replay {
        /// A target's name.
        target: String,
        /// Files with one input each.
        files: Vec<PathBuf>,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::List => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            Ok(ExitCode::SUCCESS)
        }
        Command::Run { target, seconds, seed, findings } => {
            let targets = if target == "all" { TARGETS.to_vec() } else { vec![*named(&target)?] };
            let seed = seed.unwrap_or_else(rand::random);
            for target in targets {
                match run::run(&target, seed, End::Time(Duration::from_secs(seconds)), &findings)? {
                    Ok(done) => {
                        println!("{}: {} inputs, nothing found (seed {seed})", target.name, done.inputs);
                    }
                    Err(finding) => {
                        println!("{}: {}", target.name, finding.what);
                        let file = finding.file.display();
                        println!("replay: cargo run -p holdfast-fuzz -- replay {} {file}", target.name);
                        return Ok(ExitCode::FAILURE);
                    }
                }
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Replay { target, files } => {
            let target = named(&target)?;
            for file in files {
                // A panic shows where it came from better than we could tell.
                (target.run)(&std::fs::read(&file)?);
                println!("{}: nothing found in {}", target.name, file.display());
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn named(name: &str) -> anyhow::Result<&'static Target> {
    find(name).ok_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        anyhow::anyhow!("there is no target {name}; there are: {}", names.join(", "))
    })
}
