//! Commands: publishing, history, presence and messages between nodes, against real Redis servers.
//!
//! Every test has servers of its own, as those of `receive` do. What they find in Redis is compared with literal names and
//! bytes: Centrifugo has to find the same.

mod cluster;
mod failures;
mod history;
mod house;
mod leases;
mod presence;
mod publish;
mod several;
