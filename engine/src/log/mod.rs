//! Log: what the daemon tells its operator, on standard error.
//!
//! In:  the `log` section of the configuration; events.
//! Out: lines of text or of JSON. Nothing is ever logged for a message or, below `debug`, for a connection; and of each
//! kind of line only some in an interval (`limit`).
//!
//! Who logs never waits for standard error and never fails with it, be it a full disk or a pipe that nobody reads:
//! `queue` has a thread of its own for that. A line that could not be written is counted.

mod limit;
mod line;
mod queue;

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{IsTerminal, Write, stderr},
    sync::OnceLock,
    time::{Duration, Instant},
};

use tracing::Level;
use tracing_subscriber::{
    Layer, Registry, filter::LevelFilter, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

pub use self::queue::Watch;
pub(crate) use self::{limit::EACH, queue::THREAD};
use self::{
    limit::{Limited, Limiter},
    queue::Lines,
};
use crate::config::{LogConfig, LogFormat, LogLevel};

/// How long [`flush`] waits. A reader that is there takes far less; without one, waiting longer helps nobody.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// As the subscriber of events is one for the whole process, so is its queue.
static LINES: OnceLock<Lines> = OnceLock::new();

/// And what is left out.
static LIMITER: OnceLock<Limiter> = OnceLock::new();

/// Says that a peer was refused something: a line at `info`, limited for each reason; at `debug` a line each time.
/// The reason is a text of ours, never a peer's.
macro_rules! refusal {
    ($reason:expr, $($rest:tt)+) => {
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!(reason = $reason, $($rest)+);
        } else {
            tracing::info!(reason = $reason, $($rest)+);
        }
    };
}
pub(crate) use refusal;

/// The line itself, where [`shows_refusal`] has said that it is to be shown.
macro_rules! refused {
    ($($line:tt)+) => {
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!($($line)+);
        } else {
            tracing::info!(target: crate::log::EACH, $($line)+);
        }
    };
}
pub(crate) use refused;

/// True exactly when the line about one more refusal of this kind is to be shown; counts it as shown or as left out. For
/// lines that take something to make. Both texts are ours, never a peer's.
pub(crate) fn shows_refusal(event: &'static str, reason: &'static str) -> bool {
    if shows_each_refusal() {
        return true;
    }
    tracing::enabled!(Level::INFO)
        && LIMITER.get().is_none_or(|limiter| limiter.admits_refusal(event, reason))
}

/// True exactly when each refusal is shown.
pub(crate) fn shows_each_refusal() -> bool {
    tracing::enabled!(Level::DEBUG)
}

/// Starts logging. To be called once.
///
/// # Errors
/// Where there can be no thread that writes.
pub fn start(config: &LogConfig, watch: Watch) -> anyhow::Result<()> {
    let began = Instant::now();
    let now_ms = move || u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let limiter = Limiter::new(config.repeat_limit, config.repeat_interval_ms, Box::new(now_ms));
    let limiter = LIMITER.get_or_init(|| limiter);
    let lines = Lines::start(stderr(), config.format, watch, || limiter.tell(false))?;
    let lines = LINES.get_or_init(|| lines);
    let events = fmt::layer()
        .with_target(false)
        .with_writer(move || lines)
        .with_ansi(stderr().is_terminal())
        .log_internal_errors(false);
    let events: Box<dyn Layer<_> + Send + Sync> = match config.format {
        LogFormat::Text => events.boxed(),
        LogFormat::Json => events.json().boxed(),
    };
    let limited = Registry::default().with(filter(config.level)).with(Limited(limiter));
    limited.with(events).init();
    Ok(())
}

/// Waits until all that has been logged is written, but not for ever.
pub fn flush() {
    flush_within(FLUSH_MAX);
}

/// The same, for so long at most.
pub(crate) fn flush_within(time: Duration) {
    if let Some(limiter) = LIMITER.get() {
        limiter.tell(true);
    }
    if let Some(lines) = LINES.get() {
        lines.flush(time);
    }
}

/// Says why the process ends, as it is; also where logging has not started.
pub fn last_words(text: &str) {
    say(text);
    flush();
}

/// Says something as it is, at whatever level.
pub(crate) fn say(text: &str) {
    let line = format!("{text}\n");
    match LINES.get() {
        Some(lines) => lines.push(line.into_bytes()),
        // Where it cannot be said, the exit code has to do.
        None => drop(stderr().write_all(line.as_bytes())),
    }
}

/// The thread that writes is no more: what comes is written at once, or lost where that would have to wait.
pub(crate) fn write_without_thread() {
    if let Some(lines) = LINES.get() {
        lines.write_without_thread();
    }
}

/// Lines that were not written, since the start.
pub(crate) fn lines_lost() -> u64 {
    LINES.get().map_or(0, Lines::lost)
}

/// Where the caller is; nothing unless RUST_BACKTRACE asks for it.
pub(crate) fn backtrace() -> Option<String> {
    let backtrace = Backtrace::capture();
    (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string())
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
