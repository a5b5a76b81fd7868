//! Log: messages for the operator, on standard error.
//!
//! In:  the `log` section of the configuration; events.
//! Out: lines of text or JSON. No message and, unless the level is `debug`, no connection is logged by itself; of each kind
//! of line only some are logged in an interval (`limit`).
//!
//! Logging never blocks and never fails, even if the disk is full or standard error is a pipe that nobody reads: a thread
//! of its own writes (`queue`). Lines that cannot be written are counted.

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

pub(crate) use self::queue::Watch;
pub(crate) use self::{limit::EACH, queue::THREAD};
use self::{
    limit::{Limited, Limiter},
    queue::Lines,
};
use crate::config::{LogConfig, LogFormat, LogLevel};

/// How long [`flush`] waits. A reader that is there takes far less; without one, waiting longer helps nobody.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// The queue of the process. There is one, as there is one subscriber.
static LINES: OnceLock<Lines> = OnceLock::new();

/// The limiter of the process.
static LIMITER: OnceLock<Limiter> = OnceLock::new();

/// Logs that a peer was refused something: at `info`, limited for each reason; at `debug` each time. The reason is our
/// text, never a peer's.
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

/// Logs the line of a refusal that [`shows_refusal`] has admitted.
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

/// True exactly when the line about one more refusal of this kind is shown; counts it as shown or as omitted. For lines
/// that are expensive to build. Both texts are ours, never a peer's.
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

/// Starts logging; called once. `start_thread` starts the thread that writes.
///
/// # Errors
/// Where there can be no thread that writes.
pub(crate) fn start(config: &LogConfig, watch: Watch) -> anyhow::Result<()> {
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
pub(crate) fn flush() {
    flush_within(FLUSH_MAX);
}

/// The same, for at most `time`.
pub(crate) fn flush_within(time: Duration) {
    if let Some(limiter) = LIMITER.get() {
        limiter.tell(true);
    }
    if let Some(lines) = LINES.get() {
        lines.flush(time);
    }
}

/// Says why the process ends, as it is; also where logging has not started.
pub(crate) fn last_words(text: &str) {
    say(text);
    flush();
}

/// Writes a line regardless of the level.
pub(crate) fn say(text: &str) {
    let line = format!("{text}\n");
    match LINES.get() {
        Some(lines) => lines.push(line.into_bytes()),
        // If it cannot be written, the exit code has to suffice.
        None => drop(stderr().write_all(line.as_bytes())),
    }
}

/// The thread that writes has failed: later lines are written directly, or lost if that would block.
pub(crate) fn write_without_thread() {
    if let Some(lines) = LINES.get() {
        lines.write_without_thread();
    }
}

/// Lines lost since the start.
pub(crate) fn lines_lost() -> u64 {
    LINES.get().map_or(0, Lines::lost)
}

/// The backtrace of the caller; `None` unless RUST_BACKTRACE asks for it.
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
