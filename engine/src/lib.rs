//! The daemon as a library of its own binary: [`main`] is all there is to call. The settings of the kernel profiles are
//! public for the test that applies them.
//!
//! The road of a byte: the ring crate → `shard` → `conn` → the protocol crate → `session` → `mesh` → `hub` → `session/fan_out` →
//! `conn/write` → the ring crate. A `shard` is a loop over four parts, each of which knows only those below it: sessions act on
//! connections by `session::Io`, connections tell those above them by `conn::Above`. What all use in a turn is the `context`.
//! Beside it: `limits` (floods), `metrics`, `supervise` (failures), `broker` (Redis, over many nodes), `control` (HTTP for operators), `channel` (names and
//! permissions), `broker` (Redis, through which nodes act as one), `config`, `doctor`, and `daemon`, which puts it all
//! together. At the bottom: `time`, `ids`, `jose` (keys of tokens) and `value` (checked texts).
#![forbid(unsafe_code)]

pub use cli::run::main;
pub use doctor::{Better, Profile, Setting, sysctl};

mod backend;
mod broker;
mod channel;
mod cli;
mod config;
mod conn;
mod context;
mod control;
mod daemon;
mod doctor;
mod encoding;
mod http_client;
mod hub;
mod ids;
mod jose;
mod limits;
mod log;
mod memory;
mod mesh;
mod metrics;
mod refusals;
mod session;
mod shard;
#[cfg(test)]
#[path = "../simulation/mod.rs"]
mod simulation;
mod supervise;
mod time;
mod tls;
mod token;
mod value;
