//! Fairness: what a well-behaved client gets while others use one path of the daemon as hard as they can.
//!
//! In:  the daemon's binary, CPUs, a path that is attacked, for how long.
//! Out: a row: latencies of well-behaved clients of every kind, first without attackers and then with them; how long a
//! call of the server API took; how long the stop took, under the attack; what the attackers got done.
//!
//! Two things are kept apart that a latency mixes: what the daemon does and what the machine's scheduler does. The
//! daemon has a CPU of its own. Attackers share the other one with the well-behaved clients, but at the lowest
//! priority, so that a client that has something to do goes before all of them. How late such a client still woke is
//! measured beside what it measures.
#![forbid(unsafe_code)]

mod attack;
mod bounds;
mod cpus;
mod figures;
mod frame;
mod http;
mod link;
mod measure;
mod message;
mod row;
mod server;
mod table;
mod token;
mod victim;

pub use attack::{Attack, Attackers};
pub use bounds::Bounds;
pub use link::Target;
pub use measure::{Plan, measure};
pub use row::{Row, Served};
pub use server::API_KEY;
pub use table::markdown;
pub use token::{SECRET, good as token, of as token_of};
