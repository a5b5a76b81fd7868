//! Scripts: what Redis does in one step, in its own Lua (`scripts/*.lua`).
//!
//! In:  the files.
//! Out: their text and its SHA-1, by which EVALSHA knows them.
//!
//! Each declares all its keys, which are of one slot, and what it may loop over is bounded. No I/O, no clock.

use std::sync::LazyLock;

use fred::util::sha1_hash;

/// A script.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) text: &'static str,
    sha1: LazyLock<String, fn() -> String>,
}

impl Script {
    /// The hash of its text, 40 hexadecimal digits.
    pub(crate) fn sha1(&self) -> &str {
        &self.sha1
    }
}

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(crate) static $name: Script =
            Script { text: include_str!($file), sha1: LazyLock::new(|| sha1_hash(include_str!($file))) };
    };
}

// Publishes up to 64 publications: offsets, histories, idempotency keys, versions, deltas.
script!(PUBLISH, "scripts/publish.lua");
// Begins a new epoch where offsets have gone back.
script!(REPAIR, "scripts/repair.lua");
// Adds a client to the presence of a channel.
script!(PRESENCE_ADD, "scripts/presence_add.lua");
// Extends the presence of up to 100 clients.
script!(PRESENCE_REFRESH, "scripts/presence_refresh.lua");
// Removes a client from the presence of a channel.
script!(PRESENCE_REMOVE, "scripts/presence_remove.lua");
// Reads the presence of a channel, without what has expired.
script!(PRESENCE_READ, "scripts/presence_read.lua");
// Counts one more connection of a user, up to a limit.
script!(LEASE_TAKE, "scripts/lease_take.lua");
// Extends the leases of a user's connections.
script!(LEASE_KEEP, "scripts/lease_keep.lua");
// Frees them.
script!(LEASE_FREE, "scripts/lease_free.lua");

/// All of them, to be loaded before they are needed.
pub(crate) static ALL: [&Script; 9] = [
    &PUBLISH,
    &REPAIR,
    &PRESENCE_ADD,
    &PRESENCE_REFRESH,
    &PRESENCE_REMOVE,
    &PRESENCE_READ,
    &LEASE_TAKE,
    &LEASE_KEEP,
    &LEASE_FREE,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_known_by_40_digits() {
        for script in ALL {
            assert!(script.sha1().len() == 40 && script.sha1().bytes().all(|byte| byte.is_ascii_hexdigit()));
        }
        assert_ne!(PUBLISH.sha1(), REPAIR.sha1());
    }
}
