//! Pending: what a client waits for that the control thread is to answer.
//!
//! In:  commands that cannot be done at once, and expiries that the backend decides upon.
//! Out: the same, when the answer is here.
//!
//! Worst case a client: [`PENDING_MAX`] entries with [`PENDING_BYTES_MAX`] bytes of commands.

use std::sync::Arc;

use bytes::Bytes;
use holdfast_protocol::client::ErrorCode;

use super::Client;
use crate::backend::Header;

/// Answers that one client may wait for.
const PENDING_MAX: usize = 128;

/// Bytes of the commands that wait for them.
const PENDING_BYTES_MAX: usize = 256 * 1024;

/// What few clients have: it is there only where something in it is.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// What only backends see of the connection.
    pub(super) meta: Option<Bytes>,
    /// Fields of the handshake that backends are told.
    pub(super) headers: Arc<[Header]>,
    /// The same of the connect command.
    pub(super) emulated_headers: Arc<[Header]>,
    pending: Vec<Pending>,
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
    pub(super) fn kept(&mut self) -> &mut Kept {
        self.kept.get_or_insert_default()
    }

    /// Waits for one more answer.
    pub(super) fn wait(&mut self, pending: Pending) -> Result<(), ErrorCode> {
        let all = &mut self.kept().pending;
        let bytes: usize = all.iter().map(|other| other.command.len()).sum();
        if all.len() >= PENDING_MAX || bytes + pending.command.len() > PENDING_BYTES_MAX {
            return Err(ErrorCode::TOO_MANY_REQUESTS);
        }
        all.push(pending);
        Ok(())
    }

    /// For what something waits.
    pub(super) fn awaits(&self, ticket: u32) -> Option<Awaits> {
        let mut all = self.kept.as_ref()?.pending.iter();
        all.find(|pending| pending.ticket == ticket).map(|pending| pending.awaits)
    }

    /// What has waited for this answer.
    pub(super) fn take_pending(&mut self, ticket: u32) -> Option<Pending> {
        self.take_pending_if(|pending| pending.ticket == ticket)
    }

    pub(super) fn take_pending_if(&mut self, is_meant: impl Fn(&Pending) -> bool) -> Option<Pending> {
        let all = &mut self.kept.as_mut()?.pending;
        let at = all.iter().position(is_meant)?;
        let pending = all.remove(at);
        if all.is_empty() {
            all.shrink_to_fit();
        }
        Some(pending)
    }

    pub(super) fn is_pending(&self, is_meant: impl Fn(&Pending) -> bool) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.pending.iter().any(is_meant))
    }
}

impl Pending {
    /// True exactly when no command asked: the session's expiry, or with a channel that subscription's, is asked about.
    pub(super) fn is_expiry_of(&self, channel: &str) -> bool {
        self.command.is_empty() && *self.channel == *channel
    }

    /// True exactly when a command wants to subscribe to this channel.
    pub(super) fn is_subscribe_to(&self, channel: &str) -> bool {
        !self.command.is_empty() && !channel.is_empty() && *self.channel == *channel
    }
}
