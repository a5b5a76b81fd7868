//! Pending: commands and expiries that wait for an answer of the control thread.
//!
//! In:  commands that cannot run yet, and expiries that the backend decides.
//! Out: the same, when the answer arrives.
//!
//! Worst case per client: [`PENDING_MAX`] entries with [`PENDING_BYTES_MAX`] bytes in total, or a single longer one.
//! They count against `client.command_budget`; if it is full, commands that would have to wait get error 111.

use holdfast_protocol::client::ErrorCode;

use crate::{
    ids::{ClientKey, Ticket},
    memory::Budget,
    session::{
        Io, SessionCx,
        client::{
            deferred::{
                Awaited, ConnectionMeta, PENDING_BYTES_MAX, PENDING_MAX, Pending, TokenCommand, Waiting,
            },
            record::{Client, Stage},
        },
    },
};

impl Client {
    pub(super) fn extra(&mut self) -> &mut ConnectionMeta {
        self.extra.get_or_insert_default()
    }

    /// Adds an entry that waits for an answer.
    pub(super) fn wait(&mut self, pending: Pending) -> Result<(), ErrorCode> {
        let extra = self.extra();
        let bytes = pending.cost_bytes();
        let is_first = extra.pending.is_empty();
        if extra.pending.len() >= PENDING_MAX
            || !(is_first || extra.pending_bytes + bytes <= PENDING_BYTES_MAX)
        {
            return Err(ErrorCode::TOO_MANY_REQUESTS);
        }
        extra.pending.push(pending);
        extra.pending_bytes += bytes;
        Ok(())
    }

    /// The command that waits for keys with this ticket.
    pub(super) fn awaits_keys(&self, ticket: Ticket) -> Option<&TokenCommand> {
        let mut all = self.extra.as_ref()?.pending.iter();
        match &all.find(|pending| pending.ticket == ticket)?.awaited {
            Awaited::Keys(command) => Some(command),
            Awaited::Backend(_) => None,
        }
    }

    pub(super) fn take_pending_if(&mut self, is_meant: impl Fn(&Pending) -> bool) -> Option<Pending> {
        let extra = self.extra.as_mut()?;
        let at = extra.pending.iter().position(is_meant)?;
        let pending = extra.pending.remove(at);
        extra.pending_bytes -= pending.cost_bytes();
        if extra.pending.is_empty() {
            extra.pending.shrink_to_fit();
        }
        Some(pending)
    }

    pub(super) fn is_pending(&self, is_meant: impl Fn(&Pending) -> bool) -> bool {
        self.extra.as_ref().is_some_and(|extra| extra.pending.iter().any(is_meant))
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

impl Client {
    /// True exactly when its connection is not read because of waiting input.
    pub(crate) fn is_unread(&self) -> bool {
        self.what_waits().is_some_and(|waiting| waiting.is_unread)
    }

    pub(super) fn has_waiting_frames(&self) -> bool {
        self.what_waits().is_some_and(|waiting| !waiting.frames.is_empty())
    }

    /// True exactly when it has reads to repeat.
    pub(super) fn has_deferred_reads(&self) -> bool {
        self.what_waits().is_some_and(|waiting| !waiting.deferred.is_empty())
    }

    pub(super) fn what_waits(&self) -> Option<&Waiting> {
        self.extra.as_ref()?.waiting.as_deref()
    }

    pub(super) fn waiting_if_any(&mut self) -> Option<&mut Waiting> {
        self.extra.as_mut()?.waiting.as_deref_mut()
    }

    pub(super) fn waiting(&mut self) -> &mut Waiting {
        self.extra().waiting.get_or_insert_default()
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
    pub(super) fn take_pending(&mut self, key: ClientKey, ticket: Ticket) -> Option<Pending> {
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
