//! The load tool as a process, against servers that behave and servers that do not.
#![forbid(unsafe_code)]

mod api;
mod backend;
mod centrifuge;
mod channels;
mod failover;
mod faults;
mod scenarios;
mod server;
