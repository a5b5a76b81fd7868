//! Cluster: several real daemons that act as one, through real Redis servers.
//!
//! In:  daemons with `engine.type = "redis"`, clients on each of them, and what may go wrong between them.
//! Out: what a client of one node does is seen by clients of the others, as on one node.
//!
//! Where there is no `redis-server`, nothing is tested, which is said; where CI=true, that is a failure.
#![forbid(unsafe_code)]

mod beside_centrifugo;
mod centrifugo;
mod control;
mod faults;
mod ledger;
mod limits;
mod metrics;
mod nodes;
mod presence;
mod publications;
mod recovery;
mod redis_away;
mod requests;
mod rights;
mod together;
mod topologies;
