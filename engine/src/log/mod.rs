//! Log: what the daemon tells its operator, on standard error.
//!
//! In:  the `log` section of the configuration; events; panics.
//! Out: lines of text or of JSON. Nothing is ever logged for a message or, below `debug`, for a connection.
//!
//! Who logs never waits for standard error and never fails with it, be it a full disk or a pipe that nobody reads:
//! `queue` has a thread of its own for that. A line that could not be written is counted.

mod queue;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{IsTerminal, Write, stderr},
    panic::{self, PanicHookInfo},
    sync::OnceLock,
    thread,
};

use tracing_subscriber::{filter::LevelFilter, fmt};

use self::queue::Lines;
use crate::config::{LogConfig, LogFormat, LogLevel};

/// As the subscriber of events is one for the whole process, so is its queue.
static LINES: OnceLock<Lines> = OnceLock::new();

/// Starts logging. To be called once.
///
/// # Errors
/// Where there can be no thread that writes.
pub fn start(config: &LogConfig) -> anyhow::Result<()> {
    let lines = Lines::start(stderr())?;
    let lines = LINES.get_or_init(|| lines);
    let events = fmt()
        .with_max_level(filter(config.level))
        .with_target(false)
        .with_writer(move || lines)
        .with_ansi(stderr().is_terminal())
        .log_internal_errors(false);
    match config.format {
        LogFormat::Text => events.init(),
        LogFormat::Json => events.json().init(),
    }
    panic::set_hook(Box::new(panicked));
    Ok(())
}

/// Waits until all that has been logged is written, but not for ever.
pub fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}

/// Says why the process ends, as it is; also where logging has not started.
pub fn last_words(text: &str) {
    let line = format!("{text}\n");
    match LINES.get() {
        Some(lines) => {
            lines.push(line.into_bytes());
            lines.flush();
        }
        // Where it cannot be said, the exit code has to do.
        None => drop(stderr().write_all(line.as_bytes())),
    }
}

/// Lines that were not written, since the start.
pub(crate) fn lines_lost() -> u64 {
    LINES.get().map_or(0, Lines::lost)
}

/// In the place of the standard library's hook, which would write to standard error itself and wait for it.
fn panicked(panic: &PanicHookInfo<'_>) {
    let thread = thread::current();
    let backtrace = Backtrace::capture();
    let backtrace = match backtrace.status() {
        BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    tracing::error!(thread = thread.name(), "{panic}{backtrace}");
    // What comes next may be the end of the process.
    flush();
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::None => LevelFilter::OFF,
    }
}
