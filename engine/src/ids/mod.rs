//! Ids: names of things that several parts know.
//!
//! Plain data: an id says where something is and which one of those that were there, and holds nothing. `slab` is the table
//! that such ids point into.

pub(crate) mod slab;

use std::num::NonZeroU32;

/// A shard's number, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ShardId(u16);

impl ShardId {
    pub(crate) const FIRST: Self = Self(0);

    /// The shard with this index.
    pub(crate) fn new(index: usize) -> Self {
        Self(u16::try_from(index).expect("at most 1,024 shards"))
    }

    /// The shards of a daemon, in order.
    pub(crate) fn all(count: usize) -> impl Iterator<Item = Self> {
        (0..count).map(Self::new)
    }

    /// Its index in tables of all shards.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    /// The shard with a number that a peer sent, which may not exist.
    pub(crate) const fn claimed(number: u16) -> Self {
        Self(number)
    }
}

/// A command's number, as its client chose it. A reply carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CommandId(NonZeroU32);

impl CommandId {
    /// The number of a command that gets a reply; none for 0.
    pub(crate) const fn new(number: u32) -> Option<Self> {
        match NonZeroU32::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    pub(crate) const fn get(self) -> u32 {
        self.0.get()
    }
}

/// The number of a request to another part of the daemon. Its answer carries it: an answer with another ticket belongs to
/// something that has ended since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ticket(u32);

impl Ticket {
    /// The next one. They repeat after 2^32.
    #[must_use]
    pub(crate) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// A client's key on its shard: its place, and how many held that place before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientKey {
    pub(crate) place: u32,
    pub(crate) generation: u32,
}
