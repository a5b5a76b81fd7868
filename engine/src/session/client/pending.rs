//! Pending: commands and expiries that wait for an answer of the control thread.
//!
//! In:  commands that cannot run yet, and expiries that the backend decides.
//! Out: the same, when the answer arrives.
//!
//! Worst case per client: [`PENDING_MAX`] entries with [`PENDING_BYTES_MAX`] bytes in total, or a single longer one.
//! They count against `client.command_budget`; if it is full, commands that would have to wait get error 111.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::client::ErrorCode;

use super::{Client, Stage, waiting::Waiting};
use crate::{
    backend::Header,
    ids::ClientKey,
    memory::Budget,
    session::{Io, SessionCx},
};

/// Answers that one client may wait for.
const PENDING_MAX: usize = 128;

/// Memory of the commands that wait for them, and of what backends receive with them.
const PENDING_BYTES_MAX: usize = 512 * 1024;

/// State that few clients have; allocated only if something in it is set.
#[derive(Debug, Default)]
pub(crate) struct ConnectionMeta {
    /// Metadata of the connection that only backends see.
    pub(super) meta: Option<Bytes>,
    /// Header fields of the handshake for backends.
    pub(super) headers: Arc<[Header]>,
    /// The same of the connect command.
    pub(super) emulated_headers: Arc<[Header]>,
    pending: Vec<Pending>,
    /// Memory of these.
    pending_bytes: usize,
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

impl Client {
    pub(super) fn kept(&mut self) -> &mut ConnectionMeta {
        self.kept.get_or_insert_default()
    }

    /// Adds an entry that waits for an answer.
    fn wait(&mut self, pending: Pending) -> Result<(), ErrorCode> {
        let kept = self.kept();
        let bytes = pending.cost_bytes();
        let is_first = kept.pending.is_empty();
        if kept.pending.len() >= PENDING_MAX || !(is_first || kept.pending_bytes + bytes <= PENDING_BYTES_MAX)
        {
            return Err(ErrorCode::TOO_MANY_REQUESTS);
        }
        kept.pending.push(pending);
        kept.pending_bytes += bytes;
        Ok(())
    }

    /// What an entry waits for.
    pub(super) fn awaits(&self, ticket: u32) -> Option<Awaits> {
        let mut all = self.kept.as_ref()?.pending.iter();
        all.find(|pending| pending.ticket == ticket).map(|pending| pending.awaits)
    }

    pub(super) fn take_pending_if(&mut self, is_meant: impl Fn(&Pending) -> bool) -> Option<Pending> {
        let kept = self.kept.as_mut()?;
        let at = kept.pending.iter().position(is_meant)?;
        let pending = kept.pending.remove(at);
        kept.pending_bytes -= pending.cost_bytes();
        if kept.pending.is_empty() {
            kept.pending.shrink_to_fit();
        }
        Some(pending)
    }

    pub(super) fn is_pending(&self, is_meant: impl Fn(&Pending) -> bool) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.pending.iter().any(is_meant))
    }
}

impl Client {
    /// True exactly when the client is identified: no answer is outstanding, and nothing has to be sent first.
    pub(crate) fn is_identified(&self) -> bool {
        match self.stage {
            Stage::Fresh => false,
            Stage::Connecting => !self.is_pending(|_| true),
            Stage::Connected => true,
        }
    }
}

impl ConnectionMeta {
    /// Memory of the entries.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }
}

impl<I: Io> SessionCx<'_, I> {
    /// Adds an entry that waits for an answer to a client.
    pub(super) fn wait_with(&mut self, key: ClientKey, pending: Pending) -> Result<(), ErrorCode> {
        let Some(client) = self.sessions.clients.get(key) else { return Ok(()) };
        if !self.cx.ledger.has_room_for(Budget::Commands, pending.cost_bytes() as u64) {
            return Err(ErrorCode::TOO_MANY_REQUESTS);
        }
        client.wait(pending)?;
        self.account(key);
        Ok(())
    }

    /// Removes the entry that waits for this answer.
    pub(super) fn take_pending(&mut self, key: ClientKey, ticket: u32) -> Option<Pending> {
        self.take_pending_if(key, |pending| pending.ticket == ticket)
    }

    pub(super) fn take_pending_if(
        &mut self,
        key: ClientKey,
        is_meant: impl Fn(&Pending) -> bool,
    ) -> Option<Pending> {
        let pending = self.sessions.clients.get(key)?.take_pending_if(is_meant)?;
        self.account(key);
        Some(pending)
    }
}

impl Pending {
    /// Memory in use. Up to as many entries again may be free.
    fn cost_bytes(&self) -> usize {
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
