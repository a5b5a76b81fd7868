//! The daemon as a library: everything that `holdfast serve` does.
//!
//! The road of a byte: the ring crate → `shard` → `intake` → `conn/read` → the protocol crate → `session` → `hub` →
//! `fanout` → `conn/write` → the ring crate. Beside it: `wheel` and `clock` (time), `peers` (the other cores),
//! `limits` (floods), `metrics`, [`supervise`] (failures), `control` (HTTP for operators), [`channel`] (names and permissions), [`config`], [`doctor`], and
//! [`daemon`], which puts it all together.
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
mod descriptors;
mod hub;
mod ids;
mod limits;
mod masked;
mod memory;
mod mesh;
mod object;
mod origin;
mod patience;
mod pattern;
pub mod preflight;
mod refusals;
mod session;
mod shard;
#[cfg(test)]
mod simulation;
mod time;
mod tls;
