//! Pending: what a client waits for that the control thread is to answer.
//!
//! In:  commands that cannot be done at once, and expiries that the backend decides upon.
//! Out: the same, when the answer is here.
//!
//! Worst case a client: [`PENDING_MAX`] entries with [`PENDING_BYTES_MAX`] bytes, or a single longer one. They count
//! against `client.command_budget`; where that is full, commands that would have to wait are answered with error 111.

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

/// Memory of the commands that wait for them, and of what the backend is told of them.
const PENDING_BYTES_MAX: usize = 512 * 1024;

/// What few clients have: it is there only where something in it is.
#[derive(Debug, Default)]
pub(crate) struct ConnectionMeta {
    /// What only backends see of the connection.
    pub(super) meta: Option<Bytes>,
    /// Fields of the handshake that backends are told.
    pub(super) headers: Arc<[Header]>,
    /// The same of the connect command.
    pub(super) emulated_headers: Arc<[Header]>,
    pending: Vec<Pending>,
    /// Memory of these.
    pending_bytes: usize,
    /// What it has sent that is not handled yet.
    pub(super) waiting: Option<Box<Waiting>>,
    /// The memory that the ledger has of its commands, here and in `waiting`.
    pub(super) counted_commands: usize,
}

/// What waits.
#[derive(Debug)]
pub(crate) struct Pending {
    /// An answer with another one is to something else.
    pub(super) ticket: u32,
    pub(super) awaits: Awaits,
    /// The command, in the client's format; empty where no command asked.
    pub(super) command: Box<[u8]>,
    /// The channel that it is about to subscribe to, or whose subscription is to be refreshed.
    pub(super) channel: Box<str>,
    /// Memory of what the backend is told.
    pub(super) told_bytes: usize,
}

/// For what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaits {
    /// The application's backend.
    Backend,
    /// Keys for tokens of connections.
    ConnectKeys,
    /// Keys for tokens of subscriptions.
    SubscribeKeys,
}

impl Client {
    pub(super) fn kept(&mut self) -> &mut ConnectionMeta {
        self.kept.get_or_insert_default()
    }

    /// Waits for one more answer.
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

    /// For what something waits.
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
    /// True exactly when it is known who it is: nobody has to be asked, and nothing waits to be said before.
    pub(crate) fn is_identified(&self) -> bool {
        match self.stage {
            Stage::Fresh => false,
            Stage::Connecting => !self.is_pending(|_| true),
            Stage::Connected => true,
        }
    }
}

impl ConnectionMeta {
    /// Memory of what waits.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }
}

impl<I: Io> SessionCx<'_, I> {
    /// A client waits for one more answer.
    pub(super) fn wait_with(&mut self, key: ClientKey, pending: Pending) -> Result<(), ErrorCode> {
        let Some(client) = self.sessions.clients.get(key) else { return Ok(()) };
        if !self.cx.ledger.has_room_for(Budget::Commands, pending.cost_bytes() as u64) {
            return Err(ErrorCode::TOO_MANY_REQUESTS);
        }
        client.wait(pending)?;
        self.account(key);
        Ok(())
    }

    /// What has waited for this answer.
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
    /// Memory that it takes. As many entries again may be free.
    fn cost_bytes(&self) -> usize {
        2 * size_of::<Self>() + self.command.len() + self.channel.len() + self.told_bytes
    }

    /// True exactly when no command asked: the session's expiry, or with a channel that subscription's, is asked about.
    pub(super) fn is_expiry_of(&self, channel: &str) -> bool {
        self.command.is_empty() && *self.channel == *channel
    }

    /// True exactly when a command wants to subscribe to this channel.
    pub(super) fn is_subscribe_to(&self, channel: &str) -> bool {
        !self.command.is_empty() && !channel.is_empty() && *self.channel == *channel
    }
}
