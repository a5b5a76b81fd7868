//! Ids: names of things that several parts know.
//!
//! Plain data: an id says where something is and which one of those that were there, and holds nothing. `slab` is the table
//! that such ids point into.

pub(crate) mod slab;

/// A client's key on its core: its place, and how many held that place before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientKey {
    pub(crate) place: u32,
    pub(crate) generation: u32,
}
