//! Run: executes a command line.
//!
//! In:  the command line and the environment.
//! Out: exit code 0 (done), 1 (refused; standard error says why), 2 (wrong command line), 70 (a part of the daemon has
//! failed: `supervise`).
//!
//! What a command prints as its answer goes to standard output; all else goes to standard error.

use std::{
    env, fs, io,
    io::{IsTerminal, Write, stdout},
    path::Path,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use clap::Parser;

use super::{Cli, Command, ConfigCommand, ConfigFile, Doctor, MetricsCommand, Serve, TokenCommand, token};
use crate::{
    config,
    config::{Config, Loaded, Problems},
    daemon, doctor,
    doctor::{Check, Findings, Plan, Prepared},
    log, metrics, supervise,
};

/// The command line of this process: executes its command, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(serve) => run_daemon(&serve),
        Command::Doctor(doctor) => examine(&doctor),
        Command::Config(ConfigCommand::Check(file)) => check(&file),
        Command::Config(ConfigCommand::Default) => print(&config::default_toml()),
        Command::Config(ConfigCommand::Doc { out }) => document(out.as_deref()),
        Command::Metrics(MetricsCommand::Doc) => print(&metrics::reference_markdown()),
        Command::Token(command) => tokens(&command),
    };
    done.unwrap_or_else(|error| {
        log::last_words(&format!("holdfast: {error:#}"));
        ExitCode::FAILURE
    })
}

/// Refuses before anything is opened: a wrong configuration first, then a machine that cannot serve.
fn run_daemon(serve: &Serve) -> anyhow::Result<ExitCode> {
    let config = Config::load(serve.file.path.as_deref(), env::vars_os(), &serve.flags())?;
    doctor::raise_descriptor_limit();
    if let Err(failed) = doctor::essentials(&config) {
        let lines = failed.iter().map(|check| doctor::line(check, false)).collect::<String>();
        anyhow::bail!("this machine cannot serve (`holdfast doctor` shows all checks)\n{}", lines.trim_end());
    }
    let prepared = Prepared::new(&config)?;
    // Before there is a thread that could panic.
    supervise::end_at_panics();
    log::start(&config.log, supervise::watch_log())?;
    // Tables are made for all connections that there can be and touched as they come: a huge page would make 2 MiB of
    // each resident at once. docs/decisions/0008-no-huge-pages.md has the figures.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let ended = daemon::run(&config, prepared);
    log::flush();
    ended.map(|()| ExitCode::SUCCESS)
}

fn examine(args: &Doctor) -> anyhow::Result<ExitCode> {
    let config = Config::load(args.file.path.as_deref(), env::vars_os(), &args.file.flags())?;
    let plan = Plan::new(&config, args.profile, args.connections);
    let mut checks = doctor::judge(&Findings::gather(plan.profile), &plan);
    checks.extend(config.warnings().iter().map(Check::from));
    match Prepared::new(&config) {
        Ok(prepared) => checks.extend(prepared.warnings().iter().map(Check::from)),
        Err(faults) => checks.extend(faults.iter().map(Check::of_fault)),
    }
    checks.extend(doctor::examine_redis(&config));
    if args.json {
        print(&doctor::json(&checks, &plan))?;
    } else {
        // https://no-color.org: set and not empty means no colors.
        let colors = stdout().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        print(&doctor::text(&checks, &plan, colors))?;
    }
    Ok(if doctor::can_serve(&checks) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check(file: &ConfigFile) -> anyhow::Result<ExitCode> {
    let loaded: Result<Loaded, Problems> =
        Loaded::read(file.path.as_deref(), env::vars_os(), &file.flags(), &config::usable_cpus());
    let loaded = loaded?;
    let prepared = Prepared::new(&loaded.config)?;
    print(&loaded.in_force(prepared.warnings()))
}

/// Writes the pages of the reference below a folder, or prints them one after the other.
fn document(folder: Option<&Path>) -> anyhow::Result<ExitCode> {
    let pages = config::reference_pages();
    let Some(folder) = folder else {
        return print(&pages.iter().map(|page| page.text.as_str()).collect::<Vec<_>>().join("\n"));
    };
    for page in pages {
        let path = folder.join(&page.path);
        let above = path.parent().unwrap_or(folder);
        fs::create_dir_all(above)
            .and_then(|()| fs::write(&path, &page.text))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn tokens(command: &TokenCommand) -> anyhow::Result<ExitCode> {
    let client = |file: &ConfigFile| {
        Config::load(file.path.as_deref(), env::vars_os(), &file.flags()).map(|config| config.options.client)
    };
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?.as_secs();
    print(&match command {
        TokenCommand::Gen(args) => token::generate(args, &client(&args.claims.file)?, now_s)?,
        TokenCommand::Sub(args) => token::generate_subscription(args, &client(&args.claims.file)?, now_s)?,
        TokenCommand::Check(args) => token::check(args, &client(&args.file)?, now_s)?,
    })
}

/// A reader that has gone away (`| head`) is not an error.
fn print(text: &str) -> anyhow::Result<ExitCode> {
    match stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
