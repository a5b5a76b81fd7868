//! Reads: questions whose answers may be long, asked no faster than the client reads.
//!
//! In:  subscriptions that recover, histories, presence; the homes' answers to them.
//! Out: at most [`READS_MAX`] questions at a time, while little waits for the client; those with long answers alone.
//!
//! How long an answer is, its home knows. So each question says how long its answer may be where others are under way;
//! one that would be longer comes back unanswered, and is asked once more when the client has read all before. The
//! others wait before they are asked, as the client's next commands do.
//!
//! Worst case a client: [`READS_MAX`] short answers, together at most a quarter of `client.queue_max_size`; or one of
//! `client.reply_max_size`.

use std::sync::Arc;

use holdfast_protocol::client::Request;

use super::{Client, SubState, Transport};
use crate::{
    hub::message::{AnswerBytes, ClientKey, ToOwner},
    session::{Io, SessionCx},
};

/// Reads of one client that are under way at a time.
pub(crate) const READS_MAX: u8 = 16;

/// What a client reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    under_way: u8,
    /// True exactly when that is one whose answer may be long.
    is_alone: bool,
}

impl Reads {
    fn may_begin(self) -> bool {
        self.under_way < READS_MAX && !self.is_alone
    }

    pub(super) fn begin(&mut self) {
        self.under_way += 1;
    }

    fn end(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.is_alone = false;
    }
}

/// True exactly when a command's answer may be long.
pub(super) fn is_read(request: &Request<'_>) -> bool {
    match request {
        Request::Presence(_) | Request::History(_) => true,
        Request::Subscribe(subscribe) => subscribe.recover,
        _ => false,
    }
}

impl<I: Io> SessionCx<'_, I> {
    /// True exactly when a client may read something now. If not, what is under way or waits for it will go on with it.
    pub(super) fn may_read(&mut self, key: ClientKey) -> bool {
        let Some(client) = self.sessions.clients.get(key) else { return true };
        client.reads.may_begin() && !client.has_deferred_reads() && !self.is_queue_long(key)
    }

    /// True exactly when so much waits for a client that no more is to be asked for it. It goes on when that has gone out.
    pub(super) fn is_queue_long(&mut self, key: ClientKey) -> bool {
        let Some(client) = self.sessions.clients.get(key) else { return false };
        let queued_bytes = match (client.link.connection(client.format), client.link) {
            (Some((_, socket)), _) => {
                let queued_bytes = self.io.queued_bytes(socket);
                if queued_bytes > self.cx.settings.paused_queue_bytes {
                    self.io.tell_when_drained(socket);
                }
                queued_bytes
            }
            (None, Transport::Poll(session)) => {
                self.sessions.named.poll(session).map_or(0, |poll| poll.queued_bytes())
            }
            (None, _) => 0,
        };
        queued_bytes > self.cx.settings.paused_queue_bytes
    }

    /// How long the answer to a read may be that is asked beside others.
    pub(super) fn answer_bytes(&self) -> AnswerBytes {
        AnswerBytes {
            now_max: self.cx.settings.paused_queue_bytes / usize::from(READS_MAX),
            max: self.cx.settings.reply_bytes_max,
        }
    }

    /// The same for one that is asked alone, or whose answer is a part of another one.
    pub(crate) fn answer_bytes_alone(&self) -> AnswerBytes {
        AnswerBytes { now_max: usize::MAX, max: self.cx.settings.reply_bytes_max }
    }

    /// A client reads something.
    pub(super) fn begin_read(&mut self, key: ClientKey) {
        if let Some(client) = self.sessions.clients.get(key) {
            client.reads.begin();
        }
    }

    /// It has its answer.
    pub(super) fn end_read(&mut self, key: ClientKey) {
        if let Some(client) = self.sessions.clients.get(key) {
            client.reads.end();
        }
    }

    /// A home says that an answer is too long to be given beside others.
    pub(crate) fn defer_read(&mut self, key: ClientKey, message: ToOwner) {
        self.end_read(key);
        if let Some(client) = self.sessions.clients.get(key) {
            client.waiting().deferred.push_back(message);
            self.account(key);
            self.go_on(key);
        }
    }

    /// Asks for the next long answer, if nothing else is under way and the client has read what there was.
    pub(super) fn ask_deferred(&mut self, key: ClientKey) {
        while let Some(client) = self.sessions.clients.get(key)
            && client.reads.under_way == 0
            && client.has_deferred_reads()
            && !self.is_queue_long(key)
        {
            let Some(client) = self.sessions.clients.get(key) else { return };
            let Some(mut message) = client.waiting().deferred.pop_front() else { return };
            // Its subscription may have ended meanwhile.
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
        let asked = SubState::Pending { ticket: subscribe.ticket, command: subscribe.command };
        self.subs.iter().any(|sub| sub.place == asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_reads_are_under_way_at_a_time_and_a_long_one_alone() {
        let mut reads = Reads::default();
        let begun = (0..1_000).take_while(|_| {
            let may = reads.may_begin();
            if may {
                reads.begin();
            }
            may
        });
        assert_eq!(begun.count(), usize::from(READS_MAX));
        reads.end();
        assert!(reads.may_begin());
        reads = Reads { under_way: 1, is_alone: true };
        assert!(!reads.may_begin());
        reads.end();
        assert!(reads.may_begin());
    }
}
