//! Memory: one account of all that clients and callers of the server API make the daemon keep.
//!
//! In:  bytes that a queue, map, cache or buffer takes, and gives back.
//! Out: whether there is room for more, and how much has to go; who goes first.
//!
//! Every byte belongs to one [`Budget`], which has an option, a default and a worst case (`docs/memory.md`). Each shard
//! has a [`Ledger`] of its own: plain integers, no lock. It reads what the other shards last published.

mod budget;
pub(crate) mod cgroup;
mod holders;
mod ledger;
mod plan;
mod shed;
mod size;

pub(crate) use self::{
    budget::{Budget, BudgetLimits},
    holders::Holders,
    ledger::Ledger,
    plan::{Room, fit},
    shed::largest_first,
    size::{arc_str_bytes, map_bytes, shrink},
};
