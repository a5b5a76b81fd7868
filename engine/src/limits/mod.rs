//! Limits: what an address, network, connection or user may do.
//!
//! In:  connections and their addresses, requests, commands, bytes, offenses.
//! Out: permission; or a refusal with its reason: 403, 429, error 111, disconnect 3013.
//!
//! If nothing is limited, there is no [`Limits`], and each hook in other files costs one branch. The files: `policy`
//! (the configuration), `networks` (sets of addresses), `decaying` (decaying sums), `usage` (counts of addresses,
//! networks and users over all shards), `addresses` (the peer of each connection), `arrival` (from the accept to the
//! request), `flow` (commands and bytes), `penalties` and `offense` (misbehaving addresses). Decision 0010 gives the
//! reasons.

mod addresses;
mod arrival;
mod decaying;
mod flow;
mod networks;
mod offense;
mod penalties;
mod policy;
mod state;
mod usage;

pub(crate) use self::{
    addresses::{PeerAddress, Stage, TrustedProxy},
    arrival::{Counts, Rejection},
    decaying::{RATE_FADE_MS, WallTick},
    flow::{COMMAND_REPLY_BYTES, Charge, amount, hard_limit},
    offense::{Notice, offense_of},
    penalties::{Offenders, Penalty},
    policy::{LimitPolicy, penalized},
    state::Limits,
    usage::{Kind, Tables},
};
pub(crate) use crate::metrics::Offense;
