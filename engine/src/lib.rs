//! The daemon as a library: everything that `holdfast serve` does.
//!
//! The road of a byte: the ring crate → `shard` → `conn` → the protocol crate → `session` → `mesh` → `hub` → `session/fan_out` →
//! `conn/write` → the ring crate. A `shard` is a loop over four parts, each of which knows only those below it: sessions act on
//! connections by `session::Io`, connections tell those above them by `conn::Above`. What all use in a turn is the `context`.
//! Beside it: `limits` (floods), `metrics`, [`supervise`] (failures), `control` (HTTP for operators), [`channel`] (names and
//! permissions), [`config`], [`doctor`], and [`daemon`], which puts it all together. At the bottom: `time`, `ids`, [`jose`]
//! (keys of tokens) and [`value`] (checked texts).
#![forbid(unsafe_code)]

pub mod backend;
pub mod channel;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod http_client;
pub mod log;
pub mod metrics;
pub mod supervise;
pub mod token;

mod conn;
mod context;
mod control;
mod encoding;
mod hub;
mod ids;
pub mod jose;
mod limits;
mod memory;
mod mesh;
mod refusals;
mod session;
mod shard;
#[cfg(test)]
#[path = "../simulation/mod.rs"]
mod simulation;
mod time;
mod tls;
pub mod value;
