//! The daemon from outside: real processes, real sockets.
//!
//! Each module is one promise to clients or operators. `peer` is a client that can misbehave; it has its own framing,
//! so that a mistake in the protocol crate cannot cancel itself out.
#![forbid(unsafe_code)]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared with the tests of the SDKs, which need the rest of it")]
mod support;

mod client;
mod http;
mod peer;

mod api;
mod broadcast;
mod control;
mod drain;
mod echo;
mod frames;
mod handshake;
mod heartbeat;
mod leaks;
mod limits;
mod polls;
mod resets;
mod slow_readers;
mod stop;
mod streams;
