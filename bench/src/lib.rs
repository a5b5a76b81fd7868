//! A load tool for any WebSocket server.
//!
//! In:  a command line.
//! Out: connections and messages; then a report of what came back, how fast, and whether all of it did.
//!
//! The road of a run: `cli → plan → run → worker (schedule → dialect → message) → tally, latency → report`. Workers
//! are threads with sockets of their own; they share nothing but a few counters for the progress display.
//! It uses Holdfast's codec and sockets, and knows nothing of its daemon.
#![forbid(unsafe_code)]

pub mod cli;
pub mod clock;
pub mod dialect;
pub mod latency;
pub mod message;
pub mod plan;
pub mod progress;
pub mod report;
pub mod run;
pub mod scenario;
pub mod schedule;
pub mod sequence;
pub mod source;
pub mod spread;
pub mod system;
pub mod tally;
pub mod target;
pub mod trust;
pub mod units;

mod observer;
mod worker;
