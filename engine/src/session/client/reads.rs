//! Reads: queries with potentially long answers, asked no faster than the client reads.
//!
//! In:  subscriptions that recover, histories, presence; the owners' answers to them.
//! Out: at most [`READS_MAX`] queries at a time, while the client's queue is short; queries with long answers run
//!      alone.
//!
//! Only the owner knows the length of an answer. So each query carries a limit for its answer while others are under
//! way. A query with a longer answer comes back unanswered and is repeated when the client has read everything before
//! it. The other queries wait before they are asked, as do the client's next commands.
//!
//! Worst case per client: [`READS_MAX`] short answers, together at most a quarter of `client.queue_max_size`; or one of
//! `client.reply_max_size`.

use std::sync::Arc;

use holdfast_protocol::client::Request;

use super::{Client, SubState, Transport};
use crate::{
    hub::{
        history::AnswerBytes,
        message::{ClientKey, ToOwner},
    },
    session::{
        Io, SessionCx,
        client::{READS_MAX, record::Reads},
    },
};

/// True exactly when a command's answer may be long.
pub(super) fn is_read(request: &Request<'_>) -> bool {
    match request {
        Request::Presence(_) | Request::History(_) => true,
        Request::Subscribe(subscribe) => subscribe.recover,
        _ => false,
    }
}

impl<I: Io> SessionCx<'_, I> {
    /// True exactly when a client may start a read now. If not, the reads or bytes outstanding resume it later.
    pub(super) fn may_read(&mut self, key: ClientKey) -> bool {
        let Some(client) = self.sessions.clients.get(key) else { return true };
        client.reads.may_begin() && !client.has_deferred_reads() && !self.is_queue_long(key)
    }

    /// True exactly when the client's queue is too long for more reads. They resume when it is empty.
    pub(super) fn is_queue_long(&mut self, key: ClientKey) -> bool {
        let Some(client) = self.sessions.clients.get(key) else { return false };
        let queued_bytes = match (client.link.connection(client.format), client.link) {
            (Some((_, socket)), _) => {
                let queued_bytes = self.io.queued_bytes(socket);
                if queued_bytes > self.sessions.policy.queue.paused_bytes {
                    self.io.notify_drained(socket);
                }
                queued_bytes
            }
            (None, Transport::Poll(session)) => {
                self.sessions.registry.poll(session).map_or(0, |poll| poll.queued_bytes())
            }
            (None, _) => 0,
        };
        queued_bytes > self.sessions.policy.queue.paused_bytes
    }

    /// The limit for the answer to a read beside others.
    pub(super) fn answer_bytes(&self) -> AnswerBytes {
        AnswerBytes {
            now_max: self.sessions.policy.queue.paused_bytes / usize::from(READS_MAX),
            max: self.sessions.policy.reply_bytes_max,
        }
    }

    /// The same for a read that runs alone, or whose answer is part of another one.
    pub(crate) fn answer_bytes_alone(&self) -> AnswerBytes {
        AnswerBytes { now_max: usize::MAX, max: self.sessions.policy.reply_bytes_max }
    }

    /// Starts a read.
    pub(super) fn begin_read(&mut self, key: ClientKey) {
        if let Some(client) = self.sessions.clients.get(key) {
            client.reads.begin();
        }
    }

    /// Ends a read.
    pub(super) fn end_read(&mut self, key: ClientKey) {
        if let Some(client) = self.sessions.clients.get(key) {
            client.reads.end();
        }
    }

    /// An owner reports that an answer is too long to be given beside others.
    pub(crate) fn defer_read(&mut self, key: ClientKey, message: ToOwner) {
        self.end_read(key);
        if let Some(client) = self.sessions.clients.get(key) {
            client.waiting().deferred.push_back(message);
            self.account(key);
            self.go_on(key);
        }
    }

    /// Requests the next long answer, if no read is under way and the client's queue is empty.
    pub(super) fn ask_deferred(&mut self, key: ClientKey) {
        while let Some(client) = self.sessions.clients.get(key)
            && client.reads.under_way == 0
            && client.has_deferred_reads()
            && !self.is_queue_long(key)
        {
            let Some(client) = self.sessions.clients.get(key) else { return };
            let Some(mut message) = client.waiting().deferred.pop_front() else { return };
            // Its subscription may have ended in the meantime.
            if client.still_wants(&message) {
                client.reads = Reads { under_way: 1, is_alone: true };
                message.allow_long_answer();
                let channel = Arc::clone(message.channel_name());
                self.mesh.send_to_owner(&channel, message);
            }
        }
    }
}

impl Client {
    fn still_wants(&self, message: &ToOwner) -> bool {
        let ToOwner::Subscribe(subscribe) = message else { return true };
        let pending = SubState::Pending { ticket: subscribe.ticket, command: subscribe.command };
        self.subs.iter().any(|sub| sub.place == pending)
    }
}
