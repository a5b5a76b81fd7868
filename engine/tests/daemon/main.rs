//! The daemon from outside: real processes, real sockets.
//!
//! Each module is one promise to clients or operators.
#![forbid(unsafe_code)]

mod addresses;
mod api;
mod backend;
mod bad_input;
mod broadcast;
mod chat;
mod compression;
mod control;
mod development;
mod drain;
mod echo;
mod floods;
mod frames;
mod handshake;
mod heartbeat;
mod identity;
mod jwks;
mod limits;
mod log;
mod open_paths;
mod order;
mod polls;
mod proxies;
mod reads;
mod recovery;
mod refusals;
mod renewals;
mod resets;
mod slow_readers;
mod smuggling;
mod stop;
mod streams;
mod tls;
mod turns;
mod unsupported;
mod waiting;
