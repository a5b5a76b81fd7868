//! Deferred: what a client waits for, and what waits for it.
//!
//! In:  commands that need an answer of the control thread; frames behind them.
//! Out: the same, in order, when the answer has arrived (`pending`, `keys`, `waiting`).
//!
//! Worst case per client: [`PENDING_MAX`] commands with [`PENDING_BYTES_MAX`] bytes in total, or a single longer one; frames as
//! `waiting` states it.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::parked::ParkedFrames;
use crate::{backend::Header, hub::message::ToOwner, ids::ClientKey, value::HttpUrl};

/// Answers that one client may wait for.
pub(super) const PENDING_MAX: usize = 128;

/// Memory of the commands that wait for them, and of what backends receive with them.
pub(super) const PENDING_BYTES_MAX: usize = 512 * 1024;

/// State that few clients have; allocated only if something in it is set.
#[derive(Debug, Default)]
pub(crate) struct ConnectionMeta {
    /// Metadata of the connection that only backends see.
    pub(super) meta: Option<Bytes>,
    /// Header fields of the handshake for backends.
    pub(super) headers: Arc<[Header]>,
    /// The same of the connect command.
    pub(super) emulated_headers: Arc<[Header]>,
    pub(super) pending: Vec<Pending>,
    /// Memory of these.
    pub(super) pending_bytes: usize,
    /// Received and not handled yet.
    pub(super) waiting: Option<Box<Waiting>>,
    /// The bytes charged to the ledger for its commands, here and in `waiting`.
    pub(super) counted_commands: usize,
}

/// A waiting entry.
#[derive(Debug)]
pub(crate) struct Pending {
    /// An answer with another ticket belongs to something else.
    pub(super) ticket: u32,
    pub(super) awaits: Awaits,
    /// The command, in the client's format; empty if no command asked.
    pub(super) command: Box<[u8]>,
    /// The channel to subscribe to, or whose subscription to refresh.
    pub(super) channel: Box<str>,
    /// Memory of what the backend receives.
    pub(super) told_bytes: usize,
}

/// What an entry waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The application's backend.
    Backend,
    /// Keys for connection tokens.
    ConnectKeys,
    /// Keys for subscription tokens.
    SubscribeKeys,
}

impl ConnectionMeta {
    /// Memory of the entries.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }
}

impl Pending {
    /// Memory in use. Up to as many entries again may be free.
    pub(super) fn cost_bytes(&self) -> usize {
        2 * size_of::<Self>() + self.command.len() + self.channel.len() + self.told_bytes
    }

    /// True exactly when no command asked: the question is about the expiry of the session or, with a channel, of that
    /// subscription.
    pub(super) fn is_expiry_of(&self, channel: &str) -> bool {
        self.command.is_empty() && *self.channel == *channel
    }

    /// True exactly when a command wants to subscribe to this channel.
    pub(super) fn is_subscribe_to(&self, channel: &str) -> bool {
        !self.command.is_empty() && !channel.is_empty() && *self.channel == *channel
    }
}

/// A client's waiting frames.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    pub(super) frames: ParkedFrames,
    /// True exactly when later input is ignored: a waiting frame ends the session.
    pub(super) is_over: bool,
    /// True exactly when its connection is not read for this reason.
    pub(super) is_unread: bool,
    /// True exactly when the frames are scheduled for the client's next share of a turn.
    pub(super) is_scheduled: bool,
    /// Reads whose answers are too long to be given beside others, each with its memory.
    pub(super) deferred: VecDeque<ToOwner>,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.deferred.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        let deferred: usize = self.deferred.iter().map(ToOwner::cost_bytes).sum();
        let places = self.deferred.capacity() * size_of::<ToOwner>();
        size_of::<Self>() + self.frames.capacity() + places + deferred
    }
}

/// Clients waiting for keys on this shard.
#[derive(Debug, Default)]
pub(crate) struct KeyWaits {
    /// Endpoints with a request under way, each with the number of the last token reported.
    pub(super) asked: Vec<(HttpUrl, u64)>,
    pub(super) waiting: Vec<KeyWait>,
    /// Tokens that have waited so far.
    pub(super) count: u64,
}

/// A waiting command.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyWait {
    pub(super) client: ClientKey,
    pub(super) ticket: u32,
    pub(super) number: u64,
}

/// What is known now for a command that waited.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeysCame {
    pub(super) ticket: u32,
    pub(super) known: Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// The endpoint's keys, requested after the token arrived.
    Answer,
    /// Its keys, requested before that.
    Older,
    /// Nothing new.
    Nothing,
}
