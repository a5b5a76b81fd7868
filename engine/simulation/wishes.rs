//! Wishes: what the server API has asked for some clients, so that it happens to them, and to nobody else.
//!
//! In:  what was asked, and of whom.
//! Out: what a client must have been told, or may be.

use std::time::Duration;

/// What is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wished {
    /// Until then, in seconds since 1970; 0 for ever.
    Subscribe {
        channel: &'static str,
        until_s: u64,
    },
    /// From one channel, or from all.
    Unsubscribe {
        channel: Option<&'static str>,
    },
    Disconnect {
        code: u16,
    },
    /// As with `Subscribe`.
    Refresh {
        until_s: u64,
    },
    Expire,
}

/// Who is meant: whom all agree on that are named.
#[derive(Clone, Debug, Default)]
pub(super) struct Meant {
    pub(super) client: Option<String>,
    /// Empty for the anonymous one.
    pub(super) user: Option<&'static str>,
}

#[derive(Debug)]
pub(super) struct Wish {
    /// In the ledger's steps.
    pub(super) at: u64,
    pub(super) since: Duration,
    pub(super) meant: Meant,
    pub(super) wished: Wished,
    /// True exactly when all shards have it; else there was no room at some.
    pub(super) is_everywhere: bool,
}

#[derive(Debug, Default)]
pub(super) struct Wishes {
    all: Vec<Wish>,
    /// Clients that know what they are called, with their users.
    guests: Vec<(String, &'static str)>,
    /// Who hears everything, and is left alone.
    pub(super) witness: String,
}

impl Wishes {
    /// Somebody is connected, and knows so.
    pub(super) fn met(&mut self, client: &str, user: &'static str) {
        self.guests.push((client.to_owned(), user));
    }

    pub(super) fn guests(&self) -> &[(String, &'static str)] {
        &self.guests
    }

    pub(super) fn add(&mut self, wish: Wish) {
        self.all.push(wish);
    }

    /// How many there were.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// Those that mean a client. One that does not know what it is called may be any.
    pub(super) fn of<'w>(
        &'w self,
        client: &'w str,
        user: &'w str,
    ) -> impl Iterator<Item = (usize, &'w Wish)> {
        let is_meant = move |wish: &Wish| {
            let is_client = wish.meant.client.as_deref().is_none_or(|meant| meant == client);
            is_client && wish.meant.user.is_none_or(|meant| meant == user)
        };
        self.all.iter().enumerate().filter(move |(_, wish)| is_meant(wish))
    }
}
