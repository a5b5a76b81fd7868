//! Log: what the daemon tells its operator, on standard error.
//!
//! In:  the `log` section of the configuration.
//! Out: lines of text or of JSON. Nothing is ever logged for a message or, below `debug`, for a connection.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{filter::LevelFilter, fmt};

use crate::config::{LogConfig, LogFormat, LogLevel};

/// Starts logging. To be called once.
pub fn start(config: &LogConfig) {
    let level = filter(config.level);
    let lines =
        fmt().with_max_level(level).with_target(false).with_writer(stderr).with_ansi(stderr().is_terminal());
    match config.format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
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
