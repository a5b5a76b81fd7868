//! Ids: names of things that several parts know.
//!
//! In:  nothing.
//! Out: nothing; each says what it names.

/// A client's key on its core: its place, and how many held that place before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientKey {
    pub(crate) place: u32,
    pub(crate) generation: u32,
}
