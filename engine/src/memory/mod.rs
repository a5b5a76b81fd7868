//! Memory: one account of all memory that clients and callers of the server API make the daemon keep.
//!
//! In:  bytes that a queue, map, cache or buffer allocates and frees.
//! Out: whether there is room for more, how much must be shed, and who is shed first.
//!
//! Every byte belongs to one [`Budget`], which has an option, a default and a worst case (`docs/memory.md`). Each shard
//! has its own [`Ledger`]: plain integers, no lock. It reads the other shards' last published figures.

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
